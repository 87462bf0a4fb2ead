//! Contents in codings, of any size, in pieces: searched wherever they can be, and otherwise as they
//! came, with a word on it in the audit line.

use std::io::{Read, Write};

use super::support::client::exchange_bytes;
use super::support::{CRM, VALUE, World};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).expect("gzip");
    text
}

fn post(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: {CRM}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_content_in_a_coding_takes_the_value_and_goes_out_in_it_again() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    let fields = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    let sent = gzip(b"{\"k\": \"{secrets.crm.apiKey}\"}");
    assert_eq!(exchange_bytes(&mut stream, &post(fields, &sent)).await.status(), 200);
    let got = world.crm.only();
    assert_eq!(gunzip(&got.body), format!("{{\"k\": \"{VALUE}\"}}"));
    assert_eq!((got.field("content-length"), got.field("content-encoding")), (got.body.len().to_string().as_str(), "gzip"));
    // Level 1 is not what we would write: byte for byte means as it came.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&b"[\"no reference\"]".repeat(50)).expect("memory");
    let untouched = encoder.finish().expect("memory");
    assert_eq!(exchange_bytes(&mut stream, &post(fields, &untouched)).await.status(), 200);
    assert_eq!(world.crm.received()[1].body, untouched);
}

#[tokio::test]
async fn what_is_not_searched_goes_out_as_it_came_and_the_audit_line_says_why() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    let multipart = "--B\r\nContent-Transfer-Encoding: base64\r\n\r\ne3NlY3JldHMueH0=\r\n--B--";
    for (index, (fields, body, reason)) in [
        ("Content-Type: application/json\r\nContent-Encoding: compress\r\n", "{secrets.nobody}", "coding"),
        ("Content-Type: text/plain; charset=utf-16le\r\n", "{secrets.nobody}", "charset"),
        ("Content-Type: multipart/mixed; boundary=B\r\n", multipart, "encoded_part"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(exchange_bytes(&mut stream, &post(fields, body.as_bytes())).await.status(), 200, "{reason}");
        assert_eq!(world.crm.received()[index].text(), body, "{reason}");
        let line = world.proxy.logged(&format!("\"unsearched\":\"{reason}\"")).await;
        assert!(line.contains("\"outcome\":\"forwarded\""), "{line}");
    }
}

#[tokio::test]
async fn bombs_and_broken_codings_are_refused() {
    let world = World::new().await;
    let mut stream = world.tls(CRM).await;
    let bomb = gzip(&vec![b'0'; 32 * 1024 * 1024]);
    for (body, status, code) in [(bomb.as_slice(), 413, "body_too_large"), (b"{\"plain\": 1}", 400, "malformed_request")] {
        let response =
            exchange_bytes(&mut stream, &post("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", body)).await;
        assert_eq!((response.status(), response.refusal().as_str()), (status, code));
    }
    world.untouched();
    // The same, where nobody asks for it to be searched.
    let fields = "Content-Type: application/json\r\nContent-Encoding: gzip\r\nSubrosa-Surfaces: header\r\n";
    assert_eq!(exchange_bytes(&mut stream, &post(fields, &bomb)).await.status(), 200);
    assert_eq!(world.crm.only().body, bomb);
}
