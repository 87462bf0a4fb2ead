//! What a core of the process holds of values once their exchanges are over and their connections
//! closed: nothing, whichever door they came in by and wherever they went.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use http::Uri;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::operations::{figure, metrics};
use super::people::with_ada;
use super::sockets::{KEY, frame, next};
use super::streams::{chunk, chunked};
use super::support::client::{exchange, exchange_bytes};
use super::support::http2::{Does, H2, Http2World, ok, read, to};
use super::support::origin::{Received, Script};
use super::support::{CRM, Proxy, World, soon};

/// What no other memory holds: text of 16 characters that HPACK writes with five bits each, so that it is
/// known in every form that it may take.
struct Mark(String);

impl Mark {
    const ALPHABET: &str = "012aceiost";

    fn new() -> Self {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the system gives them");
        let letters = Self::ALPHABET.as_bytes();
        Self(random.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect())
    }

    /// A value of one case: what needs an escape somewhere stands between three marks.
    fn value(&self, case: usize) -> String {
        let unit = format!("{}{case:02}", self.0);
        format!("{unit}\"/+%&=<{unit}\\ \'{unit}")
    }

    /// The mark as it is (which JSON, XML and percent-encoding leave alone), in base64 of both alphabets
    /// wherever it stands, in HPACK's code wherever it stands, and under the mask of a client's frame.
    fn forms(&self) -> Vec<(String, Vec<u8>)> {
        let mark = self.0.as_bytes();
        let mut forms = vec![("as it is".to_owned(), mark.to_vec())];
        for before in 0..3 {
            let stable = (before * 8_usize).div_ceil(6)..(before + mark.len()) * 8 / 6;
            let shifted = [&vec![0; before], mark].concat();
            for engine in [&STANDARD, &URL_SAFE] {
                let text = engine.encode(&shifted).into_bytes();
                forms.push((format!("base64 behind {before}"), text[stable.clone()].to_vec()));
            }
        }
        let bits: Vec<bool> = self
            .0
            .chars()
            .map(|letter| Self::ALPHABET.find(letter).expect("one of these"))
            .flat_map(|code| (0..5).rev().map(move |bit| code >> bit & 1 == 1))
            .collect();
        for skipped in 0..8 {
            let bytes = bits[skipped..].chunks_exact(8).map(|byte| byte.iter().fold(0_u8, |sum, bit| sum << 1 | u8::from(*bit)));
            forms.push((format!("HPACK from bit {skipped}"), bytes.collect()));
        }
        for turn in 0..4 {
            let masked = mark.iter().enumerate().map(|(at, byte)| byte ^ KEY[(at + turn) % 4]).collect();
            forms.push((format!("masked from {turn}"), masked));
        }
        forms
    }
}

/// Where a form stands in a core, and what stands around it.
const SEARCH: &str = "
import sys
forms = []
for line in sys.stdin:
    name, form = line.rstrip('\\n').split('=')
    forms.append((name, bytes.fromhex(form)))
size, before = 1 << 20, b''
zeros = bytes(size)
with open(sys.argv[1], 'rb') as core:
    while block := core.read(size):
        if block != zeros:
            text = before + block
            for name, form in forms:
                at = -1
                while (at := text.find(form, at + 1)) >= 0:
                    print(name, repr(text[max(0, at - 60):at + 100]))
        before = block[-100:]
";

/// Takes a core of the process and says what it holds of two marks. Root may, although the process keeps
/// its memory to itself.
async fn core_holds(proxy: &Proxy, marks: [&Mark; 2]) -> [Vec<String>; 2] {
    let (process, prefix) = (proxy.process_id().to_string(), proxy.path("core"));
    let core = proxy.path(&format!("core.{process}"));
    let taken = Command::new("gcore").args(["-a", "-o"]).arg(&prefix).arg(&process).stdin(Stdio::null()).output();
    let taken = soon(taken).await.expect("scripts/test-tools has run");
    assert!(core.exists(), "{}", String::from_utf8_lossy(&taken.stderr));
    let mut search = Command::new("python3")
        .args(["-c", SEARCH])
        .arg(&core)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it is there");
    let mut forms = Vec::new();
    for (number, mark) in marks.iter().enumerate() {
        for (name, form) in mark.forms() {
            write!(forms, "{number} {name}=").expect("memory");
            for byte in form {
                write!(forms, "{byte:02x}").expect("memory");
            }
            writeln!(forms).expect("memory");
        }
    }
    search.stdin.take().expect("piped").write_all(&forms).await.expect("it reads");
    let found = soon(search.wait_with_output()).await.expect("it ends");
    assert!(found.status.success());
    std::fs::remove_file(core).expect("it was made");
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    ["0 ", "1 "].map(|number| found.lines().filter_map(|line| line.strip_prefix(number)).map(str::to_owned).collect())
}

