//! Upstreams that speak HTTP/2, asked by clients that speak HTTP/1.1.

use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::exchange;
use super::support::http2::{Does, H2, Http2World, ok};
use super::support::{VALUE, read_response, soon};

#[tokio::test]
async fn a_request_arrives_over_http2_with_its_secrets() {
    let Http2World { world, h2, .. } = Http2World::new(ok).await;
    let mut stream = world.tls(H2).await;
    for number in 1..=3 {
        let request = format!(
            "POST /a/{{secrets.crm.apiKey}}?b=%7Bx%7D HTTP/1.1\r\nHost: {H2}\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Key: {{secrets.crm.apiKey}}\r\nCookie: a=1; b=2\r\nContent-Type: application/json\r\nContent-Length: 28\r\n\r\n{{\"k\":\"{{secrets.crm.apiKey}}\"}}"
        );
        let response = exchange(&mut stream, &request).await;
        assert_eq!((response.status(), response.text()), (200, "ok".to_owned()));
        let got = h2.received().pop().expect("it arrived");
        assert_eq!(got.uri.to_string(), format!("https://{H2}/a/abc123-Zx%2F9%2B%3Dsecret?b=%7Bx%7D"));
        let body = format!("{{\"k\":\"{VALUE}\"}}");
        assert_eq!((got.field("x-key"), got.text()), (VALUE.to_owned(), body.clone()));
        assert_eq!((got.field("cookie"), got.field("te")), ("a=1; b=2".to_owned(), "trailers".to_owned()));
        assert_eq!(got.field("content-length"), body.len().to_string());
        let mut names: Vec<_> = got.fields.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "content-type", "cookie", "te", "x-key"]);
        assert_eq!((h2.received().len(), h2.connections()), (number, 1));
    }
}

