//! Every runtime that `subrosa run` sets up reaches an origin through interception: its proxy
//! variables are the ones it reads, and the leaf is good enough for the strictest of them, for a name
//! and, where the runtime sends loopback addresses to a proxy at all, for an address.

use std::path::{Path, PathBuf};

use super::support::{CRM, VALUE, World, reply};

fn tools(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools").join(path)
}

/// A world whose origin is also reached by address.
async fn world() -> World {
    World::with("allow = [\"127.0.0.0/8\"]\n", reply("200 OK", "", "ok")).await
}

/// Writes `script` to `file` and runs `command` beside it, once for each of the `urls`.
async fn reaches(world: &World, urls: &[String], file: (&str, &str), command: &[&str]) {
    std::fs::write(world.proxy.path(file.0), file.1).expect("written");
    let address = world.proxy.address.to_string();
    for url in urls {
        let before = world.crm.received().len();
        let start = ["run", "--proxy", &address, "--"];
        let printed = world.proxy.must(&[&start, command, &[url.as_str()]].concat(), "").await;
        assert!(printed.contains("ok"), "{command:?} {url}: {printed}");
        let received = world.crm.received();
        assert_eq!(received.len(), before + 1, "{command:?} {url}");
        assert_eq!(received[before].field("x-key"), VALUE, "{command:?} {url}");
    }
}

fn by_name() -> String {
    format!("https://{CRM}/v1")
}

fn by_address(world: &World) -> String {
    format!("https://127.0.0.1:{}/v1", world.crm.address.port())
}

/// The secret for any host, as an address is none of its domains.
async fn open_secret(world: &World) {
    world.proxy.create_secret("open", VALUE, &[]).await;
}

#[tokio::test]
async fn python_in_its_strict_mode() {
    let world = world().await;
    open_secret(&world).await;
    let script = "
import os, ssl, sys, urllib.request
context = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE'])
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
print(opener.open(urllib.request.Request(sys.argv[1], headers={'X-Key': '{secrets.open}'})).read().decode())
";
    reaches(&world, &[by_name(), by_address(&world)], ("strict.py", script), &["python3", "strict.py"]).await;
}

#[tokio::test]
async fn python_requests_httpx_and_aiohttp() {
    let world = world().await;
    open_secret(&world).await;
    let script = "
import asyncio, sys, requests, httpx, aiohttp
url, headers = sys.argv[2], {'X-Key': '{secrets.open}'}
async def with_aiohttp():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(url, headers=headers) as answer:
            return await answer.text()
if sys.argv[1] == 'requests':
    print(requests.get(url, headers=headers).text)
elif sys.argv[1] == 'httpx':
    print(httpx.get(url, headers=headers).text)
else:
    print(asyncio.run(with_aiohttp()))
";
    let python = tools("python/bin/python").display().to_string();
    for api in ["requests", "httpx", "aiohttp"] {
        reaches(&world, &[by_name(), by_address(&world)], ("three.py", script), &[&python, "three.py", api]).await;
    }
}

