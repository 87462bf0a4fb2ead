//! Whatever an origin does within an exchange, and however long the disk takes: nobody else notices, nothing
//! hangs, and the gauges come back to zero.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::operations::until_idle;
use super::support::client::exchange;
use super::support::origin::{find, until};
use super::support::{CRM, World, reply, soon};

/// What an origin does with a request, by its path; then the connection is let go.
pub const MISHAPS: [(&str, &str); 12] = [
    ("/resets", ""),
    ("/stalls", ""),
    ("/says-nothing", ""),
    ("/half-a-head", "HTTP/1.1 200 OK\r\nContent-Le"),
    ("/too-short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes."),
    ("/too-long", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nten bytes."),
    ("/two-lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nten bytes."),
    ("/no-end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("/no-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n"),
    ("/half-a-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nhello"),
    ("/nonsense", "\0\0\0\0\r\n\r\n"),
    ("/switches", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"),
];

pub async fn mishap(mut stream: TcpStream) {
    let mut buffer = Vec::new();
    let head = until(&mut stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await;
    let head = String::from_utf8_lossy(&head.unwrap_or_default()).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let Some((path, answer)) = MISHAPS.iter().find(|(known, _)| *known == path) else { return };
    let _ = stream.write_all(answer.as_bytes()).await;
    match *path {
        // So that the system sends a reset.
        "/resets" => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket"),
        "/stalls" => {
            let _ = stream.read_to_end(&mut buffer).await;
        }
        _ => {}
    }
}

#[tokio::test]
async fn no_mishap_of_an_origin_disturbs_others_or_leaves_anything_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let config = format!(
        "allow = [\"127.0.0.0/8:{}\"]\n\n[timeouts]\nupstream_head = \"500ms\"\nbody = \"1s\"\nidle = \"1s\"\n",
        listener.local_addr().expect("bound").port()
    );
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(mishap(stream));
        }
    });
    let world = World::with(&config, reply("200 OK", "", "ok")).await;
    let mut bystander = world.tls(CRM).await;
    let good = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n");
    for _ in 0..2 {
        let mut all = Vec::new();
        for (path, _) in MISHAPS {
            for (method, content) in [("GET", ""), ("POST", "some content")] {
                let length = content.len();
                let fields = format!("Host: x\r\nContent-Length: {length}\r\nConnection: close\r\n");
                let request = format!("{method} http://{address}{path} HTTP/1.1\r\n{fields}\r\n{content}");
                let mut stream = world.connect().await;
                all.push(async move {
                    stream.write_all(request.as_bytes()).await.expect("sent");
                    let mut answer = Vec::new();
                    // A connection that is reset has ended too.
                    let _ = stream.read_to_end(&mut answer).await;
                    (path, String::from_utf8_lossy(&answer).into_owned())
                });
            }
        }
        let meanwhile = async {
            for _ in 0..20 {
                assert_eq!(exchange(&mut bystander, &good).await.text(), "ok");
            }
        };
        let (answers, ()) = soon(async { tokio::join!(futures_util::future::join_all(all), meanwhile) }).await;
        for (path, answer) in answers {
            let is_refused = answer.contains("\"code\": \"upstream_");
            let broke_off = match path {
                "/too-short" => answer.ends_with("ten bytes."),
                "/no-end" | "/half-a-chunk" => {
                    answer.ends_with("hello\r\n") || answer.contains("hello") && !answer.ends_with("0\r\n\r\n")
                }
                "/no-chunk" => !answer.ends_with("0\r\n\r\n"),
                // What came behind its length is nobody's.
                "/too-long" => answer.ends_with("\r\n\r\nten"),
                _ => false,
            };
            assert!(is_refused || broke_off, "{path}: {answer}");
        }
    }
    drop(bystander);
    until_idle(&world.proxy).await;
}

#[tokio::test]
async fn a_disk_that_takes_its_time_delays_the_write_and_nobody_else() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    // Every fsync takes 300 ms longer from now on.
    // -D: the server is the child of this test, not of strace, and ends with it.
    let slow = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=300000"];
    world.proxy.start_again_under(&slow).await;
    let mut stream = world.tls(CRM).await;
    let good = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n");
    assert_eq!(exchange(&mut stream, &good).await.text(), "ok");
    let (mut served, written) = (0, std::cell::Cell::new(false));
    let write = async {
        world.proxy.create_secret("late", "a-value-of-it", &[]).await;
        written.set(true);
    };
    let road = async {
        while !written.get() {
            assert_eq!(exchange(&mut stream, &good).await.text(), "ok");
            served += 1;
        }
    };
    soon(async { tokio::join!(write, road) }).await;
    assert!(served > 3, "only {served} requests were served while the write waited");
    let used = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.late}}\r\n\r\n");
    assert_eq!(exchange(&mut stream, &used).await.text(), "ok");
}
