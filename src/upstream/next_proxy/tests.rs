use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::settings::ResolveTo;
use super::super::test_server::{Server, fetch, origin, settings, tenant, upstream};
use super::super::{Rules, Wait};
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct Pair(&'static str);

impl Credentials for Pair {
    fn pair(&self, _: &Host) -> Result<Zeroizing<Vec<u8>>, String> {
        Ok(Zeroizing::new(self.0.as_bytes().to_vec()))
    }
}

fn next(protocol: NextProxyProtocol, address: SocketAddr) -> NextProxy {
    NextProxy {
        protocol,
        host: Host::Ip(address.ip()),
        port: address.port(),
        credentials: None,
        names: Names::ResolvedHere,
        direct_hosts: vec![DomainPattern::parse("*.intern.example").expect("a pattern")],
        direct_networks: vec!["10.0.0.0/8".parse().expect("a network")],
    }
}

/// No address is open but the public ones; `crm.invalid` is public.
fn through(proxy: NextProxy) -> Settings {
    let mut settings = Settings { rules: Rules::default(), next_proxy: Some(Arc::new(proxy)), ..settings() };
    let to = ResolveTo { ip: "1.1.1.1".parse().expect("an address"), port: None };
    settings.resolve.insert(Host::parse("crm.invalid").expect("a host"), to);
    settings
}

/// A proxy that answers CONNECT with `answer` and then is the origin itself.
async fn http_proxy(answer: &'static str) -> Server {
    Server::start(move |mut visit| async move {
        if visit.head().await.is_some() {
            visit.say(answer).await;
            if !answer.contains(" 20") {
                return;
            }
        }
        while visit.head().await.is_some() {
            visit.say(OK).await;
        }
    })
    .await
}

#[tokio::test]
async fn asks_for_the_address_that_was_checked_and_shows_the_credentials_to_the_proxy_alone() {
    let server = http_proxy("HTTP/1.1 200 Connection established\r\nProxy-Agent: x\r\n\r\n").await;
    let mut proxy = next(NextProxyProtocol::Http, server.address);
    proxy.credentials = Some(Arc::new(Pair("me:pass:word")));
    assert_eq!(fetch(&upstream(through(proxy)), &origin("crm.invalid"), "GET").await.expect("an answer"), "ok");
    assert_eq!(
        server.heads(),
        [
            "CONNECT 1.1.1.1:80 HTTP/1.1\r\nHost: 1.1.1.1:80\r\nProxy-Authorization: Basic bWU6cGFzczp3b3Jk\r\n\r\n",
            "GET /a?b HTTP/1.1\r\nhost: h.example\r\n\r\n"
        ]
    );
}

#[tokio::test]
async fn sends_the_name_only_where_the_config_says_so() {
    let server = http_proxy("HTTP/1.1 200 OK\r\n\r\n").await;
    let sending = NextProxy { names: Names::Sent, ..next(NextProxyProtocol::Http, server.address) };
    let upstream = upstream(through(sending));
    for (authority, asked) in [
        ("far.invalid:81", "CONNECT far.invalid:81 "),
        ("crm.invalid", "CONNECT 1.1.1.1:80 "),
        ("9.9.9.9", "CONNECT 9.9.9.9:80 "),
    ] {
        fetch(&upstream, &origin(authority), "GET").await.expect(authority);
        let heads = server.heads();
        assert!(heads[heads.len() - 2].starts_with(asked), "{heads:?}");
    }
    let lane =
        upstream.reserve(&tenant("t"), &origin("other.invalid"), None, super::super::lane::Speech::Agreed).await.expect("a lane");
    assert!(!lane.opened_by_config(), "nobody here knows where it leads");
}

#[tokio::test]
async fn the_rules_hold_before_the_proxy_is_asked() {
    let server = http_proxy("HTTP/1.1 200 OK\r\n\r\n").await;
    for names in [Names::ResolvedHere, Names::Sent] {
        let upstream = upstream(through(NextProxy { names, ..next(NextProxyProtocol::Http, server.address) }));
        for authority in ["169.254.169.254", "192.168.1.1", "127.0.0.1", "[::1]", "localhost", "x.localhost"] {
            let error = fetch(&upstream, &origin(authority), "GET").await.expect_err(authority);
            assert!(matches!(error, Error::Denied(_) | Error::Unresolvable { .. }), "{authority}: {error}");
        }
    }
    let resolving = upstream(through(next(NextProxyProtocol::Http, server.address)));
    let error = fetch(&resolving, &origin("no-such-name.invalid"), "GET").await.expect_err("no such name");
    assert!(matches!(error, Error::Unresolvable { .. }), "{error}");
    assert_eq!(server.accepted(), 0);
}

#[test]
fn what_means_this_machine_or_is_excepted_never_goes_through() {
    let proxy = next(NextProxyProtocol::Http, SocketAddr::from(([127, 0, 0, 1], 1)));
    let name = |text| Host::parse(text).expect("a host");
    let addresses =
        |texts: &[&str]| texts.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 1)).collect::<Vec<_>>();
    for (host, given, part) in [
        ("crm.example", &["1.1.1.1", "9.9.9.9"][..], Part::Through(addresses(&["1.1.1.1", "9.9.9.9"]))),
        ("crm.intern.example", &["1.1.1.1"], Part::Direct(addresses(&["1.1.1.1"]))),
        ("crm.example", &["10.1.2.3"], Part::Direct(addresses(&["10.1.2.3"]))),
        ("crm.example", &["10.1.2.3", "1.1.1.1"], Part::Direct(addresses(&["10.1.2.3"]))),
        ("crm.example", &["1.1.1.1", "10.1.2.3"], Part::Through(addresses(&["1.1.1.1"]))),
        ("crm.example", &["127.0.0.1"], Part::Direct(addresses(&["127.0.0.1"]))),
        ("crm.example", &["::ffff:127.0.0.1"], Part::Direct(addresses(&["::ffff:127.0.0.1"]))),
        ("crm.example", &["fe80::1"], Part::Direct(addresses(&["fe80::1"]))),
    ] {
        assert_eq!(proxy.part(&name(host), addresses(given)), part, "{host} {given:?}");
    }
}

