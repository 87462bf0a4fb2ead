//! The wall clock jumps under a running server, by a year, there and back: nobody is cut off, nothing hangs, nothing that is kept
//! is taken for old, and nothing that was begun by a wrong clock lives by it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::people::{Browser, with_ada};
use super::sockets::{frame, next};
use super::support::client::exchange;
use super::support::origin::{Received, Script};
use super::support::{CRM, Proxy, World, soon};

const DAY: i64 = 86_400;
const ACTIVITY: &str = "/api/v1/organizations/default/activity?limit=200";

/// The clock of one process, by libfaketime: how far it is from everybody else's. Its monotonic clock goes on.
struct Clock(PathBuf);

impl Clock {
    /// What makes a program live by this clock, before its name.
    fn wrapper(&self) -> Vec<String> {
        let libraries = std::fs::read_dir("/usr/lib").expect("there").flatten().map(|entry| entry.path());
        let library = libraries.map(|place| place.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
        let library = library.expect("scripts/test-tools has run");
        [
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.0.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ]
        .to_vec()
    }

    fn is_ahead_by(&self, days: i64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{days:+}d\n")).expect("written");
        std::fs::rename(new, &self.0).expect("renamed");
    }
}

/// The time of a client whose clock is as wrong as the server's.
#[derive(Debug)]
struct Ahead(i64);

impl rustls::time_provider::TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds(SystemTime::now()) + self.0 * DAY).ok()?)))
    }
}

fn seconds(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()).expect("in range")
}

/// A tunnel whose client's clock is ahead too.
async fn tls(world: &World, ca: &Path, days: i64) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a PEM file")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_details(provider, Arc::new(Ahead(days)))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = world.tunnel(&format!("{CRM}:443")).await;
    let name = ServerName::try_from(CRM).expect("a name");
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("the leaf is of this time")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {CRM}\r\nX-Key: {{secrets.crm.apiKey}}\r\n\r\n")
}

/// Every entry of the audit trail, once the one for `path` is there: the newest first.
async fn entries(proxy: &Proxy, path: &str) -> Vec<serde_json::Value> {
    soon(async {
        loop {
            let mut stream = tokio::net::UnixStream::connect(proxy.path("data/admin.sock")).await.expect("it listens");
            let request = format!("GET {ACTIVITY} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let list = exchange(&mut stream, &request).await.json();
            let entries = list["entries"].as_array().unwrap_or_else(|| panic!("{list}")).clone();
            if entries.iter().any(|entry| entry["exchange"]["url"] == path && !entry["id"].is_null()) {
                return entries;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_clock_that_jumps_disturbs_nothing_that_is_under_way_and_takes_nothing_away() {
    let script: Script = Arc::new(|request: &Received| {
        if request.line().contains("/socket") {
            return (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(), false);
        }
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(), false)
    });
    let mut world = World::with("[timeouts]\nidle = \"5s\"\n", script).await;
    let clock = Clock(world.proxy.path("clock"));
    clock.is_ahead_by(0);
    world.proxy.stop().await;
    let wrapper = clock.wrapper();
    world.proxy.start_again_under(&wrapper.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let ca = world.ca();

    let ada = with_ada(&world.proxy).await;
    let mut kept = tls(&world, &ca, 0).await;
    let mut socket = tls(&world, &ca, 0).await;
    let handshake = format!(
        "GET /socket HTTP/1.1\r\nHost: {CRM}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Key: {{secrets.crm.apiKey}}\r\n\r\n"
    );
    assert_eq!(exchange(&mut socket, &handshake).await.status(), 101);
    let (mut known, mut ahead) = (0, None);
    for (round, days) in [0, 366, 0, -366, 0].into_iter().enumerate() {
        clock.is_ahead_by(days);
        // Whoever looks at what is under way looks every second.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1_200) {
            assert_eq!(exchange(&mut kept, &get("/kept")).await.text(), "ok", "{days}");
            socket.write_all(&frame(0x81, b"still here")).await.expect("it is open");
            let (_, echoed, _) = next(&mut socket, &mut Vec::new()).await;
            assert_eq!(echoed, b"still here", "{days}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // A year back the authority is not valid yet, and no client would believe a leaf.
        if days >= 0 {
            let path = format!("/{round}");
            assert_eq!(exchange(&mut tls(&world, &ca, days).await, &get(&path)).await.text(), "ok");
            let all = entries(&world.proxy, &path).await;
            assert!(all.len() > known, "{} entries, and there were {known} before the clock went to {days}", all.len());
            known = all.len();
            let newest = all.iter().find(|entry| entry["exchange"]["url"] == path.as_str()).expect("it was found");
            let at = humantime::parse_rfc3339_weak(newest["at"].as_str().expect("a time")).expect("RFC 3339");
            let off = seconds(at) - seconds(SystemTime::now()) - days * DAY;
            assert!(off.abs() < 60, "{newest} is off by {off} s");
        }
        if round == 1 {
            assert_eq!(ada.me().await.status(), 401, "a session is over by then");
            let mut there = Browser::new(&world.proxy);
            there.post("/sign-in", &[("login", "ada"), ("password", "correct horse battery")]).await;
            assert_eq!(there.me().await.status(), 200);
            ahead = Some(there);
        }
        if let Some(there) = ahead.as_ref().filter(|_| round == 2) {
            assert_eq!(there.me().await.status(), 401, "it would live for a year");
        }
    }
    let mut again = Browser::new(&world.proxy);
    again.post("/sign-in", &[("login", "ada"), ("password", "correct horse battery")]).await;
    assert_eq!(again.me().await.status(), 200);
    // What is taken away is gone now, by whatever clock.
    world.proxy.must(&["secret", "delete", "crm.apiKey", "--yes"], "").await;
    assert_eq!(exchange(&mut kept, &get("/gone")).await.refusal(), "secret_not_found");
    let mut rest = Vec::new();
    let _ = soon(tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest)).await;
    drop((again, ada, ahead, kept, socket));
    super::operations::until_idle(&world.proxy).await;
    assert!(world.proxy.stop().await.success());
}
