//! Starting and stopping: what is made, what is refused, and what a signal ends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::origin::find;
use super::support::{CRM, Proxy, VALUE, World, soon};

/// An upstream that answers when it is told to, with a content in two parts.
async fn slow_upstream() -> (std::net::SocketAddr, tokio::sync::oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (release, released) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = vec![0; 4096];
        let _ = stream.read(&mut buffer).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").await.expect("sent");
        let _ = released.await;
        let _ = stream.write_all(b"cd").await;
        let _ = stream.read(&mut buffer).await;
    });
    (address, release)
}

/// A world beside a proxy that knows a slow upstream, with one exchange half done.
async fn half_done() -> (Proxy, TcpStream, tokio::sync::oneshot::Sender<()>) {
    let (address, release) = slow_upstream().await;
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
    (proxy, stream, release)
}

#[tokio::test]
async fn stopping_lets_an_exchange_finish_and_serves_nobody_new() {
    let (mut proxy, mut stream, release) = half_done().await;
    proxy.signal("-TERM").await;
    proxy.logged("stopping").await;
    soon(async { while TcpStream::connect(proxy.address).await.is_ok() {} }).await;
    release.send(()).expect("the upstream waits");
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.expect("it is closed in order");
    assert_eq!(rest, b"cd");
    assert!(proxy.wait().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (mut proxy, mut stream, _release) = half_done().await;
    proxy.signal("-INT").await;
    proxy.logged("stopping").await;
    proxy.signal("-INT").await;
    proxy.wait().await;
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"", "it did not wait for the exchange");
}

#[tokio::test]
async fn the_first_start_makes_what_is_private_private_and_says_so() {
    let world = World::new().await;
    let mode = |name: &str| std::fs::metadata(world.proxy.path(name)).expect(name).permissions().mode() & 0o777;
    for (name, wanted) in [
        ("keys", 0o700),
        ("keys/kek", 0o600),
        ("keys/ca-key.pem", 0o600),
        ("data", 0o700),
        ("data/admin.sock", 0o600),
        ("certs/ca.pem", 0o644),
    ] {
        assert_eq!(mode(name), wanted, "{name} is {:o}", mode(name));
    }
    let public: Vec<_> = std::fs::read_dir(world.proxy.path("certs")).expect("made").flatten().collect();
    for entry in public {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        assert!(!text.contains("PRIVATE KEY"), "{}", entry.path().display());
    }
    world.proxy.logged("keys/kek").await;
    world.proxy.logged("certs/ca.pem").await;
}

/// Starts it with what lies in the directory, which must fail; what it said.
async fn refuses_to_start(proxy: &Proxy) -> String {
    run_serve(proxy, "subrosa.toml").await
}

#[tokio::test]
async fn a_wrong_or_readable_key_stops_the_start_and_the_right_one_opens_everything() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    let (key, kept) = (world.proxy.path("keys/kek"), world.proxy.path("kept"));
    std::fs::rename(&key, &kept).expect("moved");
    let said = refuses_to_start(&world.proxy).await;
    assert!(said.contains("keys/kek"), "a missing key is not replaced while there are records: {said}");
    assert!(!key.exists());
    std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").expect("written");
    set_mode(&key, 0o600);
    let said = refuses_to_start(&world.proxy).await;
    assert!(said.contains("key"), "{said}");
    std::fs::rename(&kept, &key).expect("moved back");
    set_mode(&key, 0o644);
    let said = refuses_to_start(&world.proxy).await;
    assert!(said.contains("chmod 600"), "{said}");
    set_mode(&key, 0o600);
    world.proxy.start_again().await;
    world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n")).await;
    assert_eq!(world.crm.only().field("x"), VALUE);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[tokio::test]
