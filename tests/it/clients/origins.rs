//! What the origin of a row answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use sha1::{Digest, Sha1};

use crate::support::VALUE;
use crate::support::origin::{Received, Script, reply};

/// `ok` to everything.
pub(super) fn ok(_: &Path) -> Script {
    reply("200 OK", "", "ok")
}

/// The page that sends what a browser can, and `ok` to that.
pub(super) fn page(_: &Path) -> Script {
    let page = include_str!("drivers/chromium.html");
    Arc::new(move |request: &Received| match target(request) {
        "/v1/page" => answer("200 OK", "Content-Type: text/html\r\n", page.as_bytes()),
        _ => answer("200 OK", "", b"ok"),
    })
}

/// A WebSocket that says `hello` and closes.
pub(super) fn websocket(_: &Path) -> Script {
    Arc::new(|request: &Received| {
        // RFC 6455 section 4.2.2.
        let mut hash = Sha1::new();
        hash.update(request.fields("sec-websocket-key").concat());
        hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
        let mut bytes = format!("{head}{accept}\r\n\r\n").into_bytes();
        bytes.extend(b"\x81\x05hello\x88\x02\x03\xe8");
        (bytes, true)
    })
}

/// A repository served as files (git's "dumb" protocol) to whoever has the value, twice.
pub(super) fn repository(place: &Path) -> Script {
    shell(
        place,
        "git init -q work && cd work && echo content >file && git add file \
         && git -c user.name=t -c user.email=t@example.com commit -qm first && cd .. \
         && git clone -q --bare work repository.git && git -C repository.git update-server-info",
    );
    let root = place.to_owned();
    Arc::new(move |request: &Received| {
        if request.fields("x-api-key") != [VALUE] {
            return answer("403 Forbidden", "", b"");
        }
        behind(request, &basic(), || file(&root, request))
    })
}

/// An index with one package, for whoever has the value.
pub(super) fn index(place: &Path) -> Script {
    shell(
        place,
        "mkdir -p simple/tiny tiny-1.dist-info && cd tiny-1.dist-info \
         && printf 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n' >METADATA \
         && printf 'Wheel-Version: 1.0\\nGenerator: none\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n' >WHEEL \
         && : >RECORD && cd .. && python3 -m zipfile -c tiny-1-py3-none-any.whl tiny-1.dist-info \
         && echo '<a href=\"/tiny-1-py3-none-any.whl\">tiny-1-py3-none-any.whl</a>' >simple/tiny/index.html",
    );
    let root = place.to_owned();
    Arc::new(move |request: &Received| behind(request, &basic(), || file(&root, request)))
}

/// A registry with one package, for whoever has the value.
pub(super) fn registry(place: &Path) -> Script {
    shell(
        place,
        "mkdir -p npm tiny && echo '{\"name\":\"tiny\",\"version\":\"1.0.0\"}' >tiny/package.json \
         && cd tiny && npm pack --silent --pack-destination .. && cd .. \
         && echo '{\"name\":\"tiny\",\"dist-tags\":{\"latest\":\"1.0.0\"},\"versions\":{\"1.0.0\":{\"name\":\"tiny\",\"version\":\"1.0.0\",\"dist\":{\"tarball\":\"https://api.crm.example.com/npm/tiny-1.0.0.tgz\"}}}}' >npm/tiny \
         && mv tiny-1.0.0.tgz npm/",
    );
    let root = place.to_owned();
    Arc::new(move |request: &Received| behind(request, &format!("Bearer {VALUE}"), || file(&root, request)))
}

fn basic() -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("me:{VALUE}")))
}

/// What `answers` to whoever sends `credentials`, and the question for them to everybody else.
fn behind(request: &Received, credentials: &str, answers: impl Fn() -> (Vec<u8>, bool)) -> (Vec<u8>, bool) {
    match request.fields("authorization")[..] {
        [sent] if sent == credentials => answers(),
        _ => answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"tests\"\r\n", b""),
    }
}

/// The file below `root` that is asked for.
fn file(root: &Path, request: &Received) -> (Vec<u8>, bool) {
    let mut path: PathBuf = root.join(target(request).split('?').next().unwrap_or_default().trim_start_matches('/'));
    if path.is_dir() {
        path.push("index.html");
    }
    let kind = if path.extension().is_some_and(|extension| extension == "html") { "text/html" } else { "application/json" };
    match std::fs::read(&path) {
        Ok(bytes) => answer("200 OK", &format!("Content-Type: {kind}\r\n"), &bytes),
        Err(_) => answer("404 Not Found", "", b""),
    }
}

fn target(request: &Received) -> &str {
    request.line().split(' ').nth(1).unwrap_or_default()
}

fn answer(status: &str, fields: &str, body: &[u8]) -> (Vec<u8>, bool) {
    let mut bytes = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend(body);
    (bytes, false)
}

fn shell(place: &Path, script: &str) {
    let output = std::process::Command::new("sh").args(["-euc", script]).current_dir(place).output().expect("sh is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
