//! What an upstream echoes: values that were sent are not handed to the runner, in whatever form, place and
//! coding they stand; framing stays valid and streams stay prompt.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::UnixStream;

use super::streams::{chunk, chunked, free_world, read_until, unchunked};
use super::support::client::{Response, exchange, exchange_whole, tls_in};
use super::support::http2::{Does, H2, Http2World, ask, to};
use super::support::origin::{Received, Script, reply};
use super::support::{CRM, EVIL, Proxy, VALUE, World, read_response, soon};

const REFERENCE: &str = "{secrets.crm.apiKey}";

/// The value in the forms that upstreams write, and what the runner gets in its place.
fn forms(value: &str) -> Vec<(&'static str, String, String)> {
    let basic = |text: &str| STANDARD.encode(format!("me:{text}"));
    vec![
        ("raw", value.to_owned(), REFERENCE.to_owned()),
        ("json", value.replace('/', "\\/"), REFERENCE.to_owned()),
        ("unicode", value.replace('+', "\\u002B"), REFERENCE.to_owned()),
        ("percent", value.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"), "%7Bsecrets.crm.apiKey%7D".to_owned()),
        ("lower", value.replace('/', "%2f").replace('+', "%2b").replace('=', "%3d"), "%7Bsecrets.crm.apiKey%7D".to_owned()),
        ("html", value.replace('+', "&#43;"), REFERENCE.to_owned()),
        ("one", STANDARD.encode(value), STANDARD.encode(REFERENCE)),
        ("two", STANDARD.encode(format!("x{value}yz")), STANDARD.encode(format!("x{REFERENCE}yz"))),
        ("three", STANDARD.encode(format!("xy{value}")), STANDARD.encode(format!("xy{REFERENCE}"))),
        ("basic", basic(value), basic(REFERENCE)),
    ]
}

fn encode(coding: &str, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        }
        "br" => {
            let mut encoded = Vec::new();
            brotli::CompressorWriter::new(&mut encoded, 4096, 5, 20).write_all(text).expect("memory");
            encoded
        }
        "zstd" => ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest),
        _ => text.to_vec(),
    }
}

fn decode(coding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "gzip" => flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text).expect("gzip"),
        "deflate" => flate2::read::ZlibDecoder::new(bytes).read_to_string(&mut text).expect("zlib"),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text).expect("brotli"),
        "zstd" => ruzstd::decoding::StreamingDecoder::new(bytes).expect("zstd").read_to_string(&mut text).expect("zstd"),
        _ => {
            text.push_str(std::str::from_utf8(bytes).expect("text"));
            bytes.len()
        }
    };
    text
}

/// Answers `/FORM/CODING/FRAMING` with the key that came, in the head and in the content.
fn echo() -> Script {
    Arc::new(|request: &Received| {
        let parts: Vec<String> = request.line().split([' ', '/', '?']).skip(2).take(3).map(str::to_owned).collect();
        let key = request.fields("x-key").first().map_or_else(|| VALUE.to_owned(), |key| (*key).to_owned());
        let (_, text, _) = forms(&key).into_iter().find(|(name, ..)| *name == parts[0]).expect("a form");
        let body = encode(&parts[1], format!("{{\"echo\":\"{text}\"}}").as_bytes());
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Echo: <{text}>\r\n").into_bytes();
        if parts[1] != "identity" {
            answer.extend_from_slice(format!("Content-Encoding: {}\r\n", parts[1]).as_bytes());
        }
        if parts[2] == "length" {
            answer.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            answer.extend_from_slice(&body);
        } else {
            answer.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            // Every byte by itself.
            for byte in body {
                answer.extend_from_slice(b"1\r\n");
                answer.extend_from_slice(&[byte, b'\r', b'\n']);
            }
            answer.extend_from_slice(b"0\r\n\r\n");
        }
        (answer, false)
    })
}

