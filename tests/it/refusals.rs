//! Each refusal has its code, its form, and an upstream that saw no connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;

use super::support::client::exchange;
use super::support::{CRM, EVIL, VALUE, World, read_response, reply, soon};

#[tokio::test]
async fn domain_restricted_names_secret_host_and_patterns() {
    let world = World::new().await;
    let response = world
        .send_tls(EVIL, &format!("GET / HTTP/1.1\r\nHost: {EVIL}\r\nAuthorization: Bearer {{secrets.crm.apiKey}}\r\n\r\n"))
        .await;
    assert_eq!((response.status(), response.refusal().as_str()), (403, "domain_restricted"));
    let problem = response.json();
    assert_eq!((problem["secret"].as_str(), problem["surface"].as_str()), (Some("crm.apiKey"), Some("authentication")));
    assert_eq!(problem["target"], format!("https://{EVIL}"));
    let detail = problem["detail"].as_str().expect("a sentence");
    assert!(detail.contains(EVIL) && detail.contains("*.crm.example.com") && detail.contains("crm.apiKey"), "{detail}");
    assert!(!response.text().contains(VALUE));
    world.untouched();
}

#[tokio::test]
async fn every_surface_is_refused_alike_and_all_or_nothing() {
    let world = World::new().await;
    let body = |text: &str| format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let mut stream = world.tls(CRM).await;
    for (line, rest) in [
        ("GET /{secrets.crm.apiKey}/{secrets.nobody} HTTP/1.1", "\r\n".to_owned()),
        ("GET /?a={secrets.crm.apiKey}&b=%7Bsecrets.nobody%7D HTTP/1.1", "\r\n".to_owned()),
        ("GET / HTTP/1.1", "X: {secrets.crm.apiKey}\r\nY: {secrets.nobody}\r\n\r\n".to_owned()),
        ("POST /{secrets.crm.apiKey} HTTP/1.1", body("{\"a\":\"{secrets.crm.apiKey}{secrets.nobody}\"}")),
    ] {
        let response = exchange(&mut stream, &format!("{line}\r\nHost: {CRM}\r\n{rest}")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (422, "secret_not_found"), "{line}");
        assert_eq!(response.json()["secret"], "nobody");
    }
    world.untouched();
}

fn post(media_type: &str, body: &str, fields: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {CRM}\r\n{fields}\r\n")
}

#[tokio::test]
async fn values_that_cannot_stand_are_refused() {
    let world = World::new().await;
    for (name, value) in [
        ("lines", "first-line\r\nInjected: yes"),
        ("nul", "with-a-\0-within"),
        ("blank", " begins-with-a-blank"),
        ("semicolon", "a=1; admin=true"),
        ("colon", "user:password-of-it"),
        ("dots", ".."),
        ("dot", "."),
        ("cdata", "ends]]>the-section"),
        ("word", "no-json-literal"),
    ] {
        world.proxy.create_secret(name, value, &[]).await;
    }
    let basic = |pair: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(pair));
    let mut stream = world.tls(CRM).await;
    for (what, request, surface) in [
        ("a line end in a field", get("/", "X-K: {secrets.lines}\r\n"), "header"),
        ("a NUL in a field", get("/", "X-K: {secrets.nul}\r\n"), "header"),
        ("a leading blank", get("/", "X-K: {secrets.blank}\r\n"), "header"),
        ("a semicolon in a cookie", get("/", "Cookie: a={secrets.semicolon}\r\n"), "header"),
        ("a colon in the user of Basic", get("/", &basic("{secrets.colon}:x")), "authentication"),
        ("a segment of two dots", get("/a/{secrets.dots}/b", ""), "path"),
        ("a dot that becomes two, encoded", get("/a/%2e{secrets.dot}/b", ""), "path"),
        ("outside a JSON string", post("application/json", "{\"a\": {secrets.word}}", ""), "body"),
        ("an XML comment", post("application/xml", "<a><!-- {secrets.crm.apiKey} --></a>", ""), "body"),
        ("the end of CDATA", post("text/xml", "<a><![CDATA[{secrets.cdata}]]></a>", ""), "body"),
        ("a NUL in XML", post("text/xml", "<a>{secrets.nul}</a>", ""), "body"),
        ("under Content-MD5", post("text/plain", "{secrets.crm.apiKey}", "Content-MD5: x\r\n"), "body"),
        ("under Digest", post("text/plain", "{secrets.crm.apiKey}", "Digest: sha-256=x\r\n"), "body"),
        ("under Content-Digest", post("text/plain", "{secrets.crm.apiKey}", "Content-Digest: sha-256=:x:\r\n"), "body"),
        ("under AWS's digest", post("text/plain", "{secrets.crm.apiKey}", "x-amz-content-sha256: 00\r\n"), "body"),
    ] {
        let response = exchange(&mut stream, &request).await;
        assert_eq!((response.status(), response.refusal().as_str()), (422, "secret_not_encodable"), "{what}");
        assert_eq!(response.json()["surface"], surface, "{what}");
        assert!(response.json()["secret"].is_string() && !response.text().contains("Injected"), "{what}");
    }
    world.untouched();
    // The same digest over a content in which nothing changes is nobody's business.
    assert_eq!(exchange(&mut stream, &post("text/plain", "plain", "Content-MD5: x\r\n")).await.text(), "ok");
}

