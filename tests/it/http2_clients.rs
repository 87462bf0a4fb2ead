//! Clients that speak HTTP/2, to upstreams of either version: every pairing is the same to both ends.

use bytes::Bytes;
use h2::Reason;
use http::{Request, Uri};

use super::support::client::{exchange, tls_with};
use super::support::http2::{Does, H2, H2_PLAIN, Http2World, ask, client, ok, read, to, websocket};
use super::support::origin::{Received, raw};
use super::support::{CRM, EVIL, VALUE, World, reply, soon};

#[tokio::test]
async fn a_request_arrives_with_its_secrets_whatever_the_upstream_speaks() {
    let Http2World { world, h2, .. } = Http2World::new(ok).await;
    for host in [H2, CRM] {
        let client = world.http2(host).await;
        for _ in 0..2 {
            let request = to("POST", host, "/a/{secrets.crm.apiKey}?b=%7Bx%7D")
                .header("x-key", "{secrets.crm.apiKey}")
                .header("cookie", "a={secrets.crm.apiKey}")
                .header("cookie", "b=2")
                .header("te", "trailers")
                .header("content-type", "application/json")
                .body("{\"k\":\"{secrets.crm.apiKey}\"}")
                .expect("a request");
            let answer = ask(&client, request).await.expect("an answer");
            assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "{host}");
        }
    }
    let (path, body) = ("/a/abc123-Zx%2F9%2B%3Dsecret?b=%7Bx%7D", format!("{{\"k\":\"{VALUE}\"}}"));
    let got = h2.received().pop().expect("it arrived");
    assert_eq!(got.uri.to_string(), format!("https://{H2}{path}"));
    assert_eq!((got.field("x-key"), got.text(), got.field("te")), (VALUE.to_owned(), body.clone(), "trailers".to_owned()));
    assert_eq!(got.field("cookie"), format!("a={VALUE}; b=2"), "one field again");
    let got = world.crm.received().pop().expect("it arrived");
    assert_eq!(got.line(), format!("POST {path} HTTP/1.1"));
    assert_eq!((got.field("x-key"), got.field("host"), got.field("cookie")), (VALUE, CRM, format!("a={VALUE}; b=2").as_str()));
    assert!(got.text().contains(&body), "{}", got.text());
    assert!(got.fields("te").is_empty() && got.fields("connection").is_empty(), "{}", got.head);
    assert_eq!((h2.connections(), world.crm.connections()), (1, 1));
}

#[tokio::test]
async fn refusals_have_our_form_and_touch_no_origin() {
    let world = World::new().await;
    let client = world.http2(CRM).await;
    let many = (0..300).fold(to("GET", CRM, "/"), |request, _| request.header("x", "y"));
    for (request, status, code) in [
        (to("GET", CRM, "/{secrets.no.such}"), 422, "secret_not_found"),
        (to("GET", EVIL, "/"), 421, "misdirected"),
        (to("GET", "api.crm.example.com:8443", "/"), 421, "misdirected"),
        (Request::get(format!("http://{CRM}/")), 421, "misdirected"),
        (to("GET", CRM, "/").header("host", "other.example"), 400, "malformed_request"),
        (to("GET", CRM, "/").header("x", "a "), 400, "malformed_request"),
        (to("GET", CRM, "/").header("trailer", "{secrets.crm.apiKey}"), 400, "malformed_request"),
        (to("GET", CRM, "/").header("x", "y".repeat(140_000)), 431, "head_too_large"),
        (many, 431, "head_too_large"),
        (Request::connect(format!("{CRM}:443")), 400, "malformed_request"),
    ] {
        let answer = ask(&client, request.body("").expect("a request")).await.expect("an answer");
        assert_eq!((answer.status, answer.refusal().as_str()), (status, code), "{}", answer.text());
    }
    let client = world.http2(EVIL).await;
    let request = to("GET", EVIL, "/").header("x", "{secrets.crm.apiKey}").body("").expect("a request");
    assert_eq!(ask(&client, request).await.expect("an answer").refusal(), "domain_restricted");
    world.untouched();
    let line = world.proxy.logged("domain_restricted").await;
    assert!(line.contains("https://evil.example.net"), "{line}");
}

fn kinds(uri: &Uri) -> Does {
    match uri.path() {
        "/204" => Does::Answers(204, Vec::new(), "", Vec::new()),
        "/304" => Does::Answers(304, vec![("etag", "\"x\""), ("content-length", "9")], "", Vec::new()),
        "/head" => Does::Answers(200, vec![("content-length", "1234")], "", Vec::new()),
        "/length" => Does::Answers(200, vec![("content-length", "2")], "ok", Vec::new()),
        "/trailers" => Does::Answers(200, Vec::new(), "ok", vec![("x-sum", "7"), ("subrosa-x", "1")]),
        "/broken" => Does::Breaks("hello", Reason::ENHANCE_YOUR_CALM),
        "/ended" => Does::Breaks("hello", Reason::NO_ERROR),
        "/reset" => Does::Resets(Reason::INTERNAL_ERROR),
        "/hangs" => Does::Hangs,
        _ => Does::Echoes,
    }
}

