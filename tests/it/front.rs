//! TLS to the proxy itself, and runners that are known by their certificate.

use std::path::{Path, PathBuf};
use std::process::Output;

use super::support::{CRM, Ca, VALUE, World, reply, soon};

/// A proxy that answers in TLS as `proxy.test` beside its plain port, and asks for certificates.
struct Front {
    world: World,
    address: String,
}

async fn front(more: &str) -> Front {
    let (ca, clients, place) = (Ca::new(), Ca::new(), tempfile::tempdir().expect("a directory"));
    ca.pair_files(place.path(), "proxy", &["proxy.test"]);
    let at = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(at("clients.pem"), clients.pem()).expect("written");
    let config = format!(
        "[proxy]\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\ntls = {{ certificate = \"{}\", key = \"{}\", client_ca = [\"{}\"] }}\n{more}",
        at("proxy.pem"),
        at("proxy-key.pem"),
        at("clients.pem")
    );
    let world = World::with(&config, reply("200 OK", "", "ok")).await;
    std::fs::write(world.proxy.path("proxy-ca.pem"), ca.pem()).expect("written");
    let address = world.proxy.door("proxy-tls").await.to_string();
    for name in ["billing", "crm", "nobody"] {
        clients.pair_files(&world.proxy.path(""), name, &[&format!("{name}.runners.example")]);
    }
    Front { world, address }
}

impl Front {
    fn path(&self, name: &str) -> PathBuf {
        self.world.proxy.path(name)
    }

    /// curl through the TLS port, as a runner with this token and this certificate.
    async fn curl(&self, token: Option<&str>, certificate: Option<&str>, url: &str) -> Output {
        let authority = token.map(|token| format!("runner:{token}@")).unwrap_or_default();
        let mut command = tokio::process::Command::new("curl");
        command
            .args(["-sS", "-g", "--proxy", &format!("https://{authority}{}", self.address)])
            .args(["--proxy-cacert", "proxy-ca.pem", "--cacert", "certs/ca.pem"])
            .args(["--resolve", &format!("proxy.test:{}:127.0.0.1", self.port())])
            .args(["-H", "X: {secrets.crm.apiKey}", url])
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .kill_on_drop(true);
        if let Some(name) = certificate {
            command.args(["--proxy-cert", &format!("{name}.pem"), "--proxy-key", &format!("{name}-key.pem")]);
        }
        soon(command.output()).await.expect("curl is there")
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().expect("a port")
    }

    /// A runner that is known by a certificate too; its token.
    async fn runner(&self, name: &str, certificate: Option<&str>) -> String {
        let mut arguments = vec!["runner", "create", name];
        arguments.extend(certificate.into_iter().flat_map(|certificate| ["--certificate", certificate]));
        self.world.proxy.must(&arguments, "").await.trim().to_owned()
    }

