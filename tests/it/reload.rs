//! A configuration that changes while the server runs: whole or not at all, from the next request on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::support::client::{Response, exchange, tls_in};
use super::support::origin::find;
use super::support::{CRM, Ca, Proxy, VALUE, World, reply, soon};

/// Puts `to` where `from` stands in the config file.
fn edit(proxy: &Proxy, from: &str, to: &str) {
    let path = proxy.path("subrosa.toml");
    let text = std::fs::read_to_string(&path).expect("it is there");
    assert!(text.contains(from), "{from} is not in\n{text}");
    std::fs::write(&path, text.replacen(from, to, 1)).expect("written");
}

/// The report of a reload.
async fn reload(proxy: &Proxy) -> Value {
    serde_json::from_str(&proxy.must(&["reload", "--json"], "").await).expect("JSON")
}

/// What the socket says to being asked for a reload: the command line reads the file itself, and would stop at a broken one.
async fn ask(proxy: &Proxy) -> Response {
    let mut stream = soon(UnixStream::connect(proxy.path("data/admin.sock"))).await.expect("it listens");
    exchange(&mut stream, "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await
}

async fn get(proxy: &Proxy, path: &str) -> Response {
    let mut stream = soon(TcpStream::connect(proxy.admin_address().await)).await.expect("it listens");
    exchange(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
}

/// A directory beside the server's, with a value in `value`, and the secret `crm.declared` that takes it.
fn declared() -> (TempDir, String) {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("value"), "one").expect("written");
    let config = format!(
        "[[secrets]]\nname = \"crm.declared\"\nvalue = {{ file = {:?} }}\nallowed_domains = [\"{CRM}\"]\n",
        place.path().join("value").display().to_string()
    );
    (place, config)
}

const DECLARED: &str = "GET /a HTTP/1.1\r\nHost: api.crm.example.com\r\nX: {secrets.crm.declared}\r\n\r\n";

fn last(world: &World) -> String {
    world.crm.received().last().expect("a request").field("x").to_owned()
}

#[tokio::test]
async fn a_declared_secret_that_changes_rules_the_next_request_in_an_open_tunnel() {
    let (place, config) = declared();
    let world = World::with(&config, reply("200 OK", "", "ok")).await;
    let mut tunnel = world.tls(CRM).await;
    assert_eq!(exchange(&mut tunnel, DECLARED).await.status(), 200);
    assert_eq!(last(&world), "one");
    let report = reload(&world.proxy).await;
    assert_eq!((&report["unchanged"], &report["changed"], &report["revision"]), (&json!(true), &json!([]), &json!(1)));

    std::fs::write(place.path().join("value"), "two\n").expect("written");
    let report = reload(&world.proxy).await;
    let since = report["in_force_since"].as_i64().expect("a time");
    let expected = json!({ "unchanged": false, "changed": ["secrets[crm.declared]"], "needs_restart": [], "revision": 2, "in_force_since": since });
    assert_eq!(report, expected);
    assert_eq!(exchange(&mut tunnel, DECLARED).await.status(), 200);
    assert_eq!(last(&world), "two");

    edit(&world.proxy, &format!("allowed_domains = [\"{CRM}\"]"), "allowed_domains = [\"else.example\"]");
    assert_eq!(reload(&world.proxy).await["changed"], json!(["secrets[crm.declared]"]));
    assert_eq!(exchange(&mut tunnel, DECLARED).await.refusal(), "domain_restricted");
    assert_eq!(world.crm.received().len(), 2);
    // Removed, it is nobody's; what is stored is as it was.
    let text = std::fs::read_to_string(world.proxy.path("subrosa.toml")).expect("there");
    let without = text.split("[[secrets]]").next().expect("something").to_owned();
    std::fs::write(world.proxy.path("subrosa.toml"), without).expect("written");
    assert_eq!(reload(&world.proxy).await["changed"], json!(["secrets[crm.declared]"]));
    assert_eq!(exchange(&mut tunnel, DECLARED).await.refusal(), "secret_not_found");
    let stored = DECLARED.replace("crm.declared", "crm.apiKey");
    assert_eq!(exchange(&mut tunnel, &stored).await.status(), 200);
    assert_eq!(last(&world), VALUE);
    assert!(!world.proxy.log().contains(VALUE));
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing_and_says_why_and_where() {
    let (place, config) = declared();
    let world = World::with(&config, reply("200 OK", "", "ok")).await;
    let path = world.proxy.path("subrosa.toml");
    let sound = std::fs::read_to_string(&path).expect("there");
    // Each beside a change that would be right by itself.
    std::fs::write(place.path().join("value"), "two").expect("written");
    std::fs::write(place.path().join("not.pem"), "hello").expect("written");
    let at = |name: &str| place.path().join(name).display().to_string();
    let certificate =
        format!("\n[[egress.client_certificate]]\nhosts = [\"{CRM}\"]\ncertificate = \"{}\"\nkey = \"{0}\"\n", at("not.pem"));
    let secret = |name: &str, file: &str| format!("\n[[secrets]]\nname = \"{name}\"\nvalue = {{ file = \"{}\" }}\n", at(file));
    let token = |name: &str| format!("\n[[runners]]\nname = \"{name}\"\ntoken = {{ file = \"{}\" }}\n", at("token"));
    std::fs::write(at("token"), "0123456789abcdef0123").expect("written");
    let breakages = [
        ("\n[limits]\nconections = 1\n".to_owned(), 2, "there is no key `conections` here"),
        ("\n[limits]\nheld = \"1MiB\"\n".to_owned(), 2, "all held bodies together"),
        (secret("b", "absent"), 3, "cannot be read"),
        (secret("crm.apiKey", "value"), 2, "is declared in the configuration and stored as well"),
        (format!("{}{}", token("b"), token("c")), 6, "are declared with the same token"),
        (
            format!("\n[[egress.roots]]\nhosts = [\"{CRM}\"]\nfiles = [\"{}\"]\n", at("not.pem")),
            3,
            "is not a list of certificates",
        ),
        (certificate, 1, "is not a certificate with its chain"),
        ("\n[[[\n".to_owned(), 1, ""),
    ];
    let count = sound.lines().count();
    let mut tunnel = world.tls(CRM).await;
    for (breakage, line, sentence) in &breakages {
        std::fs::write(&path, format!("{sound}{breakage}")).expect("written");
        let answer = ask(&world.proxy).await;
        assert_eq!(
            (answer.status(), answer.json()["code"].as_str()),
            (422, Some("config_faulty")),
            "{breakage}: {}",
            answer.text()
        );
        let detail = answer.json()["detail"].as_str().expect("a sentence").to_owned();
        let place = format!("subrosa.toml, line {}", count + line + 1);
        assert!(detail.contains(&place) && detail.contains(sentence), "{place}: {detail}");
        assert_eq!(exchange(&mut tunnel, DECLARED).await.status(), 200, "{breakage}");
        assert_eq!(last(&world), "one", "{breakage}");
        assert_eq!(get(&world.proxy, "/readyz").await.status(), 200);
    }
    // By signal the log alone can say it.
    world.proxy.signal("-HUP").await;
    let line = world.proxy.logged("\"by\":\"SIGHUP\"").await;
    assert!(line.contains("was not reloaded") && line.contains("subrosa.toml, line"), "{line}");
    let said = world.proxy.must_fail(&["reload"], "").await;
    assert!(said.contains("subrosa.toml, line"), "{said}");
    std::fs::write(&path, sound).expect("written");
    assert_eq!(ask(&world.proxy).await.json()["revision"], 2);
    assert_eq!(exchange(&mut tunnel, DECLARED).await.status(), 200);
    assert_eq!(last(&world), "two");
    let figures = get(&world.proxy, "/metrics").await.text();
    for (outcome, times) in [("failed", breakages.len() + 1), ("changed", 1), ("unchanged", 0)] {
        assert!(
            figures.contains(&format!("subrosa_config_reloads_total{{outcome=\"{outcome}\"}} {times}\n")),
            "{outcome}: {figures}"
        );
    }
    assert!(figures.contains("\nsubrosa_config_read_timestamp_seconds 1"), "{figures}");
}

/// A request on a connection to the proxy itself.
const PLAIN: &str = "GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n";

#[tokio::test]
async fn a_declared_runner_feels_it_in_its_open_tunnel() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("token");
    std::fs::write(&file, "a-token-that-is-long-enough").expect("written");
    let runner = format!("[[runners]]\nname = \"billing\"\ntoken = {{ file = {:?} }}\n", file.display().to_string());
    let world = World::with(&format!("{runner}#\n"), reply("200 OK", "", "ok")).await;
    let auth = |token: &str| format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("billing:{token}")));
    let mut stream = world.connect().await;
    let connect = format!("CONNECT {CRM}:443 HTTP/1.1\r\nHost: {CRM}:443\r\n{}\r\n", auth("a-token-that-is-long-enough"));
    assert_eq!(exchange(&mut stream, &connect).await.status(), 200);
    let mut tunnel = tls_in(stream, CRM, &world.ca()).await.expect("the leaf is trusted");
    let inside = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 200);
    // Read anew and the same, it is the same runner.
    assert_eq!(reload(&world.proxy).await["unchanged"], true);
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 200);
    edit(&world.proxy, "#\n", "hosts = [\"else.example\"]\n");
    assert_eq!(reload(&world.proxy).await["changed"], json!(["runners[billing]"]));
    assert_eq!(exchange(&mut tunnel, &inside).await.refusal(), "runner_not_permitted");
    edit(&world.proxy, "hosts = [\"else.example\"]\n", "#\n");
    reload(&world.proxy).await;
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 200);
    // Another token: the old one is nobody's.
    std::fs::write(&file, "another-that-is-long-enough").expect("written");
    assert_eq!(reload(&world.proxy).await["changed"], json!(["runners[billing]"]));
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 407);
    let mut stream = world.connect().await;
    let with = |token: &str| format!("{PLAIN}{}\r\n", auth(token));
    assert_eq!(exchange(&mut stream, &with("a-token-that-is-long-enough")).await.status(), 407);
    assert_eq!(exchange(&mut stream, &with("another-that-is-long-enough")).await.status(), 200);
    edit(&world.proxy, &runner, "");
    reload(&world.proxy).await;
    assert_eq!(exchange(&mut stream, &with("another-that-is-long-enough")).await.refusal(), "runner_unauthenticated");
}

