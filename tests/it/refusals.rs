//! Each refusal has its code, its form, and an upstream that saw no connection.

use tokio::io::AsyncWriteExt;

use super::support::client::{exchange, tls_in};
use super::support::{CRM, EVIL, VALUE, World, read_response, reply, soon};

/// No origin saw anything of it.
fn nothing_was_sent(world: &World) {
    let seen = [world.crm.connections(), world.crm_plain.connections(), world.evil.connections()];
    assert_eq!(seen, [0, 0, 0]);
}

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
    nothing_was_sent(&world);
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
    nothing_was_sent(&world);
}

#[tokio::test]
async fn values_that_cannot_stand_are_refused() {
    let world = World::new().await;
    world.proxy.must(&["secret", "create", "lines", "--value-stdin", "--exact"], "a\r\nInjected: 1").await;
    world.proxy.must(&["secret", "create", "dots", "--value-stdin"], "..").await;
    for request in [
        "GET / HTTP/1.1\r\nX: {secrets.lines}",
        "GET /{secrets.dots}/x HTTP/1.1",
        "GET / HTTP/1.1\r\nContent-MD5: x\r\nContent-Length: 15\r\nA: {secrets.lines}",
    ] {
        let response = world.send_tls(CRM, &format!("{request}\r\nHost: {CRM}\r\n\r\n{{secrets.lines}}")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (422, "secret_not_encodable"), "{request}");
        assert!(!response.text().contains("Injected"));
    }
    nothing_was_sent(&world);
}

#[tokio::test]
async fn ambiguous_heads_get_our_refusal_and_not_an_empty_400() {
    let world = World::new().await;
    let target = "http://plain.crm.example.com/";
    let with = |fields: &str| format!("POST {target} HTTP/1.1\r\nHost: plain.crm.example.com\r\n{fields}\r\n0\r\n\r\n");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    for (request, code) in [
        (with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), "malformed_request"),
        (with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), "malformed_request"),
        (with("Content-Length: 5\r\nContent-Length: 6\r\n"), "malformed_request"),
        (with("Transfer-Encoding: gzip, chunked\r\n"), "malformed_request"),
        (with("X: a\r\n folded\r\n"), "malformed_request"),
        (with("X : a\r\n"), "malformed_request"),
        (with("X: a\0b\r\n"), "malformed_request"),
        (with("Host: other\r\n"), "malformed_request"),
        (with("Connection: Host\r\nContent-Length: 0\r\n"), "malformed_request"),
        (with("Connection: {secrets.crm.apiKey}\r\nContent-Length: 0\r\n"), "malformed_request"),
        (with("Subrosa-Surfaces: headers\r\nContent-Length: 0\r\n"), "malformed_request"),
        (format!("GET {target} HTTP/1.1\nHost: h\n\n"), "malformed_request"),
        (format!("GET {target} HTTP/1.1\r\n\r\n"), "malformed_request"),
        (format!("{}?f={{\"a\":1}} HTTP/1.1\r\nHost: h\r\n\r\n", &get(target)[..target.len() + 4]), "malformed_request"),
        (get("http://u:p@plain.crm.example.com/"), "malformed_request"),
        (get("http://[[x]]/"), "malformed_request"),
        (get("http://0x7f.1/"), "malformed_request"),
        (get("http://127.1/"), "malformed_request"),
        (get("http://a..b/"), "malformed_request"),
        (get("ftp://h/"), "malformed_request"),
        (get("/"), "malformed_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "malformed_request"),
        ("\u{16}\u{3}\u{1}nonsense".into(), "malformed_request"),
        (get("http://{secrets.crm.apiKey}/"), "secret_in_authority"),
        (get("http://{secrets.crm.apiKey}:x@h/"), "secret_in_authority"),
        (get("{secrets.crm.apiKey}://h/"), "secret_in_authority"),
        (format!("GET {target} HTTP/1.1\r\nHost: {{secrets.crm.apiKey}}\r\n\r\n"), "secret_in_authority"),
        ("CONNECT {secrets.crm.apiKey}:443 HTTP/1.1\r\nHost: h\r\n\r\n".into(), "secret_in_authority"),
        (format!("TRACE {target} HTTP/1.1\r\nHost: h\r\nX: {{secrets.crm.apiKey}}\r\n\r\n"), "malformed_request"),
    ] {
        let response = world.send(&request).await;
        assert_eq!(response.refusal(), code, "{request:?}");
        assert_eq!(response.status(), 400, "{request:?}");
    }
    nothing_was_sent(&world);
}