/// By which door a value comes in.
#[derive(Clone, Copy, PartialEq)]
enum Door {
    Api,
    Cli,
    Page,
    File,
}

/// How client and upstream speak.
#[derive(Clone, Copy)]
enum Way {
    One,
    OneToTwo,
    TwoToOne,
    Two,
}

/// A request to be made: its fields (each ends in CRLF), its target, its content; and what is done with it.
struct Case {
    door: Door,
    way: Way,
    target: &'static str,
    fields: &'static str,
    content: &'static str,
    how: How,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Whole,
    Gzip,
    /// More than is held, without a length.
    Streams,
    /// More than is held, of a known length.
    Long,
    /// In the message of a WebSocket.
    Message,
    /// In the clear, by an absolute target.
    Clear,
    /// From the page that tests requests.
    Tested,
}

const fn case(door: Door, way: Way, how: How, target: &'static str, fields: &'static str, content: &'static str) -> Case {
    Case { door, way, target, fields, content, how }
}

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const TEXT: &str = "Content-Type: text/plain\r\n";
const PARTS: &str = "Content-Type: multipart/form-data; boundary=B\r\n";
const IN_PARTS: &str = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n@\r\n--B--\r\n";

/// `@` stands for the reference, `#` for `me:` and the reference in base64.
const CASES: [Case; 29] = [
    case(Door::Api, Way::One, How::Whole, "/", "X: @\r\n", ""),
    case(Door::Cli, Way::One, How::Whole, "/?q=@", "", ""),
    case(Door::Page, Way::One, How::Whole, "/@/more", "", ""),
    case(Door::File, Way::One, How::Whole, "/", "Authorization: Basic #\r\n", ""),
    case(Door::Cli, Way::One, How::Whole, "/", "Authorization: Bearer @\r\n", ""),
    case(Door::Page, Way::One, How::Whole, "/", "Cookie: a=b; c=@\r\n", ""),
    case(Door::File, Way::One, How::Whole, "/", JSON, "{\"a\": \"@\"}"),
    case(Door::Api, Way::One, How::Whole, "/", FORM, "a=@&b=c"),
    case(Door::Api, Way::One, How::Whole, "/", PARTS, IN_PARTS),
    case(Door::Api, Way::One, How::Whole, "/", "Content-Type: text/xml\r\n", "<a>@</a>"),
    case(Door::Api, Way::One, How::Gzip, "/", JSON, "{\"a\": \"@\"}"),
    case(Door::Api, Way::One, How::Streams, "/", TEXT, "first @ "),
    case(Door::Api, Way::One, How::Long, "/", JSON, "{\"a\": \"@\"}"),
    case(Door::Api, Way::One, How::Message, "/socket", "", "a @ b"),
    case(Door::Api, Way::One, How::Whole, "/echo", "X: @\r\n", ""),
    case(Door::Api, Way::One, How::Whole, "/echo", "Authorization: Basic #\r\n", ""),
    case(Door::Api, Way::One, How::Whole, "/echo-gzip", "X: @\r\n", ""),
    case(Door::Api, Way::One, How::Clear, "/", "X: @\r\n", ""),
    case(Door::Api, Way::One, How::Tested, "/echo", "X: @\r\n", ""),
    case(Door::Api, Way::OneToTwo, How::Whole, "/?q=@", "X: @\r\n", ""),
    case(Door::Api, Way::OneToTwo, How::Whole, "/echo", JSON, "{\"a\": \"@\"}"),
    case(Door::Api, Way::TwoToOne, How::Whole, "/?q=@", "X: @\r\n", ""),
    case(Door::Api, Way::TwoToOne, How::Whole, "/echo", FORM, "a=@"),
    case(Door::Api, Way::TwoToOne, How::Streams, "/", TEXT, "first @ "),
    case(Door::Api, Way::Two, How::Whole, "/@", "Authorization: Bearer @\r\n", ""),
    case(Door::Api, Way::Two, How::Whole, "/echo", JSON, "{\"a\": \"@\"}"),
    case(Door::Api, Way::Two, How::Streams, "/echo", TEXT, "first @ "),
    case(Door::Api, Way::Two, How::Long, "/", JSON, "{\"a\": \"@\"}"),
    case(Door::Api, Way::Two, How::Gzip, "/", TEXT, "a @"),
];