#[tokio::test]
async fn anonymous_clients_and_surfaces_are_judged_anew_on_connections_that_are_open() {
    let config = "[proxy]\nlisten = [\"127.0.0.1:0\"]\nanonymous = \"default\"\n";
    let world = World::with(config, reply("200 OK", "", "ok")).await;
    world.proxy.must(&["runner", "create", "somebody"], "").await;
    let mut tunnel = world.tls(CRM).await;
    let inside = DECLARED.replace("crm.declared", "crm.apiKey");
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 200);
    assert_eq!(last(&world), VALUE);
    let narrow = format!("[[injection.narrow]]\nhosts = [\"{CRM}\"]\nsurfaces = [\"query\"]\n");
    edit(&world.proxy, "[proxy]\n", &format!("{narrow}[proxy]\n"));
    assert_eq!(reload(&world.proxy).await["changed"], json!(["injection.narrow"]));
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 200);
    assert_eq!(last(&world), "{secrets.crm.apiKey}");
    edit(&world.proxy, "anonymous = \"default\"\n", "");
    assert_eq!(reload(&world.proxy).await["changed"], json!(["proxy.anonymous"]));
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 407);
}

#[tokio::test]
async fn what_egress_and_roots_no_longer_permit_is_not_reached_by_a_connection_that_rests() {
    let world = World::with("allow = [\"127.0.0.0/8\"]\n", reply("200 OK", "", "ok")).await;
    let (mut stream, mut tunnel) = (world.connect().await, world.tls(CRM).await);
    let direct = format!("GET http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n", world.crm_plain.address);
    let inside = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    for _ in 0..2 {
        assert_eq!(exchange(&mut stream, &direct).await.status(), 200);
        assert_eq!(exchange(&mut tunnel, &inside).await.status(), 200);
    }
    let before = (world.crm_plain.connections(), world.crm.connections());
    assert_eq!(before, (1, 1), "both rest");
    assert_eq!(reload(&world.proxy).await["unchanged"], true);
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 200);
    assert_eq!(world.crm.connections(), 1, "nothing has changed, so it is used again");
    edit(&world.proxy, "allow = [\"127.0.0.0/8\"]\n", "");
    assert_eq!(reload(&world.proxy).await["changed"], json!(["egress.allow"]));
    assert_eq!(exchange(&mut stream, &direct).await.refusal(), "target_denied");
    assert_eq!(exchange(&mut tunnel, &inside).await.status(), 200);
    assert_eq!(world.crm.connections(), 2, "one that was made under other settings is not used again");
    // The file is the same by name.
    std::fs::write(world.proxy.path("origin-ca.pem"), Ca::new().pem()).expect("written");
    assert_eq!(reload(&world.proxy).await["changed"], json!(["egress.extra_roots"]));
    assert_eq!(exchange(&mut tunnel, &inside).await.refusal(), "upstream_tls");
    assert_eq!((world.crm_plain.received().len(), world.crm.received().len()), (2, 4));
}

