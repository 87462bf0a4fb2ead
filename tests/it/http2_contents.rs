//! Contents over HTTP/2 that are longer than what is held, or come without a length, and messages over
//! an extended CONNECT: searched as over HTTP/1.1, and what is refused late is reset and never looks
//! complete.

use bytes::Bytes;
use h2::Reason;
use http::Uri;

use super::support::http2::{Does, H2, Http2World, ask, ok, read, to, websocket};
use super::support::{CRM, VALUE, soon};

const SMALL: &str = "[proxy]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[injection]\nbuffer = \"16KiB\"\n";

/// Sends `content` in pieces of so many bytes, as there is room, and ends it.
async fn pour(stream: &mut h2::SendStream<Bytes>, content: &[u8], piece: usize) {
    for piece in content.chunks(piece) {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let room = soon(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await.expect("open").expect("room");
            stream.send_data(piece.split_to(room.min(piece.len())), false).expect("sent");
        }
    }
    stream.send_data(Bytes::new(), true).expect("sent");
}

/// JSON of some size with a reference at its beginning, one across most borders, and one at its end.
fn json(key: &str) -> String {
    let filling = "x".repeat(50_000);
    format!("{{\"first\":\"{key}\",\"a\":\"{filling}\",\"middle\":\"{key}\",\"b\":\"{filling}\",\"last\":\"{key}\"}}")
}

fn echo_or_ok(uri: &Uri) -> Does {
    if uri.path().starts_with("/echo") { Does::Echoes } else { ok(uri) }
}

#[tokio::test]
async fn a_long_content_is_searched_to_its_end_whatever_either_side_speaks() {
    let Http2World { world, h2, .. } = Http2World::with(SMALL, ok).await;
    let content = json("{secrets.crm.apiKey}");
    for host in [H2, CRM] {
        let client = world.http2(host).await;
        for (index, (length, piece)) in
            [(Some(content.len()), 4_096), (Some(content.len()), 97), (None, 10_007)].into_iter().enumerate()
        {
            let mut ready = soon(client.clone().ready()).await.expect("open");
            let mut request = to("POST", host, "/").header("content-type", "application/json");
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            let (response, mut stream) = ready.send_request(request.body(()).expect("a request"), false).expect("sent");
            pour(&mut stream, content.as_bytes(), piece).await;
            assert_eq!(read(response).await.expect("an answer").status, 200, "{host} {length:?} {piece}");
            let (text, said) = if host == H2 {
                let got = h2.received().swap_remove(index);
                assert_eq!(got.broken, None);
                (got.text(), got.fields.get("content-length").map(|value| value.to_str().expect("digits").to_owned()))
            } else {
                let got = world.crm.received().swap_remove(index);
                (got.text(), got.fields("content-length").first().map(ToString::to_string))
            };
            // What is chunked at an HTTP/1.1 origin is told apart from what has a length.
            let whole = json(VALUE);
            assert!(text == whole || (host == CRM && length.is_none() && unchunked(&text) == whole), "{host} {length:?} {piece}");
            assert_eq!(said, length.map(|_| whole.len().to_string()), "{host} {length:?} {piece}");
        }
    }
}

/// The content of a chunked one.
fn unchunked(text: &str) -> String {
    let (mut rest, mut whole) = (text, String::new());
    while let Some((length, more)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            break;
        }
        whole.push_str(&more[..length]);
        rest = &more[length + 2..];
    }
    whole
}

#[tokio::test]
async fn what_is_refused_before_anything_went_out_has_our_form_and_touches_no_origin() {
    let Http2World { world, h2, .. } = Http2World::with(SMALL, ok).await;
    let client = world.http2(H2).await;
    let content = json("{secrets.nobody.here}");
    let mut ready = soon(client.clone().ready()).await.expect("open");
    let request = to("POST", H2, "/").header("content-type", "application/json").header("content-length", content.len());
    let (response, mut stream) = ready.send_request(request.body(()).expect("a request"), false).expect("sent");
    pour(&mut stream, content.as_bytes(), 9_000).await;
    let answer = read(response).await.expect("an answer");
    assert_eq!((answer.status, answer.refusal().as_str()), (422, "secret_not_found"));
    assert_eq!((h2.connections(), h2.received().len()), (0, 0));
}