impl Case {
    fn filled(text: &str, number: usize) -> String {
        let reference = format!("{{secrets.case{number:02}}}");
        text.replace('#', &STANDARD.encode(format!("me:{reference}"))).replace('@', &reference)
    }

    fn content(&self, number: usize) -> Vec<u8> {
        let mut content = Self::filled(self.content, number);
        // More than is held.
        match self.how {
            How::Long => content = format!("[{content},\"{}\",{content}]", "x".repeat(60_000)),
            How::Streams => content = format!("{content} {} {content}", "x".repeat(60_000)),
            _ => {}
        }
        if self.how == How::Gzip {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(content.as_bytes()).expect("memory");
            return encoder.finish().expect("memory");
        }
        content.into_bytes()
    }

    fn fields(&self, number: usize) -> String {
        let coding = if self.how == How::Gzip { "Content-Encoding: gzip\r\n" } else { "" };
        format!("{}{coding}", Self::filled(self.fields, number))
    }

    /// Makes the request and reads its answer, on a connection of its own.
    async fn run(&self, world: &Http2World, number: usize) {
        let (target, fields, content) = (Self::filled(self.target, number), self.fields(number), self.content(number));
        let host = if matches!(self.way, Way::One | Way::TwoToOne) { CRM } else { H2 };
        let method = if content.is_empty() { "GET" } else { "POST" };
        if matches!(self.way, Way::TwoToOne | Way::Two) {
            return self.run_http2(&world.world, host, method, number).await;
        }
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}");
        let whole = [format!("{head}Content-Length: {}\r\n\r\n", content.len()).as_bytes(), &content].concat();
        let answer = match self.how {
            How::Message => return message(&world.world, &String::from_utf8_lossy(&content)).await,
            How::Tested => return tested(&world.world.proxy, &target, number).await,
            How::Clear => {
                let request = format!("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
                exchange(&mut world.world.connect().await, &request).await
            }
            How::Streams => {
                let content = chunk(&String::from_utf8_lossy(&content));
                let request = format!("{}{content}0\r\n\r\n", chunked(host, &fields));
                exchange(&mut world.world.tls(host).await, &request).await
            }
            How::Whole | How::Gzip | How::Long => exchange_bytes(&mut world.world.tls(host).await, &whole).await,
        };
        assert_eq!(answer.status(), 200, "{number}: {}{}", answer.head, answer.text());
    }