#[tokio::test]
async fn an_exchange_under_way_finishes_by_what_it_began_with() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = vec![0; 4096];
        let _ = stream.read(&mut buffer).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").await.expect("sent");
        let _ = released.await;
        let _ = stream.write_all(b"cd").await;
    });
    let config = format!("[egress.resolve]\n\"slow.test\" = \"{address}\"\n");
    let proxy = Proxy::start(tempfile::tempdir().expect("a directory"), &config).await;
    let mut stream = soon(TcpStream::connect(proxy.address)).await.expect("it listens");
    stream.write_all(b"GET http://slow.test/ HTTP/1.1\r\nHost: slow.test\r\n\r\n").await.expect("sent");
    let mut seen = Vec::new();
    soon(async {
        while find(&seen, b"\r\n\r\nab").is_none() {
            stream.read_buf(&mut seen).await.expect("the head comes");
        }
    })
    .await;
    edit(&proxy, &config, "");
    assert_eq!(reload(&proxy).await["changed"], json!(["egress.resolve"]));
    release.send(()).expect("it waits");
    soon(async {
        while find(&seen, b"abcd").is_none() {
            assert_ne!(stream.read_buf(&mut seen).await.expect("the rest comes"), 0);
        }
    })
    .await;
    let next = exchange(&mut stream, "GET http://slow.test/ HTTP/1.1\r\nHost: slow.test\r\n\r\n").await;
    assert_eq!(next.refusal(), "upstream_unresolvable");
}

