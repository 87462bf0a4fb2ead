//! Where requests may go: every way that is known to name an address that is closed, name servers that
//! change their answer, and upstreams whose TLS is not to be trusted.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::{Child, Command};

use super::support::client::{Response, exchange, exchange_bytes, read_response};
use super::support::network::{in_a_network_of_its_own, must};
use super::support::{Ca, Origin, Proxy, VALUE, World, reply, soon};

const DENIED: &str = "target_denied";
const MALFORMED: &str = "malformed_request";

/// What stands for a host, and what is said to it.
const HOSTS: &[(&str, &str)] = &[
    // Not the canonical form of an address.
    ("2130706433", MALFORMED),
    ("0177.0.0.1", MALFORMED),
    ("0x7f.0.0.1", MALFORMED),
    ("0x7f000001", MALFORMED),
    ("017700000001", MALFORMED),
    ("127.1", MALFORMED),
    ("127.0.1", MALFORMED),
    ("127.0.0.01", MALFORMED),
    ("127.0.0.1.1", MALFORMED),
    ("0", MALFORMED),
    ("169.16689662", MALFORMED),
    ("%31%32%37.0.0.1", MALFORMED),
    ("127%2e0.0.1", MALFORMED),
    ("127.0.0.1%00.example.com", MALFORMED),
    ("[fe80::1%25lo]", MALFORMED),
    ("[fe80::1%lo]", MALFORMED),
    ("[::1", MALFORMED),
    ("::1", MALFORMED),
    ("[127.0.0.1]", MALFORMED),
    ("[v1.fe80]", MALFORMED),
    ("user@127.0.0.1", MALFORMED),
    // The canonical one, of what is not globally reachable.
    ("127.0.0.1", DENIED),
    ("127.0.0.1.", DENIED),
    ("127.255.255.254", DENIED),
    ("0.0.0.0", DENIED),
    ("0.1.2.3", DENIED),
    ("10.0.0.1", DENIED),
    ("100.64.0.1", DENIED),
    ("100.127.255.255", DENIED),
    ("169.254.169.254", DENIED),
    ("172.31.255.255", DENIED),
    ("192.168.0.1", DENIED),
    ("192.0.0.192", DENIED),
    ("192.0.2.1", DENIED),
    ("192.88.99.1", DENIED),
    ("198.19.255.255", DENIED),
    ("198.51.100.1", DENIED),
    ("203.0.113.1", DENIED),
    ("168.63.129.16", DENIED),
    ("224.0.0.1", DENIED),
    ("239.255.255.250", DENIED),
    ("240.0.0.1", DENIED),
    ("255.255.255.255", DENIED),
    ("[::]", DENIED),
    ("[::1]", DENIED),
    ("[0:0:0:0:0:0:0:1]", DENIED),
    ("[::127.0.0.1]", DENIED),
    ("[::ffff:127.0.0.1]", DENIED),
    ("[::ffff:7f00:1]", DENIED),
    ("[::ffff:0:127.0.0.1]", DENIED),
    ("[64:ff9b::127.0.0.1]", DENIED),
    ("[64:ff9b::a9fe:a9fe]", DENIED),
    ("[64:ff9b:1::7f00:1]", DENIED),
    ("[2002:7f00:1::]", DENIED),
    ("[2002:a9fe:a9fe::1]", DENIED),
    ("[2001:0:7f00:1::]", DENIED),
    ("[2001:db8::1]", DENIED),
    ("[3fff::1]", DENIED),
    ("[100::1]", DENIED),
    ("[5f00::1]", DENIED),
    ("[fc00::1]", DENIED),
    ("[fd00:ec2::254]", DENIED),
    ("[fe80::1]", DENIED),
    ("[fec0::1]", DENIED),
    ("[ff02::1]", DENIED),
    // Names.
    ("localhost", DENIED),
    ("LOCALHOST.", DENIED),
    // Digits and dots of other scripts.
    ("①②⑦.⓪.⓪.①", MALFORMED),
    ("１２７.０.０.１", MALFORMED),
    ("127。0。0。1", MALFORMED),
    ("ⓛocalhost", MALFORMED),
];

