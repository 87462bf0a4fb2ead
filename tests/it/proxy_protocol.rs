//! The PROXY protocol: believed where the config says so, and there it must come.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{World, reply, soon};

const REQUEST: &str = "GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Version 2 on behalf of a client.
fn header(client: [u8; 4], port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let [a, b, c, d] = client;
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[a, b, c, d, 10, 0, 0, 1, high, low, 0, 80]].concat()
}

/// What comes back for these bytes.
async fn said(world: &World, bytes: &[u8]) -> String {
    let mut stream = world.connect().await;
    stream.write_all(bytes).await.expect("sent");
    let mut said = Vec::new();
    let _ = soon(stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn the_named_client_is_what_the_rules_and_the_log_go_by() {
    let config = "[proxy]\nlisten = [\"127.0.0.1:0\"]\nproxy_protocol = [\"127.0.0.0/8\"]\n";
    let world = World::with(config, reply("200 OK", "", "ok")).await;
    let with = |header: &[u8]| [header, REQUEST.as_bytes()].concat();
    assert!(said(&world, &with(&header([127, 0, 0, 1], 1))).await.ends_with("\r\n\r\nok"), "a client on this machine");
    let far = said(&world, &with(&header([192, 0, 2, 7], 4711))).await;
    assert!(far.starts_with("HTTP/1.1 407 "), "a client elsewhere needs a token: {far}");
    let line = world.proxy.logged("192.0.2.7:4711").await;
    assert!(line.contains("subrosa::audit"), "{line}");
    // The balancer's own health check.
    let own = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
    assert!(said(&world, &with(own)).await.ends_with("\r\n\r\nok"));
    // Without a header, and with the text of version 1, nothing is answered.
    assert_eq!(said(&world, REQUEST.as_bytes()).await, "");
    assert_eq!(said(&world, &with(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n")).await, "");
    world.proxy.logged("the header of the PROXY protocol").await;
    assert_eq!(world.crm_plain.received().len(), 2);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    for networks in ["[]", "[\"192.0.2.0/24\"]"] {
        let config = format!("[proxy]\nlisten = [\"127.0.0.1:0\"]\nproxy_protocol = {networks}\n");
        let world = World::with(&config, reply("200 OK", "", "ok")).await;
        let answer = said(&world, &[&header([127, 0, 0, 1], 1), REQUEST.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed_request"), "{answer}");
        assert!(said(&world, REQUEST.as_bytes()).await.ends_with("\r\n\r\nok"));
        assert_eq!(world.crm_plain.received().len(), 1);
    }
}

#[tokio::test]
async fn it_comes_before_everything_else_on_every_door() {
    let config = "[proxy]\nlisten = [\"127.0.0.1:0\"]\nsocks = [\"127.0.0.1:0\"]\nproxy_protocol = [\"127.0.0.1\"]\n";
    let world = World::with(config, reply("200 OK", "", "ok")).await;
    let address = world.proxy.door("proxy-socks").await;
    for (client, answer) in [([127, 0, 0, 1], [5, 0]), ([192, 0, 2, 7], [5, 0xff])] {
        let mut stream = soon(tokio::net::TcpStream::connect(address)).await.expect("it listens");
        stream.write_all(&[&header(client, 1)[..], &[5, 1, 0]].concat()).await.expect("sent");
        let mut method = [0; 2];
        soon(stream.read_exact(&mut method)).await.expect("an answer");
        assert_eq!(method, answer);
    }
}