#[tokio::test]
async fn java() {
    let world = world().await;
    open_secret(&world).await;
    let script = "
import java.net.URI;
import java.net.http.*;
public class Fetch {
    public static void main(String[] arguments) throws Exception {
        var connection = new java.net.URL(arguments[1]).openConnection();
        if (arguments[0].equals(\"old\")) {
            connection.setRequestProperty(\"X-Key\", \"{secrets.open}\");
            System.out.println(new String(connection.getInputStream().readAllBytes()));
        } else {
            var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
            var request = HttpRequest.newBuilder(URI.create(arguments[1])).header(\"X-Key\", \"{secrets.open}\").build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
        }
    }
}
";
    for api in ["old", "new"] {
        reaches(&world, &[by_name(), by_address(&world)], ("Fetch.java", script), &["java", "Fetch.java", api]).await;
    }
}

#[tokio::test]
async fn go() {
    let world = world().await;
    open_secret(&world).await;
    let script = "package main
import (\"fmt\"; \"io\"; \"net/http\"; \"os\")
func main() {
    request, _ := http.NewRequest(\"GET\", os.Args[1], nil)
    request.Header.Set(\"X-Key\", \"{secrets.open}\")
    response, err := http.DefaultClient.Do(request)
    if err != nil { fmt.Println(err); os.Exit(1) }
    body, _ := io.ReadAll(response.Body)
    fmt.Println(string(body))
}
";
    let cache = format!("GOCACHE={}", tools("go-cache").display());
    reaches(&world, &[by_name()], ("fetch.go", script), &["env", &cache, "go", "run", "fetch.go"]).await;
}

#[tokio::test]
async fn php_and_ruby() {
    let world = world().await;
    open_secret(&world).await;
    let php = "<?php $c = curl_init($argv[1]); curl_setopt($c, CURLOPT_HTTPHEADER, ['X-Key: {secrets.open}']); \
               if (curl_exec($c) === false) { fwrite(STDERR, curl_error($c)); exit(1); }";
    reaches(&world, &[by_name(), by_address(&world)], ("fetch.php", php), &["php", "fetch.php"]).await;
    let ruby = "require 'net/http'; uri = URI(ARGV[0]); http = Net::HTTP.new(uri.host, uri.port); http.use_ssl = true; \
                puts http.get(uri.path, 'X-Key' => '{secrets.open}').body";
    reaches(&world, &[by_name()], ("fetch.rb", ruby), &["ruby", "fetch.rb"]).await;
}

#[tokio::test]
async fn openssl_verifies_name_and_address() {
    let world = world().await;
    let (proxy, ca) = (world.proxy.address.to_string(), world.ca().display().to_string());
    for (target, check) in [
        (format!("{CRM}:443"), ["-verify_hostname", CRM]),
        (format!("127.0.0.1:{}", world.crm.address.port()), ["-verify_ip", "127.0.0.1"]),
    ] {
        let mut command = tokio::process::Command::new("openssl");
        command.args(["s_client", "-proxy", &proxy, "-connect", &target, "-CAfile", &ca, "-no-CApath", "-no-CAstore"]);
        command.args(["-x509_strict", "-verify_return_error", "-brief"]).args(check);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = super::support::soon(command.output()).await.expect("openssl is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("Verification: OK"), "{target}: {said}");
    }
}

#[tokio::test]
async fn chromium() {
    let world = World::with("", reply("200 OK", "Content-Type: text/html\r\n", "<p>it is ok</p>")).await;
    let home = world.proxy.path("home");
    let database = home.join(".pki/nssdb");
    std::fs::create_dir_all(&database).expect("made");
    let database = format!("sql:{}", database.display());
    let ca = world.ca().display().to_string();
    for arguments in [vec!["-N", "--empty-password"], vec!["-A", "-t", "C,,", "-n", "subrosa", "-i", &ca]] {
        let status = std::process::Command::new("certutil").args(["-d", &database]).args(arguments).status();
        assert!(status.expect("certutil is there").success());
    }
    let mut command = tokio::process::Command::new("chromium");
    command.env("HOME", &home).env_remove("XDG_CONFIG_HOME").args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-dev-shm-usage",
    ]);
    command
        .arg(format!("--user-data-dir={}", home.join("profile").display()))
        .arg(format!("--proxy-server=http://{}", world.proxy.address));
    command.args(["--dump-dom", &format!("https://{CRM}/page?k=%7Bsecrets.crm.apiKey%7D")]).kill_on_drop(true);
    let output = super::support::soon(command.output()).await.expect("chromium is there");
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(page.contains("it is ok"), "{page}\n{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<String> = world.crm.received().iter().map(|request| request.line().to_owned()).collect();
    assert!(lines.contains(&"GET /page?k=abc123-Zx%2F9%2B%3Dsecret HTTP/1.1".to_owned()), "{lines:?}");
}