#[tokio::test]
async fn no_way_to_name_a_closed_address_is_let_through() {
    let world = World::new().await;
    let port = world.crm_plain.address.port();
    for (host, wanted) in HOSTS {
        for request in [
            format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("GET https://{host}:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        ] {
            let response = world.send(&request).await;
            let status = if *wanted == DENIED { 403 } else { 400 };
            assert_eq!((response.status(), response.refusal().as_str()), (status, *wanted), "{request}");
        }
        let mut stream = world.connect().await;
        let connect = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(connect.as_bytes()).await.expect("sent");
        let response = read_response(&mut stream, *wanted == DENIED).await;
        if *wanted == DENIED {
            assert_eq!(response.status(), 200, "{connect}");
            let inside = exchange(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")).await;
            assert_eq!(inside.refusal(), DENIED, "{connect}");
        } else {
            assert_eq!(response.refusal(), MALFORMED, "{connect}");
        }
    }
    world.untouched();
}

#[tokio::test]
async fn no_port_of_its_own_is_dialled_by_any_way() {
    let world = World::with("allow = [\"0.0.0.0/0\", \"::/0\"]\n", reply("200 OK", "", "ok")).await;
    let ports = [world.proxy.address.port(), world.proxy.admin_address().await.port()];
    for host in ["127.0.0.1", "127.8.8.8", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "[::1]", "[::]"] {
        for port in ports {
            let response = world.send(&format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert_eq!(response.refusal(), DENIED, "{host}:{port}");
            assert!(response.text().contains("this proxy itself"), "{}", response.text());
        }
    }
}

/// What stands open to everybody in a network of the test's own.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

/// A name server: names that begin with `turns.` lead elsewhere with every question, `both.` to a public
/// and a private address, `metadata.` to what clouds serve, everything else to the public address.
async fn name_server(asked: Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:53").await.expect("root of its own network");
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let question = &buffer[..length];
        let labels_end = 12 + question[12..].iter().position(|byte| *byte == 0).expect("a name");
        let name = String::from_utf8_lossy(&question[12..labels_end]).to_ascii_lowercase();
        let is_a = question[labels_end + 1..labels_end + 3] == [0, 1];
        let addresses = match &name[1..] {
            _ if !is_a => vec![],
            name if name.starts_with("turns") => {
                let turn = asked.fetch_add(1, Ordering::SeqCst);
                vec![if turn.is_multiple_of(2) { PUBLIC } else { Ipv4Addr::LOCALHOST }]
            }
            name if name.starts_with("both") => vec![Ipv4Addr::LOCALHOST, PUBLIC],
            name if name.starts_with("metadata") => vec![Ipv4Addr::new(169, 254, 169, 254)],
            _ => vec![PUBLIC],
        };
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).expect("few"), 0, 0, 0, 0]);
        answer.extend(&question[12..labels_end + 5]);
        for address in addresses {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        socket.send_to(&answer, from).await.expect("sent");
    }
}

/// Accepts, counts, and says `ok`.
async fn origin_on(address: SocketAddr) -> Arc<AtomicUsize> {
    let (listener, count) = (TcpListener::bind(address).await.expect("an address of ours"), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        }
    });
    count
}

#[tokio::test]
async fn a_name_server_that_changes_its_answer_leads_nowhere_else() {
    in_a_network_of_its_own("egress::names_that_turn").await;
}

#[tokio::test]
#[ignore = "it is run by the test before, as root of a network of its own"]
async fn names_that_turn() {
    must("ip", &["link", "set", "lo", "up"]).await;
    must("ip", &["address", "add", &format!("{PUBLIC}/32"), "dev", "lo"]).await;
    let directory = tempfile::tempdir().expect("a directory");
    for (file, text) in [("resolv.conf", "nameserver 127.0.0.1\n"), ("nsswitch.conf", "hosts: files dns\n")] {
        let (path, system) = (directory.path().join(file), format!("/etc/{file}"));
        std::fs::write(&path, text).expect("written");
        let system = std::fs::canonicalize(system).expect("there");
        must("mount", &["--bind", path.to_str().expect("text"), system.to_str().expect("text")]).await;
    }
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(name_server(Arc::clone(&asked)));
    let private = origin_on("127.0.0.1:8000".parse().expect("an address")).await;
    let public = origin_on(SocketAddr::new(PUBLIC.into(), 8000)).await;
    // Nobody listens on the public address of this port.
    let behind = origin_on("127.0.0.1:8001".parse().expect("an address")).await;
    let proxy = Proxy::start(tempfile::tempdir().expect("a directory"), "").await;
    let ask = async |url: &str| {
        let mut stream = soon(TcpStream::connect(proxy.address)).await.expect("it listens");
        exchange(&mut stream, &format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    };
    for turn in 0..6_usize {
        let response = ask("http://turns.test:8000/").await;
        if turn.is_multiple_of(2) {
            assert_eq!(response.text(), "ok");
        } else {
            assert_eq!(response.refusal(), DENIED);
        }
        assert_eq!(asked.load(Ordering::SeqCst), turn + 1, "a name is asked for once and then dialled by its address");
    }
    assert_eq!(ask("http://both.test:8000/").await.text(), "ok");
    assert_eq!(ask("http://both.test:8001/").await.refusal(), "upstream_refused");
    for name in ["metadata.google.internal", "metadata.azure.internal", "metadata.test"] {
        assert_eq!(ask(&format!("http://{name}/")).await.refusal(), DENIED, "{name}");
    }
    assert_eq!((public.load(Ordering::SeqCst), private.load(Ordering::SeqCst), behind.load(Ordering::SeqCst)), (4, 0, 0));
}

/// A server of OpenSSL's, which does what rustls refuses to.
struct OpenSsl {
    address: SocketAddr,
    _child: Child,
}

impl OpenSsl {
    async fn serve(directory: &std::path::Path, arguments: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-www", "-cipher", "DEFAULT@SECLEVEL=0"])
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("scripts/test-tools has run");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = soon(async {
            loop {
                let line = lines.next_line().await.expect("text").expect("it serves");
                if let Some(address) = line.strip_prefix("ACCEPT ") {
                    return address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
                }
            }
        })
        .await;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), _child: child }
    }
}

