//! The table of answers of an upstream that speaks HTTP/2, as frames: what a client of HTTP/1.1 would read as something else
//! is refused or breaks off, and the next exchange gets its own answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::answers::Is::{self, Broken, Refused, Whole};
use super::answers::{ask, judged};
use super::entries::Stream;
use super::requests::same;
use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, PUSH_PROMISE, RST_STREAM, SETTINGS, block, frame, next,
};
use crate::support::http2::{H2, ONE_WORKER};
use crate::support::{Ca, World, reply};

type Fields = &'static [(&'static str, &'static str)];
const OK: (&str, &str) = (":status", "200");

/// Heads, each with `ok` for its content.
const HEADS: &[(&str, Fields, Is)] = &[
    ("a head", &[OK], Whole(200, "ok")),
    ("CR LF in a value", &[OK, ("x", "a\r\nset-cookie: b")], Refused),
    ("CR LF CR LF in a value", &[OK, ("x", "a\r\n\r\nHTTP/1.1 200 OK")], Refused),
    ("LF in a value", &[OK, ("x", "a\nb")], Refused),
    ("CR in a value", &[OK, ("x", "a\rb")], Refused),
    ("NUL in a value", &[OK, ("x", "a\0")], Refused),
    ("CR LF in a name", &[OK, ("x: y\r\nz", "a")], Refused),
    ("a colon in a name", &[OK, ("x:y", "a")], Refused),
    ("a blank in a name", &[OK, ("x ", "a")], Refused),
    ("a name in upper case", &[OK, ("X", "a")], Refused),
    ("an empty name", &[OK, ("", "a")], Refused),
    ("Transfer-Encoding", &[OK, ("transfer-encoding", "chunked")], Refused),
    ("Connection", &[OK, ("connection", "close")], Refused),
    ("Keep-Alive", &[OK, ("keep-alive", "x")], Refused),
    ("Upgrade", &[OK, ("upgrade", "h2c")], Refused),
    ("no status", &[("x", "a")], Refused),
    ("nothing", &[], Refused),
    ("two statuses", &[OK, (":status", "404")], Refused),
    ("a status of two digits", &[(":status", "20")], Refused),
    ("a status of four digits", &[(":status", "2000")], Refused),
    ("a status with a sign", &[(":status", "+20")], Refused),
    ("a status and a reason", &[(":status", "200 OK")], Refused),
    ("CR LF in the status", &[(":status", "200\r\n")], Refused),
    ("a status behind a field", &[("x", "a"), OK], Refused),
    ("a pseudo-header field of requests, which the library leaves out", &[OK, (":path", "/")], Whole(200, "ok")),
    ("an unknown pseudo-header field", &[OK, (":x", "y")], Refused),
    ("a protocol nobody asked for", &[(":status", "101")], Refused),
    ("a length", &[OK, ("content-length", "2")], Whole(200, "ok")),
    ("a length that is exceeded", &[OK, ("content-length", "1")], Broken),
    ("a length that is not reached", &[OK, ("content-length", "3")], Broken),
    ("two lengths", &[OK, ("content-length", "2"), ("content-length", "3")], Refused),
    ("one length twice", &[OK, ("content-length", "2"), ("content-length", "2")], Whole(200, "ok")),
    ("one length twice in one field", &[OK, ("content-length", "2, 2")], Refused),
    ("a length with a plus", &[OK, ("content-length", "+2")], Refused),
    ("a length that others read as octal", &[OK, ("content-length", "02")], Whole(200, "ok")),
    ("a content of 204", &[(":status", "204")], Whole(204, "")),
    ("a content of 304", &[(":status", "304"), ("content-length", "2")], Whole(304, "")),
];

fn head(flags: u8, stream: u32, fields: Fields) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

fn data(flags: u8, stream: u32, content: &str) -> Vec<u8> {
    frame(DATA, flags, stream, content.as_bytes())
}

/// What is said on a stream.
type Say = fn(u32) -> Vec<u8>;

