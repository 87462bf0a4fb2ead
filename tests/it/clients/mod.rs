//! Unmodified clients, as their users would run them: `subrosa run -- CLIENT`, intercepted, with a runner's
//! token where the client can send one.
//!
//! [`rows`] is the matrix: a row for each client, with the surfaces it can express. Its driver (`drivers/`)
//! sends one request for each of them and one that is refused, and what counts is what the origin received.
//! `docs/clients.md` is made from the same rows (`document`); the quirks it tells of are each shown
//! (`quirks`).

mod document;
mod grpc;
mod origins;
mod quirks;
mod rows;
mod steps;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use super::support::origin::Script;
use super::support::{CRM, EVIL, VALUE, World, soon};
use steps::Step;

/// One client.
struct Row {
    /// What it is called.
    client: &'static str,
    /// What is run; `$TOOLS` is where its tools are installed.
    command: &'static [&'static str],
    /// The driver's file.
    driver: &'static str,
    /// What the driver is told after base, forbidden host and address.
    more: &'static [&'static str],
    /// What it sends, a request each.
    steps: &'static [Step],
    /// The version of HTTP it says it spoke, where that is asked.
    version: Option<&'static str>,
    /// It can send a runner's token to the proxy.
    sends_token: bool,
    /// What its user sees of the refusal.
    shows: &'static str,
    /// What answers it; gRPC has an origin of its own.
    origin: fn(&Path) -> Script,
    /// What it needs beyond `subrosa run`, for its users.
    needs: &'static str,
    /// What is peculiar about it.
    quirks: &'static [quirks::Quirk],
}

/// Where `scripts/test-tools` puts what is not the system's.
fn tools() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools");
    assert!(path.exists(), "{} is missing: run scripts/test-tools, as `make test` does", path.display());
    path
}

/// A world with an origin that is reached by name and by address, one secret for the former and one for
/// both, and everything a driver is told.
async fn world(sends_token: bool, origin: fn(&Path) -> Script) -> (World, tempfile::TempDir) {
    let place = tempfile::tempdir().expect("a directory");
    let world = World::with("allow = [\"127.0.0.0/8\"]\n", origin(place.path())).await;
    prepare(&world, sends_token).await;
    (world, place)
}

/// What drivers find: a secret for any host, a token, Node's packages.
async fn prepare(world: &World, sends_token: bool) {
    world.proxy.create_secret("open", VALUE, &[]).await;
    if sends_token {
        let token = world.proxy.must(&["runner", "create", "clients"], "").await;
        std::fs::write(world.proxy.path("token"), token).expect("written");
    }
    std::os::unix::fs::symlink(tools().join("node/node_modules"), world.proxy.path("node_modules")).expect("linked");
}

/// Runs a driver through `subrosa run`, in the proxy's directory. `changes` are `NAME` to unset and
/// `NAME=VALUE` to set, on top of what `run` sets.
async fn drive(world: &World, command: &[&str], driver: &str, more: &[&str], changes: &[&str]) -> Output {
    let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/drivers");
    if drivers.join(driver).is_file() {
        std::fs::copy(drivers.join(driver), world.proxy.path(driver)).expect("copied");
    }
    let tools = tools().display().to_string();
    let mut words: Vec<String> = command.iter().map(|word| word.replace("$TOOLS", &tools)).collect();
    if !driver.is_empty() {
        words.push(driver.to_owned());
    }
    words.extend([format!("https://{CRM}/v1"), format!("https://{EVIL}")]);
    words.push(format!("https://127.0.0.1:{}", world.crm.address.port()));
    words.extend(more.iter().map(|word| word.replace("$TOOLS", &tools).replace("$PROXY", &world.proxy.address.to_string())));
    run(world, changes, &words).await
}

/// Runs a command through `subrosa run`, in the proxy's directory.
async fn run(world: &World, changes: &[&str], words: &[String]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    command.current_dir(world.proxy.path("")).env_clear().env("HOME", world.proxy.path(""));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("GOCACHE", tools().join("go-cache"));
    command.args(["run", "--config", "subrosa.toml", "--proxy", &world.proxy.address.to_string()]);
    if world.proxy.path("token").exists() {
        command.args(["--token-file", "token"]);
    }
    command.args(["--", "env"]);
    for change in changes {
        if change.contains('=') {
            command.arg(change)
        } else {
            command.args(["-u", change])
        };
    }
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    soon(command.output()).await.expect("it runs")
}

/// What a driver said, all of it.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A row is worth something only if it fails when what it proves is not done.
#[tokio::test]
async fn every_step_fails_when_its_surface_is_switched_off() {
    let off = "allow = [\"127.0.0.0/8\"]\n\n[[injection.narrow]]\nhosts = [\"*.crm.example.com\"]\nsurfaces = []\n";
    let world = World::with(off, origins::ok(Path::new(""))).await;
    let row = rows::all().into_iter().find(|(name, ..)| *name == "curl").expect("it is there").2;
    let output = drive(&world, row.command, row.driver, row.more, &[]).await;
    let received = world.crm.received();
    for step in row.steps.iter().filter(|step| **step != Step::Address) {
        assert!(step.check(&received).is_err_and(|what| what.contains("this came")), "{step:?}: {}", said(&output));
    }
}

/// Runs a row: every step arrives with the value in place, and of what is refused nothing does.
async fn prove(row: &Row) {
    if row.steps == [Step::Metadata] {
        return grpc::prove(row).await;
    }
    let (world, _place) = world(row.sends_token, row.origin).await;
    let output = drive(&world, row.command, row.driver, row.more, &[]).await;
    let said = said(&output);
    assert!(output.status.success(), "{}: {said}", row.client);
    assert!(said.contains(row.shows), "{} does not show {}: {said}", row.client, row.shows);
    assert!(!said.contains(VALUE), "{} shows the value: {said}", row.client);
    if let Some(version) = row.version {
        assert!(said.contains(&format!("version {version}")), "{} spoke another version: {said}", row.client);
    }
    let received = world.crm.received();
    for step in row.steps {
        step.check(&received).unwrap_or_else(|what| panic!("{}, {}: {what}\n{received:#?}\n{said}", row.client, step.name()));
    }
    // A browser asks for the icon of a page by itself, and that holds nothing.
    let icons = world.evil.received().iter().filter(|request| request.line().starts_with("GET /favicon.ico ")).count();
    assert_eq!(world.evil.received().len(), icons, "{}", row.client);
    // It may also have closed before the connection for that was of any use.
    let for_icons = usize::from(row.client == "Chromium");
    assert!(world.evil.connections() <= icons.max(for_icons), "{}: {}", row.client, world.evil.connections());
}
