//! Heads that name no host that could be meant, or are too long or too slow, are refused in our own words. What two readers
//! could read differently: `framing::requests`.

use tokio::io::AsyncWriteExt;

use super::support::{CRM, World, read_response, reply};

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {CRM}\r\n{fields}\r\n")
}

#[tokio::test]
async fn a_reference_in_the_authority_is_refused() {
    let world = World::new().await;
    for head in [
        "GET http://{secrets.crm.apiKey}/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET http://%7Bsecrets.crm.apiKey%7D/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("GET http://{{secrets.crm.apiKey}}.{CRM}/ HTTP/1.1\r\nHost: {CRM}\r\n\r\n"),
        format!("GET http://{CRM}:{{secrets.crm.apiKey}}/ HTTP/1.1\r\nHost: {CRM}\r\n\r\n"),
        format!("GET http://me:{{secrets.crm.apiKey}}@{CRM}/ HTTP/1.1\r\nHost: {CRM}\r\n\r\n"),
        format!("GET {{secrets.crm.apiKey}}://{CRM}/ HTTP/1.1\r\nHost: {CRM}\r\n\r\n"),
        format!("GET http://{CRM}/ HTTP/1.1\r\nHost: {{secrets.crm.apiKey}}\r\n\r\n"),
        "CONNECT {secrets.crm.apiKey}:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("CONNECT {{secrets.crm.apiKey}}@{CRM}:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        let mut stream = world.connect().await;
        stream.write_all(head.as_bytes()).await.expect("sent");
        let response = read_response(&mut stream, false).await;
        assert_eq!((response.status(), response.refusal().as_str()), (400, "secret_in_authority"), "{head}");
    }
    world.untouched();
}

#[tokio::test]
async fn absurd_hosts_are_refused() {
    let world = World::new().await;
    for host in [
        "[[x]]",
        "[x]",
        "[::1",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "a..b",
        ".example.com",
        "example.com..",
        "a%2eb",
        "a_b@c",
        "me@api.crm.example.com",
        "me:pw@api.crm.example.com",
        "api.crm.example.com@evil.example.net",
        "api.crm.example.com\\@evil.example.net",
        "api.crm.example.com:0",
        "api.crm.example.com:65536",
        "api.crm.example.com:x",
        "[fe80::1%25lo]",
        "api.crm.example.com:80:80",
        "*.example.com",
        "b\u{fc}cher.example",
        "",
    ] {
        for head in [get(&format!("http://{host}/"), ""), format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {CRM}\r\n\r\n")] {
            let mut stream = world.connect().await;
            stream.write_all(head.as_bytes()).await.expect("sent");
            let response = read_response(&mut stream, false).await;
            assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"), "{head}");
        }
    }
    world.untouched();
}

#[tokio::test]
async fn other_schemes_and_requests_to_the_proxy_itself_are_refused() {
    let world = World::new().await;
    for target in [format!("ftp://{CRM}/"), format!("ws://{CRM}/"), "/".to_owned(), "*".to_owned(), CRM.to_owned()] {
        let response = world.send(&get(&target, "")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"), "{target}");
    }
    for target in [CRM, "/"] {
        let mut stream = world.connect().await;
        stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("sent");
        assert_eq!(read_response(&mut stream, false).await.refusal(), "malformed_request", "{target}");
    }
    world.untouched();
}

#[tokio::test]
async fn a_narrowing_that_means_nothing_is_refused() {
    let world = World::new().await;
    let response = world.send_tls(CRM, &get("/", "Subrosa-Surfaces: headers\r\n")).await;
    assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"));
    world.untouched();
}

#[tokio::test]
async fn a_head_over_its_limit_is_too_large() {
    let world = World::new().await;
    let long = format!("X-Long: {}\r\n", "x".repeat(140 * 1024));
    for fields in [long, "X: 1\r\n".repeat(300)] {
        let response = world.send(&get(&format!("http://{CRM}/"), &fields)).await;
        assert_eq!((response.status(), response.refusal().as_str()), (431, "head_too_large"));
        let response = world.send_tls(CRM, &get("/", &fields)).await;
        assert_eq!((response.status(), response.refusal().as_str()), (431, "head_too_large"));
    }
    world.untouched();
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_answered_in_time() {
    let world = World::with("[timeouts]\nclient_head = \"300ms\"\n", reply("200 OK", "", "ok")).await;
    let response = world.send(&format!("GET http://{CRM}/ HTTP/1.1\r\nHost: {CRM}\r\nX-Slow: ")).await;
    assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"));
    world.untouched();
}

#[tokio::test]
async fn a_refused_head_is_written_down_as_it_came() {
    let world = World::new().await;
    world.send("DELETE http://api.crm.example.com/a?b=c HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n").await;
    let line = world.proxy.logged("\"message\":\"exchange\"").await;
    let entry: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let fields = &entry["fields"];
    assert_eq!((fields["method"].as_str(), fields["url"].as_str()), (Some("DELETE"), Some("http://api.crm.example.com/a?b=c")));
    let inside = world.send_tls(CRM, &format!("PUT /d HTTP/1.1\r\nHost: {CRM}\r\nX : y\r\n\r\n")).await;
    assert_eq!(inside.refusal(), "malformed_request");
    let line = world.proxy.logged("\"PUT\"").await;
    assert!(line.contains("\"url\":\"/d\"") && line.contains("\"origin\":\"https://api.crm.example.com\""), "{line}");
    assert!(line.contains("\"organization\":\"default\""), "{line}");
}