#[tokio::test]
async fn a_request_that_wants_another_protocol_gets_http_1_1() {
    let Http2World { world, h2, .. } = Http2World::new(ok).await;
    let mut stream = world.tls(H2).await;
    let request = format!("GET /ws HTTP/1.1\r\nHost: {H2}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(exchange(&mut stream, &request).await.status(), 101);
    stream.write_all(b"early").await.expect("sent");
    stream.flush().await.expect("sent");
    let mut echoed = [0; 5];
    soon(stream.read_exact(&mut echoed)).await.expect("echoed");
    assert_eq!(&echoed, b"early");
    // Everybody else gets HTTP/2.
    let response = world.send_tls(H2, &format!("GET / HTTP/1.1\r\nHost: {H2}\r\n\r\n")).await;
    assert_eq!((response.text(), h2.received().len(), h2.connections()), ("ok".to_owned(), 1, 2));
}

#[tokio::test]
async fn a_request_that_authenticates_its_connection_has_one_of_its_own() {
    let Http2World { world, h2, .. } = Http2World::new(ok).await;
    let mut stream = world.tls(H2).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {H2}\r\nAuthorization: Negotiate abc\r\n\r\n");
    assert_eq!(exchange(&mut stream, &request).await.text(), "own");
    // It stays this client's, also without being asked for.
    for _ in 0..2 {
        assert_eq!(exchange(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {H2}\r\n\r\n")).await.text(), "own");
    }
    assert_eq!((h2.received().len(), h2.connections()), (0, 1));
    assert_eq!(world.send_tls(H2, &format!("GET / HTTP/1.1\r\nHost: {H2}\r\n\r\n")).await.text(), "ok");
}

fn kinds(uri: &Uri) -> Does {
    match uri.path() {
        "/204" => Does::Answers(204, Vec::new(), "", Vec::new()),
        "/304" => Does::Answers(304, vec![("etag", "\"x\""), ("content-length", "9")], "", Vec::new()),
        "/head" => Does::Answers(200, vec![("content-length", "1234")], "", Vec::new()),
        "/length" => Does::Answers(200, vec![("content-length", "2")], "ok", Vec::new()),
        "/trailers" => Does::Answers(200, vec![("trailer", "x-sum")], "ok", vec![("x-sum", "7")]),
        "/planted" => Does::Answers(
            200,
            vec![("location", "/{secrets.crm.apiKey}"), ("proxy-status", "subrosa; error=x")],
            "ok",
            Vec::new(),
        ),
        "/broken" => Does::Breaks("hello", h2::Reason::INTERNAL_ERROR),
        "/ended" => Does::Breaks("hello", h2::Reason::NO_ERROR),
        "/cancelled" => Does::Breaks("hello", h2::Reason::CANCEL),
        "/hangs" => Does::Hangs,
        _ => Does::Resets(h2::Reason::INTERNAL_ERROR),
    }
}

#[tokio::test]
async fn responses_keep_their_status_length_and_shape() {
    let Http2World { world, h2, .. } = Http2World::new(kinds).await;
    let mut stream = world.tls(H2).await;
    for (method, path, status, length) in [
        ("HEAD", "/head", 200, Some("1234")),
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, None),
        ("GET", "/length", 200, Some("2")),
    ] {
        let response = exchange(&mut stream, &format!("{method} {path} HTTP/1.1\r\nHost: {H2}\r\n\r\n")).await;
        assert_eq!((response.status(), response.fields("content-length").first().copied()), (status, length), "{path}");
    }
    let request = format!("GET /trailers HTTP/1.1\r\nHost: {H2}\r\nConnection: TE\r\nTE: trailers\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut got = Vec::new();
    soon(async {
        while !got.ends_with(b"ok\r\n0\r\nx-sum: 7\r\n\r\n") {
            assert!(stream.read_buf(&mut got).await.expect("open") > 0, "{}", String::from_utf8_lossy(&got));
        }
    })
    .await;
    let response = exchange(&mut stream, &format!("GET /planted HTTP/1.1\r\nHost: {H2}\r\n\r\n")).await;
    assert_eq!(response.fields("location"), ["/{{secrets.crm.apiKey}}"]);
    assert!(response.fields("proxy-status").is_empty());
    assert_eq!(h2.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_was_reset_is_never_whole_and_a_stream_that_was_reset_is_a_refusal() {
    let Http2World { world, h2, .. } = Http2World::new(kinds).await;
    for path in ["/broken", "/ended", "/cancelled"] {
        let mut stream = world.tls(H2).await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {H2}\r\n\r\n").as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
        let mut got = Vec::new();
        let _ = soon(stream.read_to_end(&mut got)).await;
        let text = String::from_utf8_lossy(&got);
        assert!(!text.ends_with("0\r\n\r\n"), "{path}: {text:?}");
    }
    let response = world.send_tls(H2, &format!("GET /reset HTTP/1.1\r\nHost: {H2}\r\n\r\n")).await;
    assert_eq!(response.refusal(), "upstream_protocol");
    assert_eq!(h2.connections(), 1, "others on the connection are not harmed");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_stream_with_it_and_nobody_elses() {
    let Http2World { world, h2, .. } = Http2World::new(kinds).await;
    let mut leaving = world.tls(H2).await;
    let head = format!("POST /hangs HTTP/1.1\r\nHost: {H2}\r\nContent-Type: image/png\r\nContent-Length: 10\r\n\r\nhalf");
    leaving.write_all(head.as_bytes()).await.expect("sent");
    leaving.flush().await.expect("sent");
    let mut first = [0; 15];
    soon(leaving.read_exact(&mut first)).await.expect("the head comes before the content is whole");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    drop(leaving);
    let ended = h2.ended(1).await;
    assert!(ended[0].broken.is_some() && ended[0].body == b"half", "{ended:?}");
    let response = world.send_tls(H2, &format!("GET /length HTTP/1.1\r\nHost: {H2}\r\n\r\n")).await;
    assert_eq!((response.text(), h2.connections()), ("ok".to_owned(), 1));
}

#[tokio::test]
async fn a_content_that_breaks_off_never_looks_complete() {
    let Http2World { world, h2, .. } = Http2World::new(ok).await;
    let mut stream = world.tls(H2).await;
    let head =
        format!("POST / HTTP/1.1\r\nHost: {H2}\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxx");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    assert_eq!(read_response(&mut stream, false).await.refusal(), "malformed_request");
    let ended = h2.ended(1).await;
    assert_eq!(ended[0].broken, Some(h2::Reason::CANCEL), "{ended:?}");
}

#[tokio::test]
async fn a_two_way_stream_does_not_lock() {
    let Http2World { world, .. } = Http2World::new(|_| Does::Echoes).await;
    let mut stream = world.tls(H2).await;
    let head =
        format!("POST / HTTP/1.1\r\nHost: {H2}\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut got = Vec::new();
    for round in 0..3 {
        stream.write_all(b"5\r\nhello\r\n").await.expect("sent");
        stream.flush().await.expect("sent");
        soon(async {
            while String::from_utf8_lossy(&got).matches("hello").count() <= round {
                assert!(stream.read_buf(&mut got).await.expect("open") > 0);
            }
        })
        .await;
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    stream.flush().await.expect("sent");
    soon(async {
        while !got.ends_with(b"0\r\n\r\n") {
            assert!(stream.read_buf(&mut got).await.expect("open") > 0);
        }
    })
    .await;
}
