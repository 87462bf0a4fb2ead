//! Everything at once, for a while: all kinds of traffic, mishaps of origins, edits, reloads and rotations. Whoever behaves is served,
//! and at the end nothing is left: no connection, no task, no descriptor, and no memory that grows.
//!
//! Four seconds, or `SUBROSA_SOAK_MINUTES` (3) with `SUBROSA_SOAK`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::mishaps::{MISHAPS, mishap};
use super::operations::{figure, metrics, until_idle};
use super::sockets::{frame, next};
use super::streams::{read_until, unchunked};
use super::support::client::exchange;
use super::support::http2::{Does, H2, Http2World, ask, to};
use super::support::origin::{Received, Script, serve};
use super::support::{CRM, Proxy, VALUE, World, soon};

/// What is sent and fetched as a long content, in bytes: more than is held.
const LONG: usize = 2 << 20;
const KEY: &str = "X-Key: {secrets.crm.apiKey}\r\n";

/// How long each part is: the first warms up, the last is held against the one before it.
fn parts() -> Vec<Duration> {
    if std::env::var_os("SUBROSA_SOAK").is_none() {
        return [1, 3].map(Duration::from_secs).to_vec();
    }
    let minutes = std::env::var("SUBROSA_SOAK_MINUTES").map_or(3.0, |text| text.parse::<f64>().expect("a number of minutes"));
    [0.2, 0.4, 0.4].map(|part| Duration::from_secs_f64(minutes * 60.0 * part)).to_vec()
}

fn answer(request: &Received) -> (Vec<u8>, bool) {
    let path = request.line().split(' ').nth(1).unwrap_or_default();
    let (status, fields, content) = match path {
        "/socket" => {
            return (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(), false);
        }
        "/events" => {
            let events =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbegun\n\r\n";
            return (events.as_bytes().to_vec(), false);
        }
        "/echo" => ("200 OK", "Content-Type: text/plain\r\n", VALUE.to_owned()),
        "/long" => ("200 OK", "Content-Type: application/json\r\n", " ".repeat(LONG)),
        _ if request.head.contains(VALUE) || request.text().contains(VALUE) => ("200 OK", "", "ok".to_owned()),
        _ => ("418 I'm a teapot", "", "no value".to_owned()),
    };
    (format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{content}", content.len()).into_bytes(), path == "/long")
}

fn streams(uri: &Uri) -> Does {
    match uri.path() {
        "/broken" => Does::Breaks("hello", h2::Reason::INTERNAL_ERROR),
        "/reset" => Does::Resets(h2::Reason::REFUSED_STREAM),
        _ => super::support::http2::ok(uri),
    }
}

/// An origin of mishaps, and one that keeps nothing of what it receives.
async fn others() -> [SocketAddr; 2] {
    let listeners = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await];
    let [faulty, careless] = listeners.map(|listener| listener.expect("loopback"));
    let addresses = [&faulty, &careless].map(|listener| listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = faulty.accept().await {
            tokio::spawn(mishap(stream));
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = careless.accept().await {
            let script: Script = Arc::new(answer);
            tokio::spawn(async move { serve(stream, 0, &script, &Mutex::default()).await });
        }
    });
    addresses
}

/// Who does what until the time is over, and how often it was done.
struct Soak<'a> {
    world: &'a Http2World,
    config: String,
    others: [SocketAddr; 2],
    until: Instant,
    done: [AtomicUsize; 10],
}

