//! The table for HTTP/2: what an HTTP/1.1 upstream would read as something else ends its stream or connection, is refused,
//! or goes out as exactly one request. Frames that are wrong in themselves: `http2_frames`.

use tokio::io::{AsyncRead, AsyncWriteExt};

use super::requests::{lines, same};
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, RST_STREAM, block, frame, next, open};
use crate::support::{CRM, VALUE, World, soon};

type Fields = &'static [(&'static str, &'static str)];

/// What becomes of a request.
enum Is {
    /// The library ends its stream or the connection; nothing arrives.
    Ended,
    /// Refused by us with this code; nothing arrives.
    Refused(&'static str),
    /// Exactly this head (fields in any order) and this content arrive.
    Arrives(&'static str, &'static str),
}
use Is::{Arrives, Ended, Refused};

/// What stands behind the fields of a plain GET, or POST where there is a content.
const FIELDS: &[(&str, Fields, Is)] = &[
    ("CR LF in a value", &[("x", "a\r\nTransfer-Encoding: chunked")], Ended),
    ("CR LF CR LF in a value", &[("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x")], Ended),
    ("LF in a value", &[("x", "a\nb: c")], Ended),
    ("CR in a value", &[("x", "a\rb: c")], Ended),
    ("NUL in a value", &[("x", "a\0b")], Ended),
    ("DEL in a value", &[("x", "a\u{7f}")], Ended),
    ("CR LF in a cookie", &[("cookie", "a=b\r\nx: y")], Ended),
    ("CR LF in a name", &[("x: y\r\nz", "a")], Ended),
    ("LF in a name", &[("x\ny", "a")], Ended),
    ("NUL in a name", &[("x\0", "a")], Ended),
    ("a colon in a name", &[("x:y", "a")], Ended),
    ("a colon at the end of a name", &[("transfer-encoding:", "chunked")], Ended),
    ("a blank in a name", &[("x y", "a")], Ended),
    ("a blank behind a name", &[("transfer-encoding ", "chunked")], Ended),
    ("a request line for a name", &[("get / http/1.1", "x")], Ended),
    ("a name in upper case", &[("Transfer-Encoding", "chunked")], Ended),
    ("an empty name", &[("", "a")], Ended),
    ("a name beyond ASCII", &[("\u{e4}", "a")], Ended),
    ("a blank before a value", &[("x", " a")], Refused("malformed_request")),
    ("a tab behind a value", &[("x", "a\t")], Refused("malformed_request")),
    ("Transfer-Encoding", &[("transfer-encoding", "chunked")], Ended),
    ("Transfer-Encoding of nothing", &[("transfer-encoding", "")], Ended),
    ("Connection", &[("connection", "x")], Ended),
    ("Keep-Alive", &[("keep-alive", "x")], Ended),
    ("Proxy-Connection", &[("proxy-connection", "x")], Ended),
    ("Upgrade", &[("upgrade", "h2c")], Ended),
    ("TE of something else", &[("te", "chunked")], Ended),
    ("Transfer-Encoding with an underscore", &[("transfer_encoding", "chunked")], Refused("malformed_request")),
    ("Content-Length with an underscore", &[("content_length", "5")], Refused("malformed_request")),
    ("another Host", &[("host", "evil.example.net")], Refused("malformed_request")),
    ("two Hosts", &[("host", CRM), ("host", CRM)], Refused("malformed_request")),
    ("Host with a user", &[("host", "me@api.crm.example.com")], Refused("malformed_request")),
    ("a second :path", &[(":path", "/x")], Ended),
    ("a second :authority", &[(":authority", "evil.example.net")], Ended),
    ("a second :method", &[(":method", "POST")], Ended),
    (":protocol without CONNECT", &[(":protocol", "websocket")], Ended),
    ("Host again", &[("host", CRM)], Arrives("GET / HTTP/1.1\r\nhost: api.crm.example.com\r\n\r\n", "")),
    ("HTTP2-Settings", &[("http2-settings", "AAMAAABk")], Arrives("GET / HTTP/1.1\r\nhost: api.crm.example.com\r\n\r\n", "")),
    (
        "Expect",
        &[("expect", "100-continue")],
        Arrives("GET / HTTP/1.1\r\nhost: api.crm.example.com\r\nexpect: 100-continue\r\n\r\n", ""),
    ),
    (
        "crumbs",
        &[("cookie", "a=1"), ("cookie", "b=2")],
        Arrives("GET / HTTP/1.1\r\nhost: api.crm.example.com\r\ncookie: a=1; b=2\r\n\r\n", ""),
    ),
];

/// Pseudo-header fields instead of those of a plain GET.
const PSEUDO: &[(&str, Fields, Is)] = &[
    ("a request line in :method", &[(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"), GET[1], GET[2], GET[3]], Ended),
    ("a blank in :method", &[(":method", "GET /x"), GET[1], GET[2], GET[3]], Ended),
    ("an empty :method", &[(":method", ""), GET[1], GET[2], GET[3]], Ended),
    ("a request line in :path", &[GET[0], GET[1], GET[2], (":path", "/ HTTP/1.1\r\nx: y\r\n\r\nGET /")], Ended),
    ("a version in :path", &[GET[0], GET[1], GET[2], (":path", "/ HTTP/1.1")], Ended),
    ("LF in :path", &[GET[0], GET[1], GET[2], (":path", "/\nx: y")], Ended),
    ("NUL in :path", &[GET[0], GET[1], GET[2], (":path", "/\0")], Ended),
    ("a tab in :path", &[GET[0], GET[1], GET[2], (":path", "/a\tb")], Ended),
    ("a URL in :path", &[GET[0], GET[1], GET[2], (":path", "http://evil.example.net/")], Ended),
    ("a user in :path", &[GET[0], GET[1], GET[2], (":path", "@evil.example.net/")], Ended),
    ("an empty :path", &[GET[0], GET[1], GET[2], (":path", "")], Ended),
    ("the asterisk of GET", &[GET[0], GET[1], GET[2], (":path", "*")], Refused("malformed_request")),
    ("CR LF in :authority", &[GET[0], GET[1], (":authority", "api.crm.example.com\r\nx: y"), GET[3]], Ended),
    ("a blank in :authority", &[GET[0], GET[1], (":authority", "api.crm.example.com evil"), GET[3]], Ended),
    ("a path in :authority", &[GET[0], GET[1], (":authority", "api.crm.example.com/x"), GET[3]], Ended),
    ("a user in :authority", &[GET[0], GET[1], (":authority", "me@api.crm.example.com"), GET[3]], Refused("malformed_request")),
    ("another :authority", &[GET[0], GET[1], (":authority", "evil.example.net"), GET[3]], Refused("misdirected")),
    ("another port", &[GET[0], GET[1], (":authority", "api.crm.example.com:80"), GET[3]], Refused("misdirected")),
    ("a reference in :authority", &[GET[0], GET[1], (":authority", "{secrets.crm.apiKey}"), GET[3]], Ended),
    ("an empty :authority", &[GET[0], GET[1], (":authority", ""), GET[3]], Ended),
    ("neither :authority nor Host", &[GET[0], GET[1], GET[3]], Refused("misdirected")),
    ("another Host alone", &[GET[0], GET[1], GET[3], ("host", "evil.example.net")], Refused("misdirected")),
    ("a request in :scheme", &[GET[0], (":scheme", "http://evil.example.net/?"), GET[2], GET[3]], Ended),
    ("CR LF in :scheme", &[GET[0], (":scheme", "https\r\nx: y"), GET[2], GET[3]], Ended),
    ("another :scheme", &[GET[0], (":scheme", "http"), GET[2], GET[3]], Refused("misdirected")),
    ("an unknown :scheme", &[GET[0], (":scheme", "ftp"), GET[2], GET[3]], Refused("misdirected")),
    ("CONNECT", &[(":method", "CONNECT"), (":authority", "evil.example.net:443")], Refused("malformed_request")),
    (
        "a path that looks like a host",
        &[GET[0], GET[1], GET[2], (":path", "//evil.example.net/../%0d%0a")],
        Arrives("GET //evil.example.net/../%0d%0a HTTP/1.1\r\nhost: api.crm.example.com\r\n\r\n", ""),
    ),
];

const POST: [(&str, &str); 4] = [(":method", "POST"), GET[1], GET[2], GET[3]];
/// 35 bytes.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// Lengths and trailers around a content that reads like a request.
const CONTENTS: &[(&str, Fields, Fields, Is)] = &[
    ("a length that is too short", &[("content-length", "0")], &[], Ended),
    ("a length that is too long", &[("content-length", "36")], &[], Ended),
    ("two lengths", &[("content-length", "35"), ("content-length", "0")], &[], Ended),
    ("one length twice", &[("content-length", "35"), ("content-length", "35")], &[], Refused("malformed_request")),
    ("two lengths in one field", &[("content-length", "35, 35")], &[], Ended),
    ("a length with a plus", &[("content-length", "+35")], &[], Ended),
    ("a length that others read as octal", &[("content-length", "035")], &[], Refused("malformed_request")),
    ("a length and a coding", &[("content-length", "35"), ("transfer-encoding", "chunked")], &[], Ended),
    ("CR LF in a trailer", &[], &[("x", "a\r\n\r\nGET /smuggled HTTP/1.1")], Ended),
    ("a length for a trailer", &[], &[("content-length", "0")], Refused("malformed_request")),
    ("a host for a trailer", &[], &[("host", "evil.example.net")], Refused("malformed_request")),
    (
        "a length that is kept",
        &[("content-length", "35")],
        &[],
        Arrives("POST / HTTP/1.1\r\nhost: api.crm.example.com\r\ncontent-length: 35\r\n\r\n", SMUGGLED),
    ),
    (
        "a pseudo-header field for a trailer, which the library leaves out",
        &[],
        &[(":path", "/x")],
        Arrives(
            "POST / HTTP/1.1\r\nhost: api.crm.example.com\r\ntransfer-encoding: chunked\r\n\r\n",
            "23\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
        ),
    ),
    (
        "no length",
        &[],
        &[],
        Arrives(
            "POST / HTTP/1.1\r\nhost: api.crm.example.com\r\ntransfer-encoding: chunked\r\n\r\n",
            "23\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
        ),
    ),
];

#[tokio::test]
async fn every_request_of_http2_has_one_meaning_in_http1_or_none() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for (what, more, is) in FIELDS {
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[&GET[..], more].concat()));
        wrong.extend(tried(&world, &bytes, is).await.err().map(|fault| format!("{what}: {fault}")));
    }
    for (what, fields, is) in PSEUDO {
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
        wrong.extend(tried(&world, &bytes, is).await.err().map(|fault| format!("{what}: {fault}")));
    }
    for (what, more, trailers, is) in CONTENTS {
        let head = frame(HEADERS, END_HEADERS, 1, &block(&[&POST[..], more].concat()));
        let last = if trailers.is_empty() { END_STREAM } else { 0 };
        let mut bytes = [head, frame(DATA, last, 1, SMUGGLED.as_bytes())].concat();
        if !trailers.is_empty() {
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(trailers)));
        }
        wrong.extend(tried(&world, &bytes, is).await.err().map(|fault| format!("{what}: {fault}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn tried(world: &World, bytes: &[u8], is: &Is) -> Result<(), String> {
    let before = (world.crm.received().len(), world.evil.connections(), world.crm_plain.connections());
    let mut stream = open(world).await;
    let after = frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&[GET[0], GET[1], GET[2], (":path", "/next"), KEY]));
    // What is wrong may be noticed while the rest is being sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    let first = end(&mut stream, 1).await;
    let arrived = world.crm.received().split_off(before.0);
    match is {
        Ended => same((first.as_str(), arrived.len()), ("", 0))?,
        Refused(code) => same((code_of(&first).as_str(), arrived.len()), (*code, 0))?,
        Arrives(head, content) => {
            same((first.as_str(), arrived.len()), ("ok", 1))?;
            same((lines(&arrived[0].head), arrived[0].text().as_str()), (lines(head), *content))?;
        }
    }
    same((world.evil.connections(), world.crm_plain.connections()), (before.1, before.2))?;
    // The connection is in step, or has ended.
    let sent = stream.write_all(&after).await.is_ok() && stream.flush().await.is_ok();
    let second = if sent { end(&mut stream, 3).await } else { String::new() };
    let later = world.crm.received().split_off(before.0 + arrived.len());
    match (is, second.as_str()) {
        (Ended, "") => same(later.len(), 0),
        _ => {
            same((second.as_str(), later.len(), later[0].line(), later[0].field("x-key")), ("ok", 1, "GET /next HTTP/1.1", VALUE))
        }
    }
}

const KEY: (&str, &str) = ("x-key", "{secrets.crm.apiKey}");

/// What came as content on a stream until it, or the connection, ended; nothing where that was no ordinary end.
async fn end<S: AsyncRead + Unpin>(stream: &mut S, number: u32) -> String {
    soon(async {
        let mut content = Vec::new();
        loop {
            match next(stream).await {
                None => return String::new(),
                Some(frame) if frame.kind == GOAWAY && frame.payload[4..8] != [0; 4] => return String::new(),
                Some(frame) if frame.stream == number && frame.kind == RST_STREAM => return String::new(),
                Some(frame) if frame.stream == number && matches!(frame.kind, DATA | HEADERS) => {
                    if frame.kind == DATA {
                        content.extend_from_slice(&frame.payload);
                    }
                    if frame.flags & END_STREAM != 0 {
                        return String::from_utf8_lossy(&content).into_owned();
                    }
                }
                Some(_) => {}
            }
        }
    })
    .await
}

fn code_of(content: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
    problem["code"].as_str().unwrap_or(content).to_owned()
}
