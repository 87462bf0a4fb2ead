//! Another server takes over: no request is lost, nothing that was stored or recorded is, and one that fails to take over
//! leaves everything as it was.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::sockets::{frame, next};
use super::support::client::{exchange, tls_in};
use super::support::origin::{Script, find};
use super::support::{CRM, Ca, EVIL, PATIENCE, Response, VALUE, World, reply, soon};

/// How often: few in `make test`, many in `make soak`.
fn rounds() -> usize {
    if std::env::var_os("SUBROSA_SOAK").is_some() { 20 } else { 3 }
}

/// Answers `ok`, and agrees to every `/socket`, which it echoes.
fn script() -> Script {
    let plain = reply("200 OK", "", "ok");
    Arc::new(move |received| match received.line() {
        line if line.contains("/socket") => {
            (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(), false)
        }
        _ => plain(received),
    })
}

/// What clients share.
struct Load {
    proxy: SocketAddr,
    ca: std::path::PathBuf,
    over: AtomicBool,
    asked: AtomicUsize,
}

impl Load {
    fn request(&self, target: &str) -> String {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        format!("GET {target}/{number} HTTP/1.1\r\nHost: {CRM}\r\nX-Key: {{secrets.crm.apiKey}}\r\n\r\n")
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.proxy)).await.expect("never refused")
    }

    /// One request; whether the connection stays.
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S, target: &str) -> bool {
        let response = exchange(stream, &self.request(target)).await;
        assert_eq!((response.status(), response.text().as_str()), (200, "ok"), "{}", response.head);
        response.fields("connection") != ["close"]
    }

    /// Requests as long as the connection stays.
    async fn ask_on<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S, target: &str) {
        loop {
            if !self.ask(stream, target).await || self.over.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// A connection for each request.
    async fn anew(self: Arc<Self>) {
        while !self.over.load(Ordering::SeqCst) {
            self.ask(&mut self.connect().await, "http://plain.crm.example.com").await;
        }
    }

    /// One connection as long as it lasts.
    async fn kept(self: Arc<Self>) {
        while !self.over.load(Ordering::SeqCst) {
            let mut stream = self.connect().await;
            self.ask_on(&mut stream, "http://plain.crm.example.com").await;
        }
    }

    /// The same inside a tunnel.
    async fn inside(self: Arc<Self>) {
        while !self.over.load(Ordering::SeqCst) {
            let mut stream = self.connect().await;
            let connect = format!("CONNECT {CRM}:443 HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
            assert_eq!(exchange(&mut stream, &connect).await.status(), 200);
            let mut stream = tls_in(stream, CRM, &self.ca).await.expect("the leaf is trusted");
            self.ask_on(&mut stream, "").await;
        }
    }
}

/// An origin whose answer goes on as long as somebody sends it pieces.
async fn download() -> (SocketAddr, tokio::sync::mpsc::Sender<&'static [u8]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (pieces, mut coming) = tokio::sync::mpsc::channel::<&'static [u8]>(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("sent");
        while let Some(piece) = coming.recv().await {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&chunk).await.expect("it is read");
        }
        stream.write_all(b"0\r\n\r\n").await.expect("it is read");
        let _ = stream.read(&mut [0; 4096]).await;
    });
    (address, pieces)
}

async fn read_until(stream: &mut TcpStream, seen: &mut Vec<u8>, wanted: &[u8]) {
    soon(async {
        while find(seen, wanted).is_none() {
            assert_ne!(stream.read_buf(seen).await.expect("it goes on"), 0, "{}", String::from_utf8_lossy(seen));
        }
    })
    .await;
}

/// One call through the socket.
async fn call(socket: &Path, request: &str) -> Response {
    let mut stream = soon(UnixStream::connect(socket)).await.expect("a server listens");
    exchange(&mut stream, &format!("{request} HTTP/1.0\r\nHost: localhost\r\n\r\n")).await
}

