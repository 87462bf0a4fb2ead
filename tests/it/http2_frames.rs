//! Raw frames of HTTP/2, from clients that are wrong, slow or hostile: each has its bound, and harms nobody else.

use tokio::io::{AsyncRead, AsyncWriteExt};

use super::support::client::tls_with;
use super::support::frames::*;
use super::support::http2::{Does, H2, Http2World, ask, ok, to};
use super::support::{CRM, World, soon};

/// How the proxy ended what it was sent: by the connection, a stream, or an answer.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// GOAWAY with an error, or closed.
    Connection,
    /// `RST_STREAM`.
    Stream,
    /// A response.
    Answer,
}

async fn end<S: AsyncRead + Unpin>(stream: &mut S) -> End {
    soon(async {
        loop {
            match next(stream).await {
                None => return End::Connection,
                Some(frame) if frame.kind == GOAWAY && frame.payload[4..8] != [0; 4] => return End::Connection,
                Some(frame) if frame.kind == RST_STREAM => return End::Stream,
                Some(frame) if frame.kind == HEADERS => return End::Answer,
                Some(_) => {}
            }
        }
    })
    .await
}

type Case = (&'static str, Vec<u8>, End);

/// Sections 4 to 6: frames and streams.
fn framing() -> Vec<Case> {
    let huge = frame(DATA, 0, 1, &vec![0; 16_385]);
    vec![
        ("a request", get(1), End::Answer),
        ("4.1: an unknown frame", [frame(77, 3, 0, b"x"), get(1)].concat(), End::Answer),
        ("4.2: a frame too large", [get(1), huge].concat(), End::Connection),
        ("4.3: a broken header block", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 8]), End::Connection),
        ("5.1: DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x"), End::Connection),
        ("5.1: RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), End::Connection),
        ("5.1: WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), End::Connection),
        ("5.1.1: an even stream", get(2), End::Connection),
        ("5.1.1: a stream below the last", [get(3), get(1)].concat(), End::Connection),
        ("6.8: a client's GOAWAY is about pushes", [frame(GOAWAY, 0, 0, &[0; 8]), get(1)].concat(), End::Answer),
        ("6.1: DATA on stream 0", frame(DATA, 0, 0, b"x"), End::Connection),
        (
            "6.1: padding longer than the frame",
            [frame(HEADERS, END_HEADERS, 1, &with(&[])), frame(DATA, 8, 1, &[9, 0])].concat(),
            End::Connection,
        ),
        ("6.2: HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, &with(&[])), End::Connection),
        (
            "6.2: another frame within a block",
            [frame(HEADERS, 0, 1, &with(&[])), frame(PING, 0, 0, &[0; 8])].concat(),
            End::Connection,
        ),
        ("6.3: a stream that depends on itself", [frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), get(1)].concat(), End::Stream),
        ("6.4: RST_STREAM of a wrong length", [get(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), End::Connection),
        ("6.5: SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), End::Connection),
        ("6.5: SETTINGS of a wrong length", frame(SETTINGS, 0, 0, &[0; 5]), End::Connection),
        ("6.5: an acknowledgement with content", frame(SETTINGS, ACK, 0, &[0; 6]), End::Connection),
        ("6.5.2: ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), End::Connection),
        ("6.5.2: a window too large", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), End::Connection),
        ("6.5.2: a frame size too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), End::Connection),
        ("6.6: PUSH_PROMISE by a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), End::Connection),
        ("6.7: PING on a stream", frame(PING, 0, 1, &[0; 8]), End::Connection),
        ("6.7: PING of a wrong length", frame(PING, 0, 0, &[0; 7]), End::Connection),
        ("6.9: WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), End::Connection),
        ("6.9.1: a connection's window over its limit", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), End::Connection),
        ("6.10: CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, &with(&[])), End::Connection),
    ]
}

/// Section 8: messages.
fn messages() -> Vec<Case> {
    vec![
        (
            "8.1.1: a length that is not kept",
            [frame(HEADERS, END_HEADERS, 1, &with(&[("content-length", "3")])), frame(DATA, END_STREAM, 1, b"x")].concat(),
            End::Stream,
        ),
        (
            "8.1.1: a length without content",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[("content-length", "3")])),
            End::Stream,
        ),
        ("8.2: an upper-case name", frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[("X-A", "b")])), End::Connection),
        (
            "8.2.1: a value with a line end",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[("x", "a\r\nb: c")])),
            End::Connection,
        ),
        ("8.2.1: a name with a colon", frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[("x:y", "a")])), End::Connection),
        ("8.2.2: Connection", frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[("connection", "x")])), End::Stream),
        (
            "8.2.2: Transfer-Encoding",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[("transfer-encoding", "chunked")])),
            End::Stream,
        ),
        ("8.2.2: TE of something else", frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[("te", "gzip")])), End::Stream),
        (
            "8.3: an unknown pseudo-header field",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[(":x", "y")])),
            End::Connection,
        ),
        (
            "8.3: a pseudo-header field of responses",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[(":status", "200")])),
            End::Stream,
        ),
        (
            "8.3: a pseudo-header field behind others",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[GET[0], GET[1], GET[2], ("x", "y"), GET[3]])),
            End::Stream,
        ),
        ("8.3.1: :method twice", frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(&[(":method", "GET")])), End::Stream),
        ("8.3.1: no :path", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&GET[..3])), End::Stream),
        ("8.3.1: no :scheme", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[GET[0], GET[2], GET[3]])), End::Stream),
        (
            "8.3.1: an empty :path",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[GET[0], GET[1], GET[2], (":path", "")])),
            End::Stream,
        ),
        (
            "8.3.1: a :path that is none",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[GET[0], GET[1], GET[2], (":path", "x")])),
            End::Stream,
        ),
    ]
}