#[tokio::test]
async fn a_head_or_content_over_its_limit_is_refused() {
    let world = World::with("[limits]\nhead = \"8KiB\"\n[injection]\nbuffer = \"1KiB\"\n", reply("200 OK", "", "ok")).await;
    let response = world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {}\r\n\r\n", "a".repeat(9000))).await;
    assert_eq!((response.status(), response.refusal().as_str()), (431, "head_too_large"));
    let long = "a".repeat(2000);
    for framing in
        [format!("Content-Length: 2000\r\n\r\n{long}"), format!("Transfer-Encoding: chunked\r\n\r\n7d0\r\n{long}\r\n0\r\n\r\n")]
    {
        let response =
            world.send_tls(CRM, &format!("POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: text/plain\r\n{framing}")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (413, "body_too_large"));
    }
    nothing_was_sent(&world);
}

#[tokio::test]
async fn inside_a_tunnel_sni_host_and_target_must_agree() {
    let world = World::new().await;
    for request in [
        format!("GET / HTTP/1.1\r\nHost: {EVIL}\r\n\r\n"),
        format!("GET https://{EVIL}/ HTTP/1.1\r\nHost: {CRM}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {CRM}:8443\r\n\r\n"),
    ] {
        let response = world.send_tls(CRM, &request).await;
        assert_eq!((response.status(), response.refusal().as_str()), (421, "misdirected"), "{request}");
    }
    let mut other_sni =
        tls_in(world.tunnel(&format!("{CRM}:443")).await, EVIL, &world.ca()).await.expect("a leaf for the name asked for");
    let response = exchange(&mut other_sni, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await;
    assert_eq!(response.refusal(), "misdirected");
    nothing_was_sent(&world);
    for agreeing in [CRM.to_owned(), format!("{CRM}:443"), CRM.to_uppercase(), format!("{CRM}.")] {
        assert_eq!(world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {agreeing}\r\n\r\n")).await.status(), 200, "{agreeing}");
    }
}

#[tokio::test]
async fn private_targets_are_denied_and_the_sentence_names_the_key() {
    let world = World::new().await;
    for host in ["127.0.0.1:9", "10.0.0.1", "169.254.169.254", "[::1]:9", "[::ffff:10.0.0.1]", "100.64.0.1"] {
        let response = world.send(&format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (403, "target_denied"), "{host}");
        assert!(response.json()["detail"].as_str().is_some_and(|detail| detail.contains("egress.allow")), "{}", response.text());
    }
    nothing_was_sent(&world);
}

#[tokio::test]
async fn the_proxy_never_dials_itself() {
    let world = World::with("allow = [\"127.0.0.0/8\"]\n", reply("200 OK", "", "ok")).await;
    let port = world.proxy.address.port();
    for host in [format!("127.0.0.1:{port}"), format!("127.9.9.9:{port}")] {
        let response = world.send(&format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(response.refusal(), "target_denied", "{host}");
    }
}

#[tokio::test]
async fn a_secret_goes_over_plain_http_only_where_the_config_says_so() {
    let world = World::with("cleartext_secrets = \"never\"\n", reply("200 OK", "", "ok")).await;
    let response = world.send("GET http://plain.crm.example.com/{secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((response.status(), response.refusal().as_str()), (403, "cleartext_refused"));
    nothing_was_sent(&world);
    assert_eq!(world.send("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn upstream_faults_have_their_codes() {
    let world = World::with("", reply("200 OK", "", "ok")).await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound").port()
    };
    let config = format!(
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[timeouts]\nupstream_head = \"300ms\"\n[egress.resolve]\n\"closed.test\" = \"127.0.0.1:{closed}\"\n\"untrusted.test\" = \"{}\"\n\"notls.test\" = \"{}\"\n",
        world.crm.address, world.crm_plain.address
    );
    let silent = super::support::Origin::plain(super::support::origin::raw("", false)).await;
    let lying = super::support::Origin::plain(super::support::origin::raw("nonsense\r\n\r\n", true)).await;
    let config = format!("{config}\"silent.test\" = \"{}\"\n\"lying.test\" = \"{}\"\n", silent.address, lying.address);
    let proxy = super::support::Proxy::start(tempfile::tempdir().expect("a directory"), &config).await;
    let other = World { proxy, ..world };
    for (url, status, code) in [
        ("http://closed.test/", 502, "upstream_refused"),
        ("https://untrusted.test/", 502, "upstream_tls"),
        ("https://notls.test/", 502, "upstream_tls"),
        ("http://nowhere.invalid/", 502, "upstream_unresolvable"),
        ("http://silent.test/", 504, "upstream_timeout"),
        ("http://lying.test/", 502, "upstream_protocol"),
    ] {
        let response = other.send(&format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (status, code), "{url}");
    }
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
        while world.crm.connections() == 0 {
            tokio::task::yield_now().await
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
