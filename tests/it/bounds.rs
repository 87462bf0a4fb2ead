//! Who takes more than there is: one runner never takes what another needs, and connections are refused with a sentence
//! before memory or descriptors end.

use futures_util::future::join_all;
use tokio::net::TcpStream;

use super::support::client::{exchange, exchange_whole, tls_in};
use super::support::http2::{ask, to};
use super::support::origin::raw;
use super::support::{CRM, World, reply, soon};

/// The field that shows the token of a new runner.
async fn runner(world: &World, name: &str) -> String {
    let printed = world.proxy.must(&["runner", "create", name], "").await;
    let token = printed.split_whitespace().find(|word| word.starts_with("srt_")).expect("it is printed once");
    format!("Proxy-Authorization: Bearer {}\r\n", token.trim_matches(['"', ',', '`', '\'']))
}

fn connect(token: &str) -> String {
    format!("CONNECT {CRM}:443 HTTP/1.1\r\nHost: {CRM}:443\r\n{token}\r\n")
}

fn get(token: &str) -> String {
    format!("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n{token}\r\n")
}

/// A tunnel that stands.
async fn tunnel(world: &World, token: &str) -> TcpStream {
    let mut stream = world.connect().await;
    let answer = exchange(&mut stream, &connect(token)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    stream
}

/// A tunnel, once the connections that were let go of have ended.
async fn tunnel_in_time(world: &World, token: &str) -> TcpStream {
    soon(async {
        loop {
            let mut stream = world.connect().await;
            if exchange(&mut stream, &connect(token)).await.status() == 200 {
                return stream;
            }
        }
    })
    .await
}

/// What somebody is told who is refused.
async fn refused(world: &World, request: &str) -> String {
    let answer = exchange_whole(world.connect().await, request).await;
    assert_eq!((answer.status(), answer.refusal().as_str()), (503, "overloaded"), "{}", answer.text());
    assert_eq!(answer.fields("connection"), ["close"]);
    answer.text()
}

#[tokio::test]
async fn one_runner_has_half_of_the_connections_and_another_the_rest() {
    let world = World::with("[limits]\nconnections = 4\n", reply("200 OK", "", "ok")).await;
    let (one, other) = (runner(&world, "one").await, runner(&world, "other").await);
    // A tunnel in which nothing was said yet, and a connection that is kept: both are its.
    let first = tunnel(&world, &one).await;
    let mut kept = world.connect().await;
    assert_eq!(exchange(&mut kept, &get(&one)).await.text(), "ok");
    for request in [connect(&one), get(&one)] {
        assert!(refused(&world, &request).await.contains("one runner may have half"), "{request}");
    }
    assert_eq!(world.send(&get(&other)).await.text(), "ok");
    // A connection goes with whoever speaks on it.
    let mut moved = world.connect().await;
    assert_eq!(exchange(&mut moved, &get(&other)).await.text(), "ok");
    assert_eq!(exchange_whole(moved, &get(&one)).await.refusal(), "overloaded");
    let others = [tunnel_in_time(&world, &other).await, tunnel_in_time(&world, &other).await];
    assert!(refused(&world, &get(&other)).await.contains("Too many client connections"));
    // What one lets go it may have again.
    drop((first, others));
    soon(async { while exchange_whole(world.connect().await, &get(&one)).await.status() != 200 {} }).await;
}

#[tokio::test]
async fn connections_are_refused_before_descriptors_end() {
    let mut world = World::with("[intercept]\npass_through = [\"*.crm.example.com\"]\n", raw("", false)).await;
    let tokens = [runner(&world, "one").await, runner(&world, "other").await];
    world.proxy.stop().await;
    // 192 are for everything else: 54 connections with one to an upstream each.
    world.proxy.start_again_under(&["sh", "-c", "ulimit -n 300; exec \"$@\"", "sh"]).await;
    assert!(world.proxy.logged("fewer file descriptors").await.contains("\"served\":54"));
    // As many as there may be, each with a descriptor for its upstream.
    let tunnels = join_all((0..54).map(|index| tunnel(&world, &tokens[index % 2]))).await;
    for _ in 0..100 {
        refused(&world, &get(&tokens[0])).await;
    }
    let open = std::fs::read_dir(format!("/proc/{}/fd", world.proxy.process_id())).expect("it runs").count();
    assert!((54 * 2..300).contains(&open), "{open}");
    assert!(!world.proxy.log().contains("could not be accepted"), "{}", world.proxy.log());
    // Somebody who has a connection has all of it, and people are let in.
    world.proxy.create_secret("still.written", "x", &[]).await;
    drop(tunnels);
}

#[tokio::test]
async fn without_a_descriptor_for_an_upstream_a_request_is_refused_as_overload() {
    let mut world = World::with("[timeouts]\nupstream_head = \"1s\"\n", raw("", false)).await;
    world.proxy.stop().await;
    world.proxy.start_again_under(&["sh", "-c", "ulimit -n 300; exec \"$@\"", "sh"]).await;
    // Streams of HTTP/2 need a connection each towards an upstream of HTTP/1.1, and there are more of them than descriptors.
    let clients = join_all((0..4).map(|_| world.http2(CRM))).await;
    let asked = (0..400).map(|index| ask(&clients[index % 4], to("GET", CRM, "/").body("").expect("a request")));
    let codes: Vec<_> = soon(join_all(asked)).await.into_iter().map(|answer| answer.expect("an answer").refusal()).collect();
    let count = |code: &str| codes.iter().filter(|found| *found == code).count();
    assert!(count("overloaded") > 50 && count("upstream_timeout") > 50, "{codes:?}");
    assert_eq!(count("overloaded") + count("upstream_timeout"), 400, "{codes:?}");
    // It is over when they are.
    soon(async {
        loop {
            let answer = ask(&clients[0], to("GET", CRM, "/").body("").expect("a request")).await.expect("an answer");
            if answer.refusal() == "upstream_timeout" {
                return;
            }
        }
    })
    .await;
    let mut tls = tls_in(world.tunnel(&format!("{CRM}:443")).await, CRM, &world.ca()).await.expect("accepted again");
    assert_eq!(exchange(&mut tls, &get("")).await.refusal(), "misdirected");
}
