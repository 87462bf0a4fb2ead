//! Every form of tunnel and exchange: what clients really send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::{exchange, tls_in};
use super::support::origin::{Received, raw};
use super::support::{CRM, VALUE, World, read_response, reply, soon};

#[tokio::test]
async fn connect_may_come_as_http_1_0_without_host() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    assert_eq!(exchange(&mut stream, &format!("CONNECT {CRM}:443 HTTP/1.0\r\n\r\n")).await.status(), 200);
    let mut inside = tls_in(stream, CRM, &world.ca()).await.expect("trusted");
    assert_eq!(exchange(&mut inside, &format!("GET /{{secrets.crm.apiKey}} HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.text(), "ok");
    assert!(world.crm.only().line().starts_with("GET /abc123"));
}

#[tokio::test]
async fn plain_http_inside_a_tunnel_is_injected_too() {
    let world = World::new().await;
    let mut stream = world.tunnel("plain.crm.example.com:80").await;
    assert_eq!(
        exchange(&mut stream, "GET /x HTTP/1.1\r\nHost: plain.crm.example.com\r\nX: {secrets.crm.apiKey}\r\n\r\n").await.text(),
        "ok"
    );
    assert_eq!(world.crm_plain.only().field("x"), VALUE);
}

#[tokio::test]
async fn absolute_https_targets_go_over_tls_and_replace_host() {
    let world = World::new().await;
    let response = world.send(&format!("GET https://{CRM}/x HTTP/1.1\r\nHost: other\r\nX: {{secrets.crm.apiKey}}\r\n\r\n")).await;
    assert_eq!(response.text(), "ok");
    let got = world.crm.only();
    assert_eq!((got.line(), got.field("host"), got.field("x")), ("GET /x HTTP/1.1", CRM, VALUE));
}

#[tokio::test]
async fn a_passed_through_host_keeps_its_own_certificate_and_its_bytes() {
    let world = World::with(&format!("[intercept]\npass_through = [\"{CRM}\"]\n"), reply("200 OK", "", "ok")).await;
    let stream = world.tunnel(&format!("{CRM}:443")).await;
    let mut inside = tls_in(stream, CRM, &world.proxy.path("origin-ca.pem")).await.expect("the origin's own certificate");
    let sent = format!("GET /{{secrets.crm.apiKey}} HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    assert_eq!(exchange(&mut inside, &sent).await.text(), "ok");
    assert_eq!(world.crm.only().head, sent);
}

#[tokio::test]
async fn a_websocket_is_relayed_after_its_head_was_injected() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
    let world = World::with("", raw(switch, false)).await;
    let mut stream = world.tls(CRM).await;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {CRM}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer {{secrets.crm.apiKey}}\r\n\r\n"
    );
    let response = exchange(&mut stream, &request).await;
    assert_eq!((response.status(), response.fields("upgrade")), (101, vec!["websocket"]));
    let got = world.crm.only();
    assert_eq!(
        (got.field("upgrade"), got.field("connection"), got.field("authorization")),
        ("websocket", "upgrade", format!("Bearer {VALUE}").as_str())
    );
    stream.write_all(b"{secrets.crm.apiKey}").await.expect("sent");
    stream.flush().await.expect("sent");
    let mut echoed = [0; 20];
    soon(stream.read_exact(&mut echoed)).await.expect("echoed");
    assert_eq!(&echoed, b"{secrets.crm.apiKey}", "what follows is relayed as it is");
}

#[tokio::test]
async fn h2c_never_reaches_an_upstream() {
    let world = World::new().await;
    let response = world.send("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n").await;
    assert_eq!(response.text(), "ok");
    assert_eq!(world.crm_plain.only().head, "GET / HTTP/1.1\r\nHost: plain.crm.example.com\r\n\r\n");
}

#[tokio::test]
async fn expect_100_is_answered_and_the_content_follows() {
    let world = World::new().await;
    for media_type in ["text/plain", "application/octet-stream"] {
        let mut stream = world.tls(CRM).await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: {media_type}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        );
        assert_eq!(exchange(&mut stream, &head).await.status(), 100, "{media_type}");
        assert_eq!(exchange(&mut stream, "body").await.text(), "ok");
    }
    assert!(world.crm.received().iter().all(|request| request.text() == "body"));
}

#[tokio::test]
async fn responses_without_content_stay_without() {
    let script = |request: &Received| {
        let (status, fields) = match request.line().split(' ').nth(1) {
            Some("/204") => ("204 No Content", ""),
            Some("/304") => ("304 Not Modified", "ETag: \"x\"\r\nContent-Length: 9\r\n"),
            _ => ("200 OK", "Content-Length: 1234\r\n"),
        };
        (format!("HTTP/1.1 {status}\r\n{fields}\r\n").into_bytes(), false)
    };
    let world = World::with("", std::sync::Arc::new(script)).await;
    let mut stream = world.tls(CRM).await;
    for (method, path, status) in [("HEAD", "/", 200), ("GET", "/204", 204), ("GET", "/304", 304), ("HEAD", "/", 200)] {
        let response = exchange(&mut stream, &format!("{method} {path} HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await;
        assert_eq!(response.status(), status);
        if method == "HEAD" {
            assert_eq!(response.fields("content-length"), ["1234"]);
        }
    }
    assert_eq!(world.crm.connections(), 1);
}

#[tokio::test]
async fn an_answer_cut_short_upstream_is_seen_as_cut_short() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let world = World::with("", raw(cut, true)).await;
        let mut stream = world.tls(CRM).await;
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n").as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
        let mut got = Vec::new();
        let _ = soon(stream.read_to_end(&mut got)).await;
        let text = String::from_utf8_lossy(&got);
        assert!(!text.ends_with("0\r\n\r\n") && !text.contains("Content-Length: 5\r\n"), "{text:?}");
    }
}

#[tokio::test]
async fn large_binary_content_streams_both_ways_unchanged() {
    const SIZE: usize = 8 * 1024 * 1024;
    let large: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at * 7 % 251).expect("below 251")).collect();
    let answer = large.clone();
    let script = move |_: &Received| {
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {SIZE}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&answer);
        (bytes, false)
    };
    let world = World::with("", std::sync::Arc::new(script)).await;
    let mut request =
        format!("POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: application/octet-stream\r\nContent-Length: {SIZE}\r\n\r\n")
            .into_bytes();
    request.extend_from_slice(&large);
    let (mut reading, mut writing) = tokio::io::split(world.tls(CRM).await);
    let (response, ()) = tokio::join!(read_response(&mut reading, false), async {
        writing.write_all(&request).await.expect("sent");
        writing.flush().await.expect("sent");
    });
    assert!(response.body == large, "what came back differs");
    assert!(world.crm.only().body == large, "what arrived differs");
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_refused() {
    let world = World::new().await;
    let mut stream = world.tunnel(&format!("{CRM}:443")).await;
    let response = exchange(&mut stream, "\u{1}\u{2}binary").await;
    assert_eq!(response.refusal(), "malformed_request");
    assert_eq!(world.crm.connections(), 0);
}