impl Soak<'_> {
    fn world(&self) -> &World {
        &self.world.world
    }

    fn proxy(&self) -> &Proxy {
        &self.world.world.proxy
    }

    /// Whether there is time for another one.
    fn goes_on(&self, what: usize) -> bool {
        self.done[what].fetch_add(1, Ordering::Relaxed);
        Instant::now() < self.until
    }

    async fn plain(&self) {
        while self.goes_on(0) {
            let mut stream = self.world().connect().await;
            for _ in 0..20 {
                let request = format!("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n{KEY}\r\n");
                assert_eq!(exchange(&mut stream, &request).await.text(), "ok");
            }
        }
    }

    async fn tls(&self) {
        while self.goes_on(1) {
            let mut stream = self.world().tls(CRM).await;
            for _ in 0..20 {
                assert_eq!(exchange(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n{KEY}\r\n")).await.text(), "ok");
                let echo = exchange(&mut stream, &format!("GET /echo HTTP/1.1\r\nHost: {CRM}\r\n{KEY}\r\n")).await;
                assert_eq!(echo.text(), "{secrets.crm.apiKey}");
            }
        }
    }

    async fn http2(&self) {
        while self.goes_on(2) {
            for host in [H2, CRM] {
                let client = self.world().http2(host).await;
                let asked = (0..16).map(|number| {
                    let path = if host == H2 { ["/", "/broken", "/reset", "/"][number % 4] } else { "/" };
                    let request = to("GET", host, path).header("x-key", "{secrets.crm.apiKey}").body("").expect("a request");
                    let client = &client;
                    async move { (path, ask(client, request).await) }
                });
                for (path, answer) in soon(futures_util::future::join_all(asked)).await {
                    let is_well = answer.as_ref().is_ok_and(|answer| answer.status == 200 && answer.text() == "ok");
                    assert_eq!(is_well, path == "/", "{path}: {answer:?}");
                }
            }
        }
    }

    async fn websocket(&self) {
        while self.goes_on(3) {
            let mut stream = self.world().tls(CRM).await;
            let handshake = format!(
                "GET /socket HTTP/1.1\r\nHost: {CRM}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            assert_eq!(exchange(&mut stream, &handshake).await.status(), 101);
            for _ in 0..20 {
                stream.write_all(&frame(0x81, b"key {secrets.crm.apiKey}")).await.expect("sent");
                // What goes out comes back as it is: the mask of a client is on no message that is looked through.
                let (_, echoed, _) = next(&mut stream, &mut Vec::new()).await;
                assert_eq!(String::from_utf8_lossy(&echoed), format!("key {VALUE}"));
            }
        }
    }

    async fn events(&self) {
        while self.goes_on(4) {
            let mut stream = self.world().tls(CRM).await;
            stream.write_all(format!("GET /events HTTP/1.1\r\nHost: {CRM}\r\n{KEY}\r\n").as_bytes()).await.expect("sent");
            read_until(&mut stream, &mut Vec::new(), b"begun\n").await;
        }
    }

    async fn long_contents(&self) {
        let content = format!("[\"{{secrets.free.key}}\"{}]", " ".repeat(LONG));
        while self.goes_on(5) {
            let careless = self.others[1];
            let head = format!("POST http://{careless}/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
            let request = format!("{head}Content-Length: {}\r\n\r\n{content}", content.len());
            assert_eq!(self.world().send(&request).await.text(), "ok");
            let download = format!("GET http://{careless}/long HTTP/1.1\r\nHost: x\r\nX-Key: {{secrets.free.key}}\r\n\r\n");
            assert_eq!(unchunked(&self.world().send(&download).await.body).len(), LONG);
            // One that breaks off.
            let mut stream = self.world().connect().await;
            stream.write_all(&request.as_bytes()[..request.len() / 2]).await.expect("sent");
        }
    }

    async fn mishaps(&self) {
        let one = |path: &'static str| async move {
            let mut stream = self.world().connect().await;
            let request = format!("GET http://{}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", self.others[0]);
            stream.write_all(request.as_bytes()).await.expect("sent");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        while self.goes_on(6) {
            soon(futures_util::future::join_all(MISHAPS.map(|(path, _)| one(path)))).await;
        }
    }

    async fn edits(&self) {
        while self.goes_on(7) {
            let number = self.done[7].load(Ordering::Relaxed) % 5;
            let name = format!("churn.n{number}");
            self.proxy().create_secret(&name, "another-value", &[]).await;
            let request = format!("GET http://plain.crm.example.com/{{secrets.{name}}} HTTP/1.1\r\nHost: x\r\n{KEY}\r\n");
            assert_eq!(self.world().send(&request).await.text(), "ok");
            self.proxy().must(&["secret", "delete", &name, "--yes"], "").await;
            assert_eq!(self.world().send(&request).await.refusal(), "secret_not_found");
        }
    }

    async fn reloads(&self) {
        while self.goes_on(8) {
            let other = self.done[8].load(Ordering::Relaxed).is_multiple_of(2);
            let changed = if other { self.config.replace("connections = 500", "connections = 600") } else { self.config.clone() };
            // Half a file is a configuration too.
            std::fs::write(self.proxy().path("subrosa.new"), changed).expect("written");
            std::fs::rename(self.proxy().path("subrosa.new"), self.proxy().path("subrosa.toml")).expect("renamed");
            self.proxy().signal("-HUP").await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn rotations(&self) {
        while self.goes_on(9) {
            self.proxy().must(&["key", "rotate"], "").await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }

    /// All of it, until the time is over.
    async fn run(&self) {
        tokio::join!(
            self.plain(),
            self.tls(),
            self.http2(),
            self.websocket(),
            self.events(),
            self.long_contents(),
            self.mishaps(),
            self.edits(),
            self.reloads(),
            self.rotations()
        );
    }
}

/// What a process has when nobody wants anything of it.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    tasks: f64,
    /// In MiB.
    resident: f64,
}

async fn at_rest(proxy: &Proxy) -> Held {
    until_idle(proxy).await;
    let process = format!("/proc/{}", proxy.process_id());
    let count = |what: &str| std::fs::read_dir(format!("{process}/{what}")).expect("it runs").count();
    let figures = metrics(proxy).await;
    Held {
        descriptors: count("fd"),
        threads: count("task"),
        tasks: figure(&figures, "subrosa_tasks"),
        resident: figure(&figures, "process_resident_memory_bytes") / f64::from(1 << 20),
    }
}

/// A worker looks after its upstream connections from the first one on.
const WORKERS: u8 = 2;

/// The same once it is no more than this, as far as it comes to that: what looks after an exchange outlives it by a moment.
async fn at_rest_with(proxy: &Proxy, before: Held) -> Held {
    let mut held = at_rest(proxy).await;
    let until = Instant::now() + super::support::PATIENCE;
    let is_more = |held: Held| {
        held.tasks > before.tasks + f64::from(WORKERS) || held.descriptors > before.descriptors || held.threads > before.threads
    };
    while is_more(held) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
        held = at_rest(proxy).await;
    }
    held
}

#[tokio::test]
async fn after_everything_at_once_nothing_is_left() {
    let others = others().await;
    let allow: Vec<_> = others.iter().map(|address| format!("\"127.0.0.0/8:{}\"", address.port())).collect();
    let config = format!(
        "allow = [{}]\n\n[proxy]\nlisten = [\"127.0.0.1:0\"]\nworkers = {WORKERS}\n[limits]\nconnections = 500\n[injection]\nwebsocket = true\n[timeouts]\nupstream_head = \"5s\"\nbody = \"5s\"\nidle = \"4s\"\n[shutdown]\ngrace = \"5m\"\n",
        allow.join(", ")
    );
    let mut world = Http2World::serving(&config, streams, Arc::new(answer)).await;
    world.world.proxy.create_secret("free.key", VALUE, &[]).await;
    let config = std::fs::read_to_string(world.world.proxy.path("subrosa.toml")).expect("written");
    let mut held: Vec<Held> = Vec::new();
    for part in parts() {
        let (until, config) = (Instant::now() + part, config.clone());
        let soak = Soak { world: &world, config, others, until, done: Default::default() };
        Box::pin(soak.run()).await;
        let done = soak.done.each_ref().map(|count| count.load(Ordering::Relaxed) - 1);
        assert!(done.iter().all(|count| *count > 0), "{done:?}");
        held.push(match held.first() {
            None => at_rest(&world.world.proxy).await,
            Some(first) => at_rest_with(&world.world.proxy, *first).await,
        });
        // For docs/reliability.md.
        eprintln!("{done:?}, and then {:?}", held[held.len() - 1]);
    }
    let (first, before, last) = (held[0], held[held.len() - 2], held[held.len() - 1]);
    assert!(last.tasks <= first.tasks + f64::from(WORKERS), "{held:?}");
    assert!(last.descriptors <= first.descriptors && last.threads <= first.threads, "{held:?}");
    assert!(last.resident <= before.resident * 1.1 + 16.0, "{held:?}");
    assert!(!world.world.proxy.log().contains("panicked"), "{}", world.world.proxy.log());
    // Longer than a test waits: nothing is left that would have to be given up.
    assert!(world.world.proxy.stop().await.success());
}
