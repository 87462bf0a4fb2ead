//! What was taken away is gone within a moment, also for whoever is in the middle of something: streams,
//! long contents both ways and `WebSockets` end, over HTTP/1.1 and HTTP/2 alike.

use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::sockets::{frame, next};
use super::streams::{chunk, chunked, read_until};
use super::support::client::{exchange, tls_in, tls_with};
use super::support::http2::{Does, H2, Http2World, client, to, websocket};
use super::support::origin::{Received, Script};
use super::support::{CRM, VALUE, World, read_response, soon};

/// An origin that never comes to an end.
fn endless() -> Script {
    Arc::new(|request: &Received| {
        let answer = if request.line().contains("/socket") {
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        } else if request.line().contains("/download") {
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nbegun\n"
        } else {
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbegun\n\r\n"
        };
        (answer.as_bytes().to_vec(), false)
    })
}

fn endless_http2(uri: &Uri) -> Does {
    if uri.path() == "/hangs" { Does::Hangs } else { Does::Echoes }
}

/// A world with two runners, and the token of the one that does everything here.
async fn world() -> (Http2World, String) {
    let config = "[injection]\nwebsocket = true\n";
    let world = Http2World::serving(config, endless_http2, endless()).await;
    world.world.proxy.must(&["runner", "create", "another"], "").await;
    let token = world.world.proxy.must(&["runner", "create", "this", "--secret", "crm.*"], "").await;
    (world, token.trim().to_owned())
}

async fn tunnel(world: &World, token: &str, host: &str) -> TcpStream {
    let mut stream = world.connect().await;
    let connect = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
    assert_eq!(exchange(&mut stream, &connect).await.status(), 200);
    stream
}

async fn tls(world: &World, token: &str, host: &'static str) -> TlsStream<TcpStream> {
    tls_in(tunnel(world, token, host).await, host, &world.ca()).await.expect("the leaf is trusted")
}

async fn http2(world: &World, token: &str, host: &'static str) -> h2::client::SendRequest<Bytes> {
    let stream = tls_with(tunnel(world, token, host).await, host, &world.ca(), &["h2"]).await.expect("the leaf is trusted");
    client(stream).await
}