/// Has the config say another thing.
fn edit(world: &World, from: &str, to: &str) {
    let path = world.proxy.path("subrosa.toml");
    let text = std::fs::read_to_string(&path).expect("it is there");
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replacen(from, to, 1)).expect("written");
}

#[tokio::test]
async fn takeovers_under_load_lose_no_request_no_write_and_no_entry() {
    let (slow, _keep) = download().await;
    let ca = Ca::new();
    let config = format!(
        "[proxy]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[intercept]\npass_through = [\"{EVIL}\"]\n[activity]\nentries = 1000000\n"
    );
    let mut world = World::beside(&ca, &[("slow.test", slow)], &config, script()).await;
    let load =
        Arc::new(Load { proxy: world.proxy.address, ca: world.ca(), over: AtomicBool::new(false), asked: AtomicUsize::new(0) });
    let clients: [JoinHandle<()>; 4] = [
        tokio::spawn(Arc::clone(&load).anew()),
        tokio::spawn(Arc::clone(&load).anew()),
        tokio::spawn(Arc::clone(&load).kept()),
        tokio::spawn(Arc::clone(&load).inside()),
    ];
    let origin_ca = world.proxy.path("origin-ca.pem");
    for round in 0..rounds() {
        // Three that last beyond the takeover: a tunnel that is passed through, a WebSocket, a download.
        let (slow, pieces) = download().await;
        let resolve = std::fs::read_to_string(world.proxy.path("subrosa.toml")).expect("there");
        let known = resolve.lines().find(|line| line.starts_with("\"slow.test\"")).expect("it is resolved").to_owned();
        edit(&world, &known, &format!("\"slow.test\" = \"{slow}\""));
        world.proxy.must(&["reload"], "").await;
        let mut passed = tls_in(world.tunnel(&format!("{EVIL}:443")).await, EVIL, &origin_ca).await.expect("it is the origin");
        let mut socket = world.tls(CRM).await;
        let handshake = format!(
            "GET /socket HTTP/1.1\r\nHost: {CRM}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        assert_eq!(exchange(&mut socket, &handshake).await.status(), 101);
        let mut download = world.connect().await;
        download.write_all(b"GET http://slow.test/ HTTP/1.1\r\nHost: slow.test\r\n\r\n").await.expect("sent");
        pieces.send(b"before").await.expect("the origin sends");
        let mut seen = Vec::new();
        read_until(&mut download, &mut seen, b"before").await;

        // More workers than sockets, then fewer.
        edit(&world, &format!("workers = {}", 1 + round % 3), &format!("workers = {}", 1 + (round + 1) % 3));
        let before = load.asked.load(Ordering::SeqCst);
        let mut former = world.proxy.take_over().await;
        former.logged("another server has taken over").await;
        assert_eq!(world.proxy.address, load.proxy);
        world.proxy.create_secret(&format!("after.{round}"), "anything", &[]).await;
        soon(async {
            while load.asked.load(Ordering::SeqCst) < before + 50 {
                tokio::task::yield_now().await;
            }
        })
        .await;

        assert_eq!(exchange(&mut passed, "GET /passed HTTP/1.1\r\nHost: x\r\n\r\n").await.text(), "ok");
        socket.write_all(&frame(0x81, b"still here")).await.expect("sent");
        let (_, echoed, _) = next(&mut socket, &mut Vec::new()).await;
        assert_eq!(echoed, b"still here");
        pieces.send(b"after").await.expect("the origin sends");
        drop(pieces);
        read_until(&mut download, &mut seen, b"0\r\n\r\n").await;
        drop((passed, socket, download));
        assert!(former.wait().await.success(), "{}", former.log());
        world.proxy.logged("the former server has ended").await;
    }
    load.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("every request was answered");
    }
    let asked = load.asked.load(Ordering::SeqCst);
    let received = [world.crm.received(), world.crm_plain.received()].concat();
    let received: Vec<_> = received.into_iter().filter(|received| !received.line().contains("/socket")).collect();
    assert!(received.iter().all(|received| received.field("x-key") == VALUE));
    let mut numbers: Vec<usize> = received.iter().map(|received| number(received.line())).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..asked).collect::<Vec<_>>(), "each came exactly once");

    // What the former servers recorded while they finished is kept by the last.
    world.proxy.stop().await;
    world.proxy.start_again().await;
    let export = "GET /api/v1/organizations/default/activity/export?kind=exchange";
    let entries = call(&world.proxy.path("data/admin.sock"), export).await.text();
    let entries = entries.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut kept: Vec<usize> = entries.filter_map(|entry| Some(number(entry["exchange"]["url"].as_str()?))).collect();
    kept.sort_unstable();
    assert_eq!(kept, numbers, "each was recorded exactly once");
    let listed = world.proxy.must(&["secret", "list", "--json"], "").await;
    assert!((0..rounds()).all(|round| listed.contains(&format!("\"after.{round}\""))), "{listed}");
}