/// An authority and certificates of it by OpenSSL: `weak` (RSA of 1024 bits), `sha1` (signed with it), `good`.
async fn made_by_openssl(directory: &std::path::Path) {
    let script = "set -e
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -subj '/CN=an authority' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
        make() { openssl req -newkey $2 -nodes -keyout $1.key -out $1.csr -subj /CN=$1.test; printf 'subjectAltName=DNS:%s.test\\nbasicConstraints=CA:FALSE' $1 > $1.ext
            openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -days 9 -extfile $1.ext -out $1.pem $3; }
        make weak rsa:1024 -sha256; make sha1 rsa:2048 -sha1; make old rsa:2048 -sha256";
    let run = Command::new("bash").args(["-c", script]).current_dir(directory).output();
    let done = soon(run).await.expect("bash");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn an_upstream_whose_tls_is_not_to_be_trusted_is_told_with_its_cure() {
    let directory = tempfile::tempdir().expect("a directory");
    made_by_openssl(directory.path()).await;
    let weak = OpenSsl::serve(directory.path(), &["-cert", "weak.pem", "-key", "weak.key"]).await;
    let sha1 = OpenSsl::serve(directory.path(), &["-cert", "sha1.pem", "-key", "sha1.key"]).await;
    let old = OpenSsl::serve(directory.path(), &["-cert", "old.pem", "-key", "old.key", "-tls1_1"]).await;
    let (ca, stranger, script) = (Ca::new(), Ca::new(), reply("200 OK", "", "ok"));
    let expired = ca.acceptor_made(&["expired.test"], |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    });
    let early = ca.acceptor_made(&["early.test"], |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2201, 1, 1), rcgen::date_time_ymd(2202, 1, 1));
    });
    let mut origins = Vec::new();
    for (name, acceptor) in [
        ("expired.test", expired),
        ("early.test", early),
        ("wrong-name.test", ca.acceptor(&["another.test", "one-more.test"])),
        ("stranger.test", stranger.acceptor(&["stranger.test"])),
        ("client.test", ca.acceptor_for(&["client.test"], Some(&stranger))),
        ("good.test", ca.acceptor(&["good.test"])),
    ] {
        origins.push((name, Origin::accepting(acceptor, script.clone()).await));
    }
    std::fs::write(directory.path().join("origins.pem"), ca.pem()).expect("written");
    let mut config = "[egress]\nextra_roots = [\"ca.pem\", \"origins.pem\"]\n[egress.resolve]\n".to_owned();
    let others = [("weak.test", weak.address), ("sha1.test", sha1.address), ("old.test", old.address)];
    for (name, address) in origins.iter().map(|(name, origin)| (*name, origin.address)).chain(others) {
        writeln!(config, "\"{name}\" = \"{address}\"").expect("memory");
    }
    let proxy = Proxy::start(directory, &config).await;
    proxy.create_secret("key", VALUE, &[]).await;
    let ask = async |name: &str| -> Response {
        let mut stream = soon(TcpStream::connect(proxy.address)).await.expect("it listens");
        let request = format!("GET https://{name}/ HTTP/1.1\r\nHost: x\r\nX: {{secrets.key}}\r\n\r\n");
        exchange_bytes(&mut stream, request.as_bytes()).await
    };
    assert_eq!(ask("good.test").await.text(), "ok");
    for (name, sentence) in [
        ("expired.test", "its certificate has expired; the operator of the host must renew it"),
        ("early.test", "its certificate is not valid yet; check the clock of this machine"),
        ("wrong-name.test", "its certificate is not for this host but for another.test, one-more.test"),
        ("stranger.test", "egress.extra_roots"),
        ("client.test", "egress.client_certificate"),
        ("weak.test", "weak"),
        ("sha1.test", "weak"),
        ("old.test", "TLS 1.2"),
    ] {
        let response = ask(name).await;
        assert_eq!((response.status(), response.refusal().as_str()), (502, "upstream_tls"), "{name}: {}", response.text());
        let detail = response.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(sentence) && detail.contains(name), "{name}: {detail}");
    }
    for (name, origin) in origins.iter().filter(|(name, _)| *name != "good.test") {
        assert_eq!(origin.received().len(), 0, "{name}");
    }
}
