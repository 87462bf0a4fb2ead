//! Upstreams that say more than they were asked for, or never end: what is behind an answer is nobody's answer, and nothing
//! is read without an end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use crate::support::client::exchange;
use crate::support::http2::ONE_WORKER;
use crate::support::origin::{find, until};
use crate::support::{Ca, World, read_response, reply, soon};

const HOST: &str = "raw.crm.example.com";

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

async fn world(address: SocketAddr, config: &str) -> World {
    World::beside(&Ca::new(), &[(HOST, address)], &format!("{ONE_WORKER}{config}"), reply("200 OK", "", "ok")).await
}

fn get(path: &str) -> String {
    format!("GET http://{HOST}/{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

async fn head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    until(stream, &mut Vec::new(), |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await
}

#[tokio::test]
async fn an_answer_nobody_asked_for_ends_the_connection_that_it_came_on() {
    let (listener, address) = listener().await;
    let (speak, connections) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (closed, mut was_closed) = mpsc::unbounded_channel();
    let (spoken, count) = (Arc::clone(&speak), Arc::clone(&connections));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let (spoken, closed) = (Arc::clone(&spoken), closed.clone());
            tokio::spawn(async move {
                while head(&mut stream).await.is_some() {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                    stream.write_all(answer.as_bytes()).await.ok()?;
                    if number == 1 {
                        spoken.notified().await;
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await.ok()?;
                    }
                }
                closed.send(number).ok()
            });
        }
    });
    let world = world(address, "").await;
    let mut client = world.connect().await;
    assert_eq!(exchange(&mut client, &get("one")).await.text(), "1");
    speak.notify_one();
    assert_eq!(soon(was_closed.recv()).await, Some(1));
    for _ in 0..2 {
        assert_eq!(exchange(&mut client, &get("two")).await.text(), "2");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// What an upstream begins with, what it then says again and again, and what its client is told.
const ENDLESS: &[(&str, &str, &str, Told)] = &[
    ("interim answers", "", "HTTP/1.1 100 Continue\r\n\r\n", Told::Refused("upstream_protocol")),
    ("early hints", "", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", Told::Refused("upstream_protocol")),
    ("empty lines", "", "\r\n", Told::Refused("upstream_protocol")),
    ("fields", "HTTP/1.1 200 OK\r\n", "X: y\r\n", Told::Refused("upstream_protocol")),
    ("a field", "HTTP/1.1 200 OK\r\nX: ", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", Told::Refused("upstream_protocol")),
    ("a reason", "HTTP/1.1 200 ", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", Told::Refused("upstream_protocol")),
    ("an extension of a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;", "yyyyyyyyyyyyyyyyy", Told::Broken),
    ("trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n", Told::Broken),
    ("a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", "yyyyyyyyyyyyyyyyyyy", Told::Broken),
];

enum Told {
    Refused(&'static str),
    /// The answer had begun, and is seen to break off.
    Broken,
}

#[tokio::test]
async fn what_has_no_end_is_given_up_and_its_connection_closed() {
    let (listener, address) = listener().await;
    let (closed, mut was_closed) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for (_, begin, again, _) in ENDLESS {
            let (mut stream, _) = listener.accept().await.ok()?;
            head(&mut stream).await?;
            let more = again.repeat(1000);
            let _ = stream.write_all(begin.as_bytes()).await;
            while stream.write_all(more.as_bytes()).await.is_ok() {}
            closed.send(()).ok()?;
        }
        Some(())
    });
    let world = world(address, "[timeouts]\nbody = \"300ms\"\n").await;
    for (what, _, _, told) in ENDLESS {
        let mut client = world.connect().await;
        client.write_all(get("x").as_bytes()).await.expect("sent");
        match told {
            Told::Refused(code) => assert_eq!(read_response(&mut client, false).await.refusal(), *code, "{what}"),
            Told::Broken => {
                let mut got = Vec::new();
                let _ = soon(client.read_to_end(&mut got)).await;
                assert!(!got.ends_with(b"0\r\n\r\n"), "{what}: {}", String::from_utf8_lossy(&got));
            }
        }
        soon(was_closed.recv()).await.expect("the upstream's connection was closed");
    }
}