fn kinds_1(request: &Received) -> (Vec<u8>, bool) {
    let answer = match request.line().split(' ').nth(1) {
        Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
        Some("/304") => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9\r\n\r\n",
        Some("/head") => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
        Some("/trailers") => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nSubrosa-X: 1\r\n\r\n"
        }
        Some("/broken" | "/ended") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        Some("/reset") => "",
        _ => "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nContent-Length: 2\r\n\r\nok",
    };
    (answer.into(), matches!(request.line().split(' ').nth(1), Some("/broken" | "/ended" | "/reset")))
}

async fn world_of_kinds() -> Http2World {
    let world = Http2World::scripted(kinds, std::sync::Arc::new(kinds_1)).await;
    assert_eq!(world.h2.connections(), 0);
    world
}

#[tokio::test]
async fn responses_keep_their_status_length_trailers_and_shape() {
    let Http2World { world, .. } = world_of_kinds().await;
    for host in [H2, CRM] {
        let client = world.http2(host).await;
        for (method, path, status, length) in [
            ("HEAD", "/head", 200, Some("1234")),
            ("GET", "/204", 204, None),
            ("GET", "/304", 304, Some("9")),
            ("GET", "/length", 200, Some("2")),
            ("GET", "/trailers", 200, None),
        ] {
            let answer = ask(&client, to(method, host, path).body("").expect("a request")).await.expect("an answer");
            let got = answer.fields.get("content-length").map(|value| value.to_str().expect("digits").to_owned());
            assert_eq!((answer.status, got.as_deref()), (status, length), "{host} {path}");
            for gone in ["connection", "keep-alive", "x-hop", "transfer-encoding"] {
                assert!(!answer.fields.contains_key(gone), "{host} {path} {gone}");
            }
            if path == "/trailers" {
                let trailers = answer.trailers.expect("they came");
                assert_eq!((answer.body.as_slice(), trailers.len()), (&b"ok"[..], 1), "{host} {trailers:?}");
                assert_eq!(trailers["x-sum"], "7");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_broke_off_is_a_reset_and_never_whole() {
    let Http2World { world, h2, .. } = world_of_kinds().await;
    for host in [H2, CRM] {
        let client = world.http2(host).await;
        for path in ["/broken", "/ended"] {
            let fault = ask(&client, to("GET", host, path).body("").expect("a request")).await.expect_err(path);
            assert!(fault.is_reset() && fault.is_remote(), "{host} {path}: {fault}");
        }
        let refused = ask(&client, to("POST", host, "/reset").body("").expect("a request")).await.expect("an answer");
        assert_eq!(refused.refusal(), "upstream_protocol");
        let answer = ask(&client, to("GET", host, "/length").body("").expect("a request")).await.expect("others go on");
        assert_eq!(answer.text(), "ok");
    }
    assert_eq!(h2.connections(), 1);
}

#[tokio::test]
async fn a_request_that_its_client_gave_up_is_given_up_upstream_and_never_looks_complete() {
    let Http2World { world, h2, .. } = world_of_kinds().await;
    let client = world.http2(H2).await;
    for (count, reason) in [(1, Reason::CANCEL), (2, Reason::NO_ERROR), (3, Reason::INTERNAL_ERROR)] {
        let mut ready = client.clone().ready().await.expect("open");
        let request = to("POST", H2, "/hangs").header("content-type", "image/png").body(()).expect("a request");
        let (response, mut stream) = ready.send_request(request, false).expect("sent");
        stream.send_data(Bytes::from_static(b"half"), false).expect("sent");
        drop(soon(response).await.expect("the head comes before the content is whole"));
        stream.send_reset(reason);
        let ended = h2.ended(count).await.pop().expect("one more");
        assert_eq!(ended.broken, Some(Reason::CANCEL), "{reason:?}: {ended:?}");
    }
    // To an HTTP/1.1 upstream: its connection ends before the content does.
    let client = world.http2(CRM).await;
    let mut ready = client.clone().ready().await.expect("open");
    let request =
        to("POST", CRM, "/x").header("content-type", "image/png").header("content-length", "9").body(()).expect("a request");
    let (_response, mut stream) = ready.send_request(request, false).expect("sent");
    stream.send_data(Bytes::from_static(b"half"), false).expect("sent");
    soon(async {
        while world.crm.connections() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stream.send_reset(Reason::CANCEL);
    soon(async {
        while world.crm.broken() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(world.crm.received().is_empty());
}

#[tokio::test]
async fn two_way_streams_do_not_lock_and_trailers_go_both_ways() {
    let Http2World { world, h2, .. } = world_of_kinds().await;
    let client = world.http2(H2).await;
    let mut ready = client.clone().ready().await.expect("open");
    let request = to("POST", H2, "/echo").header("content-type", "application/grpc").body(()).expect("a request");
    let (response, mut stream) = ready.send_request(request, false).expect("sent");
    // The head comes before any content.
    let mut content = soon(response).await.expect("a head").into_body();
    for round in 0..3 {
        stream.send_data(Bytes::from(format!("message {round} {{secrets.crm.apiKey}}")), false).expect("sent");
        let echoed = soon(content.data()).await.expect("more").expect("no fault");
        assert_eq!(echoed, format!("message {round} {{secrets.crm.apiKey}}"), "binary content is not touched");
        content.flow_control().release_capacity(echoed.len()).expect("room");
    }
    let trailers = [("x-sum".parse().expect("a name"), "7".parse().expect("a value"))];
    stream.send_trailers(trailers.into_iter().collect()).expect("sent");
    while let Some(rest) = soon(content.data()).await {
        assert!(rest.expect("no fault").is_empty());
    }
    assert_eq!(h2.ended(1).await[0].trailers.as_ref().expect("they came")["x-sum"], "7");
}

#[tokio::test]
async fn http2_in_the_clear_inside_a_tunnel_goes_on_as_http2_or_as_what_the_upstream_knows() {
    let Http2World { world, h2_plain, .. } = Http2World::new(ok).await;
    for (host, authority) in
        [(H2_PLAIN, format!("{H2_PLAIN}:80")), ("plain.crm.example.com", "plain.crm.example.com:80".to_owned())]
    {
        let client = client(world.tunnel(&authority).await).await;
        for _ in 0..2 {
            let request = Request::post(format!("http://{host}/x")).header("x-key", "{secrets.crm.apiKey}");
            let request = request.header("content-type", "text/plain").body("{secrets.crm.apiKey}").expect("a request");
            let answer = ask(&client, request).await.expect("an answer");
            assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "{host}");
        }
    }
    let got = h2_plain.received();
    assert_eq!((got.len(), h2_plain.connections()), (2, 1));
    assert_eq!((got[0].field("x-key"), got[0].text()), (VALUE.to_owned(), VALUE.to_owned()));
    assert_eq!(got[0].uri.to_string(), format!("http://{H2_PLAIN}/x"));
    let got = world.crm_plain.received();
    let posts: Vec<_> = got.iter().filter(|request| request.line() == "POST /x HTTP/1.1").collect();
    assert_eq!(posts.len(), 2, "{got:?}");
    assert_eq!(posts[0].field("x-key"), VALUE);
}

#[tokio::test]
async fn http2_where_it_is_not_spoken_is_refused_with_the_cure() {
    let world = World::new().await;
    let response = world.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(response.refusal(), "malformed_request");
    assert!(response.text().contains("HTTP/2 is spoken inside tunnels"), "{}", response.text());
    // Over TLS it has to be agreed on.
    let response = world.send_tls(CRM, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(response.refusal(), "malformed_request");
    world.untouched();
}

#[tokio::test]
async fn a_websocket_over_http2_becomes_an_upgrade_where_the_upstream_knows_no_other() {
    let script = |request: &Received| {
        let key = request.fields("sec-websocket-key").concat();
        let accept = match request.line() {
            "GET /lies HTTP/1.1" => "x".to_owned(),
            _ => accept_of(&key),
        };
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        );
        (head.into_bytes(), false)
    };
    let world = World::with("", std::sync::Arc::new(script)).await;
    let client = world.http2(CRM).await;
    let (status, fields, mut stream, mut content) = websocket(&client, CRM, "/ws").await;
    assert_eq!((status, fields["sec-websocket-protocol"].as_bytes()), (200, &b"chat"[..]));
    assert!(["upgrade", "connection", "sec-websocket-accept"].iter().all(|name| !fields.contains_key(*name)), "{fields:?}");
    let got = world.crm.only();
    assert_eq!((got.line(), got.field("upgrade"), got.field("connection")), ("GET /ws HTTP/1.1", "websocket", "upgrade"));
    assert_eq!((got.field("x-key"), got.field("sec-websocket-version")), (VALUE, "13"));
    for _ in 0..2 {
        stream.send_data(Bytes::from_static(b"{secrets.crm.apiKey}"), false).expect("sent");
        assert_eq!(soon(content.data()).await.expect("more").expect("no fault"), "{secrets.crm.apiKey}", "relayed as it is");
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    assert!(soon(content.data()).await.is_none_or(|end| end.is_ok_and(|end| end.is_empty())));
    let (status, ..) = websocket(&client, CRM, "/lies").await;
    assert_eq!(status, 502);
}

#[tokio::test]
async fn a_websocket_over_http2_stays_one_where_the_upstream_knows_it() {
    let Http2World { world, h2, .. } = Http2World::new(|_| Does::Echoes).await;
    let client = world.http2(H2).await;
    let (status, _, mut stream, mut content) = websocket(&client, H2, "/ws").await;
    assert_eq!(status, 200);
    for _ in 0..2 {
        stream.send_data(Bytes::from_static(b"{secrets.crm.apiKey}"), false).expect("sent");
        assert_eq!(soon(content.data()).await.expect("more").expect("no fault"), "{secrets.crm.apiKey}", "relayed as it is");
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    let got = h2.ended(1).await.remove(0);
    assert_eq!((got.protocol.as_deref(), got.uri.path(), got.field("x-key").as_str()), (Some("websocket"), "/ws", VALUE));
    assert!(!got.fields.contains_key("sec-websocket-key") && !got.fields.contains_key("upgrade"), "{got:?}");
    assert_eq!(h2.connections(), 1);
}

fn accept_of(key: &str) -> String {
    use base64::Engine;
    use sha1::Digest;
    let hash = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(hash)
}

#[tokio::test]
async fn stopping_says_goaway_and_lets_what_is_under_way_end() {
    let Http2World { mut world, .. } = Http2World::new(kinds).await;
    let client = world.http2(H2).await;
    let mut ready = client.clone().ready().await.expect("open");
    let request = to("POST", H2, "/echo").header("content-type", "image/png").body(()).expect("a request");
    let (response, mut stream) = ready.send_request(request, false).expect("sent");
    let mut content = soon(response).await.expect("a head").into_body();
    world.proxy.signal("-TERM").await;
    world.proxy.logged("stopping").await;
    soon(async {
        // Nothing new is taken, as soon as the GOAWAY is there.
        loop {
            let Ok(mut ready) = client.clone().ready().await else { break };
            let Ok((response, _)) = ready.send_request(to("GET", H2, "/length").body(()).expect("a request"), true) else {
                break;
            };
            if response.await.is_err() {
                break;
            }
        }
    })
    .await;
    stream.send_data(Bytes::from_static(b"last"), true).expect("sent");
    assert_eq!(soon(content.data()).await.expect("more").expect("no fault"), "last");
    while let Some(rest) = soon(content.data()).await {
        assert!(rest.expect("no fault").is_empty());
    }
    drop((client, ready));
    assert!(world.proxy.wait().await.success());
}

#[tokio::test]
async fn a_client_may_choose_either_version() {
    let world = World::new().await;
    for (offered, agreed) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1"), (&["http/1.1", "h2"], "h2")] {
        let stream = world.tunnel(&format!("{CRM}:443")).await;
        let mut stream = tls_with(stream, CRM, &world.ca(), offered).await.expect("trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed.as_bytes()), "{offered:?}");
        if agreed == "http/1.1" {
            assert_eq!(exchange(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.text(), "ok");
        }
    }
}

#[tokio::test]
async fn a_misdirected_tunnel_says_so_in_http2_too() {
    let world = World::new().await;
    let stream = world.tunnel(&format!("{CRM}:443")).await;
    // The name asked for by SNI is another than the tunnel's.
    let stream = tls_with(stream, EVIL, &world.ca(), &["h2"]).await.expect("a leaf for that name");
    let client = client(stream).await;
    let answer = ask(&client, to("GET", CRM, "/").body("").expect("a request")).await.expect("an answer");
    assert_eq!((answer.status, answer.refusal().as_str()), (421, "misdirected"));
    world.untouched();
}

#[tokio::test]
async fn a_revoked_runner_loses_its_open_connection() {
    let world = World::with("[proxy]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n", reply("200 OK", "", "ok")).await;
    let client = world.http2(CRM).await;
    assert_eq!(ask(&client, to("GET", CRM, "/").body("").expect("a request")).await.expect("an answer").status, 200);
    world.proxy.must(&["runner", "create", "one"], "").await;
    let answer = ask(&client, to("GET", CRM, "/").body("").expect("a request")).await.expect("an answer");
    assert_eq!((answer.status, answer.refusal().as_str()), (407, "runner_unauthenticated"));
}

#[tokio::test]
async fn an_answer_nobody_asked_for_is_a_refusal() {
    let world =
        World::with("", raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", false)).await;
    let client = world.http2(CRM).await;
    let answer = ask(&client, to("GET", CRM, "/").body("").expect("a request")).await.expect("an answer");
    assert_eq!(answer.refusal(), "upstream_protocol");
    let _ = read;
}
