//! A connection on which nothing was asked for a while holds no buffers, and goes on as if nothing had been.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::{exchange, read_response, tls_in};
use super::support::{CRM, VALUE, World, reply, soon};

/// Waits until so many connections rest.
async fn until_resting(world: &World, count: f64) {
    soon(async {
        loop {
            let text = super::operations::get(&world.proxy, "/metrics").await.text();
            if (super::operations::figure(&text, "subrosa_connections_resting") - count).abs() < 0.1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn post(target: &str, host: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n")
}

const CONTENT: &str = "{\"key\":\"{secrets.crm.apiKey}\"}";

#[tokio::test]
async fn what_rests_goes_on_with_the_next_byte_however_it_comes() {
    let world = World::with("", reply("200 OK", "", "ok")).await;
    let (mut front, mut inside) = (world.connect().await, world.tls(CRM).await);
    let plain = post("http://plain.crm.example.com/a", "plain.crm.example.com");
    for round in 0..2 {
        let (sent, tls) = (plain.clone(), post("/b", CRM));
        // The first byte by itself, then the rest of the head, then the content.
        for (stream, head) in [(&mut front as &mut dyn Stream, sent), (&mut inside, tls)] {
            stream.write_all(&head.as_bytes()[..1]).await.expect("it is open");
            stream.flush().await.expect("it is open");
            stream.write_all(&head.as_bytes()[1..]).await.expect("it is open");
            stream.write_all(CONTENT.as_bytes()).await.expect("it is open");
            stream.flush().await.expect("it is open");
        }
        assert_eq!(soon(read_response(&mut front, false)).await.text(), "ok", "{round}");
        assert_eq!(soon(read_response(&mut inside, false)).await.text(), "ok", "{round}");
        until_resting(&world, 2.0).await;
    }
    for received in world.crm.received().into_iter().chain(world.crm_plain.received()) {
        assert_eq!(String::from_utf8_lossy(&received.body), format!("{{\"key\":\"{VALUE}\"}}"));
    }
    // Two requests at once wake it, and both are answered in their turn.
    let twice = format!("GET /c HTTP/1.1\r\nHost: {CRM}\r\n\r\n").repeat(2);
    inside.write_all(twice.as_bytes()).await.expect("it is open");
    inside.flush().await.expect("it is open");
    for _ in 0..2 {
        assert_eq!(soon(read_response(&mut inside, false)).await.text(), "ok");
    }
    // A connection that rested becomes a tunnel.
    assert_eq!(exchange(&mut front, &format!("CONNECT {CRM}:443 HTTP/1.1\r\nHost: {CRM}:443\r\n\r\n")).await.status(), 200);
    let mut within = tls_in(front, CRM, &world.ca()).await.expect("trusted");
    assert_eq!(exchange(&mut within, &format!("GET /d HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.text(), "ok");
    until_resting(&world, 2.0).await;
    // What is no request is refused as ever.
    within.write_all(b"\x16\x03\x01").await.expect("it is open");
    within.flush().await.expect("it is open");
    assert_eq!(soon(read_response(&mut within, false)).await.status(), 400);
    // Who goes away while resting is noticed.
    drop(inside);
    until_resting(&world, 0.0).await;
}

#[tokio::test]
async fn what_rests_too_long_is_closed_in_order_and_so_is_what_rests_when_the_server_stops() {
    let mut world = World::with("[timeouts]\nidle = \"2s\"\n[shutdown]\ngrace = \"5m\"\n", reply("200 OK", "", "ok")).await;
    let (mut front, mut inside) = (world.connect().await, world.tls(CRM).await);
    let plain = "GET http://plain.crm.example.com/a HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(exchange(&mut front, plain).await.text(), "ok");
    assert_eq!(exchange(&mut inside, &format!("GET /b HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.text(), "ok");
    until_resting(&world, 2.0).await;
    // An end of TLS in order, and no reset.
    assert_eq!(soon(front.read(&mut [0; 9])).await.expect("an end"), 0);
    assert_eq!(soon(inside.read(&mut [0; 9])).await.expect("an end"), 0);

    let mut inside = world.tls(CRM).await;
    assert_eq!(exchange(&mut inside, &format!("GET /c HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.text(), "ok");
    until_resting(&world, 1.0).await;
    let (ended, read) = tokio::join!(world.proxy.stop(), async { soon(inside.read(&mut [0; 9])).await });
    assert_eq!((ended.code(), read.expect("an end")), (Some(0), 0));
}

/// Either kind of connection.
trait Stream: tokio::io::AsyncWrite + Unpin {}
impl<S: tokio::io::AsyncWrite + Unpin> Stream for S {}