fn get(host: &str, path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

const KEY: &str = "X-Key: {secrets.crm.apiKey}\r\n";

/// The data of a content, whichever way it was framed.
fn data(response: &Response) -> Vec<u8> {
    if response.fields("transfer-encoding") == ["chunked"] { unchunked(&response.body) } else { response.body.clone() }
}

#[tokio::test]
async fn an_echo_gives_way_to_a_reference_in_every_form_place_and_coding() {
    let world = World::with("", echo()).await;
    let mut stream = world.tls(CRM).await;
    for (form, _, wanted) in forms(VALUE) {
        for coding in ["identity", "gzip", "deflate", "br", "zstd"] {
            for framing in ["length", "chunked"] {
                let response = exchange(&mut stream, &get(CRM, &format!("/{form}/{coding}/{framing}"), KEY)).await;
                let body = data(&response);
                assert_eq!(decode(coding, &body), format!("{{\"echo\":\"{wanted}\"}}"), "{form} {coding} {framing}");
                assert_eq!(response.fields("x-echo"), [format!("<{wanted}>")], "{form}");
                let length = response.fields("content-length");
                assert_eq!(length, if framing == "length" { vec![body.len().to_string()] } else { vec![] });
            }
        }
    }
    assert!(world.crm.received().iter().all(|got| got.field("x-key") == VALUE));
    // What the runner got works when it is sent again.
    let response = exchange(&mut stream, &get(CRM, "/raw/identity/length", KEY)).await;
    let echoed = response.json()["echo"].as_str().expect("text").to_owned();
    exchange(&mut stream, &get(CRM, "/raw/identity/length", &format!("X-Key: {echoed}\r\n"))).await;
    assert_eq!(world.crm.received().pop().expect("it arrived").field("x-key"), VALUE);
}

#[tokio::test]
async fn what_was_sent_lately_is_found_in_later_answers_of_that_origin_to_that_organization() {
    let world = World::with("", echo()).await;
    let path = "/raw/identity/length";
    let echoed = |response: &Response| response.json()["echo"].as_str().expect("text").to_owned();
    let before = world.send_tls(CRM, &get(CRM, path, "")).await;
    assert_eq!(echoed(&before), VALUE, "it was never sent");
    world.send_tls(CRM, &get(CRM, path, KEY)).await;
    assert_eq!(echoed(&world.send_tls(CRM, &get(CRM, path, "")).await), REFERENCE, "on another connection");
    assert_eq!(echoed(&world.send_tls(EVIL, &get(EVIL, path, "")).await), VALUE, "another origin");
    // Changed since, and gone.
    world.proxy.must(&["secret", "edit", "crm.apiKey", "--value-stdin"], "another-value").await;
    assert_eq!(echoed(&world.send_tls(CRM, &get(CRM, path, "")).await), REFERENCE);
    world.proxy.must(&["secret", "delete", "crm.apiKey", "--yes"], "").await;
    assert_eq!(echoed(&world.send_tls(CRM, &get(CRM, path, "")).await), REFERENCE);
    // Runners that may not use it, of this organization and of another, learn nothing of it.
    world.proxy.must(&["organization", "create", "acme"], "").await;
    let mut tokens = Vec::new();
    for arguments in [
        &["runner", "create", "limited", "--secret", "other.*"][..],
        &["runner", "create", "theirs", "--organization", "acme"],
        &["runner", "create", "ours"],
    ] {
        tokens.push(world.proxy.must(arguments, "").await.trim().to_owned());
    }
    for (token, wanted) in tokens.iter().zip([VALUE, VALUE, REFERENCE]) {
        let mut stream = world.connect().await;
        let connect = format!("CONNECT {CRM}:443 HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
        assert_eq!(exchange(&mut stream, &connect).await.status(), 200);
        let mut stream = tls_in(stream, CRM, &world.ca()).await.expect("TLS");
        assert_eq!(echoed(&exchange(&mut stream, &get(CRM, path, "")).await), wanted);
    }
}

#[tokio::test]
async fn framing_stays_valid_whatever_is_found() {
    let script: Script = Arc::new(|request: &Received| {
        let value = VALUE;
        let length = value.len();
        let text = "Content-Type: text/plain\r\n";
        let answer = match request.line().split(' ').nth(1).expect("a target") {
            "/none" => format!("HTTP/1.1 200 OK\r\n{text}Content-MD5: x\r\nContent-Length: 4\r\n\r\nnone"),
            "/head" => format!("HTTP/1.1 200 OK\r\n{text}Content-Length: {length}\r\n\r\n"),
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "/304" => format!("HTTP/1.1 304 Not Modified\r\nETag: \"{value}\"\r\nContent-Length: {length}\r\n\r\n"),
            "/part" => format!(
                "HTTP/1.1 206 Partial Content\r\n{text}Content-Range: bytes 0-{}/99\r\nContent-Length: {}\r\n\r\n<{value}>",
                length + 1,
                length + 2
            ),
            "/digest" => format!(
                "HTTP/1.1 200 OK\r\n{text}Content-MD5: x\r\nDigest: x\r\nContent-Digest: x\r\nRepr-Digest: x\r\nX-End: 1\r\nContent-Length: {length}\r\n\r\n{value}"
            ),
            "/reason" => format!("HTTP/1.1 200 {value}\r\nContent-Length: 0\r\n\r\n"),
            "/trailers" => format!(
                "HTTP/1.1 200 OK\r\n{text}Trailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-End: {value}\r\n\r\n"
            ),
            _ => format!("HTTP/1.1 200 OK\r\n{text}\r\n<{value}>"),
        };
        (answer.into_bytes(), request.line().contains("/close"))
    });
    let world = World::with("", script).await;
    let mut stream = world.tls(CRM).await;
    let none = exchange(&mut stream, &get(CRM, "/none", KEY)).await;
    assert_eq!((none.fields("content-length"), none.fields("content-md5"), none.text().as_str()), (vec!["4"], vec!["x"], "none"));
    let head = exchange(&mut stream, &get(CRM, "/head", KEY).replace("GET", "HEAD")).await;
    assert_eq!(head.fields("content-length"), [VALUE.len().to_string()]);
    assert_eq!(exchange(&mut stream, &get(CRM, "/204", KEY)).await.status(), 204);
    let not_modified = exchange(&mut stream, &get(CRM, "/304", KEY)).await;
    assert_eq!((not_modified.status(), not_modified.fields("etag")), (304, vec![format!("\"{REFERENCE}\"").as_str()]));
    let part = exchange(&mut stream, &get(CRM, "/part", KEY)).await;
    assert_eq!(
        (part.text(), part.fields("content-length")),
        (format!("<{}>", "*".repeat(VALUE.len())), vec![(VALUE.len() + 2).to_string().as_str()])
    );
    let digest = exchange(&mut stream, &get(CRM, "/digest", KEY)).await;
    assert_eq!((digest.text().as_str(), digest.fields("x-end")), (REFERENCE, vec!["1"]));
    assert!(!digest.head.to_lowercase().contains("digest") && digest.fields("content-md5").is_empty(), "{}", digest.head);
    assert!(exchange(&mut stream, &get(CRM, "/reason", KEY)).await.head.starts_with("HTTP/1.1 200 OK\r\n"));
    let trailers = read_trailers(&mut stream, &get(CRM, "/trailers", &format!("{KEY}TE: trailers\r\n"))).await;
    assert!(trailers.contains(&format!("x-end: {REFERENCE}\r\n")) && !trailers.contains(VALUE), "{trailers}");
    let closed = exchange(&mut stream, &get(CRM, "/close", KEY)).await;
    assert_eq!(unchunked(&closed.body), format!("<{REFERENCE}>").as_bytes());
    // HTTP/1.0 knows no chunks.
    let old = get(CRM, "/close", KEY).replace("HTTP/1.1", "HTTP/1.0");
    let old = exchange_whole(world.tls(CRM).await, &old).await;
    assert_eq!((old.text(), old.fields("transfer-encoding").len()), (format!("<{REFERENCE}>"), 0));
}

/// A whole answer with its trailers, as it came.
async fn read_trailers<S: AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut buffer = Vec::new();
    let head = read_until(stream, &mut buffer, b"\r\n0\r\n").await;
    head + &read_until(stream, &mut buffer, b"\r\n\r\n").await
}

#[tokio::test]
async fn an_event_arrives_before_the_next_is_sent() {
    const FREE: &str = "free.crm.example.com";
    let (world, mut free) = free_world("").await;
    for coding in ["", "Content-Encoding: gzip\r\n"] {
        let mut stream = world.tls(FREE).await;
        stream.write_all(get(FREE, "/", KEY).as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
        let (mut origin, _) = free.head(&mut Vec::new()).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}Transfer-Encoding: chunked\r\n\r\n");
        origin.write_all(head.as_bytes()).await.expect("sent");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        let (mut buffer, mut coded) = (Vec::new(), Vec::new());
        read_until(&mut stream, &mut buffer, b"\r\n\r\n").await;
        for event in ["data: one\n\n".to_owned(), format!("data: {VALUE}\n\n"), "data: abc123\n\n".to_owned()] {
            encoder.write_all(event.as_bytes()).expect("memory");
            encoder.flush().expect("memory");
            let piece = if coding.is_empty() { event.clone().into_bytes() } else { std::mem::take(encoder.get_mut()) };
            origin.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.expect("sent");
            origin.write_all(&piece).await.expect("sent");
            origin.write_all(b"\r\n").await.expect("sent");
            origin.flush().await.expect("sent");
            let wanted = event.replace(VALUE, REFERENCE);
            // Only what came so far.
            soon(async {
                loop {
                    coded.extend(next_chunk(&mut stream, &mut buffer).await);
                    let text = if coding.is_empty() { coded.clone() } else { gunzipped(&coded) };
                    assert!(find_text(&text, VALUE).is_none());
                    if text.ends_with(wanted.as_bytes()) {
                        return;
                    }
                }
            })
            .await;
        }
    }
}

fn find_text(bytes: &[u8], text: &str) -> Option<usize> {
    super::support::origin::find(bytes, text.as_bytes())
}

/// What can be read of a gzip content that has not ended.
fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(bytes).expect("gzip");
    decoder.flush().expect("gzip");
    decoder.get_ref().clone()
}