#[tokio::test]
async fn a_value_stands_outside_a_json_string_if_it_is_a_literal() {
    let world = World::new().await;
    world.proxy.create_secret("number", "42", &[]).await;
    world.send_tls(CRM, &post("application/json", "{\"a\": {secrets.number}}", "")).await;
    assert_eq!(world.crm.only().text(), "{\"a\": 42}");
}

#[tokio::test]
async fn fields_that_rule_how_a_message_is_read_hold_no_reference() {
    let world = World::new().await;
    for field in [
        "Content-Type",
        "Content-Encoding",
        "Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Content-Length",
        "Transfer-Encoding",
    ] {
        let response = world.send_tls(CRM, &get("/", &format!("{field}: {{secrets.crm.apiKey}}\r\n"))).await;
        assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"), "{field}");
    }
    let trace = get("/{secrets.crm.apiKey}", "").replace("GET", "TRACE");
    assert_eq!(world.send_tls(CRM, &trace).await.refusal(), "malformed_request");
    world.untouched();
}

#[tokio::test]
async fn a_secret_stands_only_on_the_surfaces_it_is_limited_to() {
    let world = World::new().await;
    let create = ["secret", "create", "limited", "--value-stdin", "--surfaces", "header", "--header", "x-api-key"];
    world.proxy.must(&create, "only-in-one-field").await;
    for request in [get("/{secrets.limited}", ""), get("/", "X-Other: {secrets.limited}\r\n")] {
        let response = world.send_tls(CRM, &request).await;
        assert_eq!((response.status(), response.refusal().as_str()), (422, "secret_not_encodable"), "{request}");
        assert_eq!(response.json()["secret"], "limited");
    }
    world.untouched();
    world.send_tls(CRM, &get("/", "X-API-Key: {secrets.limited}\r\n")).await;
    assert_eq!(world.crm.only().field("x-api-key"), "only-in-one-field");
}

#[tokio::test]
async fn a_content_may_grow_only_so_far() {
    let world = World::with("[injection]\nmax_growth = \"64KiB\"\n", reply("200 OK", "", "ok")).await;
    world.proxy.create_secret("large", &"0123456789abcdef".repeat(4096), &[]).await;
    let response = world.send_tls(CRM, &post("text/plain", "{secrets.large}{secrets.large}", "")).await;
    assert_eq!((response.status(), response.refusal().as_str()), (413, "body_too_large"));
    world.untouched();
}

#[tokio::test]
async fn a_refusal_to_head_has_no_content_and_the_connection_goes_on() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    let response = exchange(&mut stream, &get("/{secrets.none}", "").replace("GET", "HEAD")).await;
    assert_eq!(response.status(), 422);
    assert!(response.fields("proxy-status")[0].contains("secret_not_found"), "{}", response.head);
    assert_eq!(exchange(&mut stream, &get("/", "")).await.text(), "ok");
}

#[tokio::test]
async fn a_refusal_is_read_even_by_who_is_still_sending() {
    let world = World::with("[injection]\noversize = \"refuse\"\n", reply("200 OK", "", "ok")).await;
    let mut stream = world.tls(CRM).await;
    let head = post("text/plain", "", "").replace("Content-Length: 0", "Content-Length: 3000000");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&vec![b'x'; 400_000]).await.expect("sent");
    let response = read_response(&mut stream, false).await;
    assert_eq!((response.status(), response.refusal().as_str()), (413, "body_too_large"));
    world.untouched();
}

#[tokio::test]
async fn a_head_or_content_over_its_limit_is_refused() {
    let config = "[limits]\nhead = \"8KiB\"\n[injection]\nbuffer = \"1KiB\"\noversize = \"refuse\"\n";
    let world = World::with(config, reply("200 OK", "", "ok")).await;
    let response = world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {}\r\n\r\n", "a".repeat(9000))).await;
    assert_eq!((response.status(), response.refusal().as_str()), (431, "head_too_large"));
    let long = "a".repeat(2000);
    let head = format!("POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: text/plain\r\n");
    let response = world.send_tls(CRM, &format!("{head}Content-Length: 2000\r\n\r\n{long}")).await;
    assert_eq!((response.status(), response.refusal().as_str()), (413, "body_too_large"));
    world.untouched();
}

#[tokio::test]
async fn a_secret_goes_over_plain_http_only_where_the_config_says_so() {
    let world = World::with("cleartext_secrets = \"never\"\n", reply("200 OK", "", "ok")).await;
    let response = world.send("GET http://plain.crm.example.com/{secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((response.status(), response.refusal().as_str()), (403, "cleartext_refused"));
    world.untouched();
    assert_eq!(world.send("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn a_content_that_breaks_off_is_never_forwarded_as_whole() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    stream
        .write_all(
            format!(
                "POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX"
            )
            .as_bytes(),
        )
        .await
        .expect("sent");
    stream.flush().await.expect("sent");
    let response = read_response(&mut stream, false).await;
    assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"));
    // A streaming content has begun to go out; its upstream must not see an end.
    let mut stream = world.tls(CRM).await;
    stream
        .write_all(
            format!(
                "POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\nhello"
            )
            .as_bytes(),
        )
        .await
        .expect("sent");
    stream.shutdown().await.expect("closed");
    soon(async {
        while world.crm.broken() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(world.crm.received().len(), 0);
}

#[tokio::test]
async fn the_connection_goes_on_after_a_refusal() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    let refused = exchange(
        &mut stream,
        &format!("POST /{{secrets.nobody}} HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc"),
    )
    .await;
    assert_eq!(refused.refusal(), "secret_not_found");
    assert_eq!(exchange(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.text(), "ok");
}