    async fn run_http2(&self, world: &World, host: &'static str, method: &str, number: usize) {
        let mut client = soon(world.http2(host).await.ready()).await.expect("open");
        let content = self.content(number);
        let mut request = to(method, host, &Self::filled(self.target, number));
        let fields = self.fields(number);
        for (name, value) in fields.lines().filter_map(|line| line.split_once(": ")) {
            request = request.header(name, value);
        }
        if self.how != How::Streams {
            request = request.header("content-length", content.len());
        }
        let (answer, mut stream) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
        let mut content = Bytes::from(content);
        while !content.is_empty() {
            stream.reserve_capacity(content.len());
            let room = soon(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await.expect("open").expect("room");
            stream.send_data(content.split_to(room.min(content.len())), false).expect("sent");
        }
        stream.send_data(Bytes::new(), true).expect("sent");
        let answer = read(answer).await.expect("an answer");
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
    }
}

/// Sends the text in a message and waits until it is echoed.
async fn message(world: &World, text: &str) {
    let mut stream = world.tls(CRM).await;
    let handshake = format!(
        "GET /socket HTTP/1.1\r\nHost: {CRM}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    assert_eq!(exchange(&mut stream, &handshake).await.status(), 101);
    stream.write_all(&frame(0x81, text.as_bytes())).await.expect("sent");
    // Frames with a mask are none of an upstream's, so the echo comes as it is.
    let (_, echoed, _) = next(&mut stream, &mut Vec::new()).await;
    assert!(!String::from_utf8_lossy(&echoed).contains("{secrets."), "the value went out");
}

/// One call through the socket.
async fn call(proxy: &Proxy, path: &str, content: &serde_json::Value) -> serde_json::Value {
    let mut stream = soon(UnixStream::connect(proxy.path("data/admin.sock"))).await.expect("it listens");
    let content = content.to_string();
    let head = format!("POST /api/v1/organizations/default/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let rest = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}", content.len());
    let answer = exchange(&mut stream, &format!("{head}{rest}")).await;
    assert!(matches!(answer.status(), 200 | 201), "{}", answer.text());
    answer.json()
}

async fn tested(proxy: &Proxy, target: &str, number: usize) {
    let request = serde_json::json!({
        "url": format!("https://{CRM}{target}"),
        "headers": { "X": format!("{{secrets.case{number:02}}}") },
        "send": true,
    });
    let answer = call(proxy, "request-tests", &request).await;
    assert_eq!(answer["answer"]["status"], 200, "{answer}");
}

/// An origin that echoes where it is asked to, and takes every WebSocket.
fn echoing() -> Script {
    Arc::new(|request: &Received| {
        let target = request.line().split(' ').nth(1).expect("a target");
        let text = format!("{}{}", request.head, request.text());
        let answer = match target {
            "/socket" => "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".into(),
            "/echo" => {
                let shown = request.head.lines().last().unwrap_or_default();
                format!(
                    "HTTP/1.1 200 OK\r\nX-Shown: {shown}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                )
                .into()
            }
            "/echo-gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(text.as_bytes()).expect("memory");
                let content = encoder.finish().expect("memory");
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                    content.len()
                );
                [head.as_bytes(), &content].concat()
            }
            "/hold" => Vec::new(),
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        };
        (answer, false)
    })
}

fn echoing_http2(uri: &Uri) -> Does {
    if uri.path() == "/echo" { Does::Echoes } else { ok(uri) }
}

/// Puts each value in by its door.
async fn fill(proxy: &Proxy, mark: &Mark) {
    let mut ada = with_ada(proxy).await;
    for (number, case) in CASES.iter().enumerate() {
        let (name, value) = (format!("case{number:02}"), mark.value(number));
        match case.door {
            Door::Api => {
                call(proxy, "secrets", &serde_json::json!({ "name": name, "value": value })).await;
            }
            Door::Cli => proxy.create_secret(&name, &value, &[]).await,
            Door::Page => {
                let page = "/organizations/default/new-secret";
                let surfaces = ["path", "query", "header", "body"].map(|surface| ("surface", surface));
                let inputs = [&[("name", name.as_str()), ("value", value.as_str())], &surfaces[..]].concat();
                let answer = ada.post(page, &inputs).await;
                assert!(answer.fields("location")[0].contains("done=created"), "{}", answer.head);
            }
            Door::File => {}
        }
    }
}

/// A world whose config declares what comes from files.
async fn world(mark: &Mark, in_environment: &Mark) -> Http2World {
    let (mut config, files) = (
        "[injection]\nwebsocket = true\nbuffer = \"8KiB\"\n[timeouts]\nidle = \"1s\"\n".to_owned(),
        tempfile::tempdir().expect("a directory"),
    );
    for number in (0..CASES.len()).filter(|number| CASES[*number].door == Door::File) {
        let path = files.path().join(number.to_string());
        std::fs::write(&path, mark.value(number)).expect("written");
        let declared = format!("[[secrets]]\nname = \"case{number:02}\"\nvalue = {{ file = \"{}\" }}\n", path.display());
        config.push_str(&declared);
    }
    let mut world = Http2World::serving(&config, echoing_http2, echoing()).await;
    // Less address space that nobody uses is in the core so; what is used is the same.
    world.world.proxy.stop().await;
    let config = world.world.proxy.path("subrosa.toml");
    let text = std::fs::read_to_string(&config).expect("there");
    let declared = "[[secrets]]\nname = \"environment\"\nvalue = { env = \"A_SECRET\" }\n";
    std::fs::write(&config, format!("{text}{declared}")).expect("written");
    let variable = format!("A_SECRET={}", in_environment.0);
    world.world.proxy.start_again_under(&["env", "MIMALLOC_ARENA_RESERVE=64MiB", "MALLOC_ARENA_MAX=1", &variable]).await;
    fill(&world.world.proxy, mark).await;
    world
}

/// What the origins received, with what is in base64 or a coding decoded as well.
fn arrived(world: &Http2World) -> String {
    let mut text = String::new();
    let mut keep = |head: &str, content: &[u8]| {
        text += head;
        for word in head.split([' ', '"', '\r']) {
            text += &STANDARD.decode(word).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        }
        text += &String::from_utf8_lossy(content);
        let _ = std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(content), &mut text);
    };
    for request in world.world.crm.received().into_iter().chain(world.world.crm_plain.received()) {
        keep(&request.head, &request.body);
    }
    for request in world.h2.received() {
        keep(&format!("{} {:?}", request.uri, request.fields), &request.body);
    }
    text
}