#[tokio::test]
async fn tunnels_that_are_open_stay_what_they_are_and_new_ones_are_passed_through() {
    let world = World::with("[intercept]\npass_through = []\n", reply("200 OK", "", "ok")).await;
    let mut tunnel = world.tls(CRM).await;
    edit(&world.proxy, "pass_through = []", &format!("pass_through = [\"{CRM}\"]"));
    assert_eq!(reload(&world.proxy).await["changed"], json!(["intercept.pass_through"]));
    assert_eq!(exchange(&mut tunnel, &DECLARED.replace("crm.declared", "crm.apiKey")).await.status(), 200);
    assert_eq!(last(&world), VALUE);
    let through = world.tunnel(&format!("{CRM}:443")).await;
    let through = tls_in(through, CRM, &world.proxy.path("origin-ca.pem")).await;
    assert!(through.is_ok(), "the origin's own certificate: {:?}", through.err());
}

/// What the proxy and the admin port show: whether `ca` signed it.
async fn shown(address: std::net::SocketAddr, ca: &Path) -> bool {
    let stream = soon(TcpStream::connect(address)).await.expect("it listens");
    tls_in(stream, "proxy.test", ca).await.is_ok()
}

#[tokio::test]
async fn renewed_certificates_of_the_doors_are_shown_to_the_next_connection() {
    let (place, old, new) = (tempfile::tempdir().expect("a directory"), Ca::new(), Ca::new());
    old.pair_files(place.path(), "door", &["proxy.test"]);
    let at = |name: &str| place.path().join(name);
    std::fs::write(at("old.pem"), old.pem()).expect("written");
    std::fs::write(at("new.pem"), new.pem()).expect("written");
    let tls = format!("tls = {{ certificate = {:?}, key = {:?} }}\n", at("door.pem"), at("door-key.pem"));
    let config = format!(
        "[proxy]\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\n{tls}[admin]\nlisten = [\"127.0.0.1:0\"]\nhosts = [\"proxy.test\"]\n{tls}"
    );
    let world = World::with(&config, reply("200 OK", "", "ok")).await;
    let doors = [world.proxy.door("proxy-tls").await, world.proxy.admin_address().await];
    for door in doors {
        assert!(shown(door, &at("old.pem")).await && !shown(door, &at("new.pem")).await);
    }
    let stream = soon(TcpStream::connect(doors[0])).await.expect("it listens");
    let mut open = tls_in(stream, "proxy.test", &at("old.pem")).await.expect("trusted");
    // Half of a renewal is none.
    std::fs::write(at("door.pem"), new.pair(&["proxy.test"]).0).expect("written");
    let answer = ask(&world.proxy).await;
    assert!(answer.status() == 422 && answer.text().contains("does not belong to the first certificate"), "{}", answer.text());
    new.pair_files(place.path(), "door", &["proxy.test"]);
    assert_eq!(reload(&world.proxy).await["changed"], json!(["admin.tls", "proxy.tls"]));
    for door in doors {
        assert!(shown(door, &at("new.pem")).await && !shown(door, &at("old.pem")).await);
    }
    assert_eq!(exchange(&mut open, &format!("{PLAIN}\r\n")).await.status(), 200);
}