/// Sequences of frames.
const FRAMES: &[(&str, Say, Is)] = &[
    (
        "100 first",
        |id| [head(0, id, &[(":status", "100")]), head(0, id, &[OK]), data(END_STREAM, id, "ok")].concat(),
        Whole(200, "ok"),
    ),
    (
        "a thousand hints first",
        |id| {
            [head(0, id, &[(":status", "103"), ("link", "</x>")]).repeat(1000), head(0, id, &[OK]), data(END_STREAM, id, "ok")]
                .concat()
        },
        Whole(200, "ok"),
    ),
    ("100 and the end", |id| head(END_STREAM, id, &[(":status", "100")]), Refused),
    ("content without a head", |id| data(END_STREAM, id, "ok"), Refused),
    ("a second head", |id| [head(0, id, &[OK]), head(0, id, &[OK]), data(END_STREAM, id, "ok")].concat(), Broken),
    (
        "a second answer behind the end",
        |id| [head(0, id, &[OK]), data(END_STREAM, id, "ok"), head(0, id, &[OK]), data(END_STREAM, id, "poison")].concat(),
        Whole(200, "ok"),
    ),
    ("content behind the end", |id| [head(END_STREAM, id, &[OK]), data(END_STREAM, id, "poison")].concat(), Whole(200, "")),
    (
        "CR LF in a trailer",
        |id| [head(0, id, &[OK]), data(0, id, "ok"), head(END_STREAM, id, &[("x", "a\r\nb: c")])].concat(),
        Broken,
    ),
    (
        "a name in upper case in a trailer",
        |id| [head(0, id, &[OK]), data(0, id, "ok"), head(END_STREAM, id, &[("X", "a")])].concat(),
        Broken,
    ),
    (
        "a length for a trailer",
        |id| [head(0, id, &[OK]), data(0, id, "ok"), head(END_STREAM, id, &[("content-length", "9")])].concat(),
        Whole(200, "ok"),
    ),
    ("a reset", |id| [head(0, id, &[OK]), data(0, id, "ok"), frame(RST_STREAM, 0, id, &[0, 0, 0, 2])].concat(), Broken),
    (
        "a reset without an error",
        |id| [head(0, id, &[OK]), data(0, id, "ok"), frame(RST_STREAM, 0, id, &[0; 4])].concat(),
        Broken,
    ),
    (
        "the connection's end",
        |id| [head(0, id, &[OK]), data(0, id, "ok"), frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2])].concat(),
        Broken,
    ),
    (
        "a push",
        |id| {
            [
                frame(PUSH_PROMISE, END_HEADERS, id, &[&[0, 0, 0, 2][..], &block(&[(":method", "GET")])].concat()),
                head(END_STREAM, id, &[OK]),
            ]
            .concat()
        },
        Refused,
    ),
    ("an answer on a stream of nobody", |id| [head(0, id + 100, &[OK]), data(END_STREAM, id + 100, "poison")].concat(), Refused),
    ("a header block that is none", |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &[0xff; 8]), Refused),
    ("HTTP/1.1", |_| b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison".to_vec(), Refused),
];

type Speech = Box<dyn Fn(u32) -> Vec<u8> + Send>;

/// What the upstream says next, on the stream that it is asked on.
type Said = Arc<Mutex<Speech>>;

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, said: Said) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = acceptor.accept(stream).await.ok()?;
    stream.read_exact(&mut [0; PREFACE.len()]).await.ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
    while let Some(got) = next(&mut stream).await {
        let answer = match (got.kind, got.flags & ACK) {
            (SETTINGS, 0) => frame(SETTINGS, ACK, 0, &[]),
            (HEADERS, _) => said.lock().expect("no test panics with it")(got.stream),
            _ => continue,
        };
        stream.write_all(&answer).await.ok()?;
        stream.flush().await.ok()?;
    }
    Some(())
}

async fn start(ca: &Ca, said: &Said) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (acceptor, said) = (ca.acceptor_speaking(&[H2], &["h2"]), Arc::clone(said));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, acceptor.clone(), Arc::clone(&said)));
        }
    });
    address
}

#[tokio::test]
async fn every_answer_in_frames_has_one_meaning_in_http1_or_none() {
    let (ca, said): (_, Said) = (Ca::new(), Arc::new(Mutex::new(Box::new(|_| Vec::new()))));
    let address = start(&ca, &said).await;
    let world = World::beside(&ca, &[(H2, address)], ONE_WORKER, reply("200 OK", "", "ok")).await;
    let say = |what: Speech| *said.lock().expect("no test panics with it") = what;
    let mut wrong = Vec::new();
    for (what, fields, is) in HEADS {
        say(Box::new(|id| [head(0, id, fields), data(END_STREAM, id, "ok")].concat()));
        wrong.extend(tried(&world, *is, &say).await.err().map(|fault| format!("{what}: {fault}")));
    }
    for (what, frames, is) in FRAMES {
        say(Box::new(frames));
        wrong.extend(tried(&world, *is, &say).await.err().map(|fault| format!("{what}: {fault}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn tried(world: &World, is: Is, say: &dyn Fn(Speech)) -> Result<(), String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {H2}\r\n\r\n");
    let mut stream: Box<dyn Stream> = Box::new(world.tls(H2).await);
    let got = ask(&mut stream, &request).await?;
    judged(got.as_ref().map(|response| (response.status(), response)), is)?;
    if got.is_none() {
        stream = Box::new(world.tls(H2).await);
    }
    say(Box::new(|id| [head(0, id, &[OK]), data(END_STREAM, id, "next")].concat()));
    let next = ask(&mut stream, &request).await?;
    same(next.map(|next| next.text()), Some("next".to_owned()))
}
