//! Through somebody else's proxy (`egress.upstream_proxy`): what it is asked for, what it is shown, and
//! what never gets to it.

use super::support::client::exchange;
use super::support::corporate::{Corporate, Speaks};
use super::support::network::{in_a_network_of_its_own, must, path};
use super::support::{CRM, Ca, Origin, Proxy, VALUE, World, reply, soon};

/// `corp:pass-word` as HTTP shows it.
const BASIC: &str = "Basic Y29ycDpwYXNzLXdvcmQ=";
const PAIR: &str = "corp:pass-word";

/// A world whose [`CRM`] has a public address that only the corporate proxy leads anywhere.
struct Behind {
    world: World,
    corporate: Corporate,
}

async fn behind(speaks: Speaks, over_tls: bool, egress: &str) -> Behind {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().expect("a directory"));
    let tls = over_tls.then_some((&ca, "proxy.corp.test"));
    let wanted = match speaks {
        Speaks::Http => BASIC,
        Speaks::Socks => PAIR,
    };
    let corporate = Corporate::start(speaks, tls, Some(wanted)).await;
    let crm = Origin::tls(&ca, &[CRM], reply("200 OK", "", "ok")).await;
    let crm_plain = Origin::plain(reply("200 OK", "", "ok")).await;
    let evil = Origin::plain(reply("200 OK", "", "ok")).await;
    corporate.leads("1.2.3.4:443", crm.address);
    corporate.leads("1.2.3.5:80", crm_plain.address);
    std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("written");
    let scheme = match (speaks, over_tls) {
        (Speaks::Http, false) => "http",
        (Speaks::Http, true) => "https",
        (Speaks::Socks, _) => "socks5",
    };
    let config = format!(
        "[egress]\nextra_roots = [\"ca.pem\"]\nupstream_proxy = \"{scheme}://proxy.corp.test:{}\"\n{egress}\n[egress.resolve]\n\"proxy.corp.test\" = \"127.0.0.1\"\n\"{CRM}\" = \"1.2.3.4\"\n\"plain.crm.example.com\" = \"1.2.3.5\"\n\"direct.crm.example.com\" = \"{}\"\n",
        corporate.address.port(),
        crm_plain.address
    );
    let proxy = Proxy::start(dir, &config).await;
    proxy.create_secret("crm.apiKey", VALUE, &["*.crm.example.com"]).await;
    Behind { world: World { crm, crm_plain, evil, proxy }, corporate }
}

const FROM_SECRET: &str = "upstream_proxy_credentials = { secret = \"corp.proxy\" }";

#[tokio::test]
async fn every_kind_of_proxy_is_asked_for_the_checked_address_and_shown_the_secret() {
    for (speaks, over_tls, shown) in [(Speaks::Http, false, BASIC), (Speaks::Http, true, BASIC), (Speaks::Socks, false, PAIR)] {
        let Behind { world, corporate } = behind(speaks, over_tls, FROM_SECRET).await;
        world.proxy.create_secret("corp.proxy", PAIR, &["proxy.corp.test"]).await;
        let request = format!("GET /x HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n");
        assert_eq!(world.send_tls(CRM, &request).await.text(), "ok");
        assert_eq!(world.crm.only().field("x"), VALUE);
        assert!(world.crm.only().fields("proxy-authorization").is_empty());
        let plain = "GET http://plain.crm.example.com/y HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(world.send(plain).await.text(), "ok");
        assert_eq!(world.crm_plain.only().line(), "GET /y HTTP/1.1");
        let shown = Some(shown.to_owned());
        assert_eq!(corporate.asked(), [("1.2.3.4:443".to_owned(), shown.clone()), ("1.2.3.5:80".to_owned(), shown)]);
    }
}

#[tokio::test]
async fn the_secret_for_the_proxy_is_looked_up_for_each_connection_and_under_its_own_rules() {
    let Behind { world, corporate } = behind(Speaks::Http, false, FROM_SECRET).await;
    let request = "GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let refused = async |sentence: &str| {
        let response = world.send(request).await;
        assert_eq!((response.status(), response.refusal().as_str()), (502, "upstream_refused"));
        let detail = response.json()["detail"].as_str().expect("a sentence").to_owned();
        assert!(detail.contains(sentence) && !detail.contains("pass-word"), "{detail}");
    };
    refused("There is no secret called `corp.proxy`").await;
    world.proxy.create_secret("corp.proxy", PAIR, &["other.corp.test"]).await;
    refused("may not be sent to `proxy.corp.test`").await;
    assert_eq!(corporate.asked(), [], "nothing was asked without credentials");
    world.proxy.must(&["secret", "edit", "corp.proxy", "--value-stdin", "--allow", "proxy.corp.test"], "corp:wrong").await;
    refused("does not accept the credentials").await;
    world.proxy.must(&["secret", "edit", "corp.proxy", "--value-stdin"], "nocolon").await;
    refused("not of the form user:password").await;
    world.proxy.must(&["secret", "edit", "corp.proxy", "--value-stdin"], PAIR).await;
    assert_eq!(world.send(request).await.text(), "ok");
    assert!(!world.proxy.log().contains("pass-word"));
}

