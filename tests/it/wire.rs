//! Framing, both ways: what came in one form goes on in that form, whole or not at all; and nobody
//! takes room from others.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::exchange;
use super::support::origin::{find, raw};
use super::support::{CRM, VALUE, World, read_response, reply, soon};

#[tokio::test]
async fn a_chunked_content_arrives_with_every_method() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    let mut expected = 0;
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "POST"] {
        for media_type in ["application/json", "application/octet-stream"] {
            let head = format!(
                "{method} /{expected} HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let response = exchange(&mut stream, &format!("{head}4\r\n\"ab\"\r\n0\r\n\r\n")).await;
            assert_eq!(response.status(), 200, "{method} {media_type}");
            let got = world.crm.received()[expected].clone();
            assert_eq!(got.field("transfer-encoding"), "chunked", "{method} {media_type}");
            assert_eq!(got.text(), "4\r\n\"ab\"\r\n0\r\n\r\n", "{method} {media_type}");
            expected += 1;
        }
    }
}

#[tokio::test]
async fn trailers_arrive_and_those_of_an_upstream_say_nothing_in_our_name() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Proxy-Status, Subrosa-X, X-Sum\r\n\r\n2\r\nok\r\n0\r\nProxy-Status: subrosa; error=x\r\nSubrosa-X: 1\r\nX-Sum: {secrets.a}\r\n\r\n";
    let world = World::with("", raw(answer, false)).await;
    let mut stream = world.tls(CRM).await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {CRM}\r\nTE: trailers\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(format!("{head}2\r\nhi\r\n0\r\nX-Check: 7\r\n\r\n").as_bytes()).await.expect("sent");
    let mut got = Vec::new();
    soon(async {
        while find(&got, b"\r\n0\r\n").is_none_or(|at| find(&got[at + 5..], b"\r\n\r\n").is_none()) {
            assert_ne!(stream.read_buf(&mut got).await.expect("it answers"), 0);
        }
    })
    .await;
    let got = String::from_utf8_lossy(&got).to_lowercase();
    let trailers = &got[got.find("\r\n0\r\n").expect("an end")..];
    assert!(trailers.contains("x-sum: {{secrets.a}}"), "{trailers}");
    assert!(!trailers.contains("proxy-status") && !trailers.contains("subrosa-"), "{trailers}");
    assert!(world.crm.only().text().to_lowercase().ends_with("0\r\nx-check: 7\r\n\r\n"), "{}", world.crm.only().text());
}