async fn serve_without_a_config_works_at_once_and_says_what_to_type_next() {
    let place = tempfile::tempdir().expect("a directory");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    command
        .current_dir(place.path())
        .arg("serve")
        .env("SUBROSA_PROXY__LISTEN", "127.0.0.1:0")
        .env("SUBROSA_ADMIN__LISTEN", "127.0.0.1:0");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("piped");
    let mut said = Vec::new();
    soon(async {
        while find(&said, b"curl ").is_none() {
            assert_ne!(stdout.read_buf(&mut said).await.expect("it speaks"), 0, "it ended");
        }
    })
    .await;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains(" secret create ") && said.contains(" env)"), "{said}");
    for name in ["data", "keys/kek", "keys/ca-key.pem", "certs/ca.pem"] {
        assert!(place.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn silent_visitors_of_the_admin_port_are_bounded() {
    let world = World::new().await;
    let line: serde_json::Value = serde_json::from_str(&world.proxy.logged("\"door\":\"admin\"").await).expect("JSON");
    let address = line["fields"]["address"].as_str().expect("an address").to_owned();
    let mut visitors = Vec::new();
    for _ in 0..140 {
        visitors.push(TcpStream::connect(&address).await.expect("accepted by the kernel"));
    }
    let mut last = visitors.pop().expect("many");
    let mut nothing = Vec::new();
    let _ = soon(last.read_to_end(&mut nothing)).await;
    assert_eq!(nothing, b"");
    drop(visitors);
    let served = async {
        loop {
            let mut stream = TcpStream::connect(&address).await.expect("accepted by the kernel");
            let _ = stream.write_all(b"GET /ca.pem HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            if !answer.is_empty() {
                return answer;
            }
        }
    };
    let answer = soon(served).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("BEGIN CERTIFICATE") && !answer.contains("PRIVATE"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_data_directory_that_is_lost_is_missed() {
    let mut world = World::new().await;
    world.proxy.must(&["runner", "create", "billing"], "").await;
    world.proxy.stop().await;
    std::fs::rename(world.proxy.path("data"), world.proxy.path("elsewhere")).expect("moved");
    let said = refuses_to_start(&world.proxy).await;
    assert!(said.contains("data/store is missing") && said.contains("keys/kek.store"), "{said}");
    assert!(!world.proxy.path("data/store").exists());
    let said = world.proxy.must_fail(&["secret", "list"], "").await;
    assert!(said.contains("there is no store at data/store"), "{said}");
    std::fs::rename(world.proxy.path("elsewhere"), world.proxy.path("data")).expect("moved back");
    world.proxy.start_again().await;
    assert_eq!(world.send("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").await.status(), 407);
}

#[tokio::test]
async fn what_others_could_change_or_read_is_refused() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    set_mode(&world.proxy.path("data"), 0o777);
    let said = refuses_to_start(&world.proxy).await;
    assert!(said.contains("chmod go-w"), "{said}");
    set_mode(&world.proxy.path("data"), 0o700);
    let (ca, key) = (world.ca(), world.proxy.path("keys/ca-key.pem"));
    let certificate = std::fs::read_to_string(&ca).expect("there");
    std::fs::write(&ca, format!("{}{certificate}", std::fs::read_to_string(key).expect("there"))).expect("written");
    let said = refuses_to_start(&world.proxy).await;
    assert!(said.contains("ca.pem") && said.contains("it holds a private key"), "{said}");
    let exported = world.proxy.must(&["ca", "export"], "").await;
    assert_eq!(exported.trim(), certificate.trim());
}

#[tokio::test]
async fn public_files_are_public_and_nobody_elses_to_change_whatever_the_umask() {
    for umask in ["000", "077"] {
        let place = tempfile::tempdir().expect("a directory");
        let config = "[proxy]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = []\n";
        std::fs::write(place.path().join("subrosa.toml"), config).expect("written");
        let binary = env!("CARGO_BIN_EXE_subrosa");
        let script = format!(
            "umask {umask}; {binary} serve --config subrosa.toml 2>log & until grep -q listening log; do :; done; {binary} env --config subrosa.toml >/dev/null; kill $!; wait $!"
        );
        let mut command = tokio::process::Command::new("bash");
        let status =
            soon(command.args(["-c", &script]).current_dir(place.path()).kill_on_drop(true).status()).await.expect("bash");
        assert!(status.success());
        for (name, wanted) in
            [("certs", 0o755), ("certs/ca.pem", 0o644), ("certs/bundle.pem", 0o644), ("certs/php", 0o755), ("keys/kek", 0o600)]
        {
            let mode = std::fs::metadata(place.path().join(name)).expect(name).permissions().mode() & 0o777;
            assert_eq!(mode, wanted, "{name} under {umask}: {mode:o}");
        }
    }
}

#[tokio::test]
async fn a_broken_config_names_file_line_key_and_cure() {
    let world = World::new().await;
    for (text, wanted) in [
        ("[proxy]\nlissten = [\"127.0.0.1:0\"]\n", vec!["broken.toml", "line 2", "lissten", "listen"]),
        ("data_dir = 5\n", vec!["broken.toml", "line 1", "data_dir", "a path in quotes"]),
        ("[admin]\nlisten = [\"0.0.0.0:0\"]\n", vec!["broken.toml", "admin", "tls"]),
        ("[proxy\n", vec!["broken.toml", "line 1"]),
        ("keys = [\"0123\"]\n", vec!["broken.toml", "line 1", "[keys]"]),
        ("data_dir = \"\"\n", vec!["broken.toml", "line 1", "data_dir", "empty"]),
        ("[[secrets]]\nname = \"a\"\nvalue = { env = \"NOPE\" }\n", vec!["broken.toml", "line 3", "NOPE", "not set"]),
    ] {
        std::fs::write(world.proxy.path("broken.toml"), text).expect("written");
        let said = run_serve(&world.proxy, "broken.toml").await;
        assert!(wanted.iter().all(|part| said.contains(part)), "{text}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[tokio::test]
async fn health_says_whether_it_lives() {
    let mut world = World::new().await;
    world.proxy.must(&["health"], "").await;
    world.proxy.stop().await;
    let said = world.proxy.must_fail(&["health"], "").await;
    assert!(!said.trim().is_empty());
}

#[tokio::test]
async fn the_environment_overrides_the_file() {
    let world = World::new().await;
    std::fs::write(world.proxy.path("fixed.toml"), "data_dir = \"fresh\"\n[proxy]\nlisten = [\"127.0.0.1:1\"]\n")
        .expect("written");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    command.current_dir(world.proxy.path("")).args(["config", "check", "--config", "fixed.toml"]);
    command.env("SUBROSA_PROXY__LISTEN", "[\"nonsense\"]").kill_on_drop(true);
    let output = soon(command.output()).await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("SUBROSA_PROXY__LISTEN"), "{said}");
    // A key in a variable that was meant otherwise is no path, and is not repeated.
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    command.current_dir(world.proxy.path("")).args(["config", "check", "--config", "fixed.toml"]);
    command.env("SUBROSA_KEYS", "a-key-in-the-wrong-place=").kill_on_drop(true);
    let output = soon(command.output()).await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("SUBROSA_KEYS__KEY") && !said.contains("wrong-place"), "{said}");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    command.current_dir(world.proxy.path("")).args(["config", "check"]).kill_on_drop(true);
    command.env("SUBROSA_KEYS__ENV", "SUBROSA_KEK").env("SUBROSA_KEK", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let output = soon(command.output()).await.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How much of the process's memory is kept out of swap, in KiB.
fn locked(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn memory_is_kept_out_of_swap_where_all_of_it_may_be() {
    let mut world = World::new().await;
    for limit in ["8388608", "unlimited"] {
        world.proxy.stop().await;
        world.proxy.start_again_under(&["bash", "-c", "ulimit -l \"$0\" || true; exec \"$@\"", limit]).await;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.proxy.process_id())).expect("it runs");
        let line = limits.lines().find(|line| line.starts_with("Max locked memory")).expect("Linux says it");
        // Only root may raise it.
        let may = line.contains("unlimited");
        assert_eq!(locked(world.proxy.process_id()) > 0, may, "{line}");
    }
    assert_eq!(
        world.send("GET http://plain.crm.example.com/{secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n\r\n").await.status(),
        200
    );
}

#[tokio::test]
async fn a_busy_port_and_a_busy_directory_are_said_in_one_sentence() {
    let world = World::new().await;
    let busy_port = world.proxy.address;
    std::fs::write(
        world.proxy.path("second.toml"),
        format!("data_dir = \"other\"\n[proxy]\nlisten = [\"{busy_port}\"]\n[admin]\nlisten = [\"127.0.0.1:0\"]\n"),
    )
    .expect("written");
    let output = run_serve(&world.proxy, "second.toml").await;
    assert!(output.contains(&busy_port.to_string()) && output.contains("in use"), "{output}");
    std::fs::write(world.proxy.path("third.toml"), "[proxy]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = [\"127.0.0.1:0\"]\n")
        .expect("written");
    let output = run_serve(&world.proxy, "third.toml").await;
    assert!(output.contains("in use by another process"), "{output}");
}

async fn run_serve(proxy: &Proxy, config: &str) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    let output = command.current_dir(proxy.path("")).args(["serve", "--config", config]).kill_on_drop(true).output();
    let output = soon(output).await.expect("it runs");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
