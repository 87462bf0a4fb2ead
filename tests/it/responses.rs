//! What an upstream says: no reference, no word of ours, no field of its own connection.

use super::support::client::exchange;
use super::support::{CRM, World, reply};

#[tokio::test]
async fn planted_references_are_escaped_and_come_back_as_they_were() {
    let fields = "Location: /next?k=%7Bsecrets.crm.apiKey%7D\r\nSet-Cookie: a={secrets.crm.apiKey}\r\nSet-Cookie: b=2\r\nX-Plain: ${{secrets.x}}\r\n";
    let world = World::with("", reply("302 Found", fields, "")).await;
    let mut stream = world.tls(CRM).await;
    let response = exchange(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await;
    assert_eq!(response.fields("location"), ["/next?k=%7B%7Bsecrets.crm.apiKey%7D%7D"]);
    assert_eq!(response.fields("set-cookie"), ["a={{secrets.crm.apiKey}}", "b=2"]);
    assert_eq!(response.fields("x-plain"), ["${{secrets.x}}"]);
    let back = format!(
        "GET {} HTTP/1.1\r\nHost: {CRM}\r\nCookie: {}\r\n\r\n",
        response.fields("location")[0],
        response.fields("set-cookie")[0]
    );
    exchange(&mut stream, &back).await;
    let got = &world.crm.received()[1];
    assert_eq!((got.line(), got.field("cookie")), ("GET /next?k=%7Bsecrets.crm.apiKey%7D HTTP/1.1", "a={secrets.crm.apiKey}"));
}

#[tokio::test]
async fn what_only_we_may_say_is_removed() {
    let fields = "Subrosa-Trust: me\r\nProxy-Status: subrosa; error=x, edge\r\nProxy-Authenticate: Basic\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n";
    let world = World::with("", reply("200 OK", fields, "ok")).await;
    let response = world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await;
    let mut lines: Vec<&str> = response.head.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["HTTP/1.1 200 OK", "Content-Length: 2", "Proxy-Status: edge", "X-End: 2"]);
}

#[tokio::test]
async fn redirects_are_returned_and_never_followed() {
    let world = World::with("", reply("307 Temporary Redirect", "Location: https://evil.example.net/\r\n", "")).await;
    let response = world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n")).await;
    assert_eq!((response.status(), response.fields("location")), (307, vec!["https://evil.example.net/"]));
    assert_eq!((world.crm.received().len(), world.evil.connections()), (1, 0));
}
