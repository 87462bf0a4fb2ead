//! References arrive as values, on every surface, over plain http and inside intercepted TLS; and
//! nothing else changes.

use super::support::client::exchange;
use super::support::{CRM, VALUE, World};

const PLAIN: &str = "plain.crm.example.com";
/// [`VALUE`] percent-encoded by RFC 3986's unreserved set.
const VALUE_ENCODED: &str = "abc123-Zx%2F9%2B%3Dsecret";

#[tokio::test]
async fn a_request_without_a_reference_arrives_as_it_was_sent() {
    let world = World::new().await;
    let fields = "X-CaSe: Kept\r\nAccept: a\r\nx-many: 1\r\nX-MANY: 2\r\nCookie: a=b; c=\"d\"\r\nUser-Agent: t%7Bx\r\n";
    let sent = format!(
        "POST /a%2Fb/../c?q=1&q=2&x=%7b&{{y}} HTTP/1.1\r\nHost: {CRM}\r\n{fields}Content-Length: 14\r\n\r\n{{\"a\" :\"{{x}}\" }} "
    );
    assert_eq!(world.send_tls(CRM, &sent).await.status(), 200);
    let got = world.crm.only();
    assert_eq!(format!("{}{}", got.head, got.text()), sent);
}

#[tokio::test]
async fn a_plain_request_loses_only_the_absolute_form() {
    let world = World::new().await;
    let sent = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {PLAIN}\r\nX-One: 1\r\n\r\n");
    assert_eq!(world.send(&sent(&format!("http://{PLAIN}/p?q={{x}}"))).await.text(), "ok");
    assert_eq!(world.crm_plain.only().head, sent("/p?q={x}"));
}

#[tokio::test]
async fn header_query_path_and_cookie_take_the_value() {
    let world = World::new().await;
    let fields = "Authorization: Bearer {secrets.crm.apiKey}\r\nX-Api-Key: {secrets.crm.apiKey}\r\nCookie: k={secrets.crm.apiKey}; z=1\r\n";
    let target = "/v1/{secrets.crm.apiKey}/x?a=1&k=%7Bsecrets.crm.apiKey%7D&b=%2f";
    let wanted = |host: &str| {
        format!(
            "GET /v1/{VALUE_ENCODED}/x?a=1&k={VALUE_ENCODED}&b=%2f HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
            fields.replace("{secrets.crm.apiKey}", VALUE)
        )
    };
    world.send_tls(CRM, &format!("GET {target} HTTP/1.1\r\nHost: {CRM}\r\n{fields}\r\n")).await;
    assert_eq!(world.crm.only().head, wanted(CRM));
    world.send(&format!("GET http://{PLAIN}{target} HTTP/1.1\r\nHost: {PLAIN}\r\n{fields}\r\n")).await;
    assert_eq!(world.crm_plain.only().head, wanted(PLAIN));
}

#[tokio::test]
async fn basic_credentials_take_the_value_inside_their_base64() {
    use base64::Engine;
    let coded = |pair: &str| base64::engine::general_purpose::STANDARD.encode(pair);
    let world = World::new().await;
    world
        .send_tls(
            CRM,
            &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nAuthorization: Basic {}\r\n\r\n", coded("me:{secrets.crm.apiKey}")),
        )
        .await;
    assert_eq!(world.crm.only().field("authorization"), format!("Basic {}", coded(&format!("me:{VALUE}"))));
}

#[tokio::test]
async fn content_of_every_type_takes_the_value_and_keeps_an_exact_length() {
    let world = World::new().await;
    let r = "{secrets.crm.apiKey}";
    let multipart = |value: &str| {
        format!(
            "--B\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n{value}\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\n\r\n{r}\r\n--B--\r\n"
        )
    };
    let cases = [
        ("application/json", format!("{{\"k\": \"{r}\",\"n\":[1, 2]}}"), format!("{{\"k\": \"{VALUE}\",\"n\":[1, 2]}}")),
        ("application/x-ndjson", format!("{{\"k\":\"{r}\"}}\n{{}}\n"), format!("{{\"k\":\"{VALUE}\"}}\n{{}}\n")),
        (
            "application/x-www-form-urlencoded",
            format!("a=1&k=%7Bsecrets.crm.apiKey%7D&k2={r}"),
            format!("a=1&k={VALUE_ENCODED}&k2={VALUE_ENCODED}"),
        ),
        ("application/xml", format!("<a k='{r}'>{r}</a>"), format!("<a k='{VALUE}'>{VALUE}</a>")),
        ("multipart/form-data; boundary=B", multipart(r), multipart(VALUE)),
        ("text/plain", format!("x {r} y"), format!("x {VALUE} y")),
        ("application/octet-stream", format!("x {r} y"), format!("x {r} y")),
    ];
    let mut stream = world.tls(CRM).await;
    for (index, (media_type, sent, wanted)) in cases.iter().enumerate() {
        let head = format!(
            "POST /{index} HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            sent.len()
        );
        assert_eq!(exchange(&mut stream, &format!("{head}{sent}")).await.status(), 200, "{media_type}");
        let got = world.crm.received()[index].clone();
        assert_eq!(got.text(), *wanted, "{media_type}");
        assert_eq!(got.field("content-length"), wanted.len().to_string(), "{media_type}");
    }
    let connections: Vec<usize> = world.crm.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1; 7], "one upstream connection serves them all");
}