async fn next_chunk<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Vec<u8> {
    let head = read_until(stream, buffer, b"\r\n").await;
    let length = usize::from_str_radix(head.trim(), 16).expect("hex");
    let whole = |bytes: &[u8]| (bytes.len() >= length + 2).then_some(length + 2);
    let mut chunk = soon(super::support::origin::until(stream, buffer, whole)).await.expect("whole");
    chunk.truncate(length);
    chunk
}

#[tokio::test]
async fn a_secret_that_goes_out_after_the_answer_began_is_found_in_it() {
    const FREE: &str = "free.crm.example.com";
    let (world, mut free) = free_world("").await;
    let mut stream = world.tls(FREE).await;
    stream.write_all(chunked(FREE, "Content-Type: text/plain\r\n").as_bytes()).await.expect("sent");
    stream.write_all(chunk("begin ").as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut received = Vec::new();
    let (mut origin, _) = free.head(&mut received).await;
    origin.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("sent");
    origin.flush().await.expect("sent");
    let mut buffer = Vec::new();
    read_until(&mut stream, &mut buffer, b"\r\n\r\n").await;
    stream.write_all(chunk(REFERENCE).as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    read_until(&mut origin, &mut received, VALUE.as_bytes()).await;
    origin.write_all(chunk(&format!("<{VALUE}>")).as_bytes()).await.expect("sent");
    origin.write_all(b"0\r\n\r\n").await.expect("sent");
    origin.flush().await.expect("sent");
    let echoed = read_until(&mut stream, &mut buffer, b"0\r\n\r\n").await;
    assert!(echoed.contains(REFERENCE) && !echoed.contains(VALUE), "{echoed}");
}

#[tokio::test]
async fn what_is_not_looked_through_passes_byte_for_byte_and_is_counted() {
    let bytes = [&[0_u8, 255, 128][..], VALUE.as_bytes(), &vec![1; 200_000]].concat();
    let sent = bytes.clone();
    let script: Script = Arc::new(move |request: &Received| {
        let fields = if request.line().contains("/lzma") {
            "Content-Type: text/plain\r\nContent-Encoding: lzma\r\n"
        } else {
            "Content-Type: application/octet-stream\r\n"
        };
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", sent.len());
        ([head.as_bytes(), &sent].concat(), false)
    });
    let world = World::with("", script).await;
    for path in ["/binary", "/lzma"] {
        let response = world.send_tls(CRM, &get(CRM, path, KEY)).await;
        assert_eq!(response.fields("content-length"), [bytes.len().to_string()]);
        assert!(response.body == bytes);
    }
    let line = world.proxy.logged("answer_unsearched").await;
    assert!(line.contains("\"answer_unsearched\":\"coding\"") && line.contains("/lzma"), "{line}");
    let metrics = metrics(&world.proxy).await;
    for row in ["subrosa_answers_unsearched_total{reason=\"binary\"} 1", "subrosa_answers_unsearched_total{reason=\"coding\"} 1"]
    {
        assert!(metrics.contains(row), "{row} in {metrics}");
    }
}

async fn metrics(proxy: &Proxy) -> String {
    api(proxy, "/metrics").await.text()
}

async fn api(proxy: &Proxy, path: &str) -> Response {
    let mut stream = soon(UnixStream::connect(proxy.path("data/admin.sock"))).await.expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    read_response(&mut stream, false).await
}

#[tokio::test]
async fn it_can_be_switched_off_by_host_and_altogether() {
    for config in ["[redaction]\nexcept = [\"api.crm.example.com\"]\n", "[redaction]\nenabled = false\n"] {
        let world = World::with(config, echo()).await;
        let response = world.send_tls(CRM, &get(CRM, "/raw/identity/length", KEY)).await;
        assert_eq!(
            (response.json()["echo"].as_str(), response.fields("x-echo")),
            (Some(VALUE), vec![format!("<{VALUE}>").as_str()])
        );
    }
    let world = World::with("[redaction]\nexcept = [\"*.api.crm.example.com\"]\n", echo()).await;
    let response = world.send_tls(CRM, &get(CRM, "/raw/identity/length", KEY)).await;
    assert_eq!(response.json()["echo"], REFERENCE);
}

#[tokio::test]
async fn a_value_that_is_too_short_is_left() {
    let world = World::with("", reply("200 OK", "Content-Type: text/plain\r\n", "seven77 eight888")).await;
    world.proxy.create_secret("short", "seven77", &[]).await;
    world.proxy.create_secret("enough", "eight888", &[]).await;
    let response = world.send_tls(CRM, &get(CRM, "/", "A: {secrets.short}\r\nB: {secrets.enough}\r\n")).await;
    assert_eq!(response.text(), "seven77 {secrets.enough}");
    for (name, said, redacted) in [("short", "no, it is too short", false), ("enough", "yes", true)] {
        let shown = world.proxy.must(&["secret", "show", name], "").await;
        let line = shown.lines().find(|line| line.starts_with("Taken out of answers")).expect("it says so");
        assert!(line.contains(said), "{line}");
        let secret = api(&world.proxy, &format!("/api/v1/organizations/default/secrets/{name}")).await.json();
        assert_eq!(secret["redacted"], redacted);
    }
}

#[tokio::test]
async fn an_echo_is_told_in_the_log_in_activity_and_in_figures() {
    let world = World::with("", echo()).await;
    world.send_tls(CRM, &get(CRM, "/raw/identity/length?first", KEY)).await;
    let line = world.proxy.logged("?first").await;
    assert!(line.contains("\"redacted\":\"crm.apiKey@head crm.apiKey@body\"") && !line.contains(VALUE), "{line}");
    // Found while it streams, in the answer to a request that held no reference.
    world.send_tls(CRM, &get(CRM, "/one/identity/chunked?second", "")).await;
    let entries = soon(async {
        loop {
            let list = api(&world.proxy, "/api/v1/organizations/default/activity?echoed=true").await.json();
            let entries = list["entries"].as_array().expect("a list").clone();
            if entries.len() >= 3 {
                return entries;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let redacted: Vec<_> = entries.iter().map(|entry| parts(&entry["exchange"]["redacted"])).collect();
    assert_eq!(redacted, ["body", "head", "head body"]);
    let usage = api(&world.proxy, "/api/v1/organizations/default/secrets/crm.apiKey/usage").await.json();
    assert_eq!(usage["days"].as_object().expect("days").values().map(|day| day["forwarded"].clone()).collect::<Vec<_>>(), [1]);
    let metrics = metrics(&world.proxy).await;
    for row in ["subrosa_redactions_total{part=\"head\"} 2", "subrosa_redactions_total{part=\"body\"} 2"] {
        assert!(metrics.contains(row), "{row} in {metrics}");
    }
}

fn parts(redacted: &Value) -> String {
    let parts = redacted.as_array().into_iter().flatten();
    parts.map(|one| one["part"].as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

/// An upstream of HTTP/2 that knows the value.
fn knows(uri: &http::Uri) -> Does {
    match uri.path() {
        "/grpc" => Does::Answers(200, vec![("content-type", "application/grpc")], VALUE, vec![("grpc-message", VALUE)]),
        "/text" => Does::Answers(200, vec![("content-type", "text/plain")], VALUE, vec![("x-end", VALUE), ("digest", "x")]),
        _ => Does::Answers(200, vec![("content-type", "text/plain"), ("content-length", "19")], VALUE, vec![("x-end", VALUE)]),
    }
}

#[tokio::test]
async fn streams_of_http2_keep_their_shape_and_their_trailers_without_values() {
    let Http2World { world, .. } = Http2World::new(knows).await;
    let client = world.http2(H2).await;
    for (path, text, length, trailer) in
        [("/grpc", VALUE, None, "grpc-message"), ("/text", REFERENCE, None, "x-end"), ("/length", REFERENCE, Some("20"), "x-end")]
    {
        let request = to("GET", H2, path).header("x-key", REFERENCE).header("te", "trailers").body("").expect("a request");
        let answer = ask(&client, request).await.expect("an answer");
        let length_said = answer.fields.get("content-length").map(|value| value.to_str().expect("digits").to_owned());
        assert_eq!((answer.text().as_str(), length_said.as_deref()), (text, length), "{path}");
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(trailers[trailer], REFERENCE, "{path}");
        assert!(!trailers.contains_key("digest"));
    }
}

/// A frame as a server writes it.
fn message(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("not that long").to_be_bytes();
    let short = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let head = short.map_or_else(|| vec![first, 126, length[0], length[1]], |length| vec![first, length]);
    [head.as_slice(), payload].concat()
}

#[tokio::test]
async fn messages_of_a_websocket_are_without_values_where_they_are_looked_at() {
    const FREE: &str = "free.crm.example.com";
    let handshake = format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{KEY}"
    );
    for (config, is_on) in [
        ("[injection]\nwebsocket = true\n", true),
        ("[injection]\nwebsocket = false\n", false),
        ("[injection]\nwebsocket = true\n[redaction]\nexcept = [\"*.crm.example.com\"]\n", false),
    ] {
        let (world, mut free) = free_world(config).await;
        let mut stream = world.tls(FREE).await;
        // Whoever narrows the surfaces does not get around it.
        let request = get(FREE, "/", &format!("{handshake}Subrosa-Surfaces: header\r\n"));
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
        let (mut origin, _) = free.head(&mut Vec::new()).await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        origin.write_all(switch.as_bytes()).await.expect("sent");
        origin.flush().await.expect("sent");
        let mut buffer = Vec::new();
        read_until(&mut stream, &mut buffer, b"\r\n\r\n").await;
        let (first, second) = VALUE.split_at(7);
        let long = "x".repeat(40_000);
        let sent = [
            message(0x81, format!("{{\"k\":\"{VALUE}\"}}").as_bytes()),
            message(0x01, format!("a {first}").as_bytes()),
            message(0x89, VALUE.as_bytes()),
            message(0x80, format!("{second} b").as_bytes()),
            message(0x82, VALUE.as_bytes()),
            message(0x81, format!("{long}{VALUE}").as_bytes()),
            message(0x81, b"end"),
        ]
        .concat();
        for piece in sent.chunks(1_000) {
            origin.write_all(piece).await.expect("sent");
            origin.flush().await.expect("sent");
        }
        let got = soon(super::support::origin::until(&mut stream, &mut buffer, |bytes| {
            super::support::origin::find(bytes, &message(0x81, b"end")).map(|at| at + 5)
        }));
        let got = got.await.expect("all of it");
        if !is_on {
            assert!(got == sent, "as it came");
            continue;
        }
        let wanted = [
            message(0x81, format!("{{\"k\":\"{REFERENCE}\"}}").as_bytes()),
            message(0x01, b"a "),
            message(0x89, VALUE.as_bytes()),
            message(0x80, format!("{REFERENCE} b").as_bytes()),
            message(0x82, VALUE.as_bytes()),
        ]
        .concat();
        assert!(got.starts_with(&wanted), "{}", String::from_utf8_lossy(&got[..wanted.len()]));
        let rest = String::from_utf8_lossy(&got[wanted.len()..]).into_owned();
        assert!(rest.contains(REFERENCE) && !rest.contains(VALUE) && rest.matches('x').count() == 40_000);
        let line = world.proxy.logged("crm.apiKey@message").await;
        assert!(line.contains("\"status\":101"), "{line}");
        assert!(metrics(&world.proxy).await.contains("subrosa_redactions_total{part=\"message\"} 3"));
    }
}