#[tokio::test]
async fn what_is_refused_late_is_reset_on_both_sides_and_harms_no_other_stream() {
    let Http2World { world, h2, .. } = Http2World::with(SMALL, echo_or_ok).await;
    let client = world.http2(H2).await;
    let mut ready = soon(client.clone().ready()).await.expect("open");
    let request = to("POST", H2, "/echo").header("content-type", "text/plain").body(()).expect("a request");
    let (response, mut stream) = ready.send_request(request, false).expect("sent");
    // More than is held: it is on its way, and the origin has begun to answer.
    let first = format!("{{secrets.crm.apiKey}} {}", "x".repeat(40_000));
    for piece in first.as_bytes().chunks(8_000) {
        stream.send_data(Bytes::copy_from_slice(piece), false).expect("sent");
    }
    let mut answer = soon(response).await.expect("a head").into_body();
    let began = soon(answer.data()).await.expect("more").expect("no fault");
    answer.flow_control().release_capacity(began.len()).expect("room");
    stream.send_data(Bytes::from_static(b"{secrets.nobody.here} and more"), false).expect("sent");
    let fault = loop {
        match soon(answer.data()).await.expect("it is not whole") {
            Ok(piece) => answer.flow_control().release_capacity(piece.len()).expect("room"),
            Err(fault) => break fault,
        }
    };
    assert!(fault.is_reset(), "{fault}");
    let got = h2.ended(1).await.remove(0);
    assert!(got.broken.is_some(), "{:?}", got.broken);
    assert!(got.text().starts_with(VALUE) && !got.text().contains("nobody"), "{}", got.text().len());
    let line = world.proxy.logged("secret_not_found").await;
    assert!(line.contains("\"outcome\":\"aborted\"") && line.contains("nobody.here@body"), "{line}");
    // The connections live, on both sides.
    let request = to("GET", H2, "/").header("x-key", "{secrets.crm.apiKey}").body("").expect("a request");
    assert_eq!(ask(&client, request).await.expect("an answer").status, 200);
    assert_eq!(h2.connections(), 1);
}

#[tokio::test]
async fn a_client_that_gives_up_within_a_long_content_leaves_nothing_that_looks_complete() {
    let Http2World { world, h2, .. } = Http2World::with(SMALL, ok).await;
    let client = world.http2(H2).await;
    for length in [Some("200000"), None] {
        let mut ready = soon(client.clone().ready()).await.expect("open");
        let mut request = to("POST", H2, "/").header("content-type", "text/plain");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let (_response, mut stream) = ready.send_request(request.body(()).expect("a request"), false).expect("sent");
        for _ in 0..5 {
            stream.send_data(Bytes::from(vec![b'x'; 8_000]), false).expect("sent");
        }
        if length.is_none() {
            // It is on its way to the origin.
            h2.begun(1).await;
        }
        stream.send_reset(Reason::CANCEL);
    }
    let ended = h2.ended(1).await;
    assert!(ended.iter().all(|got| got.broken.is_some()), "{ended:?}");
}

/// A client's frame of text, masked; short.
fn frame(text: &str) -> Bytes {
    let key = [0x11_u8, 0x22, 0x33, 0x44];
    let length = 0x80 | u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("short");
    let masked = text.bytes().enumerate().map(|(at, byte)| byte ^ key[at % 4]);
    [0x81, length].into_iter().chain(key).chain(masked).collect()
}

/// The texts of the frames that an origin received.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let [0x81, length, rest @ ..] = bytes {
        let (masked, length) = (length & 0x80 != 0, usize::from(length & 0x7f));
        let (key, rest) = if masked { (&rest[..4], &rest[4..]) } else { (&[0; 4][..], rest) };
        let text = rest[..length].iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
        texts.push(String::from_utf8(text).expect("text"));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty() || bytes[0] == 0x88, "{bytes:?}");
    texts
}

#[tokio::test]
async fn messages_over_an_extended_connect_take_the_value_where_that_is_on() {
    let config = format!("{SMALL}websocket = true\n");
    let Http2World { world, h2, .. } = Http2World::with(&config, |_| Does::Hangs).await;
    let client = world.http2(H2).await;
    let (status, _, mut stream, mut content) = websocket(&client, H2, "/ws").await;
    assert_eq!(status, 200);
    let whole = frame("key {secrets.crm.apiKey}!");
    stream.send_data(frame("none"), false).expect("sent");
    // Cut anywhere: messages are not frames of HTTP/2.
    for piece in whole.chunks(5) {
        stream.send_data(Bytes::copy_from_slice(piece), false).expect("sent");
    }
    stream.send_data(frame("{secrets.nobody}"), false).expect("sent");
    let closed = soon(content.data()).await.expect("a close frame").expect("no fault");
    assert_eq!(closed[0], 0x88, "{closed:?}");
    assert!(String::from_utf8_lossy(&closed).contains("secret_not_found: "), "{closed:?}");
    drop((stream, content));
    let got = h2.ended(1).await.remove(0);
    assert_eq!(texts(&got.body), ["none", &format!("key {VALUE}!")]);
    let line = world.proxy.logged("nobody@body").await;
    assert!(line.contains("\"outcome\":\"aborted\""), "{line}");
}