#[tokio::test]
async fn chunked_content_is_injected_and_stays_chunked() {
    let world = World::new().await;
    let head = format!("POST / HTTP/1.1\r\nHost: {CRM}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
    world.send_tls(CRM, &format!("{head}5\r\n{{secr\r\n10\r\nets.crm.apiKey}}!\r\n0\r\n\r\n")).await;
    let got = world.crm.only();
    assert_eq!(got.field("transfer-encoding"), "chunked");
    let wanted = format!("{VALUE}!");
    assert_eq!(got.text(), format!("{:X}\r\n{wanted}\r\n0\r\n\r\n", wanted.len()));
}

#[tokio::test]
async fn the_escape_goes_out_as_the_text_itself() {
    let world = World::new().await;
    world.send_tls(CRM, &format!("GET /?q={{{{secrets.crm.apiKey}}}} HTTP/1.1\r\nHost: {CRM}\r\nX: {{{{secrets.nobody}}}} ${{{{secrets.x}}}}\r\n\r\n")).await;
    let got = world.crm.only();
    assert_eq!(got.line(), "GET /?q={secrets.crm.apiKey} HTTP/1.1");
    assert_eq!(got.field("x"), "{secrets.nobody} ${{secrets.x}}");
}

#[tokio::test]
async fn a_runner_may_narrow_the_surfaces_of_one_request() {
    let world = World::new().await;
    world
        .send_tls(
            CRM,
            &format!(
                "GET /{{secrets.nobody}} HTTP/1.1\r\nHost: {CRM}\r\nSubrosa-Surfaces: header\r\nX: {{secrets.crm.apiKey}}\r\n\r\n"
            ),
        )
        .await;
    let got = world.crm.only();
    assert_eq!(got.line(), "GET /{secrets.nobody} HTTP/1.1");
    assert_eq!(got.field("x"), VALUE);
    assert_eq!(got.fields("subrosa-surfaces"), Vec::<&str>::new());
}

#[tokio::test]
async fn each_exchange_with_a_reference_leaves_one_audit_line_without_the_value() {
    let world = World::new().await;
    world.send_tls(CRM, &format!("GET /a?k={{secrets.crm.apiKey}} HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await;
    let line = world.proxy.logged("\"message\":\"exchange\"").await;
    for part in ["crm.apiKey@query", "default", "/a?k={secrets.crm.apiKey}", CRM, "forwarded", "200"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!world.proxy.log().contains(VALUE) && !world.proxy.log().contains(VALUE_ENCODED));
}

#[tokio::test]
async fn a_name_without_its_braces_is_told_of_to_those_who_may_use_it() {
    let world = World::new().await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.nobody}}\r\n\r\n");
    let refused = world.send_tls(CRM, &get("/v1?k=secrets.crm.apiKey")).await;
    assert_eq!(refused.refusal(), "secret_not_found");
    assert!(refused.json()["hint"].as_str().is_some_and(|hint| hint.contains("secrets.crm.apiKey")), "{}", refused.text());
    assert_eq!(refused.fields("subrosa-hint").len(), 1);
    for target in ["/v1?k=secrets.other", "/v1?k=%7Bsecrets.crm.apiKey%7D", "/v1"] {
        let answer = world.send_tls(CRM, &get(target)).await;
        assert!(answer.fields("subrosa-hint").is_empty() && answer.json().get("hint").is_none(), "{target}: {}", answer.text());
    }
    // A runner that may not use it learns nothing.
    let token = world.proxy.must(&["runner", "create", "narrow", "--secret", "other.*"], "").await;
    let request = format!(
        "GET http://plain.crm.example.com/?k=secrets.crm.apiKey HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    let answer = world.send(&request).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.fields("subrosa-hint").is_empty(), "{}", answer.head);
}