    fn named(mut self) -> Self {
        self.address = format!("proxy.test:{}", self.port());
        self
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const URL: &str = "https://api.crm.example.com/x";

#[tokio::test]
async fn curl_speaks_tls_to_the_proxy_itself() {
    let front = front("").await.named();
    let plain = "http://plain.crm.example.com/x";
    for (url, origin) in [(URL, &front.world.crm), (plain, &front.world.crm_plain)] {
        let output = front.curl(None, None, url).await;
        assert!(output.status.success() && text(&output).ends_with("ok"), "{}", text(&output));
        assert_eq!(origin.only().field("x"), VALUE);
    }
    // Whoever does not trust the proxy's certificate does not speak to it.
    std::fs::write(front.path("proxy-ca.pem"), Ca::new().pem()).expect("written");
    let refused = front.curl(None, None, URL).await;
    assert!(!refused.status.success(), "{}", text(&refused));
    assert_eq!(front.world.crm.received().len(), 1);
    front.world.proxy.logged("a TLS handshake with the proxy itself failed").await;
}

#[tokio::test]
async fn a_runner_is_its_token_or_its_certificate_and_not_two() {
    let front = front("").await.named();
    let billing = front.runner("billing", Some("dns:billing.runners.example")).await;
    let other = front.runner("other", None).await;
    for (token, certificate, served) in [
        (None, Some("billing"), true),
        (Some(&billing), None, true),
        (Some(&billing), Some("billing"), true),
        (Some(&other), None, true),
        // A certificate that is nobody's says nothing beside a token of a runner that has none.
        (Some(&other), Some("nobody"), true),
        (None, None, false),
        (None, Some("nobody"), false),
        (Some(&other), Some("billing"), false),
        (Some(&billing), Some("nobody"), false),
        (Some(&"wrong-token".to_owned()), Some("billing"), false),
    ] {
        let before = front.world.crm.received().len();
        let output = front.curl(token.map(String::as_str), certificate, URL).await;
        let case = format!("{} {certificate:?}: {}", token.is_some(), text(&output));
        assert_eq!(output.status.success(), served, "{case}");
        assert!(served || text(&output).contains("407"), "{case}");
        assert_eq!(front.world.crm.received().len() - before, usize::from(served), "{case}");
    }
    assert!(front.world.proxy.must(&["runner", "list"], "").await.contains("dns:billing.runners.example"));
    let taken = front.world.proxy.must_fail(&["runner", "create", "x", "--certificate", "dns:billing.runners.example"], "").await;
    assert!(taken.contains("another runner's already"), "{taken}");
}

#[tokio::test]
async fn a_changed_certificate_rules_the_next_request() {
    let front = front("").await.named();
    front.runner("billing", Some("dns:billing.runners.example")).await;
    let plain = "http://plain.crm.example.com/x";
    assert!(front.curl(None, Some("billing"), plain).await.status.success());
    front.world.proxy.must(&["runner", "edit", "billing", "--certificate", "dns:crm.runners.example"], "").await;
    let refused = text(&front.curl(None, Some("billing"), plain).await);
    assert!(refused.contains("runner_unauthenticated") && refused.contains("dns:billing.runners.example"), "{refused}");
    assert!(front.curl(None, Some("crm"), plain).await.status.success());
    front.world.proxy.must(&["runner", "edit", "billing", "--no-certificate"], "").await;
    assert!(text(&front.curl(None, Some("crm"), plain).await).contains("runner_unauthenticated"));
    let line = front.world.proxy.logged("\"runner\":\"billing\"").await;
    assert!(line.contains("subrosa::audit"), "{line}");
}

#[tokio::test]
async fn a_runner_may_be_declared_with_a_certificate_alone() {
    let front = front("[[runners]]\nname = \"billing\"\ncertificate = \"dns:billing.runners.example\"\n").await.named();
    assert!(front.curl(None, Some("billing"), URL).await.status.success());
    assert!(!front.curl(None, None, URL).await.status.success());
}

#[tokio::test]
async fn a_certificate_of_a_stranger_ends_the_handshake() {
    let front = front("").await.named();
    Ca::new().pair_files(&front.path(""), "stranger", &["billing.runners.example"]);
    front.runner("billing", Some("dns:billing.runners.example")).await;
    let output = front.curl(None, Some("stranger"), URL).await;
    assert!(!output.status.success(), "{}", text(&output));
    assert_eq!(front.world.crm.received().len(), 0);
}

#[tokio::test]
async fn tls_that_cannot_be_offered_stops_the_start() {
    let (dir, ca) = (tempfile::tempdir().expect("a directory"), Ca::new());
    ca.pair_files(dir.path(), "one", &["a.example"]);
    let check = |tls: &str| {
        let text = format!("[proxy]\nlisten_tls = [\"127.0.0.1:0\"]\ntls = {tls}\n");
        std::fs::write(dir.path().join("s.toml"), text).expect("written");
        let binary = Path::new(env!("CARGO_BIN_EXE_subrosa"));
        let mut command = std::process::Command::new(binary);
        let output = command.args(["config", "check", "--config", "s.toml"]).current_dir(dir.path()).env_clear().output();
        let output = output.expect("it starts");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (tls, sentence) in [
        ("{ certificate = \"absent.pem\", key = \"one-key.pem\" }", "`proxy.tls`: the file absent.pem cannot be read"),
        (
            "{ certificate = \"one.pem\", key = \"one-key.pem\", client_ca = [\"absent.pem\"] }",
            "absent.pem named by proxy.tls.client_ca cannot be read",
        ),
    ] {
        let (passed, said) = check(tls);
        assert!(!passed && said.contains(sentence), "{said}");
    }
    let (passed, said) = check("{ certificate = \"one.pem\", key = \"one-key.pem\" }");
    assert!(passed, "{said}");
}

#[tokio::test]
async fn what_is_no_tls_harms_nobody() {
    let front = front("").await.named();
    let world = &front.world;
    let port: u16 = front.port().parse().expect("a port");
    let mut stream = soon(tokio::net::TcpStream::connect(("127.0.0.1", port))).await.expect("it listens");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET http://x/ HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut said = Vec::new();
    let _ = soon(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said)).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    assert!(front.curl(None, None, URL).await.status.success());
    assert_eq!(world.crm.only().fields("host"), [CRM]);
}
