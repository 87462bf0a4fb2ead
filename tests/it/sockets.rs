//! References in WebSocket messages: honoured where the config says so, frame by frame as they came
//! otherwise.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::support::client::exchange;
use super::support::origin::{raw, until};
use super::support::{CRM, VALUE, World, soon};

const ON: &str = "[injection]\nwebsocket = true\nbuffer = \"64KiB\"\n";
/// The mask of every frame.
pub const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// An origin that agrees, and echoes what it receives.
async fn world(config: &str) -> World {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    World::with(config, raw(switch, false)).await
}

fn handshake(fields: &str) -> String {
    format!(
        "GET /socket HTTP/1.1\r\nHost: {CRM}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

async fn open(world: &World, fields: &str) -> TlsStream<TcpStream> {
    let mut stream = world.tls(CRM).await;
    assert_eq!(exchange(&mut stream, &handshake(fields)).await.status(), 101);
    stream
}

/// A client's frame: final or not, its opcode, its payload.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if payload.len() < 126 {
        frame.push(0x80 | u8::try_from(payload.len()).expect("short"));
    } else {
        frame.push(0xfe);
        frame.extend_from_slice(&u16::try_from(payload.len()).expect("not that long").to_be_bytes());
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ KEY[at % 4]));
    frame
}

/// The next frame that comes: its first byte, its payload without a mask, and its bytes.
pub async fn next<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> (u8, Vec<u8>, Vec<u8>) {
    fn length(bytes: &[u8]) -> Option<(usize, usize, bool)> {
        let [_, second, rest @ ..] = bytes else { return None };
        let masked = second & 0x80 != 0;
        let (length, head) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
            (126, _) => return None,
            (length, _) => (usize::from(length), 2),
        };
        Some((head + if masked { 4 } else { 0 }, length, masked))
    }
    let whole = |bytes: &[u8]| length(bytes).map(|(head, length, _)| head + length).filter(|end| bytes.len() >= *end);
    let bytes = soon(until(stream, buffer, whole)).await.expect("a frame");
    let (head, _, masked) = length(&bytes).expect("whole");
    let key: [u8; 4] = if masked { bytes[head - 4..head].try_into().expect("four") } else { [0; 4] };
    let payload = bytes[head..].iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
    (bytes[0], payload, bytes)
}

#[tokio::test]
async fn text_messages_take_the_value_and_everything_else_goes_on_as_it_came() {
    let world = world(ON).await;
    let mut stream = open(&world, "").await;
    assert!(world.crm.only().fields("sec-websocket-extensions").is_empty(), "extensions are declined");
    let mut buffer = Vec::new();
    for (sent, wanted) in [
        ("key {secrets.crm.apiKey}!", format!("key {VALUE}!")),
        ("{\"k\": \"{secrets.crm.apiKey}\"}", format!("{{\"k\": \"{VALUE}\"}}")),
        ("{{secrets.crm.apiKey}}", "{secrets.crm.apiKey}".to_owned()),
    ] {
        stream.write_all(&frame(0x81, sent.as_bytes())).await.expect("sent");
        let (first, payload, _) = next(&mut stream, &mut buffer).await;
        assert_eq!((first, String::from_utf8_lossy(&payload).into_owned()), (0x81, wanted));
    }
    for untouched in [
        frame(0x81, b"no reference"),
        frame(0x82, b"{secrets.nobody}"),
        frame(0x89, b"{secrets.nobody}"),
        frame(0x81, &vec![b'x'; 40_000]),
    ] {
        stream.write_all(&untouched).await.expect("sent");
        assert!(next(&mut stream, &mut buffer).await.2 == untouched, "masks too");
    }
    // A message in pieces, a ping between them, each byte by itself.
    let pieces = [frame(0x01, b"a {secr"), frame(0x89, b"ping"), frame(0x00, b"ets.crm.api"), frame(0x80, b"Key} z")].concat();
    for byte in pieces {
        stream.write_all(&[byte]).await.expect("sent");
        stream.flush().await.expect("sent");
    }
    assert_eq!(next(&mut stream, &mut buffer).await.1, b"ping");
    assert_eq!(next(&mut stream, &mut buffer).await.1, format!("a {VALUE} z").as_bytes());
    let untouched = [frame(0x01, b"a {secr"), frame(0x80, b"ets")];
    stream.write_all(&untouched.concat()).await.expect("sent");
    for piece in untouched {
        assert_eq!(next(&mut stream, &mut buffer).await.2, piece);
    }
    let line = world.proxy.logged("crm.apiKey@body").await;
    assert!(line.contains("\"status\":101") && line.contains("/socket") && !world.proxy.log().contains(VALUE), "{line}");
}

