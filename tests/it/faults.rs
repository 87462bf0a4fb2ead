//! A disk that fails: full, read-only, in error; and no descriptor left. The road goes on with what it has, a write
//! is refused with a sentence, and what was acknowledged is there afterwards.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::support::network::must;
use super::support::{Proxy, World, soon};

const GET: &str = "GET http://plain.crm.example.com/{secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n\r\n";

/// Runs the ignored test of this name where it is root of a disk that nobody else sees: `TMPDIR`.
async fn on_a_disk_of_its_own(test: &str) {
    let place = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("TMPDIR", place.path())
        .kill_on_drop(true);
    let output = soon(command.output()).await.expect("unshare is there");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// The disk, of so many bytes.
async fn mounted(size: &str) -> PathBuf {
    let place = std::env::temp_dir();
    assert!(std::env::var_os("TMPDIR").is_some(), "run by another test");
    must("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", place.to_str().expect("plain")]).await;
    place
}

async fn names(proxy: &Proxy) -> Vec<String> {
    let listed: serde_json::Value = serde_json::from_str(&proxy.must(&["secret", "list", "--json"], "").await).expect("JSON");
    let secrets = listed.as_array().expect("a list").iter();
    secrets.inspect(|secret| assert!(secret["fault"].is_null(), "{secret}")).map(|secret| secret["name"].to_string()).collect()
}

#[tokio::test]
async fn on_a_full_disk_the_road_goes_on_and_writes_are_refused() {
    on_a_disk_of_its_own("faults::child_on_a_full_disk").await;
}

#[tokio::test]
#[ignore = "run by another test, on a disk of its own"]
async fn child_on_a_full_disk() {
    let disk = mounted("24m").await;
    let mut world = World::new().await;
    let mut acknowledged = vec!["\"crm.apiKey\"".to_owned()];
    let value = "v".repeat(60_000);
    fill(&disk.join("filler"));
    let mut refused = None;
    for index in 0..200 {
        let called = format!("s{index:03}");
        let output = world.proxy.cli(&["secret", "create", &called, "--value-stdin"], &value).await;
        if !output.status.success() {
            refused = Some(String::from_utf8_lossy(&output.stderr).into_owned());
            break;
        }
        acknowledged.push(format!("\"{called}\""));
    }
    let refused = refused.expect("the disk is full at some point");
    assert!(refused.contains("store can no longer be written") && refused.contains("No space left"), "{refused}");
    // And every other write from then on; what can be read is.
    let again = world.proxy.must_fail(&["secret", "delete", "crm.apiKey", "--yes"], "").await;
    assert!(again.contains("store can no longer be written"), "{again}");
    assert_eq!(world.send(GET).await.status(), 200);
    assert!(ready(&world.proxy).await.contains("store: the store can no longer be written"));
    std::fs::remove_file(disk.join("filler")).expect("removed");
    world.proxy.stop().await;
    world.proxy.start_again().await;
    let now = names(&world.proxy).await;
    let (kept, more): (Vec<_>, Vec<_>) = now.into_iter().partition(|name| acknowledged.contains(name));
    assert_eq!(kept, acknowledged);
    assert!(more.len() <= 1, "the one that was refused may have come through, no other: {more:?}");
    assert_eq!(world.send(GET).await.status(), 200);
    world.proxy.must(&["secret", "create", "after", "--value-stdin"], "v").await;
    world.proxy.stop().await;
}

/// Leaves room for little more than a megabyte.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("made");
    let piece = vec![1; 64 * 1024];
    while file.write_all(&piece).is_ok() {}
    let length = file.metadata().expect("there").len();
    file.set_len(length.saturating_sub(1 << 20)).expect("cut");
}

async fn ready(proxy: &Proxy) -> String {
    let mut stream = tokio::net::UnixStream::connect(proxy.path("data/admin.sock")).await.expect("it listens");
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("answered");
    answer
}

#[tokio::test]
async fn on_a_read_only_disk_nothing_starts_and_nothing_is_changed() {
    on_a_disk_of_its_own("faults::child_on_a_read_only_disk").await;
}

#[tokio::test]
#[ignore = "run by another test, on a disk of its own"]
async fn child_on_a_read_only_disk() {
    let disk = mounted("64m").await;
    let disk = disk.to_str().expect("plain").to_owned();
    let mut world = World::new().await;
    world.proxy.stop().await;
    must("mount", &["-o", "remount,ro", &disk]).await;
    for command in [&["secret", "list"][..], &["secret", "create", "x", "--value-stdin"], &["serve"], &["key", "rotate"]] {
        let said = world.proxy.must_fail(command, "v").await;
        assert!(said.contains("Read-only") && said.contains("mount it for writing"), "{command:?}: {said}");
    }
    must("mount", &["-o", "remount,rw", &disk]).await;
    world.proxy.start_again().await;
    assert_eq!(names(&world.proxy).await, ["\"crm.apiKey\""]);
    assert_eq!(world.send(GET).await.status(), 200);
    world.proxy.stop().await;
}

#[tokio::test]
async fn without_a_descriptor_left_a_write_is_acknowledged_and_kept() {
    // So few that a test can use them up; the program itself needs about fifty.
    let mut world = World::with("", super::support::reply("200 OK", "", "ok")).await;
    world.proxy.stop().await;
    world.proxy.start_again_under(&["sh", "-c", "ulimit -n 96; exec \"$@\"", "sh"]).await;
    let mut people = tokio::net::UnixStream::connect(world.proxy.path("data/admin.sock")).await.expect("it listens");
    people.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut answer = [0; 4096];
    assert!(soon(people.read(&mut answer)).await.expect("answered") > 0, "the connection is accepted");
    // The runners' own would be turned away at their limit; bare connections use descriptors up.
    let mut silent = Vec::new();
    soon(async {
        while !world.proxy.log().contains("a connection could not be accepted") {
            silent.push(tokio::net::TcpStream::connect(world.proxy.address).await.expect("the kernel accepts"));
            assert!(silent.len() < 4_000, "it takes as many as it likes");
            tokio::task::yield_now().await;
        }
    })
    .await;
    let body = r#"{"name":"at.the.limit","value":"v"}"#;
    let head = "POST /api/v1/organizations/default/secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    people.write_all(request.as_bytes()).await.expect("sent");
    let length = soon(people.read(&mut answer)).await.expect("answered");
    let said = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");
    world.proxy.signal("-KILL").await;
    world.proxy.wait().await;
    drop(silent);
    world.proxy.start_again().await;
    assert_eq!(names(&world.proxy).await, ["\"at.the.limit\"", "\"crm.apiKey\""]);
    assert_eq!(world.send(GET).await.status(), 200);
}