/// The cases of RFC 9113 that matter to who stands in between: each with the section that says how it ends. An
/// error of a stream may end its connection (section 5.4.2), and where the library does that, it stands here.
#[tokio::test]
async fn frames_end_as_the_rfc_says() {
    let world = World::new().await;
    let cases = framing().into_iter().chain(messages());
    let mut wrong = Vec::new();
    for (name, bytes, expected) in cases {
        let before = world.crm.received().len();
        let mut stream = open(&world).await;
        // What is wrong may be noticed while the rest is being sent.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.flush().await;
        let ended = end(&mut stream).await;
        if ended != expected {
            wrong.push(format!("{name}: {ended:?}"));
        }
        let arrived = world.crm.received().len() - before;
        assert!(
            arrived == 0 || bytes.ends_with(&get(1)) || bytes.starts_with(&get(1)) || bytes.starts_with(&get(3)),
            "{name}: {arrived}"
        );
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.text(), "ok");
}

#[tokio::test]
async fn floods_end_their_connection_and_harm_nobody_else() {
    let world = World::new().await;
    let other = world.http2(CRM).await;
    let reset = |number: u32| [get(number), frame(RST_STREAM, 0, number, &[0, 0, 0, 8])].concat();
    let open_head = || frame(HEADERS, 0, 1, &with(&[]));
    let upload = || frame(HEADERS, END_HEADERS, 1, &block(&[(":method", "POST"), GET[1], GET[2], GET[3]]));
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("PING", frame(PING, 0, 0, &[0; 8]).repeat(20_000)),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(20_000)),
        ("rapid reset", (0..5_000).flat_map(|number| reset(2 * number + 1)).collect()),
        ("CONTINUATION", [open_head(), frame(CONTINUATION, 0, 1, &block(&[("x", "y")])).repeat(20_000)].concat()),
        ("empty CONTINUATION", [open_head(), frame(CONTINUATION, 0, 1, &[]).repeat(20_000)].concat()),
        ("empty DATA", [upload(), frame(DATA, 0, 1, &[]).repeat(20_000)].concat()),
        ("padded empty DATA", [upload(), frame(DATA, 8, 1, &[1, 0]).repeat(200_000)].concat()),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]).repeat(20_000)),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(20_000)),
    ];
    for (name, bytes) in floods {
        let stream = open(&world).await;
        let (mut reading, mut writing) = tokio::io::split(stream);
        let flood = tokio::spawn(async move {
            let _ = writing.write_all(&bytes).await;
            let _ = writing.flush().await;
            writing
        });
        soon(async { while next(&mut reading).await.is_some() {} }).await;
        flood.abort();
        let answer = ask(&other, to("GET", CRM, "/").body("").expect("a request")).await.expect("others go on");
        assert_eq!(answer.text(), "ok", "{name}");
    }
}