#[tokio::test]
async fn a_refusal_closes_the_connection_and_names_its_code() {
    let world = world(ON).await;
    for (sent, status, reason) in [
        (frame(0x81, b"{secrets.nobody}"), 1008_u16, "secret_not_found: "),
        (frame(0x81, b"[{secrets.crm.apiKey}]"), 1008, "secret_not_encodable: "),
        ([frame(0x01, &vec![b'x'; 60_000]), frame(0x80, &vec![b'x'; 10_000])].concat(), 1009, "body_too_large: "),
        (frame(0xc1, b"x"), 1002, ""),
        (vec![0x81, 1, b'x'], 1002, ""),
        ([frame(0x01, b"x"), frame(0x81, b"y")].concat(), 1002, ""),
    ] {
        let mut stream = open(&world, "").await;
        stream.write_all(&sent).await.expect("sent");
        let mut buffer = Vec::new();
        let (first, payload, _) = next(&mut stream, &mut buffer).await;
        let text = String::from_utf8_lossy(&payload[2..]).into_owned();
        assert_eq!((first, u16::from_be_bytes([payload[0], payload[1]])), (0x88, status), "{text}");
        assert!(text.starts_with(reason), "{text}");
        assert_eq!(soon(stream.read_to_end(&mut buffer)).await.unwrap_or_default(), 0);
    }
    let line = world.proxy.logged("secret_not_found").await;
    assert!(line.contains("\"outcome\":\"aborted\"") && line.contains("nobody@body"), "{line}");
}

#[tokio::test]
async fn a_secret_goes_out_in_a_message_only_where_it_may_at_that_moment() {
    let world = world(ON).await;
    let mut stream = open(&world, "").await;
    let mut buffer = Vec::new();
    let message = frame(0x81, b"{secrets.crm.apiKey}");
    stream.write_all(&message).await.expect("sent");
    assert_eq!(next(&mut stream, &mut buffer).await.1, VALUE.as_bytes());
    // On a connection that is open already.
    world.proxy.must(&["secret", "edit", "crm.apiKey", "--value-stdin", "--allow", "other.example.com"], VALUE).await;
    stream.write_all(&message).await.expect("sent");
    let (_, payload, _) = next(&mut stream, &mut buffer).await;
    assert!(String::from_utf8_lossy(&payload[2..]).starts_with("domain_restricted: "));
    // Narrowed by the runner.
    let mut stream = open(&world, "Subrosa-Surfaces: header\r\n").await;
    stream.write_all(&message).await.expect("sent");
    assert_eq!(next(&mut stream, &mut buffer).await.2, message);
}

#[tokio::test]
async fn once_the_setting_is_off_no_open_connection_takes_a_value() {
    let world = world(ON).await;
    let mut stream = open(&world, "").await;
    let mut buffer = Vec::new();
    let message = frame(0x81, b"{secrets.crm.apiKey}");
    stream.write_all(&message).await.expect("sent");
    assert_eq!(next(&mut stream, &mut buffer).await.1, VALUE.as_bytes());
    let config = world.proxy.path("subrosa.toml");
    let text = std::fs::read_to_string(&config).expect("there");
    assert!(text.contains("websocket = true"));
    std::fs::write(&config, text.replace("websocket = true", "websocket = false")).expect("written");
    world.proxy.must(&["reload"], "").await;
    stream.write_all(&message).await.expect("sent");
    assert_eq!(next(&mut stream, &mut buffer).await.2, message);
}

#[tokio::test]
async fn without_the_setting_nothing_is_looked_at() {
    let world = world("").await;
    let mut stream = open(&world, "").await;
    assert_eq!(world.crm.only().field("sec-websocket-extensions"), "permessage-deflate");
    let mut buffer = Vec::new();
    // A reserved bit: deflated.
    for untouched in [frame(0x81, b"{secrets.nobody}"), frame(0xc1, b"deflated"), vec![0x81, 1, b'x']] {
        stream.write_all(&untouched).await.expect("sent");
        assert_eq!(next(&mut stream, &mut buffer).await.2, untouched);
    }
}

#[tokio::test]
async fn a_revoked_runner_loses_a_connection_whose_messages_are_looked_at() {
    let world = world(ON).await;
    let token = world.proxy.must(&["runner", "create", "socket"], "").await;
    world.proxy.must(&["runner", "create", "another"], "").await;
    let mut stream = world.connect().await;
    let request = handshake(&format!("Proxy-Authorization: Bearer {}\r\n", token.trim()))
        .replace("GET /", "GET http://plain.crm.example.com/");
    assert_eq!(exchange(&mut stream, &request).await.status(), 101);
    let (mut buffer, message) = (Vec::new(), frame(0x81, b"hello"));
    stream.write_all(&message).await.expect("sent");
    assert_eq!(next(&mut stream, &mut buffer).await.2, message);
    world.proxy.must(&["runner", "revoke", "socket"], "").await;
    assert_eq!(soon(stream.read_to_end(&mut buffer)).await.unwrap_or_default(), 0);
}
