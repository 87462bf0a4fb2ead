//! Which host is meant, whether it may be reached, and what its upstream makes of it.

use tokio::io::AsyncWriteExt;

use super::support::client::{exchange, tls_in};
use super::support::origin::raw;
use super::support::{CRM, EVIL, Origin, Proxy, VALUE, World, reply};

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
    world.untouched();
    for agreeing in [CRM.to_owned(), format!("{CRM}:443"), CRM.to_uppercase(), format!("{CRM}.")] {
        assert_eq!(world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {agreeing}\r\n\r\n")).await.status(), 200, "{agreeing}");
    }
}

#[tokio::test]
async fn private_targets_are_denied_and_the_sentence_names_the_key() {
    let world = World::new().await;
    let port = world.crm_plain.address.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("0.0.0.0:{port}"),
        "10.0.0.1".to_owned(),
        "169.254.169.254".to_owned(),
        "168.63.129.16".to_owned(),
        "100.64.0.1".to_owned(),
        "[64:ff9b::7f00:1]".to_owned(),
    ] {
        let response = world.send(&format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (403, "target_denied"), "{host}");
        assert!(response.json()["detail"].as_str().is_some_and(|detail| detail.contains("egress.allow")), "{}", response.text());
    }
    world.untouched();
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
async fn a_trailing_dot_and_capitals_mean_the_same_host() {
    let world = World::new().await;
    let request = format!("GET http://PLAIN.crm.example.com./ HTTP/1.1\r\nHost: {CRM}.\r\nX-K: {{secrets.crm.apiKey}}\r\n\r\n");
    assert_eq!(world.send(&request).await.text(), "ok");
    assert_eq!(world.crm_plain.only().field("x-k"), VALUE);
}

#[tokio::test]
async fn a_denied_target_is_said_inside_the_tunnel() {
    let world = World::new().await;
    let mut tunnel = tls_in(world.tunnel("10.9.8.7:443").await, "10.9.8.7", &world.ca()).await.expect("a leaf for an address");
    let response = exchange(&mut tunnel, "GET / HTTP/1.1\r\nHost: 10.9.8.7\r\n\r\n").await;
    assert_eq!((response.status(), response.refusal().as_str()), (403, "target_denied"));
}

#[tokio::test]
async fn a_tunnel_inside_a_tunnel_is_refused() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    stream.write_all(format!("CONNECT {EVIL}:443 HTTP/1.1\r\nHost: {EVIL}\r\n\r\n").as_bytes()).await.expect("sent");
    let response = super::support::read_response(&mut stream, false).await;
    assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"));
    world.untouched();
}

#[tokio::test]
async fn too_many_connections_are_overload() {
    let world = World::with("[limits]\nconnections = 1\n", reply("200 OK", "", "ok")).await;
    let request = format!("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    let mut first = world.connect().await;
    assert_eq!(exchange(&mut first, &request).await.text(), "ok");
    let response = world.send(&request).await;
    assert_eq!((response.status(), response.refusal().as_str()), (503, "overloaded"));
    assert_eq!(world.crm_plain.received().len(), 1);
}

/// Somebody who answers at once, without TLS.
async fn speaks_first() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
        }
    });
    address
}

#[tokio::test]
async fn upstream_faults_have_their_codes() {
    let world = World::with("", reply("200 OK", "", "ok")).await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound").port()
    };
    let notls = speaks_first().await;
    let config = format!(
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[timeouts]\nupstream_head = \"300ms\"\nupstream_connect = \"300ms\"\n[egress.resolve]\n\"closed.test\" = \"127.0.0.1:{closed}\"\n\"untrusted.test\" = \"{}\"\n\"notls.test\" = \"{notls}\"\n\"mute.test\" = \"{}\"\n",
        world.crm.address, world.crm_plain.address
    );
    let silent = Origin::plain(raw("", false)).await;
    let lying = Origin::plain(raw("nonsense\r\n\r\n", true)).await;
    let config = format!("{config}\"silent.test\" = \"{}\"\n\"lying.test\" = \"{}\"\n", silent.address, lying.address);
    let proxy = Proxy::start(tempfile::tempdir().expect("a directory"), &config).await;
    let other = World { proxy, ..world };
    for (url, status, code) in [
        ("http://closed.test/", 502, "upstream_refused"),
        ("https://untrusted.test/", 502, "upstream_tls"),
        ("https://notls.test/", 502, "upstream_tls"),
        ("https://mute.test/", 504, "upstream_timeout"),
        ("http://nowhere.invalid/", 502, "upstream_unresolvable"),
        ("http://silent.test/", 504, "upstream_timeout"),
        ("http://lying.test/", 502, "upstream_protocol"),
    ] {
        let response = other.send(&format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (status, code), "{url}");
    }
}
