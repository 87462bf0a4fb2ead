//! A head that two readers could read differently is refused in our own words, wherever it comes in.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::exchange;
use super::support::{CRM, World, read_response, reply, soon};

/// `@` stands for the scheme and authority that a target needs at the front, and not inside a tunnel.
const AMBIGUOUS: &[(&str, &str)] = &[
    (
        "length before coding",
        "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "coding before length",
        "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("one length twice", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    ("two lengths in one field", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length: 1, 1\r\n\r\na"),
    ("a length with a sign", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length: +1\r\n\r\na"),
    ("a length in hex", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length: 0x1\r\n\r\na"),
    ("a length beyond numbers", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length: 99999999999999999999\r\n\r\na"),
    (
        "a length beyond what can be counted",
        "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length: 18446744073709551615\r\n\r\na",
    ),
    ("gzip, chunked", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (
        "chunked twice",
        "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("identity", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("xchunked", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked in HTTP/1.0", "POST @/ HTTP/1.0\r\nHost: api.crm.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("bare line feeds", "GET @/ HTTP/1.1\nHost: api.crm.example.com\n\n"),
    ("one bare line feed", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\nX: 1\r\n\r\n"),
    ("a bare carriage return", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nX: a\rb\r\n\r\n"),
    ("folding", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nX: a\r\n b\r\n\r\n"),
    ("folding by tab", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nX: a\r\n\tb\r\n\r\n"),
    ("a NUL in a value", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nX: a\0b\r\n\r\n"),
    ("a NUL in the target", "GET @/\0 HTTP/1.1\r\nHost: api.crm.example.com\r\n\r\n"),
    ("a control in a value", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nX: a\x01b\r\n\r\n"),
    ("a blank before the colon", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nX : a\r\n\r\n"),
    ("a blank before the colon of a length", "POST @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nContent-Length : 1\r\n\r\na"),
    ("a name with a blank", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nX Y: a\r\n\r\n"),
    ("no name", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\n: a\r\n\r\n"),
    ("no colon", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nX\r\n\r\n"),
    ("two hosts", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nHost: evil.example.net\r\n\r\n"),
    ("one host twice", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nHost: api.crm.example.com\r\n\r\n"),
    ("no host", "GET @/ HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    ("a raw quote in the query", "GET @/?filter={\"a\":1} HTTP/1.1\r\nHost: api.crm.example.com\r\n\r\n"),
    ("a raw < in the query", "GET @/?a<b HTTP/1.1\r\nHost: api.crm.example.com\r\n\r\n"),
    ("a raw > in the query", "GET @/?a>b HTTP/1.1\r\nHost: api.crm.example.com\r\n\r\n"),
    ("a fragment", "GET @/a#b HTTP/1.1\r\nHost: api.crm.example.com\r\n\r\n"),
    ("a blank in the target", "GET @/a b HTTP/1.1\r\nHost: api.crm.example.com\r\n\r\n"),
    ("a method that is none", "GE(T @/ HTTP/1.1\r\nHost: api.crm.example.com\r\n\r\n"),
    ("no version", "GET @/\r\nHost: api.crm.example.com\r\n\r\n"),
    ("a version that is none", "GET @/ HTTP/1.2\r\nHost: api.crm.example.com\r\n\r\n"),
    ("HTTP/2 by its preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("Connection names Host", "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nConnection: close, Host\r\n\r\n"),
    (
        "Connection names Authorization",
        "GET @/ HTTP/1.1\r\nHost: api.crm.example.com\r\nConnection: authorization\r\nAuthorization: x\r\n\r\n",
    ),
    ("no HTTP at all", "\x00\x01\x02 what is this\r\n\r\n"),
];

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {CRM}\r\n{fields}\r\n")
}

#[tokio::test]
async fn ambiguous_heads_get_our_refusal_and_not_an_empty_400() {
    let world = World::new().await;
    for (what, bytes) in AMBIGUOUS {
        let response = world.send(&bytes.replace('@', &format!("http://{CRM}"))).await;
        assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"), "{what}");
    }
    world.untouched();
}

#[tokio::test]
async fn ambiguous_heads_are_refused_inside_tunnels_too() {
    let world = World::new().await;
    for (what, bytes) in AMBIGUOUS {
        let response = world.send_tls(CRM, &bytes.replace('@', "")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (400, "malformed_request"), "{what}");
    }
    world.untouched();
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
async fn nothing_behind_a_refused_head_is_read_as_a_request() {
    let world = World::new().await;
    let smuggled = get("http://plain.crm.example.com/smuggled", "");
    let refused = get("http://plain.crm.example.com/", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
    let mut stream = world.connect().await;
    let response = exchange(&mut stream, &format!("{refused}0\r\n\r\n{smuggled}")).await;
    assert_eq!(response.refusal(), "malformed_request");
    stream.shutdown().await.expect("it can be closed");
    let mut rest = Vec::new();
    // A reset says the same: there is no second answer.
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
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
