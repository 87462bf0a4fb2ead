//! The table of raw answers, for clients of both versions: exactly one answer with one meaning comes, or a refusal with its
//! code, or an answer that is seen to break off; and a connection whose framing is in doubt is used for nothing more.

use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;

use super::entries::Stream;
use super::requests::same;
use crate::support::client::Response;
use crate::support::http2::{self, ONE_WORKER};
use crate::support::origin::{Received, find, until};
use crate::support::{CRM, World, soon};

/// What a client gets.
#[derive(Clone, Copy)]
pub enum Is {
    /// A whole answer with this status and content.
    Whole(u16, &'static str),
    /// 502 `upstream_protocol`.
    Refused,
    /// A head, and a content that breaks off; or a refusal where nothing had gone out yet.
    Broken,
}
use Is::{Broken, Refused, Whole};

/// What becomes of the connection that the answer came on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Kept,
    Gone,
}
use Then::{Gone, Kept};

/// Name, method, bytes, whether the upstream closes behind them, and what becomes of it.
type Case = (&'static str, &'static str, &'static str, bool, Is, Then);

/// Another answer, behind the one that was asked for.
macro_rules! poison {
    ($before:literal) => {
        concat!($before, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    };
}

/// A whole head with these fields, and what follows it.
macro_rules! ok {
    ($fields:literal, $content:literal) => {
        concat!("HTTP/1.1 200 OK\r\n", $fields, "\r\n", $content)
    };
}

const LENGTHS: &[Case] = &[
    ("a length", "GET", ok!("Content-Length: 2\r\n", "ok"), false, Whole(200, "ok"), Kept),
    ("chunks", "GET", ok!("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), false, Whole(200, "ok"), Kept),
    ("no length", "GET", ok!("", "ok"), true, Whole(200, "ok"), Gone),
    ("HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n\r\nok", true, Whole(200, "ok"), Gone),
    (
        "CL.TE",
        "GET",
        ok!("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
        false,
        Whole(200, "ok"),
        Gone,
    ),
    (
        "TE.CL",
        "GET",
        ok!("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", "2\r\nok\r\n0\r\n\r\n"),
        false,
        Whole(200, "ok"),
        Gone,
    ),
    (
        "chunked twice",
        "GET",
        ok!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
        false,
        Refused,
        Gone,
    ),
    ("gzip, chunked", "GET", ok!("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), false, Refused, Gone),
    ("chunked, identity", "GET", ok!("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), true, Refused, Gone),
    ("xchunked", "GET", ok!("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), true, Refused, Gone),
    ("identity", "GET", ok!("Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "ok"), true, Refused, Gone),
    ("chunked with a vertical tab", "GET", ok!("Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n"), true, Refused, Gone),
    ("an empty coding", "GET", ok!("Transfer-Encoding:\r\n", "0\r\n\r\n"), true, Refused, Gone),
    (
        "chunked in HTTP/1.0",
        "GET",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        true,
        Refused,
        Gone,
    ),
    ("two lengths", "GET", ok!("Content-Length: 2\r\nContent-Length: 8\r\n", "ok"), false, Refused, Gone),
    ("two lengths in one field", "GET", ok!("Content-Length: 2, 8\r\n", "ok"), false, Refused, Gone),
    ("one length twice", "GET", ok!("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), false, Whole(200, "ok"), Gone),
    ("one length twice in one field", "GET", ok!("Content-Length: 2, 2\r\n", "ok"), false, Whole(200, "ok"), Gone),
    ("a length with a plus", "GET", ok!("Content-Length: +2\r\n", "ok"), false, Refused, Gone),
    ("a length with a minus", "GET", ok!("Content-Length: -2\r\n", "ok"), false, Refused, Gone),
    ("a length in hexadecimal", "GET", ok!("Content-Length: 0x2\r\n", "ok"), false, Refused, Gone),
    ("an empty length", "GET", ok!("Content-Length:\r\n", "ok"), false, Refused, Gone),
    (
        "a length that others read as octal",
        "GET",
        ok!("Content-Length: 010\r\n", "0123456789"),
        false,
        Whole(200, "0123456789"),
        Gone,
    ),
    ("a length of 2^64", "GET", ok!("Content-Length: 18446744073709551616\r\n", "ok"), false, Refused, Gone),
    (
        "a length with an underscore",
        "GET",
        ok!("Content-Length: 2\r\nContent_Length: 8\r\n", "ok"),
        false,
        Whole(200, "ok"),
        Kept,
    ),
    ("a length that is not reached", "GET", ok!("Content-Length: 8\r\n", "ok"), true, Broken, Gone),
    ("a length that is exceeded", "GET", ok!("Content-Length: 1\r\n", "ok"), false, Whole(200, "o"), Gone),
    (
        "Connection names the length",
        "GET",
        ok!("Connection: content-length\r\nContent-Length: 2\r\n", "ok"),
        false,
        Whole(200, "ok"),
        Kept,
    ),
];

const HEADS: &[Case] = &[
    ("HTTP/0.9", "GET", "<html>ok</html>", true, Refused, Gone),
    ("nothing", "GET", "", true, Refused, Gone),
    ("another protocol", "GET", "SSH-2.0-OpenSSH\r\n", true, Refused, Gone),
    ("ICY", "GET", "ICY 200 OK\r\nContent-Length: 0\r\n\r\n", false, Refused, Gone),
    ("HTTP/2.0 in words", "GET", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, Refused, Gone),
    ("HTTP/1.2", "GET", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", false, Refused, Gone),
    ("a status of two digits", "GET", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", false, Refused, Gone),
    ("a status of four digits", "GET", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", false, Refused, Gone),
    ("a status below 100", "GET", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", false, Refused, Gone),
    ("a status with a sign", "GET", "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n", false, Refused, Gone),
    ("a request for an answer", "GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, Refused, Gone),
    ("a blank before the status line", "GET", " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, Refused, Gone),
    ("folding", "GET", ok!("X: a\r\n b\r\nContent-Length: 2\r\n", "ok"), false, Refused, Gone),
    ("a folded length", "GET", ok!("Content-Length:\r\n 2\r\n", "ok"), false, Refused, Gone),
    ("a blank before a colon", "GET", ok!("Content-Length : 2\r\n", "ok"), false, Refused, Gone),
    ("a blank in a name", "GET", ok!("X Y: a\r\nContent-Length: 2\r\n", "ok"), false, Refused, Gone),
    ("no name", "GET", ok!(": a\r\nContent-Length: 2\r\n", "ok"), false, Refused, Gone),
    ("no colon", "GET", ok!("X\r\nContent-Length: 2\r\n", "ok"), false, Refused, Gone),
    ("NUL in a value", "GET", ok!("X: a\0\r\nContent-Length: 2\r\n", "ok"), false, Refused, Gone),
    ("NUL in the reason", "GET", "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok", false, Refused, Gone),
    ("a control in a value", "GET", ok!("X: a\u{1}\r\nContent-Length: 2\r\n", "ok"), false, Refused, Gone),
    ("a bare CR in a value", "GET", ok!("X: a\rSet-Cookie: b\r\nContent-Length: 2\r\n", "ok"), false, Refused, Gone),
    ("a bare CR in the reason", "GET", "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok", false, Refused, Gone),
    ("bare LF everywhere", "GET", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", false, Whole(200, "ok"), Kept),
    ("one bare LF", "GET", ok!("X: a\nContent-Length: 2\r\n", "ok"), false, Whole(200, "ok"), Kept),
    ("a bare LF for the empty line", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok", false, Whole(200, "ok"), Kept),
    ("a head that breaks off", "GET", "HTTP/1.1 200 OK\r\nContent-Le", true, Refused, Gone),
    (
        "a protocol nobody asked for",
        "GET",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        false,
        Refused,
        Gone,
    ),
    (
        "100 and then the answer",
        "GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
        Whole(200, "ok"),
        Kept,
    ),
    (
        "103 with fields",
        "GET",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
        Whole(200, "ok"),
        Kept,
    ),
    (
        "100 with a length",
        "GET",
        "HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
        Refused,
        Gone,
    ),
    ("100 and nothing more", "GET", "HTTP/1.1 100 Continue\r\n\r\n", true, Refused, Gone),
];

const CONTENTS: &[Case] = &[
    (
        "another answer behind a length",
        "GET",
        poison!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        false,
        Whole(200, "ok"),
        Gone,
    ),
    (
        "another answer behind the last chunk",
        "GET",
        poison!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        false,
        Whole(200, "ok"),
        Gone,
    ),
    (
        "another answer behind nothing",
        "GET",
        poison!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        false,
        Whole(200, ""),
        Gone,
    ),
    ("a line end behind a length", "GET", ok!("Content-Length: 2\r\n", "ok\r\n"), false, Whole(200, "ok"), Gone),
    ("a content of HEAD", "HEAD", poison!("HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n"), false, Whole(200, ""), Gone),
    ("chunks of HEAD", "HEAD", ok!("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), false, Whole(200, ""), Gone),
    ("a content of 204", "GET", poison!("HTTP/1.1 204 No Content\r\n\r\n"), false, Whole(204, ""), Gone),
    (
        "a content of 204 with its length",
        "GET",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        false,
        Whole(204, ""),
        Gone,
    ),
    (
        "chunks of 204",
        "GET",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        false,
        Whole(204, ""),
        Gone,
    ),
    ("a content of 304", "GET", poison!("HTTP/1.1 304 Not Modified\r\nContent-Length: 46\r\n\r\n"), false, Whole(304, ""), Gone),
    ("304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 46\r\n\r\n", false, Whole(304, ""), Kept),
    ("a chunk size with a plus", "GET", ok!("Transfer-Encoding: chunked\r\n", "+2\r\nok\r\n0\r\n\r\n"), false, Broken, Gone),
    ("a chunk size with a minus", "GET", ok!("Transfer-Encoding: chunked\r\n", "-2\r\nok\r\n0\r\n\r\n"), false, Broken, Gone),
    ("a chunk size with 0x", "GET", ok!("Transfer-Encoding: chunked\r\n", "0x2\r\nok\r\n0\r\n\r\n"), false, Broken, Gone),
    ("a blank before a chunk size", "GET", ok!("Transfer-Encoding: chunked\r\n", " 2\r\nok\r\n0\r\n\r\n"), false, Broken, Gone),
    (
        "a chunk size of 17 digits",
        "GET",
        ok!("Transfer-Encoding: chunked\r\n", "10000000000000002\r\nok\r\n0\r\n\r\n"),
        false,
        Broken,
        Gone,
    ),
    ("no chunk size", "GET", ok!("Transfer-Encoding: chunked\r\n", "\r\nok\r\n0\r\n\r\n"), false, Broken, Gone),
    ("a bare LF behind a chunk size", "GET", ok!("Transfer-Encoding: chunked\r\n", "2\nok\r\n0\r\n\r\n"), false, Broken, Gone),
    ("a bare LF in an extension", "GET", ok!("Transfer-Encoding: chunked\r\n", "2;a\nok\r\n0\r\n\r\n"), false, Broken, Gone),
    ("a long chunk", "GET", ok!("Transfer-Encoding: chunked\r\n", "2\r\nokay\r\n0\r\n\r\n"), false, Broken, Gone),
    ("a bare LF behind a chunk", "GET", ok!("Transfer-Encoding: chunked\r\n", "2\r\nok\n0\r\n\r\n"), false, Broken, Gone),
    ("a bare LF for the last line", "GET", ok!("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\n"), true, Broken, Gone),
    ("chunks that break off", "GET", ok!("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n"), true, Broken, Gone),
    (
        "an answer for a trailer",
        "GET",
        ok!("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        false,
        Broken,
        Gone,
    ),
    (
        "an extension of a chunk",
        "GET",
        ok!("Transfer-Encoding: chunked\r\n", "2;a=\"b\"\r\nok\r\n0\r\n\r\n"),
        false,
        Whole(200, "ok"),
        Kept,
    ),
    (
        "trailers that rule framing",
        "GET",
        ok!("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n"),
        false,
        Whole(200, "ok"),
        Kept,
    ),
];

/// What the origin says next, and whether it closes then.
type Said = Arc<Mutex<(String, bool)>>;

async fn world() -> (World, Said) {
    let said: Said = Arc::default();
    let script = Arc::clone(&said);
    let answers = move |request: &Received| {
        if request.line().contains(" /next ") {
            return (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext".to_vec(), false);
        }
        let (bytes, closes) = script.lock().expect("no test panics with it").clone();
        (bytes.into_bytes(), closes)
    };
    (World::with(ONE_WORKER, Arc::new(answers)).await, said)
}

fn cases() -> impl Iterator<Item = &'static Case> {
    LENGTHS.iter().chain(HEADS).chain(CONTENTS)
}

#[tokio::test]
async fn every_answer_has_one_meaning_or_none_for_clients_of_http1() {
    let (world, said) = world().await;
    let mut wrong = Vec::new();
    for (what, method, bytes, closes, is, then) in cases() {
        *said.lock().expect("no test panics with it") = ((*bytes).to_owned(), *closes);
        let tried = async {
            let mut stream: Box<dyn Stream> = Box::new(world.tls(CRM).await);
            let got = ask(&mut stream, &format!("{method} /case HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await?;
            judged(got.as_ref().map(|response| (response.status(), response)), *is)?;
            let asked = world.crm.received().pop().expect("it was asked").connection;
            if got.is_none() {
                stream = Box::new(world.tls(CRM).await);
            }
            let next = ask(&mut stream, &format!("GET /next HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await?;
            same(next.map(|next| next.text()), Some("next".to_owned()))?;
            same(world.crm.received().pop().expect("it was asked").connection == asked, *then == Kept)
        };
        wrong.extend(tried.await.err().map(|fault| format!("{what}: {fault}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub fn judged(got: Option<(u16, &Response)>, is: Is) -> Result<(), String> {
    match (is, got) {
        (Whole(status, content), Some((found, response))) => {
            same((found, response.text().as_str()), (status, content))?;
            same(response.fields("proxy-status").len(), 0)
        }
        (Refused | Broken, Some((502, response))) => same(response.refusal().as_str(), "upstream_protocol"),
        (Broken, None) => Ok(()),
        (_, got) => Err(format!("{got:?}")),
    }
}

#[tokio::test]
async fn every_answer_has_one_meaning_or_none_for_clients_of_http2() {
    let (world, said) = world().await;
    let client = world.http2(CRM).await;
    let mut wrong = Vec::new();
    for (what, method, bytes, closes, is, then) in cases() {
        *said.lock().expect("no test panics with it") = ((*bytes).to_owned(), *closes);
        let tried = async {
            let got = http2::ask(&client, http2::to(method, CRM, "/case").body("").expect("a request")).await.ok();
            let response = got.map(|got| Response { head: got.head(), body: got.body });
            judged(response.as_ref().map(|response| (response.status(), response)), *is)?;
            let asked = world.crm.received().pop().expect("it was asked").connection;
            let next = http2::ask(&client, http2::to("GET", CRM, "/next").body("").expect("a request")).await;
            same(next.map_err(|fault| fault.to_string())?.text().as_str(), "next")?;
            same(world.crm.received().pop().expect("it was asked").connection == asked, *then == Kept)
        };
        wrong.extend(tried.await.err().map(|fault| format!("{what}: {fault}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sends a request and reads its answer as strictly as can be; nothing where the connection ended within it.
pub async fn ask(stream: &mut Box<dyn Stream>, request: &str) -> Result<Option<Response>, String> {
    soon(async {
        stream.write_all(request.as_bytes()).await.map_err(|fault| fault.to_string())?;
        stream.flush().await.map_err(|fault| fault.to_string())?;
        let mut buffer = Vec::new();
        let head = until(stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await;
        let Some(head) = head else { return if buffer.is_empty() { Ok(None) } else { Err("half a head".to_owned()) } };
        let mut response = Response { head: String::from_utf8_lossy(&head).into_owned(), body: Vec::new() };
        let (lengths, codings) = (response.fields("content-length"), response.fields("transfer-encoding"));
        let bodiless = request.starts_with("HEAD") || matches!(response.status(), 100..=199 | 204 | 304);
        let body = match (&lengths[..], &codings[..]) {
            _ if bodiless => Some(Vec::new()),
            ([length], []) => {
                let length = length.parse::<usize>().map_err(|fault| format!("{length}: {fault}"))?;
                until(stream, &mut buffer, |bytes| (bytes.len() >= length).then_some(length)).await
            }
            ([], ["chunked"]) => chunks(stream, &mut buffer).await,
            _ => return Err(format!("not one length: {}", response.head)),
        };
        let Some(body) = body else { return Ok(None) };
        response.body = body;
        if buffer.is_empty() { Ok(Some(response)) } else { Err(format!("more behind it: {}", String::from_utf8_lossy(&buffer))) }
    })
    .await
}

async fn chunks(stream: &mut Box<dyn Stream>, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = until(stream, buffer, |bytes| find(bytes, b"\r\n").map(|at| at + 2)).await?;
        let size = std::str::from_utf8(&line).ok()?.trim_end();
        let size = usize::from_str_radix(size, 16).ok()?;
        let chunk = until(stream, buffer, |bytes| (bytes.len() >= size + 2).then_some(size + 2)).await?;
        assert!(chunk.ends_with(b"\r\n"), "{chunk:?}");
        content.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Some(content);
        }
    }
}