#[tokio::test]
async fn what_takes_a_restart_is_named_and_the_rest_is_in_force() {
    let world = World::with("[admin]\nlisten = [\"127.0.0.1:0\"]\nhosts = [\"localhost\"]\n", reply("200 OK", "", "ok")).await;
    edit(&world.proxy, "[proxy]\nlisten = [\"127.0.0.1:0\"]", "[proxy]\nlisten = [\"127.0.0.1:9\"]\nworkers = 3");
    edit(&world.proxy, "hosts = [\"localhost\"]", "hosts = [\"else.test\"]");
    let said = world.proxy.must(&["reload"], "").await;
    assert_eq!(
        said,
        "Changed, and in force:\n  admin.hosts\nTakes a restart:\n  proxy.listen: [\"127.0.0.1:0\"] is in force, [\"127.0.0.1:9\"] is configured\n  proxy.workers: 0 is in force, 3 is configured\n"
    );
    assert_eq!(world.send(&format!("{PLAIN}\r\n")).await.status(), 200);
    let report = reload(&world.proxy).await;
    let held = json!([
        { "key": "proxy.listen", "in_force": ["127.0.0.1:0"], "configured": ["127.0.0.1:9"] },
        { "key": "proxy.workers", "in_force": 0, "configured": 3 },
    ]);
    assert_eq!((&report["unchanged"], &report["changed"], &report["needs_restart"]), (&json!(false), &json!([]), &held));
    assert_eq!(get(&world.proxy, "/livez").await.status(), 421);
    // Whoever looks after the instance may, from elsewhere too; others may not.
    let server = format!("http://{}", world.proxy.admin_address().await);
    edit(&world.proxy, "hosts = [\"else.test\"]", "hosts = [\"localhost\", \"127.0.0.1\"]");
    reload(&world.proxy).await;
    for (role, may) in [("administrator", true), ("editor", false)] {
        let token = world.proxy.must(&["token", "create", role, "--role", role], "").await;
        std::fs::write(world.proxy.path("token"), token).expect("written");
        let output = world.proxy.cli(&["reload", "--server", &server, "--token-file", "token"], "").await;
        assert_eq!(output.status.code(), Some(i32::from(!may)), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let trail = world.proxy.log();
    let line = trail.lines().rfind(|line| line.contains("\"action\":\"reloaded\"")).expect("it is written down");
    assert!(line.contains("\"actor\":\"administrator") || line.contains("\"actor\":\"token"), "{line}");
}

#[tokio::test]
async fn no_request_is_lost_while_the_configuration_changes() {
    let world = Arc::new(World::with("[timeouts]\nidle = \"50s\"\n", reply("200 OK", "", "ok")).await);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for keeps in [true, true, false] {
        let (world, stop, served) = (Arc::clone(&world), Arc::clone(&stop), Arc::clone(&served));
        clients.push(tokio::spawn(async move {
            let mut stream = world.connect().await;
            while !stop.load(Ordering::Relaxed) {
                if !keeps {
                    stream = world.connect().await;
                }
                let answer = exchange(&mut stream, &format!("{PLAIN}X: {{secrets.crm.apiKey}}\r\n\r\n")).await;
                assert_eq!(answer.text(), "ok", "{}", answer.head);
                served.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for round in 0..12 {
        let (from, to) = if round % 2 == 0 { ("50s", "60s") } else { ("60s", "50s") };
        edit(&world.proxy, from, to);
        let before = served.load(Ordering::Relaxed);
        assert_eq!(ask(&world.proxy).await.json()["changed"], json!(["timeouts.idle"]));
        soon(async {
            while served.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        soon(client).await.expect("every answer was right");
    }
    let received = world.crm_plain.received();
    assert_eq!(received.len(), served.load(Ordering::Relaxed), "none was sent twice");
    assert!(received.iter().all(|request| request.field("x") == VALUE));
}

#[tokio::test]
async fn two_reloads_at_once_come_one_after_the_other() {
    let (place, config) = declared();
    let world = World::with(&config, reply("200 OK", "", "ok")).await;
    std::fs::write(place.path().join("value"), "two").expect("written");
    let (one, two, three) = tokio::join!(ask(&world.proxy), ask(&world.proxy), ask(&world.proxy));
    let mut changed: Vec<_> = [one, two, three].iter().map(|answer| answer.json()["changed"].to_string()).collect();
    changed.sort();
    assert_eq!(changed, ["[\"secrets[crm.declared]\"]", "[]", "[]"]);
}

#[tokio::test]
async fn the_log_says_as_much_as_the_configuration_wants() {
    let world = World::with("[log]\nlevel = \"info\"\n", reply("200 OK", "", "ok")).await;
    for (from, to) in [("info", "error"), ("error", "info")] {
        edit(&world.proxy, &format!("level = \"{from}\""), &format!("level = \"{to}\""));
        world.proxy.signal("-HUP").await;
        // The audit line is always written.
        world.proxy.logged(&format!("revision {}", if to == "error" { 2 } else { 3 })).await;
    }
    world.proxy.logged("\"revision\":3").await;
    assert!(!world.proxy.log().contains("\"revision\":2"), "{}", world.proxy.log());
}

#[tokio::test]
async fn a_hangup_ends_no_server_whenever_it_comes() {
    let place = tempfile::tempdir().expect("a directory");
    let fifo = place.path().join("subrosa.toml");
    super::support::network::must("mkfifo", &[&fifo.display().to_string()]).await;
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    let child = child.args(["serve", "--config", "subrosa.toml"]).current_dir(place.path()).env_clear();
    let mut child = child
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let process = child.id().expect("it runs");
    // It waits for its configuration, and hears signals already.
    let hears = || {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("it is told").trim().to_owned();
        u64::from_str_radix(&caught, 16).expect("a mask") & 1 == 1
    };
    soon(async {
        while !hears() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let hang_up = || async {
        let sent = tokio::process::Command::new("kill").args(["-HUP", &process.to_string()]).status().await;
        assert!(sent.expect("kill is there").success());
    };
    hang_up().await;
    let config = "[proxy]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = []\n";
    let mut log = child.stderr.take().expect("piped");
    let mut said = Vec::new();
    let mut until = async |text: &str| {
        soon(async {
            while find(&said, text.as_bytes()).is_none() {
                assert_ne!(log.read_buf(&mut said).await.expect("it speaks"), 0, "it ended: {}", String::from_utf8_lossy(&said));
            }
        })
        .await;
    };
    soon(tokio::fs::write(&fifo, config)).await.expect("it reads");
    until("\"door\":\"proxy\"").await;
    // What came too early is heard now.
    soon(tokio::fs::write(&fifo, config)).await.expect("it reads once more");
    until("\"action\":\"reloaded\"").await;
    std::fs::remove_file(&fifo).expect("removed");
    std::fs::write(&fifo, "broken").expect("written");
    hang_up().await;
    until("was not reloaded").await;
    let mut held = soon(UnixStream::connect(place.path().join("data/admin.sock"))).await.expect("it lives");
    held.write_all(b"GET /livez HTTP/1.1\r\n").await.expect("sent");
    drop(held);
}

#[tokio::test]
async fn a_server_that_is_stopping_reloads_nothing_and_without_one_there_is_nothing_to_reload() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let config = format!("[egress.resolve]\n\"slow.test\" = \"{}\"\n", listener.local_addr().expect("bound"));
    let mut proxy = Proxy::start(tempfile::tempdir().expect("a directory"), &config).await;
    let mut stream = soon(TcpStream::connect(proxy.address)).await.expect("it listens");
    stream.write_all(b"GET http://slow.test/ HTTP/1.1\r\nHost: slow.test\r\n\r\n").await.expect("sent");
    let (mut upstream, _) = soon(listener.accept()).await.expect("a connection");
    let mut head = vec![0; 1024];
    assert_ne!(soon(upstream.read(&mut head)).await.expect("a head"), 0);
    proxy.signal("-TERM").await;
    proxy.logged("stopping: no new connections").await;
    proxy.signal("-HUP").await;
    proxy.logged("ignored: the server is stopping").await;
    let answer = ask(&proxy).await;
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (503, Some("stopping")));
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("sent");
    assert!(proxy.wait().await.success());
    let said = proxy.must_fail(&["reload"], "").await;
    assert!(said.contains("no server answers at data/admin.sock"), "{said}");
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused_by_a_reload_as_by_a_start() {
    let (place, ca) = (tempfile::tempdir().expect("a directory"), Ca::new());
    ca.pair_files(place.path(), "one", &["a.example"]);
    let world = World::with("#\n", reply("200 OK", "", "ok")).await;
    let at = |name: &str| place.path().join(name).display().to_string();
    let entry = format!(
        "[[egress.client_certificate]]\nhosts = [\"{CRM}\"]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        at("one.pem"),
        at("one-key.pem")
    );
    edit(&world.proxy, "[proxy]\n", &format!("{entry}[proxy]\n"));
    std::fs::set_permissions(at("one-key.pem"), std::fs::Permissions::from_mode(0o644)).expect("set");
    let answer = ask(&world.proxy).await;
    assert!(answer.status() == 422 && answer.text().contains("may be read or changed by others"), "{}", answer.text());
    std::fs::set_permissions(at("one-key.pem"), std::fs::Permissions::from_mode(0o600)).expect("set");
    assert_eq!(ask(&world.proxy).await.json()["changed"], json!(["egress.client_certificate"]));
}
