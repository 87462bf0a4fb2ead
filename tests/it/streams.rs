//! Contents that are longer than what is held: spooled, streamed, refused; and nothing that breaks
//! off ever looks complete.

use std::io::Write as _;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use super::support::client::{exchange_bytes, tls_in};
use super::support::origin::{find, until};
use super::support::{CRM, Ca, VALUE, World, read_response, reply, soon};

/// An origin that a test plays itself.
const FREE: &str = "free.crm.example.com";
const JSON: &str = "Content-Type: application/json\r\n";

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The connections that an origin gets, their TLS done.
pub struct Free(mpsc::UnboundedReceiver<Box<dyn Stream>>);

impl Free {
    async fn accept(&mut self) -> Box<dyn Stream> {
        soon(self.0.recv()).await.expect("the listener lives")
    }

    /// The next connection, and the head of its request.
    pub async fn head(&mut self, buffer: &mut Vec<u8>) -> (Box<dyn Stream>, String) {
        let mut stream = self.accept().await;
        let head = soon(until(&mut stream, buffer, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4))).await;
        (stream, String::from_utf8(head.expect("a head")).expect("text"))
    }
}

/// A world with one more origin, [`FREE`].
pub async fn free_world(config: &str) -> (World, Free) {
    let ca = Ca::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let acceptor = ca.acceptor(&[FREE]);
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = sender.send(Box::new(stream) as Box<dyn Stream>);
            }
        }
    });
    (World::beside(&ca, &[(FREE, address)], config, reply("200 OK", "", "ok")).await, Free(receiver))
}

/// What comes until `wanted` has come.
pub async fn read_until<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>, wanted: &[u8]) -> String {
    let read = soon(until(stream, buffer, |bytes| find(bytes, wanted).map(|at| at + wanted.len()))).await;
    String::from_utf8(read.unwrap_or_else(|| panic!("only {:?}", String::from_utf8_lossy(buffer)))).expect("text")
}

/// Everything that still comes; a connection that is reset has ended too.
async fn rest<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Vec<u8> {
    let _ = soon(stream.read_to_end(buffer)).await;
    std::mem::take(buffer)
}