/// How many sockets the process has open.
fn sockets(proxy: &Proxy) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.process_id())).expect("root may look").flatten();
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))).count()
}

/// As many as there are when nobody is connected: those that made the secrets have gone.
async fn idle_sockets(proxy: &Proxy) -> usize {
    let mut seen = (sockets(proxy), 0);
    soon(async {
        while seen.1 < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = sockets(proxy);
            seen = (now.min(seen.0), if now < seen.0 { 0 } else { seen.1 + 1 });
        }
    })
    .await;
    seen.0
}

/// Waits until no connection is left, of clients or to upstreams: there are so many sockets again.
async fn over(proxy: &Proxy, before: usize) {
    soon(async {
        while sockets(proxy) > before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let figures = metrics(proxy).await;
    for gauge in ["subrosa_client_connections", "subrosa_upstream_resting", "subrosa_tunnels", "subrosa_held_bytes"] {
        assert!(figure(&figures, gauge) < 0.5, "{gauge}");
    }
}

#[tokio::test]
async fn once_every_connection_is_closed_a_core_holds_no_value_in_any_form() {
    let (mark, in_environment) = (Mark::new(), Mark::new());
    let world = world(&mark, &in_environment).await;
    if std::fs::metadata("/proc/self").expect("Linux").uid() != 0 {
        // Nobody else may look at all.
        assert!(std::fs::File::open(format!("/proc/{}/mem", world.world.proxy.process_id())).is_err());
        return;
    }
    let before = idle_sockets(&world.world.proxy).await;
    for (number, case) in CASES.iter().enumerate() {
        case.run(&world, number).await;
    }
    let declared = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.environment}}\r\n\r\n");
    assert_eq!(world.world.send_tls(CRM, &declared).await.status(), 200);
    let arrived = arrived(&world);
    for (number, case) in CASES.iter().enumerate().filter(|(_, case)| case.how != How::Message) {
        assert!(arrived.contains(&format!("{}{number:02}", mark.0)), "case {number}, {}, arrived nowhere", case.target);
    }
    assert!(arrived.contains(&in_environment.0));

    // While an upstream is waited for it is there, and the search finds it.
    let mut held = world.world.tls(CRM).await;
    let request = format!("GET /hold HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.case00}}\r\n\r\n");
    held.write_all(request.as_bytes()).await.expect("sent");
    held.flush().await.expect("sent");
    soon(async {
        while !world.world.crm.received().last().expect("many came").line().contains("/hold") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let [found, _] = core_holds(&world.world.proxy, [&mark, &in_environment]).await;
    assert!(found.iter().any(|hit| hit.starts_with("as it is")), "{found:?}");

    drop(held);
    over(&world.world.proxy, before).await;
    let [mut found, mut environment] = core_holds(&world.world.proxy, [&mark, &in_environment]).await;
    // Stacks are swept a tenth of a second after a value was in hand.
    for _ in 0..3 {
        if !found.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            [found, environment] = core_holds(&world.world.proxy, [&mark, &in_environment]).await;
        }
    }
    assert!(found.is_empty(), "{} times:\n{}", found.len(), found.join("\n"));
    // KNOWN GAP: a variable stays where the system put it, and the configuration keeps it for a reload.
    assert!(environment.iter().any(|hit| hit.contains("A_SECRET=")), "{environment:?}");
}