/// The number that a target ends in.
fn number(text: &str) -> usize {
    let target = text.trim_end_matches(" HTTP/1.1").rsplit('/').next().unwrap_or_default();
    target.parse().unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

#[tokio::test]
async fn one_that_fails_to_take_over_leaves_the_former_one_serving_and_writing() {
    let mut world = World::with("", reply("200 OK", "", "ok")).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let text = std::fs::read_to_string(world.proxy.path("subrosa.toml")).expect("there");
    std::fs::write(world.proxy.path("other-key"), "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(world.proxy.path("other-key"), mode).expect("set");
    let any = "[proxy]\nlisten = [\"127.0.0.1:0\"]";
    let busy = format!("{any}\nsocks = [\"{}\"]", taken.local_addr().expect("bound"));
    for (fault, config, said) in [
        ("another key", format!("{text}\n[keys]\nfile = \"other-key\"\n"), "sealed with the key"),
        ("an address in use", text.replace(any, &busy), "is in use by another process"),
        ("a value that is nowhere", format!("{text}\n[[secrets]]\nname = \"x\"\nvalue = {{ file = \"nowhere\" }}\n"), "nowhere"),
    ] {
        std::fs::write(world.proxy.path("other.toml"), config).expect("written");
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"))
            .args(["serve", "--config", "other.toml", "--take-over"])
            .current_dir(world.proxy.path(""))
            .output();
        let output = soon(output).await.expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(said), "{fault}: {stderr}");
        world.proxy.create_secret(&fault.replace(' ', "."), "anything", &[]).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX-Key: {{secrets.crm.apiKey}}\r\n\r\n");
        assert_eq!(world.send_tls(CRM, &request).await.status(), 200);
    }
    // And it can be taken over from still.
    let mut former = world.proxy.take_over().await;
    assert!(former.wait().await.success());
    assert_eq!(world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.status(), 200);
    assert!(world.proxy.must(&["secret", "list"], "").await.contains("another.key"));
}

/// Sends what the next server would.
async fn say(stream: &mut UnixStream, message: &str) {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    stream.write_all(&[&length[..], message.as_bytes()].concat()).await.expect("it listens");
}

/// Reads until the former server has said `wanted`. (Descriptors that come beside it are closed.)
async fn hear(stream: &mut UnixStream, wanted: &str) {
    let mut heard = Vec::new();
    soon(async {
        while find(&heard, wanted.as_bytes()).is_none() {
            assert_ne!(stream.read_buf(&mut heard).await.expect("it goes on"), 0, "{}", String::from_utf8_lossy(&heard));
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_gone_at_any_step_of_taking_over_leaves_the_former_one_as_it_was() {
    let mut world = World::with("", reply("200 OK", "", "ok")).await;
    let steps = [
        ("", ""),
        ("{\"Ask\":{\"protocol\":1,\"version\":\"1\"}}", "Offered"),
        ("\"Prepared\"", "Released"),
        ("\"Ready\"", "\"Go\""),
    ];
    for count in 1..=steps.len() {
        let mut stream = UnixStream::connect(world.proxy.path("data/next.sock")).await.expect("it listens");
        for (message, answer) in &steps[1..count] {
            say(&mut stream, message).await;
            hear(&mut stream, answer).await;
        }
        // From the third step on the store is away: what is written waits, and runners do not.
        let proxy = &world.proxy;
        let name = format!("step.{count}");
        let arguments = ["secret", "create", &name, "--value-stdin"];
        let write = proxy.must(&arguments, "anything");
        let mut write = std::pin::pin!(write);
        let request = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX-Key: {{secrets.crm.apiKey}}\r\n\r\n");
        let served = tokio::select! {
            response = world.send_tls(CRM, &request) => response,
            _ = write.as_mut(), if count > 2 => panic!("something was written while the store was away"),
        };
        assert_eq!(served.status(), 200);
        drop(stream);
        write.await;
    }
    // Entries of that time are kept as well.
    let listed = "GET /api/v1/organizations/default/activity?kind=exchange";
    soon(async {
        let count = async || call(&world.proxy.path("data/admin.sock"), listed).await.json()["entries"].as_array().map(Vec::len);
        while count().await != Some(steps.len()) {}
    })
    .await;
    // Who speaks in another way is told so.
    let mut stream = UnixStream::connect(world.proxy.path("data/next.sock")).await.expect("it listens");
    say(&mut stream, "{\"Ask\":{\"protocol\":2,\"version\":\"9\"}}").await;
    hear(&mut stream, "Refused").await;
    world.proxy.stop().await;
    world.proxy.start_again().await;
    let listed = world.proxy.must(&["secret", "list"], "").await;
    assert!((1..=steps.len()).all(|count| listed.contains(&format!("step.{count}"))), "{listed}");
}

#[tokio::test]
async fn what_the_next_server_changes_rules_the_former_ones_connections() {
    let config = format!("[intercept]\npass_through = [\"{EVIL}\"]\n");
    let mut world = World::with(&config, reply("200 OK", "", "ok")).await;
    let printed = world.proxy.must(&["runner", "create", "billing"], "").await;
    let token = printed.split_whitespace().max_by_key(|word| word.len()).expect("it prints a token").to_owned();
    world.proxy.must(&["runner", "create", "stays"], "").await;
    let fields = format!("Proxy-Authorization: Bearer {token}\r\n");
    let connect = |host: &str| format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    let mut passed = world.connect().await;
    assert_eq!(exchange(&mut passed, &connect(EVIL)).await.status(), 200);
    let mut kept = world.connect().await;
    let request =
        format!("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n{fields}X-Key: {{secrets.crm.apiKey}}\r\n\r\n");
    assert_eq!(exchange(&mut kept, &request).await.status(), 200);

    let former = world.proxy.take_over().await;
    former.logged("another server has taken over").await;
    world.proxy.must(&["secret", "delete", "crm.apiKey", "--yes"], "").await;
    world.proxy.must(&["runner", "revoke", "billing"], "").await;
    // The tunnel of a runner that was revoked ends, as it would have there.
    assert_eq!(soon(passed.read(&mut [0; 64])).await.unwrap_or(0), 0);
    assert_eq!(exchange(&mut kept, &request).await.status(), 407, "it is the former server's connection");
    assert_eq!(world.crm_plain.received().len(), 1);
}

#[tokio::test]
async fn a_store_in_memory_is_not_handed_over_and_a_takeover_of_nobody_is_a_start() {
    let mut world = World::with("[store]\nengine = \"memory\"\n", reply("200 OK", "", "ok")).await;
    let serve = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"))
        .args(["serve", "--config", "subrosa.toml", "--take-over"])
        .current_dir(world.proxy.path(""))
        .output();
    let output = tokio::time::timeout(PATIENCE, serve).await.expect("it ends").expect("it started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("only a store of files"), "{stderr}");
    assert_eq!(world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.status(), 200);
    world.proxy.stop().await;
    world.proxy.take_over().await;
    world.proxy.logged("no server is there to take over from").await;
    assert_eq!(world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.status(), 200);
}