fn post(host: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub fn chunked(host: &str, fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {host}\r\n{fields}Transfer-Encoding: chunked\r\n\r\n")
}

pub fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The data of a chunked content.
pub fn unchunked(bytes: &[u8]) -> Vec<u8> {
    let (mut data, mut rest) = (Vec::new(), bytes);
    while let Some(end) = find(rest, b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("hex"), 16).expect("hex");
        data.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
    data
}

/// A JSON text of about so many bytes with references at its beginning, in its middle and at its end.
fn long_json(length: usize) -> String {
    let filler = "{\"note\":\"no {braces} of ours\"},".repeat(length / 2 / 31);
    format!("[\"{{secrets.crm.apiKey}}\",{filler}\"{{secrets.crm.apiKey}}\",{filler}\"{{secrets.crm.apiKey}}\"]")
}

fn replaced(text: &str) -> String {
    text.replace("{secrets.crm.apiKey}", VALUE)
}

#[tokio::test]
async fn a_long_content_takes_the_value_everywhere_and_keeps_an_exact_length() {
    let world = World::with("[injection]\nbuffer = \"8KiB\"\n", reply("200 OK", "", "ok")).await;
    let mut stream = world.tls(CRM).await;
    let text = long_json(1_500_000);
    assert_eq!(exchange_bytes(&mut stream, &post(CRM, JSON, text.as_bytes())).await.status(), 200);
    let got = world.crm.only();
    assert!(got.text() == replaced(&text), "{} bytes", got.body.len());
    assert_eq!(got.field("content-length"), replaced(&text).len().to_string());
    let line = world.proxy.logged("crm.apiKey@body").await;
    assert!(!world.proxy.log().contains(VALUE), "{line}");
    // Without a reference it is what it was.
    let plain = "[\"a\" ,\"{b}\"]\n".repeat(20_000);
    assert_eq!(exchange_bytes(&mut stream, &post(CRM, JSON, plain.as_bytes())).await.status(), 200);
    let got = world.crm.received()[1].clone();
    assert!(got.text() == plain && got.field("content-length") == plain.len().to_string());
    assert_eq!(std::fs::read_dir(world.proxy.path("data/spool")).expect("it was used").count(), 0, "no file has a name");
}

#[tokio::test]
async fn a_long_content_is_refused_before_the_first_byte_wherever_the_reason_stands() {
    let world = World::with("[injection]\nbuffer = \"8KiB\"\n", reply("200 OK", "", "ok")).await;
    let mut stream = world.tls(CRM).await;
    let filler = "x".repeat(300_000);
    for (fields, text, status, code) in [
        (JSON, format!("[\"{filler}{{secrets.nobody}}\"]"), 422, "secret_not_found"),
        (JSON, format!("[\"{filler}\", {{secrets.crm.apiKey}}]"), 422, "secret_not_encodable"),
        (
            "Content-MD5: x\r\nContent-Type: text/plain\r\n",
            format!("{filler}{{secrets.crm.apiKey}}"),
            422,
            "secret_not_encodable",
        ),
        (
            "Content-Type: multipart/mixed; boundary=B\r\n",
            format!("--B\r\n\r\n{{secrets.crm.apiKey}}{filler}"),
            400,
            "malformed_request",
        ),
    ] {
        let response = exchange_bytes(&mut stream, &post(CRM, fields, text.as_bytes())).await;
        assert_eq!((response.status(), response.refusal().as_str()), (status, code));
    }
    world.untouched();
}

#[tokio::test]
async fn what_happens_to_long_contents_is_what_the_config_says() {
    let text = long_json(100_000);
    let world = World::with("[injection]\nbuffer = \"8KiB\"\noversize = \"refuse\"\n", reply("200 OK", "", "ok")).await;
    let response = exchange_bytes(&mut world.tls(CRM).await, &post(CRM, JSON, text.as_bytes())).await;
    assert_eq!((response.status(), response.refusal().as_str()), (413, "body_too_large"));
    world.untouched();
    let world = World::with("[injection]\nbuffer = \"8KiB\"\noversize = \"stream\"\n", reply("200 OK", "", "ok")).await;
    assert_eq!(exchange_bytes(&mut world.tls(CRM).await, &post(CRM, JSON, text.as_bytes())).await.status(), 200);
    let got = world.crm.only();
    assert_eq!(got.field("transfer-encoding"), "chunked");
    assert!(got.fields("content-length").is_empty() && unchunked(&got.body) == replaced(&text).as_bytes());
    let world = World::with("[injection]\nbuffer = \"8KiB\"\n[limits]\nspool = \"64KiB\"\n", reply("200 OK", "", "ok")).await;
    let response = exchange_bytes(&mut world.tls(CRM).await, &post(CRM, JSON, text.as_bytes())).await;
    assert_eq!((response.status(), response.refusal().as_str()), (503, "overloaded"));
    assert!(response.text().contains("limits.spool"), "{}", response.text());
    world.untouched();
}

#[tokio::test]
async fn a_long_content_in_a_coding_is_spooled_as_it_came_and_goes_out_in_it_again() {
    let world = World::with("[injection]\nbuffer = \"8KiB\"\n", reply("200 OK", "", "ok")).await;
    let mut stream = world.tls(CRM).await;
    // Numbers, so that it stays long in the coding.
    let numbers = |seed: u64| {
        (0..60_000_u64)
            .map(|n| (n.wrapping_mul(6_364_136_223_846_793_005 + seed) >> 33).to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let fields = format!("{JSON}Content-Encoding: gzip\r\n");
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    };
    let text = format!("[{},\"{{secrets.crm.apiKey}}\",{}]", numbers(1), numbers(2));
    assert_eq!(exchange_bytes(&mut stream, &post(CRM, &fields, &gzip(&text))).await.status(), 200);
    let mut got = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(world.crm.only().body.as_slice()), &mut got).expect("gzip");
    assert!(got == replaced(&text));
    let plain = gzip(&format!("[{}]", numbers(3)));
    assert_eq!(exchange_bytes(&mut stream, &post(CRM, &fields, &plain)).await.status(), 200);
    assert!(world.crm.received()[1].body == plain, "byte for byte");
}

#[tokio::test]
async fn both_ways_of_a_content_without_a_length_flow_at_the_same_time() {
    for media_type in ["Content-Type: application/x-ndjson\r\n", ""] {
        flow(media_type).await;
    }
}

async fn flow(media_type: &str) {
    let (world, mut free) = free_world("").await;
    let mut client = world.tls(FREE).await;
    client.write_all(chunked(FREE, media_type).as_bytes()).await.expect("sent");
    client.write_all(chunk("{\"k\":\"{secrets.crm.apiKey}\"}\n").as_bytes()).await.expect("sent");
    let (mut buffer, mut answer) = (Vec::new(), Vec::new());
    let (mut origin, head) = free.head(&mut buffer).await;
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    read_until(&mut origin, &mut buffer, format!("{{\"k\":\"{VALUE}\"}}\n\r\n").as_bytes()).await;
    origin.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("sent");
    for round in 0..3 {
        origin.write_all(chunk(&format!("answer {round}\n")).as_bytes()).await.expect("sent");
        origin.flush().await.expect("sent");
        read_until(&mut client, &mut answer, format!("answer {round}\n\r\n").as_bytes()).await;
        // A reference over two chunks.
        client.write_all(chunk(&format!("{{\"n\":{round},\"k\":\"{{secrets.cr")).as_bytes()).await.expect("sent");
        client.write_all(chunk("m.apiKey}\"}\n").as_bytes()).await.expect("sent");
        let got = read_until(&mut origin, &mut buffer, b"\"}\n\r\n").await;
        assert_eq!(unchunked(got.as_bytes()), format!("{{\"n\":{round},\"k\":\"{VALUE}\"}}\n").as_bytes());
    }
    client.write_all(b"0\r\n\r\n").await.expect("sent");
    read_until(&mut origin, &mut buffer, b"0\r\n\r\n").await;
    origin.write_all(b"0\r\n\r\n").await.expect("sent");
    read_until(&mut client, &mut answer, b"0\r\n\r\n").await;
}

/// A request whose second part is refused once the first has gone out.
async fn refused_late(answers: bool) -> (World, Vec<u8>, Box<dyn Stream>, TlsStream<TcpStream>) {
    let (world, mut free) = free_world("").await;
    let mut client = world.tls(FREE).await;
    client.write_all(chunked(FREE, "Content-Type: text/plain\r\n").as_bytes()).await.expect("sent");
    client.write_all(chunk("first {secrets.crm.apiKey} ").as_bytes()).await.expect("sent");
    let mut buffer = Vec::new();
    let (mut origin, _) = free.head(&mut buffer).await;
    read_until(&mut origin, &mut buffer, format!("first {VALUE} \r\n").as_bytes()).await;
    if answers {
        origin.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n").await.expect("sent");
        let mut answer = Vec::new();
        read_until(&mut client, &mut answer, b"yes\r\n").await;
    }
    client.write_all(chunk("second {secrets.nobody} ").as_bytes()).await.expect("sent");
    client.write_all(b"0\r\n\r\n").await.expect("sent");
    (world, buffer, origin, client)
}

#[tokio::test]
async fn a_refusal_found_late_reaches_the_runner_and_the_upstream_never_takes_it_for_complete() {
    let (world, mut buffer, mut origin, mut client) = refused_late(false).await;
    let response = read_response(&mut client, false).await;
    assert_eq!((response.status(), response.refusal().as_str()), (422, "secret_not_found"));
    let left = rest(&mut origin, &mut buffer).await;
    assert!(find(&left, b"0\r\n").is_none(), "{:?}", String::from_utf8_lossy(&left));
    let line = world.proxy.logged("\"code\":\"secret_not_found\"").await;
    assert!(line.contains("\"outcome\":\"aborted\"") && line.contains("crm.apiKey@body nobody@body"), "{line}");
}

#[tokio::test]
async fn a_refusal_found_after_the_answer_began_breaks_both_sides_off_and_is_written_down() {
    let (world, mut buffer, mut origin, mut client) = refused_late(true).await;
    let mut answer = Vec::new();
    let answer = rest(&mut client, &mut answer).await;
    assert!(find(&answer, b"0\r\n\r\n").is_none(), "{:?}", String::from_utf8_lossy(&answer));
    let left = rest(&mut origin, &mut buffer).await;
    assert!(find(&left, b"0\r\n").is_none(), "{:?}", String::from_utf8_lossy(&left));
    let line = world.proxy.logged("\"outcome\":\"aborted\"").await;
    assert!(line.contains("\"code\":\"secret_not_found\"") && line.contains("crm.apiKey@body nobody@body"), "{line}");
}

#[tokio::test]
async fn a_secret_found_after_the_answer_began_is_written_down() {
    let (world, mut free) = free_world("").await;
    let mut client = world.tls(FREE).await;
    client.write_all(chunked(FREE, "Content-Type: text/plain\r\n").as_bytes()).await.expect("sent");
    client.write_all(chunk("first ").as_bytes()).await.expect("sent");
    let (mut buffer, mut answer) = (Vec::new(), Vec::new());
    let (mut origin, _) = free.head(&mut buffer).await;
    origin.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ny").await.expect("sent");
    read_until(&mut client, &mut answer, b"\r\n\r\ny").await;
    client.write_all(chunk("{secrets.crm.apiKey}").as_bytes()).await.expect("sent");
    client.write_all(b"0\r\n\r\n").await.expect("sent");
    read_until(&mut origin, &mut buffer, b"0\r\n\r\n").await;
    origin.write_all(b"es.").await.expect("sent");
    read_until(&mut client, &mut answer, b"es.").await;
    let line = world.proxy.logged("crm.apiKey@body").await;
    assert!(line.contains("\"outcome\":\"forwarded\"") && line.contains("\"status\":200"), "{line}");
}

#[tokio::test]
async fn a_streaming_content_in_a_coding_goes_out_as_it_came_until_something_is_found() {
    let (world, mut free) = free_world("").await;
    let mut client = world.tls(FREE).await;
    client.write_all(chunked(FREE, "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n").as_bytes()).await.expect("sent");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut coded = |text: &str| {
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.flush().expect("memory");
        std::mem::take(encoder.get_mut())
    };
    let first = coded("no reference ");
    client.write_all(format!("{:x}\r\n", first.len()).as_bytes()).await.expect("sent");
    client.write_all(&[&first[..], b"\r\n"].concat()).await.expect("sent");
    let mut buffer = Vec::new();
    let (mut origin, _) = free.head(&mut buffer).await;
    let got = soon(until(&mut origin, &mut buffer, |bytes| find(bytes, &first).map(|at| at + first.len()))).await;
    assert!(got.is_some());
    let second = coded("{secrets.crm.apiKey} ");
    client.write_all(format!("{:x}\r\n", second.len()).as_bytes()).await.expect("sent");
    client.write_all(&[&second[..], b"\r\n"].concat()).await.expect("sent");
    let response = read_response(&mut client, false).await;
    assert_eq!((response.status(), response.refusal().as_str()), (413, "body_too_large"));
    let left = rest(&mut origin, &mut buffer).await;
    assert!(find(&left, &second).is_none() && find(&left, b"0\r\n").is_none());
}

#[tokio::test]
async fn a_client_that_vanishes_within_a_content_leaves_nothing_that_looks_complete() {
    let (world, mut free) = free_world("[injection]\nbuffer = \"8KiB\"\n").await;
    // While it streams.
    let mut client = world.tls(FREE).await;
    client.write_all(chunked(FREE, "Content-Type: text/plain\r\n").as_bytes()).await.expect("sent");
    client.write_all(chunk("first {secrets.crm.apiKey} ").as_bytes()).await.expect("sent");
    let mut buffer = Vec::new();
    let (mut origin, _) = free.head(&mut buffer).await;
    read_until(&mut origin, &mut buffer, format!("first {VALUE} \r\n").as_bytes()).await;
    drop(client);
    let left = rest(&mut origin, &mut buffer).await;
    assert!(find(&left, b"0\r\n").is_none(), "{:?}", String::from_utf8_lossy(&left));
    let line = world.proxy.logged("\"outcome\":\"aborted\"").await;
    assert!(line.contains("crm.apiKey@body"), "{line}");
    // While it is spooled: nothing was sent at all.
    let mut client = world.tls(CRM).await;
    let request = post(CRM, JSON, long_json(100_000).as_bytes());
    client.write_all(&request[..60_000]).await.expect("sent");
    client.flush().await.expect("sent");
    drop(client);
    let line = world.proxy.logged("\"outcome\":\"refused\"").await;
    assert!(line.contains("malformed_request"), "{line}");
    assert_eq!(world.crm.connections(), 0);
}

#[tokio::test]
async fn an_early_answer_reaches_the_client_and_an_upstream_that_closes_is_told() {
    let (world, mut free) = free_world("").await;
    let mut buffer = Vec::new();
    let mut client = world.tls(FREE).await;
    client.write_all(chunked(FREE, "Content-Type: text/plain\r\n").as_bytes()).await.expect("sent");
    client.write_all(chunk("first").as_bytes()).await.expect("sent");
    let (mut origin, _) = free.head(&mut buffer).await;
    origin.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno.").await.expect("sent");
    origin.shutdown().await.expect("closed");
    let response = read_response(&mut client, false).await;
    assert_eq!((response.status(), response.text().as_str()), (413, "no."));
    // One that closes without an answer.
    let mut client = world.tls(FREE).await;
    client.write_all(chunked(FREE, "Content-Type: text/plain\r\n").as_bytes()).await.expect("sent");
    client.write_all(chunk("{secrets.crm.apiKey}").as_bytes()).await.expect("sent");
    buffer.clear();
    let (origin, _) = free.head(&mut buffer).await;
    drop(origin);
    let response = read_response(&mut client, false).await;
    assert_eq!((response.status(), response.refusal().as_str()), (502, "upstream_protocol"));
    let line = world.proxy.logged("upstream_protocol").await;
    assert!(line.contains("\"outcome\":\"aborted\"") && line.contains("crm.apiKey@body"), "{line}");
}

#[tokio::test]
async fn nothing_of_a_spooled_content_is_left_after_a_kill() {
    let mut world = World::with("[injection]\nbuffer = \"8KiB\"\n", reply("200 OK", "", "ok")).await;
    let mut client = world.tls(CRM).await;
    let request = post(CRM, JSON, &vec![b'x'; 2_000_000]);
    client.write_all(&request[..1_500_000]).await.expect("sent");
    client.flush().await.expect("sent");
    let spool = world.proxy.path("data/spool");
    soon(async {
        while !spool.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    world.proxy.signal("-KILL").await;
    world.proxy.wait().await;
    assert_eq!(std::fs::read_dir(&spool).expect("it was made").count(), 0);
}

/// Events that the origin sends one by one, each only when the one before has arrived.
async fn one_by_one(coding: &str, mut coded: impl FnMut(&str) -> Vec<u8>, mut decoded: impl FnMut(&[u8]) -> String) {
    let (world, mut free) = free_world("").await;
    let mut client = tls_in(world.tunnel(&format!("{FREE}:443")).await, FREE, &world.ca()).await.expect("trusted");
    client.write_all(format!("GET /events HTTP/1.1\r\nHost: {FREE}\r\nAccept: text/event-stream\r\nAuthorization: Bearer {{secrets.crm.apiKey}}\r\n\r\n").as_bytes()).await.expect("sent");
    let (mut buffer, mut answer) = (Vec::new(), Vec::new());
    let (mut origin, head) = free.head(&mut buffer).await;
    assert!(head.contains(VALUE));
    origin
        .write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}Transfer-Encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .await
        .expect("sent");
    let head = read_until(&mut client, &mut answer, b"\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for number in 0..20 {
        let event = coded(&format!("id: {number}\ndata: tick\n\n"));
        origin.write_all(&[format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat()).await.expect("sent");
        origin.flush().await.expect("sent");
        let frame = soon(until(&mut client, &mut answer, |bytes| find(bytes, &event).map(|at| at + event.len() + 2))).await;
        let frame = frame.expect("an event");
        let data = frame[find(&frame, b"\r\n").expect("a size") + 2..].strip_suffix(b"\r\n").expect("an end").to_vec();
        assert_eq!(decoded(&data), format!("id: {number}\ndata: tick\n\n"));
    }
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    one_by_one("", |text| text.as_bytes().to_vec(), |bytes| String::from_utf8_lossy(bytes).into_owned()).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    one_by_one(
        "Content-Encoding: gzip\r\n",
        move |text| {
            encoder.write_all(text.as_bytes()).expect("memory");
            encoder.flush().expect("memory");
            std::mem::take(encoder.get_mut())
        },
        move |bytes| {
            decoder.write_all(bytes).expect("gzip");
            decoder.flush().expect("gzip");
            String::from_utf8(std::mem::take(decoder.get_mut())).expect("text")
        },
    )
    .await;
}
