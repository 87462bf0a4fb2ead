//! gRPC with grpcio on both sides, through interception and in the clear: every kind of call, metadata with
//! references, messages untouched, trailers, deadlines, cancellation.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::support::{Ca, VALUE, World, reply, soon};

const SECURE: &str = "grpc.crm.example.com";
const PLAIN: &str = "grpc-plain.crm.example.com";
const REFERENCE_IN_HEX: &str = "7b736563726574732e63726d2e6170694b65797d";
const TEXT: &str = "{secrets.crm.apiKey} \u{e9}";

/// A gRPC origin, and the calls that ended there.
struct Server {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Value>>>,
    _process: Child,
}

impl Server {
    async fn start(pair: Option<(&Path, &Path)>) -> Self {
        let mut command = python("server.py");
        command.args(pair.iter().flat_map(|(certificate, key)| [certificate, key]));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let port = soon(lines.next_line()).await.expect("it runs").expect("it says its port");
        let address = format!("127.0.0.1:{port}").parse().expect("a port");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                keep.lock().expect("no test panics with it").push(serde_json::from_str(&line).expect("JSON"));
            }
        });
        Self { address, calls, _process: process }
    }

    /// Waits until `count` calls of `method` ended.
    async fn calls(&self, method: &str, count: usize) -> Vec<Value> {
        soon(async {
            loop {
                let all = self.calls.lock().expect("no test panics with it").clone();
                let found: Vec<_> = all.into_iter().filter(|call| call["method"] == method).collect();
                if found.len() >= count {
                    return found;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

fn python(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("target/test-tools/python/bin/python"));
    command.arg(root.join("tests/it/grpc").join(script));
    command
}

/// Runs the client through the proxy; what it said.
async fn client(world: &World, target: &str, security: &str) -> Value {
    let mut command = python("client.py");
    command.args([target, security]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("https_proxy", format!("http://{}", world.proxy.address));
    command.env("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", world.ca());
    let output = soon(command.kill_on_drop(true).output()).await.expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", world.proxy.log());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|fault| panic!("{fault}: {errors}"))
}

#[tokio::test]
async fn every_kind_of_call_goes_through_interception() {
    let place = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    ca.pair_files(place.path(), "grpc", &[SECURE]);
    let file = |name: &str| -> PathBuf { place.path().join(name) };
    let server = Server::start(Some((&file("grpc.pem"), &file("grpc-key.pem")))).await;
    let world = World::beside(&ca, &[(SECURE, server.address)], "", reply("200 OK", "", "ok")).await;
    let said = client(&world, &format!("{SECURE}:443"), "tls").await;
    check(&said, &server).await;
}

#[tokio::test]
async fn every_kind_of_call_goes_through_a_tunnel_in_the_clear() {
    let server = Server::start(None).await;
    let world = World::beside(&Ca::new(), &[(PLAIN, server.address)], "", reply("200 OK", "", "ok")).await;
    let said = client(&world, &format!("{PLAIN}:80"), "plain").await;
    check(&said, &server).await;
}

async fn check(said: &Value, server: &Server) {
    assert_eq!(said["unary"], json!([TEXT]), "{said}");
    assert_eq!(said["initial"], "1");
    assert_eq!((&said["trailing"]["x-sum"], &said["trailing"]["x-raw-bin"]), (&json!("7"), &json!("00ff")));
    assert_eq!(said["server_stream"], json!([format!("{TEXT}0"), format!("{TEXT}1"), format!("{TEXT}2")]));
    assert_eq!(said["client_stream"], json!([format!("a+b+{TEXT}")]));
    assert_eq!(said["both"], json!((0..4).map(|number| format!("{TEXT}{number}")).collect::<Vec<_>>()));
    assert_eq!((&said["both_ended"], &said["large"]), (&json!(true), &json!(true)));
    assert_eq!(said["fails"], json!(["FAILED_PRECONDITION", "not today: \u{e9}%", "8"]));
    assert_eq!((&said["deadline"][0], &said["cancelled"][0]), (&json!("DEADLINE_EXCEEDED"), &json!("CANCELLED")), "{said}");
    // A refusal reaches the caller as a status with its sentence, and the origin not at all.
    assert_eq!(said["refused"][0], "INVALID_ARGUMENT", "{said}");
    assert!(said["refused"][1].as_str().is_some_and(|detail| detail.contains("no.such")), "{said}");

    for method in ["unary", "server_stream", "client_stream", "both_streams"] {
        let call = server.calls(method, 1).await.remove(0);
        assert_eq!(call["metadata"]["x-key"], format!("Bearer {VALUE}"), "{call}");
        assert_eq!(call["binary"]["x-raw-bin"], REFERENCE_IN_HEX, "binary metadata is not text");
        assert!(call["messages"].to_string().contains(TEXT), "{call}");
    }
    let deadline = server.calls("unary", 1).await.remove(0)["remaining"].as_f64().expect("a time");
    assert!((1.0..=20.0).contains(&deadline), "the deadline arrived: {deadline}");
    // Both the deadline and the cancellation end the call at the origin.
    let hung = server.calls("hangs", 2).await;
    assert!(hung.iter().all(|call| call["active"] == false), "{hung:?}");
    assert_eq!(server.calls("unary", 2).await.len(), 2, "what was refused did not arrive");
}
