// Java's HttpClient. Run by `java java.java`.
import java.net.*;
import java.net.http.*;
import java.util.Base64;

class Driver {
    static final String REF = "{secrets.crm.apiKey}";
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        String base = arguments[0], evil = arguments[1], address = arguments[2];
        // Java's URI takes no braces; they are percent-encoded.
        String encoded = URLEncoder.encode(REF, "UTF-8");
        ok(base + "/header", "X-Api-Key", REF, null);
        ok(base + "/bearer", "Authorization", "Bearer " + REF, null);
        ok(base + "/query?k=" + encoded, "X", "x", null);
        ok(base + "/path/" + encoded + "/x", "X", "x", null);
        ok(base + "/basic", "Authorization", basic("me:" + REF), null);
        ok(base + "/cookie", "Cookie", "s=" + REF, null);
        ok(base + "/json", "Content-Type", "application/json", "{\"k\":\"" + REF + "\"}");
        ok(base + "/form", "Content-Type", "application/x-www-form-urlencoded", "k=" + encoded);
        ok(address + "/address", "X-Api-Key", "{secrets.open}", null);
        System.out.println("version " + send(base + "/version", "X", "x", null).version());
        System.out.println(send(evil + "/", "X", REF, null).body());
    }

    static String basic(String pair) {
        return "Basic " + Base64.getEncoder().encodeToString(pair.getBytes());
    }

    static HttpResponse<String> send(String url, String name, String value, String body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).header(name, value);
        // Java takes the proxy from properties and its credentials from nowhere. An Authenticator would
        // send them, and drop each Authorization of ours; this field goes to the proxy only.
        String pair = URI.create(System.getenv("HTTPS_PROXY")).getUserInfo();
        if (pair != null) request.header("Proxy-Authorization", basic(pair));
        if (body != null) request.POST(HttpRequest.BodyPublishers.ofString(body));
        return CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    static void ok(String url, String name, String value, String body) throws Exception {
        var answer = send(url, name, value, body);
        if (answer.statusCode() != 200) throw new Exception(url + ": " + answer.body());
    }
}