#[tokio::test]
async fn an_answer_with_two_lengths_is_not_cut_to_one() {
    let world = World::with(
        "",
        raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", true),
    )
    .await;
    let response = world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await;
    assert!(response.fields("content-length").is_empty() && response.text().contains("0123456789"), "{response:?}");
    let world = World::with("", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", true)).await;
    let response = world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await;
    assert_eq!((response.status(), response.refusal().as_str()), (502, "upstream_protocol"));
}

#[tokio::test]
async fn a_target_without_a_path_gets_one() {
    let world = World::new().await;
    world.send("GET http://plain.crm.example.com?k={secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(world.crm_plain.only().line(), "GET /?k=abc123-Zx%2F9%2B%3Dsecret HTTP/1.1");
    world.send("GET http://plain.crm.example.com?k=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(world.crm_plain.received()[1].line(), "GET /?k=1 HTTP/1.1");
}

#[tokio::test]
async fn host_is_sent_as_it_was_checked_and_otherwise_as_it_came() {
    let world = World::new().await;
    for (sent, wanted) in [
        ("API.crm.example.com", "API.crm.example.com"),
        ("api.crm.example.com:443", "api.crm.example.com:443"),
        ("api.crm.example.com.", CRM),
        ("\u{ff41}pi.crm.example.com", CRM),
    ] {
        let before = world.crm.received().len();
        assert_eq!(world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {sent}\r\n\r\n")).await.status(), 200, "{sent}");
        assert_eq!(world.crm.received()[before].field("host"), wanted, "{sent}");
    }
}

#[tokio::test]
async fn a_tunnel_counts_as_a_connection_as_long_as_it_lives() {
    let world = World::with("[limits]\nconnections = 4\n", reply("200 OK", "", "ok")).await;
    let first = world.tls(CRM).await;
    let second = world.tls(CRM).await;
    let request = format!("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    assert_eq!(world.send(&request).await.refusal(), "overloaded");
    drop((first, second));
    soon(async { while world.send(&request).await.status() != 200 {} }).await;
}

#[tokio::test]
async fn contents_that_have_not_come_take_no_room_and_one_runner_takes_not_all() {
    let world = World::with("[injection]\nbuffer = \"64KiB\"\n[limits]\nheld = \"128KiB\"\n", reply("200 OK", "", "ok")).await;
    let announce =
        |length: usize| format!("POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut stream = world.tls(CRM).await;
        stream.write_all(announce(60_000).as_bytes()).await.expect("sent");
        stream.write_all(b"x").await.expect("sent");
        waiting.push(stream);
    }
    assert_eq!(world.send_tls(CRM, &format!("{}ok", announce(2))).await.status(), 200);
    // Half of the room is this tenant's; what has come is what counts.
    let mut full = world.tls(CRM).await;
    full.write_all(format!("{}{}", announce(60_000), "x".repeat(59_999)).as_bytes()).await.expect("sent");
    let response = world.send_tls(CRM, &format!("{}{}", announce(60_000), "y".repeat(60_000))).await;
    assert_eq!((response.status(), response.refusal().as_str()), (503, "overloaded"));
}

#[tokio::test]
async fn what_values_add_takes_room_too() {
    let world = World::with("[injection]\nbuffer = \"64KiB\"\n[limits]\nheld = \"128KiB\"\n", reply("200 OK", "", "ok")).await;
    world.proxy.create_secret("large", &"0123456789abcdef".repeat(2048), &[]).await;
    let body = "{secrets.large}".repeat(3);
    let request =
        format!("POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let response = world.send_tls(CRM, &request).await;
    assert_eq!((response.status(), response.refusal().as_str()), (503, "overloaded"));
    world.untouched();
}

#[tokio::test]
async fn requests_sent_in_one_go_are_answered_in_turn() {
    let world = World::with("[timeouts]\nidle = \"1s\"\n", reply("200 OK", "", "ok")).await;
    let mut stream = world.tls(CRM).await;
    let one = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n");
    stream.write_all([one("a"), one("b"), one("c")].concat().as_bytes()).await.expect("sent");
    let mut got = Vec::new();
    soon(async {
        while String::from_utf8_lossy(&got).matches("\r\n\r\nok").count() < 3 {
            assert_ne!(stream.read_buf(&mut got).await.expect("answers"), 0);
        }
    })
    .await;
    let lines: Vec<String> = world.crm.received().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(lines, ["GET /a HTTP/1.1", "GET /b HTTP/1.1", "GET /c HTTP/1.1"]);
    assert!(world.crm.received().iter().all(|request| request.field("x") == VALUE));
}

#[tokio::test]
async fn an_upgrade_with_a_content_stays_http() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    let request =
        format!("POST / HTTP/1.1\r\nHost: {CRM}\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(exchange(&mut stream, &request).await.text(), "ok");
    assert!(world.crm.only().fields("upgrade").is_empty());
    stream.write_all(format!("GET /next HTTP/1.1\r\nHost: {CRM}\r\n\r\n").as_bytes()).await.expect("sent");
    assert_eq!(read_response(&mut stream, false).await.text(), "ok");
}

#[tokio::test]
async fn a_runner_that_was_revoked_or_may_not_reach_the_host_any_more_loses_what_is_relayed() {
    for change in [&["runner", "revoke", "socket"][..], &["runner", "edit", "socket", "--host", "other.example.com"]] {
        let switch = raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false);
        let world = World::with("", switch).await;
        let token = world.proxy.must(&["runner", "create", "socket"], "").await;
        world.proxy.must(&["runner", "create", "another"], "").await;
        let mut stream = world.connect().await;
        let request = format!(
            "GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nProxy-Authorization: Bearer {}\r\n\r\n",
            token.trim()
        );
        assert_eq!(exchange(&mut stream, &request).await.status(), 101);
        stream.write_all(b"ping").await.expect("sent");
        let mut echoed = [0; 4];
        soon(stream.read_exact(&mut echoed)).await.expect("echoed");
        world.proxy.must(change, "").await;
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"", "{change:?}");
    }
}

#[tokio::test]
async fn what_does_not_go_on_is_not_searched() {
    let world = World::new().await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {CRM}\r\nKeep-Alive: {{secrets.nobody}}\r\nConnection: keep-alive, x-hop, \u{ff}\r\nX-Hop: {{secrets.nobody}}\r\n\r\n"
    );
    assert_eq!(world.send_tls(CRM, &request).await.text(), "ok");
    let got = world.crm.only();
    assert!(got.fields("x-hop").is_empty() && got.fields("keep-alive").is_empty(), "{}", got.head);
}

#[tokio::test]
async fn a_digest_in_a_trailer_is_noticed() {
    let world = World::new().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: text/plain\r\nTrailer: Content-Digest\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let content = "14\r\n{secrets.crm.apiKey}\r\n0\r\nContent-Digest: sha-256=:AAAA:\r\n\r\n";
    let response = world.send_tls(CRM, &format!("{head}{content}")).await;
    assert_eq!((response.status(), response.refusal().as_str()), (422, "secret_not_encodable"));
    world.untouched();
}
