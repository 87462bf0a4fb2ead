//! The real binary in a directory of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::soon;

pub struct Proxy {
    pub address: SocketAddr,
    dir: TempDir,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Proxy {
    /// Starts `serve` with `config` behind the settings that give every test a place of its own.
    pub async fn start(dir: TempDir, config: &str) -> Self {
        // Sections of the caller's must come after the top-level keys and not stand twice.
        let section = |name: &str, keys: &str| {
            if config.contains(&format!("[{name}]")) { String::new() } else { format!("[{name}]\n{keys}") }
        };
        let text = format!(
            "{}{}{config}",
            section("proxy", "listen = [\"127.0.0.1:0\"]\n"),
            section("admin", "listen = [\"127.0.0.1:0\"]\n")
        );
        std::fs::write(dir.path().join("subrosa.toml"), text).expect("it can be written");
        let (child, address, log) = Self::spawn(&dir, &[], &[], Stdio::null()).await;
        Self { address, dir, child, log }
    }

    async fn spawn(dir: &TempDir, wrapper: &[&str], arguments: &[&str], stdin: Stdio) -> (Child, SocketAddr, Arc<Mutex<String>>) {
        let mut command = match wrapper {
            [] => command(dir),
            [program, arguments @ ..] => {
                let mut command = surrounded(Command::new(program), dir);
                command.args(arguments).arg(binary());
                command
            }
        };
        let mut child = command
            .args(["serve", "--config", "subrosa.toml"])
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let keep = Arc::clone(&log);
        tokio::spawn(async move {
            let mut sender = Some(sender);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = proxy_address(&line)
                    && let Some(sender) = sender.take()
                {
                    let _ = sender.send(address);
                }
                let mut log = keep.lock().expect("no test panics with it");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let address = soon(receiver)
            .await
            .unwrap_or_else(|_| panic!("the proxy did not start:\n{}", log.lock().expect("no test panics with it")));
        (child, address, log)
    }

    /// Where people connect to.
    pub async fn admin_address(&self) -> SocketAddr {
        let line = self.logged("\"door\":\"admin\"").await;
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        event["fields"]["address"].as_str().and_then(|text| text.parse().ok()).expect("an address")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What has been logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no test panics with it").clone()
    }

    /// Where the first listener of a door (`proxy-tls`, `proxy-socks`, …) is.
    pub async fn door(&self, door: &str) -> SocketAddr {
        let line = self.logged(&format!("\"door\":\"{door}\"")).await;
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        event["fields"]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// Waits until the log holds `text`.
    pub async fn logged(&self, text: &str) -> String {
        logged(&self.log, text).await
    }

    pub fn process_id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> std::process::ExitStatus {
        self.signal("-TERM").await;
        soon(self.child.wait()).await.expect("it ends")
    }

    pub async fn wait(&mut self) -> std::process::ExitStatus {
        soon(self.child.wait()).await.expect("it ends")
    }

    pub async fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process_id().to_string()]).status().await.expect("kill is there");
        assert!(sent.success());
    }

    /// Starts it again on the same directory.
    pub async fn start_again(&mut self) {
        self.start_again_under(&[]).await;
    }

    /// The same by a program that becomes this one: its arguments, before those of this one.
    pub async fn start_again_under(&mut self, wrapper: &[&str]) {
        self.start_again_with(wrapper, Stdio::null()).await;
    }

    /// The same, with something on standard input.
    pub async fn start_again_with(&mut self, wrapper: &[&str], stdin: Stdio) {
        (self.child, self.address, self.log) = Self::spawn(&self.dir, wrapper, &[], stdin).await;
    }

    /// Starts another one that takes over; the former one, which finishes what it has under way.
    pub async fn take_over(&mut self) -> Former {
        let (child, address, log) = Self::spawn(&self.dir, &[], &["--take-over"], Stdio::null()).await;
        self.address = address;
        let former = (std::mem::replace(&mut self.child, child), std::mem::replace(&mut self.log, log));
        Former { child: former.0, log: former.1 }
    }

    /// The command line, with text on standard input.
    pub async fn cli(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = command(&self.dir)
            .args(arguments)
            .args(["--config", "subrosa.toml"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut input = child.stdin.take().expect("piped");
        // A command that reads nothing may have closed it already.
        let _ = input.write_all(stdin.as_bytes()).await;
        drop(input);
        soon(child.wait_with_output()).await.expect("it ends")
    }

    /// The command line, which must succeed; what it printed.
    pub async fn must(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.cli(arguments, stdin).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The command line, which must fail; what it said.
    pub async fn must_fail(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.cli(arguments, stdin).await;
        assert!(!output.status.success(), "{arguments:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub async fn create_secret(&self, name: &str, value: &str, domains: &[&str]) {
        let mut arguments = vec!["secret", "create", name, "--value-stdin"];
        arguments.extend(domains.iter().flat_map(|domain| ["--allow", domain]));
        self.must(&arguments, value).await;
    }
}

/// A server whose place was taken.
pub struct Former {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Former {
    pub fn log(&self) -> String {
        self.log.lock().expect("no test panics with it").clone()
    }

    pub async fn logged(&self, text: &str) -> String {
        logged(&self.log, text).await
    }

    pub async fn wait(&mut self) -> std::process::ExitStatus {
        soon(self.child.wait()).await.expect("it ends")
    }
}

async fn logged(log: &Mutex<String>, text: &str) -> String {
    soon(async {
        loop {
            let log = log.lock().expect("no test panics with it").clone();
            if let Some(line) = log.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// What is tested: what was built with the tests, or what `SUBROSA_BINARY` says, a release for instance.
fn binary() -> std::ffi::OsString {
    std::env::var_os("SUBROSA_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_subrosa").into())
}

fn command(dir: &TempDir) -> Command {
    surrounded(Command::new(binary()), dir)
}

fn surrounded(mut command: Command, dir: &TempDir) -> Command {
    command.current_dir(dir.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", dir.path());
    command
}

fn proxy_address(line: &str) -> Option<SocketAddr> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = event.get("fields")?;
    (fields.get("message")? == "listening" && fields.get("door")? == "proxy")
        .then(|| fields.get("address")?.as_str()?.parse().ok())?
}