#[tokio::test]
async fn credentials_may_lie_in_a_file() {
    let Behind { mut world, .. } = behind(Speaks::Http, false, "").await;
    assert!(
        world.send("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").await.text().contains("asks for credentials")
    );
    world.proxy.stop().await;
    std::fs::write(world.proxy.path("pair"), format!("{PAIR}\n")).expect("written");
    let config = std::fs::read_to_string(world.proxy.path("subrosa.toml")).expect("it is there");
    let config = config.replace("[egress]\n", "[egress]\nupstream_proxy_credentials = { file = \"pair\" }\n");
    std::fs::write(world.proxy.path("subrosa.toml"), config).expect("written");
    world.proxy.start_again().await;
    assert_eq!(world.send("GET http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").await.text(), "ok");
    std::fs::write(world.proxy.path("pair"), "nocolon\n").expect("written");
    let said = world.proxy.must_fail(&["config", "check"], "").await;
    assert!(said.contains("egress.upstream_proxy_credentials") && said.contains("user:password"), "{said}");
    std::fs::remove_file(world.proxy.path("pair")).expect("it was there");
    let said = world.proxy.must_fail(&["config", "check"], "").await;
    assert!(said.contains("cannot be read"), "{said}");
}

#[tokio::test]
async fn names_are_sent_only_where_the_config_says_so_and_egress_rules_hold_before() {
    let egress = format!("{FROM_SECRET}\nupstream_proxy_names = \"send\"");
    let Behind { world, corporate } = behind(Speaks::Socks, false, &egress).await;
    world.proxy.create_secret("corp.proxy", PAIR, &["proxy.corp.test"]).await;
    corporate.leads("only-there.crm.example.com:80", world.crm_plain.address);
    let plain = "GET http://only-there.crm.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(world.send(plain).await.text(), "ok");
    // Nobody here knows where that name leads: no secret goes there in the clear.
    let secret = "GET http://only-there.crm.example.com/ HTTP/1.1\r\nHost: x\r\nX: {secrets.crm.apiKey}\r\n\r\n";
    assert_eq!(world.send(secret).await.refusal(), "cleartext_refused");
    for host in ["169.254.169.254", "localhost", "127.0.0.1", "10.0.0.1"] {
        let response = world.send(&format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(response.refusal(), "target_denied", "{host}");
    }
    assert_eq!(corporate.asked().len(), 1);
}

#[tokio::test]
async fn what_means_this_machine_is_dialled_directly() {
    // Exceptions by host and network: `upstream::next_proxy`, where nothing is dialled.
    let Behind { world, corporate } = behind(Speaks::Http, false, "").await;
    let response = world.send("GET http://direct.crm.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(response.text(), "ok", "loopback is never asked for elsewhere");
    assert_eq!(corporate.asked(), []);
}

#[tokio::test]
async fn passed_through_tunnels_go_through_the_proxy_too() {
    let egress = format!("{FROM_SECRET}\n[intercept]\npass_through = [\"{CRM}\"]");
    let Behind { world, corporate } = behind(Speaks::Http, true, &egress).await;
    let connect = format!("CONNECT {CRM}:443 HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    let refused = world.connect().await;
    let response = super::support::client::exchange_whole(refused, &connect).await;
    assert_eq!((response.status(), response.refusal().as_str()), (502, "upstream_refused"));
    world.proxy.create_secret("corp.proxy", PAIR, &["proxy.corp.test"]).await;
    let stream = world.tunnel(&format!("{CRM}:443")).await;
    let mut inside = super::support::client::tls_in(stream, CRM, &world.proxy.path("ca.pem")).await.expect("its own certificate");
    let sent = format!("GET /{{secrets.crm.apiKey}} HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    assert_eq!(exchange(&mut inside, &sent).await.text(), "ok");
    assert_eq!(world.crm.only().head, sent);
    assert_eq!(corporate.asked().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_is_configured_wrongly_stops_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    for (egress, key) in [
        ("upstream_proxy = \"http://me:hunter2@h:1\"", "egress.upstream_proxy_credentials"),
        ("upstream_proxy = \"h:1\"", "socks5://HOST:PORT"),
        ("upstream_proxy_credentials = { env = \"A\" }", "no egress.upstream_proxy to show them to"),
        ("upstream_proxy = \"http://h:1\"\nupstream_proxy_credentials = \"me:hunter2\"", "never written here"),
        ("upstream_proxy = \"http://h:1\"\nupstream_proxy_credentials = { env = \"A\" }", "the variable A is not set"),
    ] {
        std::fs::write(dir.path().join("s.toml"), format!("[egress]\n{egress}\n")).expect("written");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_subrosa"))
            .args(["config", "check", "--config", "s.toml"])
            .current_dir(dir.path())
            .env_clear()
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(key) && !said.contains("hunter2"), "{egress}: {said}");
    }
}

#[tokio::test]
async fn proxies_that_others_have_written_carry_us() {
    in_a_network_of_its_own("chaining::inside_the_network_of_a_company").await;
}

/// A proxy of somebody else's on 198.51.100.1, which may take a moment to listen.
async fn company(program: &str, arguments: &[&str], port: u16) -> tokio::process::Child {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("PATH", path()).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let child = command.spawn().expect("scripts/test-tools installs it, as `make test` does");
    soon(async {
        while tokio::net::TcpStream::connect(("198.51.100.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    child
}

#[tokio::test]
#[ignore = "run by proxies_that_others_have_written_carry_us, in a network of its own"]
async fn inside_the_network_of_a_company() {
    must("ip", &["link", "set", "lo", "up"]).await;
    must("ip", &["address", "add", "198.51.100.1/24", "dev", "lo"]).await;
    let place = tempfile::tempdir().expect("a directory");
    let (conf, log) = (place.path().join("tinyproxy.conf"), place.path().join("tinyproxy.log"));
    let text = format!("Port 3128\nListen 198.51.100.1\nBasicAuth corp pass-word\nLogFile \"{}\"\n", log.display());
    std::fs::write(&conf, text).expect("written");
    let _http = company("tinyproxy", &["-d", "-c", conf.to_str().expect("text")], 3128).await;
    let socks = ["-i", "198.51.100.1", "-p", "1080", "-u", "corp", "-P", "pass-word"];
    let _socks = company("microsocks", &socks, 1080).await;

    for url in ["http://198.51.100.1:3128", "socks5://198.51.100.1:1080"] {
        let (dir, ca) = (tempfile::tempdir().expect("a directory"), Ca::new());
        let origin = Origin::tls_on("198.51.100.1", &ca, &[CRM], reply("200 OK", "", "ok")).await;
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("written");
        let config = format!(
            "[egress]\nextra_roots = [\"ca.pem\"]\nupstream_proxy = \"{url}\"\n{FROM_SECRET}\n[egress.resolve]\n\"nowhere.test\" = \"198.51.100.1:9\"\n\"{CRM}\" = \"{}\"\n",
            origin.address
        );
        let proxy = Proxy::start(dir, &config).await;
        proxy.create_secret("crm.apiKey", VALUE, &["*.crm.example.com"]).await;
        let plain = Origin::plain(reply("200 OK", "", "ok")).await;
        let evil = Origin::plain(reply("200 OK", "", "ok")).await;
        let world = World { crm: origin, crm_plain: plain, evil, proxy };
        world.proxy.create_secret("corp.proxy", "corp:wrong", &["198.51.100.1"]).await;
        let request = format!("GET /x HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n");
        let refused = world.send_tls(CRM, &request).await;
        assert_eq!(refused.refusal(), "upstream_refused");
        assert!(refused.text().contains("does not accept the credentials"), "{url}: {}", refused.text());
        world.proxy.must(&["secret", "edit", "corp.proxy", "--value-stdin"], PAIR).await;
        assert_eq!(world.send_tls(CRM, &request).await.text(), "ok", "{url}");
        assert_eq!(world.crm.only().field("x"), VALUE);
        // Nobody listens there: their own way of saying so is understood.
        let nowhere = world.send("GET http://nowhere.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(nowhere.refusal(), "upstream_refused");
        assert!(nowhere.text().contains("could not connect to 198.51.100.1:9"), "{url}: {}", nowhere.text());
        if url.starts_with("http") {
            let asked = std::fs::read_to_string(&log).expect("its log");
            assert!(asked.contains(&format!("CONNECT {} ", world.crm.address)), "{asked}");
        }
    }
}