async fn refused(answer: &'static str, credentials: Option<Arc<dyn Credentials>>) -> String {
    let server = http_proxy(answer).await;
    let proxy = NextProxy { credentials, ..next(NextProxyProtocol::Http, server.address) };
    let error = fetch(&upstream(through(proxy)), &origin("crm.invalid"), "GET").await.expect_err(answer);
    assert_eq!(error.kind(), super::super::Kind::Refused);
    assert_eq!(server.accepted(), 1);
    error.to_string()
}

#[tokio::test]
async fn says_what_the_proxy_made_of_it() {
    let negotiate = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
    for (answer, shown, sentence) in [
        (negotiate, false, "asks for credentials (status 407, Negotiate, Basic): set egress.upstream_proxy_credentials"),
        (negotiate, true, "does not accept the credentials"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", false, "refused to connect to 1.1.1.1:80: status 403"),
        ("HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n", false, "refused to connect to 1.1.1.1:80: status 302"),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false, "could not connect to 1.1.1.1:80: status 503"),
        ("\u{5}\u{0}nonsense", false, "was not understood"),
        ("HTTP/1.1 2", false, "closed the connection without an answer"),
        ("", false, "closed the connection without an answer"),
    ] {
        let credentials = shown.then(|| Arc::new(Pair("a:b")) as Arc<dyn Credentials>);
        let said = refused(answer, credentials).await;
        assert!(said.contains(sentence), "{answer:?}: {said}");
        assert!(said.starts_with("http://crm.invalid could not be reached through http://127.0.0.1:"), "{said}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_does_not_answer_is_named() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port").local_addr().expect("an address");
    let error = fetch(&upstream(through(next(NextProxyProtocol::Http, closed))), &origin("crm.invalid"), "GET").await;
    let error = error.expect_err("closed").to_string();
    assert!(error.contains("egress.upstream_proxy") && error.contains("it could not be reached"), "{error}");

    let mute = Server::start(|mut visit| async move { drop(visit.rest().await) }).await;
    let settings =
        Settings { connect_timeout: Duration::from_millis(50), ..through(next(NextProxyProtocol::Http, mute.address)) };
    let error = fetch(&upstream(settings), &origin("crm.invalid"), "GET").await.expect_err("mute");
    assert!(matches!(error, Error::Timeout { wait: Wait::ConnectThrough, .. }), "{error}");
    assert!(error.to_string().contains("egress.upstream_proxy"), "{error}");
}

#[tokio::test]
async fn the_proxys_own_ports_are_closed_here_too() {
    let mut settings = through(next(NextProxyProtocol::Http, SocketAddr::from(([127, 0, 0, 1], 8080))));
    settings.rules.own_ports = vec![8080];
    let error = fetch(&upstream(settings), &origin("crm.invalid"), "GET").await.expect_err("itself");
    assert!(error.to_string().contains("may not name this proxy itself"), "{error}");
}

#[tokio::test]
async fn what_comes_behind_the_answer_is_the_tunnels() {
    let server = http_proxy("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\n220 mail.example.com\r\n").await;
    let upstream = upstream(through(next(NextProxyProtocol::Http, server.address)));
    let mut stream = upstream.dial(&tenant("t"), &origin("crm.invalid")).await.expect("a tunnel");
    let mut said = [0; 22];
    stream.read_exact(&mut said).await.expect("the server speaks first");
    assert_eq!(&said, b"220 mail.example.com\r\n");
}

/// A SOCKS proxy that wants the password, says `reply`, and then is the origin; what it was sent.
async fn socks_proxy(method: u8, reply: u8) -> (SocketAddr, tokio::task::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut got = Vec::new();
        let mut take = async |stream: &mut TcpStream, answer: &[u8]| {
            let mut buffer = vec![0; 1024];
            let count = stream.read(&mut buffer).await.expect("bytes");
            buffer.truncate(count);
            got.push(buffer);
            stream.write_all(answer).await.expect("it reads");
        };
        take(&mut stream, &[5, method]).await;
        if method == 2 {
            take(&mut stream, &[1, 0]).await;
        }
        if method != 0xff {
            take(&mut stream, &[5, reply, 0, 3, 2, b'h', b'i', 0, 1]).await;
        }
        if method != 0xff && reply == 0 {
            take(&mut stream, OK.as_bytes()).await;
        }
        got
    });
    (address, task)
}