/// Everything that may be under way, each with the secret.
struct UnderWay {
    /// Answers of HTTP/1.1, and `WebSockets`.
    streams: Vec<(&'static str, TlsStream<TcpStream>)>,
    answers: Vec<(&'static str, h2::RecvStream)>,
    _sending: Vec<h2::SendStream<Bytes>>,
    /// An upload that was not answered.
    upload: TlsStream<TcpStream>,
}

const KEY: &str = "Authorization: Bearer {secrets.crm.apiKey}\r\n";

async fn under_way(world: &Http2World, token: &str) -> UnderWay {
    let (proxied, mut streams) = (&world.world, Vec::new());
    for (what, target) in [("events", "/events"), ("a download", "/download")] {
        let mut stream = tls(proxied, token, CRM).await;
        stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: {CRM}\r\n{KEY}\r\n").as_bytes()).await.expect("sent");
        read_until(&mut stream, &mut Vec::new(), b"begun\n").await;
        streams.push((what, stream));
    }
    // One whose value stands in the handshake, one whose value stands in a message.
    for (what, field, text) in [("a WebSocket", KEY, "hello"), ("its message", "", "{secrets.crm.apiKey}")] {
        let mut stream = tls(proxied, token, CRM).await;
        let handshake = format!(
            "GET /socket HTTP/1.1\r\nHost: {CRM}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{field}\r\n"
        );
        assert_eq!(exchange(&mut stream, &handshake).await.status(), 101);
        stream.write_all(&frame(0x81, text.as_bytes())).await.expect("sent");
        let (_, echoed, _) = next(&mut stream, &mut Vec::new()).await;
        assert_eq!(String::from_utf8_lossy(&echoed), text.replace("{secrets.crm.apiKey}", VALUE));
        streams.push((what, stream));
    }
    // Both ways at once, in HTTP/1.1 and through to HTTP/2.
    let mut stream = tls(proxied, token, H2).await;
    let content = chunk("{secrets.crm.apiKey} up\n");
    let request = format!("{}{content}", chunked(H2, "Content-Type: text/plain\r\n"));
    stream.write_all(request.as_bytes()).await.expect("sent");
    read_until(&mut stream, &mut Vec::new(), b" up\n").await;
    streams.push(("both ways", stream));

    let (mut answers, mut sending) = (Vec::new(), Vec::new());
    let client = http2(proxied, token, H2).await;
    for (what, path) in [("an HTTP/2 stream", "/hangs"), ("a call", "/both-ways")] {
        let mut client = soon(client.clone().ready()).await.expect("open");
        let media = if what == "a call" { "application/grpc" } else { "text/plain" };
        let request = to("POST", H2, path).header("content-type", media).header("x-key", "{secrets.crm.apiKey}");
        let (answer, mut stream) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
        stream.send_data(Bytes::from_static(b"\0\0\0\0\x05begun"), path == "/hangs").expect("sent");
        let (head, content) = soon(answer).await.expect("an answer").into_parts();
        assert_eq!(head.status, 200, "{what}");
        answers.push((what, content));
        sending.push(stream);
    }
    let (status, _, stream, content) = websocket(&client, H2, "/socket").await;
    assert_eq!(status, 200);
    answers.push(("an extended CONNECT", content));
    sending.push(stream);

    let mut upload = tls(proxied, token, CRM).await;
    let connections = proxied.crm.connections();
    let request = format!("{}{}", chunked(CRM, "Content-Type: text/plain\r\n"), chunk("{secrets.crm.apiKey}"));
    upload.write_all(request.as_bytes()).await.expect("sent");
    soon(async {
        while proxied.crm.connections() == connections {
            tokio::task::yield_now().await;
        }
    })
    .await;
    UnderWay { streams, answers, _sending: sending, upload }
}

impl UnderWay {
    /// Waits until everything has ended, and nothing as if it were whole.
    async fn end(mut self, code: &str) {
        for (what, stream) in &mut self.streams {
            let mut rest = Vec::new();
            tokio::time::timeout(super::support::PATIENCE, stream.read_to_end(&mut rest))
                .await
                .unwrap_or_else(|_| panic!("{what} goes on"))
                .unwrap_or_default();
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{what}");
        }
        for (what, content) in &mut self.answers {
            let ended = async {
                while let Some(piece) = content.data().await {
                    let Ok(piece) = piece else { return true };
                    content.flow_control().release_capacity(piece.len()).expect("open");
                }
                // A tunnel has no other end.
                *what == "an extended CONNECT"
            };
            let broken = tokio::time::timeout(super::support::PATIENCE, ended).await;
            assert!(broken.unwrap_or_else(|_| panic!("{what} goes on")), "{what} looks complete");
        }
        assert_eq!(read_response(&mut self.upload, false).await.refusal(), code);
    }
}

/// Takes something away while everything is under way.
async fn taken_away(command: &[&str], input: &str, code: &str) {
    let (world, token) = world().await;
    let under_way = under_way(&world, &token).await;
    world.world.proxy.must(command, input).await;
    under_way.end(code).await;
    let log = world.world.proxy.log();
    assert!(log.contains("its right was taken away") && !log.contains(VALUE), "{log}");
}

#[tokio::test]
async fn a_revoked_runner_loses_what_is_under_way() {
    taken_away(&["runner", "revoke", "this"], "", "runner_unauthenticated").await;
}

#[tokio::test]
async fn a_runner_with_a_new_token_loses_what_the_old_one_began() {
    taken_away(&["runner", "rotate-token", "this"], "", "runner_unauthenticated").await;
}

#[tokio::test]
async fn a_runner_that_may_not_use_the_secret_any_more_loses_what_is_under_way() {
    taken_away(&["runner", "edit", "this", "--secret", "other.*"], "", "runner_not_permitted").await;
}

#[tokio::test]
async fn a_runner_that_may_not_reach_the_host_any_more_loses_what_is_under_way() {
    taken_away(&["runner", "edit", "this", "--host", "other.example.com"], "", "runner_not_permitted").await;
}

#[tokio::test]
async fn a_deleted_secret_ends_what_it_is_used_by() {
    taken_away(&["secret", "delete", "crm.apiKey", "--yes"], "", "secret_not_found").await;
}

#[tokio::test]
async fn a_secret_that_may_not_go_there_any_more_ends_what_it_is_used_by() {
    let command = ["secret", "edit", "crm.apiKey", "--value-stdin", "--allow", "other.example.com"];
    taken_away(&command, "another-value-of-it", "domain_restricted").await;
}

#[tokio::test]
async fn a_new_value_and_what_happens_to_other_secrets_end_nothing() {
    let (world, token) = world().await;
    world.world.proxy.create_secret("crm.other", "another-value-0123", &[]).await;
    let mut stays = tls(&world.world, &token, H2).await;
    let begun = format!("{}{}", chunked(H2, "Content-Type: text/plain\r\n"), chunk("{secrets.crm.apiKey} begun\n"));
    stays.write_all(begun.as_bytes()).await.expect("sent");
    let mut buffer = Vec::new();
    read_until(&mut stays, &mut buffer, b" begun\n").await;
    let command = ["secret", "edit", "crm.apiKey", "--value-stdin", "--allow", "*.crm.example.com"];
    world.world.proxy.must(&command, "a-new-value-of-it-0").await;
    // What ends shows that a second has gone by since.
    let mut ends = tls(&world.world, &token, CRM).await;
    let request = format!("GET /events HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.other}}\r\n\r\n");
    ends.write_all(request.as_bytes()).await.expect("sent");
    read_until(&mut ends, &mut Vec::new(), b"begun\n").await;
    world.world.proxy.must(&["secret", "delete", "crm.other", "--yes"], "").await;
    let _ = soon(ends.read_to_end(&mut Vec::new())).await;
    stays.write_all(chunk("{secrets.crm.apiKey} still\n").as_bytes()).await.expect("sent");
    read_until(&mut stays, &mut buffer, b"{secrets.crm.apiKey} still\n").await;
}
