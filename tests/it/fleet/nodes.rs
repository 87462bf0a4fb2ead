//! Real servers over a real cluster: what is changed on one rules on all, and what each does when the store, a name or a key
//! is lost.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::Cluster;
use super::relay::Relay;
use crate::support::origin::Received;
use crate::support::{Origin, Proxy, Response, soon};

/// The key of all nodes.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
pub const SECRETS: &str = "/api/v1/organizations/default/secrets";

/// Servers over one cluster, and an origin that answers with the field `X-Key` that it got.
pub struct Fleet {
    pub cluster: Cluster,
    pub origin: Origin,
    pub nodes: Vec<Proxy>,
}

/// What a runner gets: the value that the origin saw, or the status and code of a refusal.
pub type Got = Result<String, (u16, String)>;

impl Fleet {
    pub async fn start(nodes: usize) -> Self {
        let cluster = Cluster::start(3).await;
        let echo = |received: &Received| {
            let value = received.field("x-key");
            (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{value}", value.len()).into_bytes(), false)
        };
        let origin = Origin::plain(Arc::new(echo)).await;
        let mut fleet = Self { cluster, origin, nodes: Vec::new() };
        for index in 0..nodes {
            let node = fleet.node(&format!("n{index}"), KEY).await;
            fleet.nodes.push(node);
        }
        fleet
    }

    /// A further node.
    async fn node(&self, name: &str, key: &str) -> Proxy {
        Proxy::start(Self::place(key), &self.config(name, "10m")).await
    }

    fn place(key: &str) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("keys")).expect("made");
        let file = dir.path().join("keys/kek");
        std::fs::write(&file, format!("{key}\n")).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
        dir
    }

    fn config(&self, name: &str, stale_for: &str) -> String {
        self.config_at(name, stale_for, &self.cluster.endpoints())
    }

    fn config_at(&self, name: &str, stale_for: &str, endpoints: &[String]) -> String {
        format!(
            "node = \"{name}\"\n[proxy]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = [\"127.0.0.1:0\"]\n[store]\nengine = \"etcd\"\n\
             stale_for = \"{stale_for}\"\n[store.etcd]\nendpoints = {:?}\ntimeout = \"2s\"\n[redaction]\nenabled = false\n[egress]\n\
             allow = [\"127.0.0.0/8\"]\n[egress.resolve]\n\"plain.test\" = \"{}\"\n",
            endpoints, self.origin.address
        )
    }

    /// Waits until each node gives this for the secret.
    pub async fn all_get(&self, name: &str, token: &str, wanted: &Got) {
        for node in &self.nodes {
            soon(async {
                while get(node, name, token).await != *wanted {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
            .await;
        }
    }
}

/// Where a node is asked, for whoever does so while it comes and goes.
#[derive(Clone)]
pub struct Reach {
    proxy: SocketAddr,
    socket: PathBuf,
}

impl Reach {
    pub fn of(node: &Proxy) -> Self {
        Self { proxy: node.address, socket: node.path("data/admin.sock") }
    }

    /// One request with a reference to the secret, by nobody, on a connection of its own; `None` if the node is gone.
    pub async fn get(&self, name: &str) -> Option<Got> {
        self.get_as(name, "").await
    }

    /// The same by whoever shows this token.
    async fn get_as(&self, name: &str, token: &str) -> Option<Got> {
        let credentials = if token.is_empty() { String::new() } else { format!("Proxy-Authorization: Bearer {token}\r\n") };
        let request = format!(
            "GET http://plain.test/ HTTP/1.1\r\nHost: x\r\nX-Key: {{secrets.{name}}}\r\nConnection: close\r\n{credentials}\r\n"
        );
        let stream = TcpStream::connect(self.proxy).await.ok()?;
        let response = whole(stream, &request).await?;
        Some(if response.status() == 200 { Ok(response.text()) } else { Err((response.status(), response.refusal())) })
    }

    /// One request to the API, as the node's owner; `None` if the node is gone.
    pub async fn api(&self, method: &str, path: &str, body: &Value) -> Option<Response> {
        let stream = UnixStream::connect(&self.socket).await.ok()?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // Whatever there is; a change says in its content what it was made from.
        let whichever = if method == "DELETE" { "If-Match: *\r\n" } else { "" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{whichever}Connection: close\r\n\r\n{body}",
            body.len()
        );
        whole(stream, &request).await
    }

    /// A new value over what this node knows.
    pub async fn edit(&self, name: &str, value: &str) -> Option<Response> {
        let path = format!("{SECRETS}/{name}");
        let known = self.api("GET", &path, &Value::Null).await?.json();
        self.api("PATCH", &path, &json!({ "value": value, "revision": known["revision"] })).await
    }

    pub async fn create(&self, name: &str) -> Option<Response> {
        self.api("POST", SECRETS, &json!({ "name": name, "value": "x" })).await
    }
}

/// A request and its whole answer on a connection of its own; `None` if it broke off.
async fn whole<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Option<Response> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.ok()?;
    let head = crate::support::origin::find(&bytes, b"\r\n\r\n")? + 4;
    let response = Response { head: String::from_utf8_lossy(&bytes[..head]).into_owned(), body: bytes[head..].to_vec() };
    let length = response.fields("content-length").first().and_then(|length| length.parse::<usize>().ok());
    length.is_none_or(|length| length == response.body.len()).then_some(response)
}

/// What a node gives to whoever shows this token.
pub async fn get(node: &Proxy, name: &str, token: &str) -> Got {
    Reach::of(node).get_as(name, token).await.expect("the node answers")
}

/// One request to the API of a node, as its owner.
pub async fn api(node: &Proxy, method: &str, path: &str, body: &Value) -> Response {
    Reach::of(node).api(method, path, body).await.expect("the node answers")
}

pub async fn create(node: &Proxy, name: &str, value: &str) -> Response {
    api(node, "POST", SECRETS, &json!({ "name": name, "value": value })).await
}

async fn edit(node: &Proxy, name: &str, value: &str) -> Response {
    Reach::of(node).edit(name, value).await.expect("the node answers")
}

fn refused(status: u16, code: &str) -> Got {
    Err((status, code.to_owned()))
}

#[tokio::test]
async fn what_is_changed_on_one_node_rules_on_all() {
    let fleet = Fleet::start(3).await;
    let [one, two, three] = &fleet.nodes[..] else { panic!("three") };
    // One authority, made once, whose key is in no file.
    let authority = |node: &Proxy| std::fs::read_to_string(node.path("certs/ca.pem")).expect("written");
    assert!(fleet.nodes.iter().all(|node| authority(node) == authority(one) && !node.path("keys/ca-key.pem").exists()));

    assert_eq!(create(one, "a", "v1").await.status(), 201);
    fleet.all_get("a", "", &Ok("v1".to_owned())).await;
    assert_eq!(edit(two, "a", "v2").await.status(), 200);
    fleet.all_get("a", "", &Ok("v2".to_owned())).await;
    let runner = api(three, "POST", "/api/v1/organizations/default/runners", &json!({ "name": "ci" })).await;
    let token = runner.json()["token"].as_str().expect("shown once").to_owned();
    fleet.all_get("a", &token, &Ok("v2".to_owned())).await;
    fleet.all_get("a", "", &refused(407, "runner_unauthenticated")).await;
    // A name is given once, whoever asks where at the same moment.
    for round in 0..10 {
        let name = format!("contested{round}");
        let (first, second, third) = tokio::join!(create(one, &name, "x"), create(two, &name, "y"), create(three, &name, "z"));
        let mut statuses = [first.status(), second.status(), third.status()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409], "{}", third.text());
    }
    // Of many who change one secret at the same time none loses what another was told.
    let mut revisions = Vec::new();
    for _ in 0..10 {
        let (first, second, third) = tokio::join!(edit(one, "a", "x"), edit(two, "a", "y"), edit(three, "a", "z"));
        for answer in [first, second, third].iter().filter(|answer| answer.status() == 200) {
            revisions.push(answer.json()["revision"].as_u64().expect("a number"));
        }
    }
    let count = revisions.len();
    revisions.sort_unstable();
    revisions.dedup();
    assert!(count >= 10 && revisions.len() == count, "{revisions:?}");
    // The activity of all is shown on each, every entry with its node.
    for node in &fleet.nodes {
        soon(async {
            loop {
                let shown = api(node, "GET", "/api/v1/organizations/default/activity?limit=200", &Value::Null).await.json();
                let entries = shown["entries"].as_array().expect("a list").clone();
                let mut by: Vec<_> = entries.iter().map(|entry| entry["node"].as_str().expect("a name").to_owned()).collect();
                by.sort();
                by.dedup();
                if by == ["n0", "n1", "n2"] {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    let revoked = api(two, "DELETE", "/api/v1/organizations/default/runners/ci", &Value::Null).await;
    assert!(matches!(revoked.status(), 200 | 204), "{}", revoked.text());
    fleet.all_get("a", &token, &refused(407, "runner_unauthenticated")).await;
}

#[tokio::test]
async fn without_its_store_a_node_goes_on_for_as_long_as_it_may_and_again_once_it_is_back() {
    let mut fleet = Fleet::start(1).await;
    assert_eq!(create(&fleet.nodes[0], "a", "v1").await.status(), 201);
    fleet.all_get("a", "", &Ok("v1".to_owned())).await;
    for member in 0..3 {
        fleet.cluster.kill(member);
    }
    let node = &fleet.nodes[0];
    let readyz = async || api(node, "GET", "/readyz", &Value::Null).await;
    soon(async {
        while !readyz().await.text().contains("store: ") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(readyz().await.status(), 200, "it takes nobody out of a balancer");
    assert_eq!(get(node, "a", "").await, Ok("v1".to_owned()), "it goes on");
    let change = edit(node, "a", "v2").await;
    assert_eq!((change.status(), change.json()["code"].as_str()), (503, Some("store_unavailable")), "{}", change.text());
    let metrics = api(node, "GET", "/metrics", &Value::Null).await.text();
    let behind = metrics.lines().find_map(|line| line.strip_prefix("subrosa_store_behind_seconds ")).expect("it is there");
    assert!(behind.parse::<f64>().expect("a number") > 0.0);
    // So long it may, and no longer: the bound follows a reload.
    std::fs::write(node.path("subrosa.toml"), fleet.config("n0", "1s")).expect("written");
    node.must(&["reload"], "").await;
    assert_eq!(get(node, "a", "").await, refused(503, "store_unavailable"));
    assert_eq!(readyz().await.status(), 503);
    for member in 0..3 {
        fleet.cluster.run(member);
    }
    fleet.all_get("a", "", &Ok("v1".to_owned())).await;
    let node = &fleet.nodes[0];
    soon(async {
        while edit(node, "a", "v2").await.status() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    fleet.all_get("a", "", &Ok("v2".to_owned())).await;
}

#[tokio::test]
async fn a_node_with_another_s_name_or_another_key_does_not_start_and_changes_nothing() {
    let mut fleet = Fleet::start(1).await;
    assert_eq!(create(&fleet.nodes[0], "a", "v1").await.status(), 201);
    let said = async |name: &str, key: &str| {
        let dir = Fleet::place(key);
        std::fs::write(dir.path().join("subrosa.toml"), fleet.config(name, "10m")).expect("written");
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
        let ended = command.args(["serve", "--config", "subrosa.toml"]).current_dir(dir.path()).env_clear().kill_on_drop(true);
        let output = soon(ended.output()).await.expect("it ends");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let taken = said("n0", KEY).await;
    assert!(taken.contains("another process of this store is called `n0`"), "{taken}");
    let other = said("n1", "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=").await;
    assert!(other.contains("the store is sealed with the key"), "{other}");
    // Whoever was killed has its name at once.
    fleet.nodes[0].signal("-KILL").await;
    fleet.nodes[0].wait().await;
    fleet.nodes[0].start_again().await;
    fleet.all_get("a", "", &Ok("v1".to_owned())).await;
}

#[tokio::test]
async fn who_was_revoked_goes_on_nowhere_for_longer_than_a_node_that_is_cut_off_alone_may() {
    let mut fleet = Fleet::start(1).await;
    let relay = Relay::to(fleet.cluster.address(0)).await;
    let config = fleet.config_at("alone", "1s", &[relay.endpoint()]);
    fleet.nodes.push(Proxy::start(Fleet::place(KEY), &config).await);
    let [one, alone] = &fleet.nodes[..] else { panic!("two") };
    assert_eq!(create(one, "a", "v1").await.status(), 201);
    let runner = async |name: &str| {
        let made = api(one, "POST", "/api/v1/organizations/default/runners", &json!({ "name": name })).await;
        made.json()["token"].as_str().expect("shown once").to_owned()
    };
    let becomes = async |token: &str, wanted: Got| {
        soon(async {
            while get(alone, "a", token).await != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    };
    // Its connections are broken; or they stay, and nothing comes any more.
    for (name, cut) in [("broken", Relay::close as fn(&Relay)), ("silent", Relay::deafen)] {
        let token = runner(name).await;
        becomes(&token, Ok("v1".to_owned())).await;
        cut(&relay);
        let path = format!("/api/v1/organizations/default/runners/{name}");
        assert!(matches!(api(one, "DELETE", &path, &Value::Null).await.status(), 200 | 204));
        becomes(&token, refused(503, "store_unavailable")).await;
        for _ in 0..20 {
            assert_eq!(get(alone, "a", &token).await, refused(503, "store_unavailable"), "{name}");
        }
        relay.open();
        relay.cut();
        becomes(&token, refused(407, "runner_unauthenticated")).await;
    }
}