#[tokio::test]
async fn socks_is_spoken_with_and_without_a_password_by_address_and_by_name() {
    for (method, pair, names, authority, asked) in [
        (0, None, Names::ResolvedHere, "crm.invalid", &[5, 1, 0, 1, 1, 1, 1, 1, 0, 80][..]),
        (
            2,
            Some(Pair("me:pass")),
            Names::ResolvedHere,
            "[2606:4700::1]:81",
            &[5, 1, 0, 4, 0x26, 6, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 81],
        ),
        (0, Some(Pair("me:pass")), Names::Sent, "a.invalid", b"\x05\x01\x00\x03\x09a.invalid\x00\x50"),
    ] {
        let (address, task) = socks_proxy(method, 0).await;
        let offer = if pair.is_some() { vec![5, 2, 0, 2] } else { vec![5, 1, 0] };
        let credentials = pair.map(|pair| Arc::new(pair) as Arc<dyn Credentials>);
        let proxy = NextProxy { credentials, names, ..next(NextProxyProtocol::Socks5, address) };
        assert_eq!(fetch(&upstream(through(proxy)), &origin(authority), "GET").await.expect(authority), "ok");
        let got = task.await.expect("served");
        assert_eq!(got[0], offer);
        if method == 2 {
            assert_eq!(got[1], b"\x01\x02me\x04pass");
        }
        assert_eq!(got[got.len() - 2], asked, "{authority}");
    }
}

#[tokio::test]
async fn what_a_socks_proxy_refuses_has_its_sentence() {
    for (method, reply, sentence) in [
        (0xff, 0, "asks for credentials"),
        (2, 0, "which was not offered"),
        (0, 2, "refused to connect to 1.1.1.1:80: reply 2"),
        (0, 5, "could not connect to 1.1.1.1:80: connection refused"),
    ] {
        let (address, _task) = socks_proxy(method, reply).await;
        let upstream = upstream(through(next(NextProxyProtocol::Socks5, address)));
        let error = fetch(&upstream, &origin("crm.invalid"), "GET").await.expect_err(sentence).to_string();
        assert!(error.contains(sentence), "{error}");
    }
}
