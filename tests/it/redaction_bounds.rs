//! What hostile and long answers cost where values are taken out of them, and what they still say of themselves.

use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::sockets::{frame, next};
use super::streams::{free_world, read_until};
use super::support::client::exchange;
use super::support::origin::{Received, Script, until};
use super::support::{CRM, VALUE, World, soon};

const FREE: &str = "free.crm.example.com";
const REFERENCE: &str = "{secrets.crm.apiKey}";

fn get(host: &str, path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Key: {REFERENCE}\r\n{fields}\r\n")
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn in_chunks(fields: &str, body: &[u8], trailers: &str) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(10_000) {
        answer.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        answer.extend_from_slice(piece);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    answer
}

/// Everything that comes for a request until the connection ends, however it ends.
async fn everything(world: &World, path: &str) -> Vec<u8> {
    let mut stream = world.tls(CRM).await;
    stream.write_all(get(CRM, path, "TE: trailers\r\nConnection: TE, close\r\n").as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    bytes
}

#[tokio::test]
async fn a_content_that_decodes_to_nothing_is_not_kept_for_ever() {
    let script: Script = Arc::new(|request: &Received| {
        let blocks = if request.line().contains("/few") { 10 } else { 20_000 };
        // Blocks of deflate that hold nothing, and one that is none.
        let empty = [0, 0, 0, 0xff, 0xff].repeat(blocks);
        let body = [&gzip(b"")[..10], &empty, b"\x07no deflate at all"].concat();
        (in_chunks("Content-Encoding: gzip\r\n", &body, ""), false)
    });
    let world = World::with("", script).await;
    let few = everything(&world, "/few").await;
    assert!(few.ends_with(b"no deflate at all\r\n0\r\n\r\n"), "it goes on as it came");
    let many = everything(&world, "/many").await;
    assert!(many.len() < 1_000 && !many.ends_with(b"0\r\n\r\n"), "it is broken off: {} bytes", many.len());
}

#[tokio::test]
async fn what_is_encoded_anew_says_nothing_of_the_bytes_it_was() {
    let tells = "Trailer: Digest, X-End\r\nETag: \"a\"\r\nContent-MD5: x\r\nContent-Digest: x\r\nRepr-Digest: x\r\nX-Goog-Hash: x\r\nX-Amz-Checksum-CRC32: x\r\nX-Amz-Checksum-Type: x\r\nX-Amz-Meta: x\r\n";
    let script: Script = Arc::new(move |request: &Received| {
        let ranges = if request.line().contains("/parts") { "Accept-Ranges: bytes\r\n" } else { "" };
        let (coding, body) = if request.line().contains("/plain") {
            ("", b"nothing in it".to_vec())
        } else {
            ("Content-Encoding: gzip\r\n", gzip(b"nothing in it"))
        };
        (in_chunks(&format!("{tells}{ranges}{coding}"), &body, "Digest: x\r\nX-End: 1\r\n"), false)
    });
    let world = World::with("", script).await;
    for (path, tag, ranges, digests) in
        [("/parts", "W/\"a\"", 0, false), ("/whole", "\"a\"", 0, false), ("/plain/parts", "\"a\"", 1, true)]
    {
        let bytes = everything(&world, path).await;
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let count = |field: &str| text.matches(&format!("\r\n{field}: ")).count();
        assert!(text.contains(&format!("\r\netag: {}\r\n", tag.to_lowercase())), "{path}: {text}");
        assert_eq!((count("accept-ranges"), count("x-amz-meta"), count("x-end")), (ranges, 1, 1), "{path}");
        for field in [
            "content-md5",
            "content-digest",
            "repr-digest",
            "x-goog-hash",
            "x-amz-checksum-crc32",
            "x-amz-checksum-type",
            "digest",
        ] {
            assert_eq!(count(field), usize::from(digests), "{field} in {path}");
        }
    }
}

#[tokio::test]
async fn a_value_that_goes_out_within_a_message_is_found_in_the_rest_of_it() {
    let (world, mut free) = free_world("[injection]\nwebsocket = true\n").await;
    let mut stream = world.tls(FREE).await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {FREE}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    let (mut received, mut buffer) = (Vec::new(), Vec::new());
    let (mut origin, _) = free.head(&mut received).await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    origin.write_all(switch.as_bytes()).await.expect("sent");
    // Begun before anything was sent, and too short to hold a value.
    origin.write_all(b"\x01\x05begin").await.expect("sent");
    origin.flush().await.expect("sent");
    read_until(&mut stream, &mut buffer, b"\r\n\r\n").await;
    assert_eq!(next(&mut stream, &mut buffer).await.2, b"\x01\x05begin");
    stream.write_all(&frame(0x81, REFERENCE.as_bytes())).await.expect("sent");
    stream.flush().await.expect("sent");
    assert_eq!(next(&mut origin, &mut received).await.1, VALUE.as_bytes());
    let (one, other) = VALUE.split_at(5);
    for (first, payload) in [(0x00, one), (0x80, other), (0x81, "seven77"), (0x81, VALUE)] {
        let head = [first, u8::try_from(payload.len()).expect("short")];
        origin.write_all(&[&head[..], payload.as_bytes()].concat()).await.expect("sent");
    }
    origin.flush().await.expect("sent");
    for wanted in [(0x80, REFERENCE), (0x81, "seven77"), (0x81, REFERENCE)] {
        let (first, payload, _) = next(&mut stream, &mut buffer).await;
        assert_eq!((first, String::from_utf8_lossy(&payload).as_ref()), wanted);
    }
}

#[tokio::test]
async fn while_a_content_decodes_to_far_more_its_worker_serves_others() {
    let bomb = gzip(&vec![0; 64 << 20]);
    let script: Script = Arc::new(move |request: &Received| {
        if request.line().contains("/bomb") {
            return (in_chunks("Content-Encoding: gzip\r\n", &bomb, ""), false);
        }
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(), false)
    });
    let config = "[proxy]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n";
    let world = World::with(config, script).await;
    let mut other = world.tls(CRM).await;
    assert_eq!(exchange(&mut other, &get(CRM, "/", "")).await.text(), "ok");
    let mut bomb = world.tls(CRM).await;
    bomb.write_all(get(CRM, "/bomb", "").as_bytes()).await.expect("sent");
    bomb.flush().await.expect("sent");
    let mut buffer = Vec::new();
    read_until(&mut bomb, &mut buffer, b"\r\n\r\n").await;
    let end = |bytes: &[u8]| bytes.ends_with(b"\r\n0\r\n\r\n").then_some(bytes.len());
    let download = tokio::spawn(async move { until(&mut bomb, &mut buffer, end).await });
    assert_eq!(exchange(&mut other, &get(CRM, "/", "")).await.text(), "ok");
    assert!(!download.is_finished(), "others were served once it had been decoded");
    download.abort();
}
