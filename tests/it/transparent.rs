//! Containers that ignore proxy variables: real redirection by the shipped recipe, in a network namespace of
//! the test's own, so that nothing of the machine's is touched.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

use super::support::network::{in_a_network_of_its_own, must, path};
use super::support::{CRM, EVIL, VALUE, World, reply, soon};

#[tokio::test]
async fn a_container_is_served_by_name_and_as_its_runner() {
    in_a_network_of_its_own("transparent::inside_a_container").await;
}

#[tokio::test]
async fn the_proxys_own_connections_are_noticed_when_they_come_back() {
    in_a_network_of_its_own("transparent::inside_a_loop").await;
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A network namespace behind `veth0`, as a container has one.
struct Container {
    process: Child,
}

impl Container {
    async fn start() -> Self {
        must("ip", &["link", "set", "lo", "up"]).await;
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sleep", "300"]).stdin(Stdio::null()).kill_on_drop(true);
        let container = Self { process: command.spawn().expect("unshare is there") };
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        soon(async {
            while namespace(&container.id()) == namespace("self") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        must("ip", &["link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", &container.id()]).await;
        must("ip", &["address", "add", "10.77.0.1/24", "dev", "veth0"]).await;
        must("ip", &["link", "set", "veth0", "up"]).await;
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", "10.77.0.2/24", "dev", "eth0"],
            &["link", "set", "eth0", "up"],
            &["route", "add", "default", "via", "10.77.0.1"],
        ] {
            must("nsenter", &[&["--target", &container.id(), "--net", "--", "ip"], arguments].concat()).await;
        }
        container
    }

    fn id(&self) -> String {
        self.process.id().expect("it runs").to_string()
    }

    /// curl in the container: it knows names and their addresses, and nothing of a proxy.
    async fn curl(&self, world: &World, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.id(), "--net", "--"]);
        curl(command, world, arguments).await
    }
}

async fn curl(mut command: Command, world: &World, arguments: &[&str]) -> Output {
    command.args(["curl", "-sS", "-g", "--cacert", "certs/ca.pem"]);
    for (name, port) in [(CRM, 443), (EVIL, 443), ("plain.crm.example.com", 80)] {
        command.args(["--resolve", &format!("{name}:{port}:1.2.3.4")]);
    }
    command.args(arguments).current_dir(world.proxy.path("")).env_clear().env("PATH", path()).kill_on_drop(true);
    soon(command.output()).await.expect("curl is there")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A proxy with a transparent port that acts for the runner `containers`.
async fn world() -> (World, String) {
    let config = format!(
        "[proxy]\nlisten = [\"127.0.0.1:0\"]\n[[proxy.transparent]]\nlisten = \"0.0.0.0:0\"\nrunner = \"containers\"\n[intercept]\npass_through = [\"{EVIL}\"]\n"
    );
    let world = World::with(&config, reply("200 OK", "", "ok")).await;
    let port = world.proxy.door("proxy-transparent").await.port().to_string();
    (world, port)
}

#[tokio::test]
#[ignore = "run by a_container_is_served_by_name_and_as_its_runner, in a network of its own"]
async fn inside_a_container() {
    let container = Container::start().await;
    let (world, port) = world().await;
    let script = repository("config/transparent/redirect.sh");
    must(script.to_str().expect("text"), &["gateway", "veth0", &port]).await;
    let url = format!("https://{CRM}/x");
    let secret = ["-H", "X: {secrets.crm.apiKey}"];
    let send = async |arguments: &[&str]| text(&container.curl(&world, arguments).await);

    let unserved = container.curl(&world, &[&url]).await;
    assert!(!unserved.status.success(), "nobody is that runner yet");
    world.proxy.logged("names a runner that does not exist").await;
    world.proxy.must(&["runner", "create", "containers", "--secret", "crm.*"], "").await;

    // In TLS and in the clear, injected, by the name that the client said.
    assert_eq!(send(&[&url, secret[0], secret[1]]).await, "ok");
    let got = world.crm.only();
    assert_eq!((got.line(), got.field("host"), got.field("x")), ("GET /x HTTP/1.1", CRM, VALUE));
    assert_eq!(send(&["http://plain.crm.example.com/y", secret[0], secret[1]]).await, "ok");
    assert_eq!(world.crm_plain.only().field("x"), VALUE);
    let line = world.proxy.logged("\"outcome\":\"forwarded\"").await;
    assert!(line.contains("\"runner\":\"containers\"") && line.contains("\"client\":\"10.77.0.2:"), "{line}");
    // A host that pins is relayed as it is.
    let evil = format!("https://{EVIL}/");
    assert_eq!(send(&["--cacert", "origin-ca.pem", &evil, secret[0], secret[1]]).await, "ok");
    assert_eq!(world.evil.only().field("x"), "{secrets.crm.apiKey}");

    // Names must agree; without one the address counts, under the same rules.
    assert!(send(&[&url, "-H", "Host: plain.crm.example.com"]).await.contains("\"misdirected\""));
    assert!(send(&["http://plain.crm.example.com/", "-H", "Host: plain.crm.example.com:81"]).await.contains("\"misdirected\""));
    assert!(send(&["-k", "https://1.2.3.4/", secret[0], secret[1]]).await.contains("\"domain_restricted\""));
    assert!(
        send(&["http://plain.crm.example.com/", "-H", "Host: {secrets.crm.apiKey}"]).await.contains("\"secret_in_authority\"")
    );
    for address in ["http://10.0.0.1/", "http://169.254.169.254/"] {
        assert!(send(&[address]).await.contains("\"target_denied\""), "{address}");
    }
    assert!(send(&["-x", "http://1.2.3.4:80", "http://plain.crm.example.com/"]).await.ends_with("ok"), "an absolute target");
    assert!(send(&["-x", "http://1.2.3.4:80", &url]).await.contains("400"), "a proxy that is not there");

    // Who comes directly is not served.
    let direct = container.curl(&world, &[&format!("http://10.77.0.1:{port}/"), "-H", "Host: plain.crm.example.com"]).await;
    assert!(!direct.status.success() && direct.stdout.is_empty(), "{}", text(&direct));
    world.proxy.logged("it was not redirected there").await;

    world.proxy.must(&["runner", "revoke", "containers"], "").await;
    assert!(!container.curl(&world, &[&url]).await.status.success(), "revoked");
    must(script.to_str().expect("text"), &["off"]).await;
}

#[tokio::test]
#[ignore = "run by the_proxys_own_connections_are_noticed_when_they_come_back, in a network of its own"]
async fn inside_a_loop() {
    let container = Container::start().await;
    let (world, port) = world().await;
    world.proxy.must(&["runner", "create", "containers"], "").await;
    must("ip", &["route", "add", "default", "via", "10.77.0.2"]).await;
    // The wrong user is exempt, so that what the proxy dials comes back to it.
    let script = repository("config/transparent/redirect.sh");
    must(script.to_str().expect("text"), &["local", "nobody", &port]).await;
    let output = curl(Command::new("env"), &world, &["-k", "https://1.2.3.4/"]).await;
    assert!(text(&output).contains("\"upstream_"), "{}", text(&output));
    world.proxy.logged("was redirected back to it").await;
    // Once, and not round and round.
    assert_eq!(world.proxy.log().matches("was redirected back to it").count(), 1);
    drop(container);
}