#[tokio::test]
async fn header_bombs_are_refused_or_end_the_connection() {
    let world = World::new().await;
    // A table entry of 4,000 bytes, and a block that names it again and again: 4 MB out of a few KB.
    let entry = [&[0x40, 1][..], b"x", &[0x7f, 0xa1, 0x1e], &[b'y'; 4000]].concat();
    let bomb = [with(&[]), entry, vec![0xbe; 1000]].concat();
    let mut stream = open(&world).await;
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await.expect("sent");
    stream.flush().await.expect("sent");
    assert_eq!(end(&mut stream).await, End::Connection);
    // More fields than any head may have, within the size: refused in our form.
    let many: Vec<u8> = [with(&[]), block(&[("a", "b")]).repeat(300)].concat();
    let mut stream = open(&world).await;
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &many)).await.expect("sent");
    stream.flush().await.expect("sent");
    assert_eq!(end(&mut stream).await, End::Answer);
    world.untouched();
}

#[tokio::test]
async fn waits_are_bounded() {
    let config = "[timeouts]\nclient_head = \"300ms\"\nidle = \"300ms\"\nbody = \"400ms\"\n";
    let Http2World { world, h2, .. } =
        Http2World::with(config, |uri| if uri.path() == "/hangs" { Does::Hangs } else { ok(uri) }).await;
    // A preface or a head that does not end, and a connection without requests.
    for bytes in [vec![], frame(HEADERS, 0, 1, &with(&[])), get(1)] {
        let mut stream = open(&world).await;
        stream.write_all(&bytes).await.expect("sent");
        stream.flush().await.expect("sent");
        soon(async { while next(&mut stream).await.is_some() {} }).await;
    }
    let stream = world.tunnel(&format!("{CRM}:443")).await;
    let mut stream = tls_with(stream, CRM, &world.ca(), &["h2"]).await.expect("trusted");
    stream.write_all(&PREFACE[..10]).await.expect("sent");
    stream.flush().await.expect("sent");
    soon(async { while next(&mut stream).await.is_some() {} }).await;
    // A content that does not come: refused, and given up upstream.
    let client = world.http2(H2).await;
    let mut ready = client.clone().ready().await.expect("open");
    let request = to("POST", H2, "/").header("content-type", "image/png").body(()).expect("a request");
    let (response, _held) = ready.send_request(request, false).expect("sent");
    let refused = super::support::http2::read(response).await.expect("an answer");
    assert_eq!(refused.refusal(), "malformed_request");
    assert!(refused.text().contains("timeouts.body"), "{}", refused.text());
    assert!(h2.ended(1).await[0].broken.is_some());
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_ended_by_itself() {
    let config = "[timeouts]\nbody = \"400ms\"\n";
    let Http2World { world, h2, .. } =
        Http2World::with(config, |uri| if uri.path() == "/long" { Does::Floods } else { ok(uri) }).await;
    let client = world.http2_with(H2, 1024 * 1024).await;
    let mut ready = client.clone().ready().await.expect("open");
    let (response, _) = ready.send_request(to("GET", H2, "/long").body(()).expect("a request"), true).expect("sent");
    let mut content = soon(response).await.expect("a head").into_body();
    // The room of one stream is taken and never given back; others have theirs.
    let answer = ask(&client, to("GET", H2, "/").body("").expect("a request")).await.expect("an answer");
    assert_eq!(answer.text(), "ok");
    let fault = soon(async {
        loop {
            match content.data().await {
                Some(Ok(_)) => {}
                Some(Err(fault)) => return fault,
                None => panic!("it looks whole"),
            }
        }
    })
    .await;
    assert!(fault.is_reset(), "{fault}");
    let ended = h2.ended(2).await;
    assert!(ended.iter().any(|request| request.uri.path() == "/long"), "{ended:?}");
}
