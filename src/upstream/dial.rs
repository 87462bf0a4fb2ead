//! From a route to a connection: TCP to whichever address answers first, a tunnel through the next
//! proxy where one is on the way, then TLS, verified.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::Error;
use super::lane::Speech;
use super::next_proxy;
use super::resolve::Route;
use super::stream::Stream;
use super::tls_fault::TlsFault;
use super::watched::Transport;
use crate::origin::{Host, Origin, Scheme};

/// How long an address has for itself before the next is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// What HTTP to `origin` is spoken over: a stream, with TLS where the scheme says so.
pub(super) async fn transport(
    origin: &Origin,
    route: Route,
    config: &Arc<ClientConfig>,
    speech: Speech,
) -> Result<Transport, Error> {
    let stream = stream(origin, route).await?;
    match (origin.scheme, speech) {
        (Scheme::Http, _) => Ok(Transport::Plain(stream)),
        (Scheme::Https, Speech::Http1) => tls(origin, stream, &http1_only(config)).await,
        (Scheme::Https, _) => tls(origin, stream, config).await,
    }
}

/// The same configuration, offering HTTP/1.1 alone; sessions are remembered in common.
fn http1_only(config: &Arc<ClientConfig>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![crate::tls::ALPN_HTTP_1_1.to_vec()];
    Arc::new(config)
}

/// A connection to one of the route's addresses, whichever answers first; through the next proxy
/// where one is on the way.
pub(super) async fn stream(origin: &Origin, route: Route) -> Result<Stream, Error> {
    if let Some(beyond) = &route.beyond {
        return next_proxy::connect(origin, &route, beyond).await;
    }
    let stream = race(route.addresses).await.map_err(|failures| {
        let refused = || Error::Refused { origin: origin.clone(), cause: listed(&failures) };
        for_want_of_descriptors(origin, &failures).unwrap_or_else(refused)
    })?;
    without_delay(&stream);
    let own_end = route.own_ends.and_then(|ends| ends.note(&stream));
    Ok(Stream::direct(stream, own_end))
}

/// Small writes follow each other (handshakes, heads, chunks): none should wait for the others.
pub(super) fn without_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
}

/// What each address answered.
pub(super) type Failures = Vec<(SocketAddr, io::Error)>;

/// What is wrong if nobody was asked at all, because this process, or the system, has no descriptor left.
pub(super) fn for_want_of_descriptors(origin: &Origin, failures: &Failures) -> Option<Error> {
    let is_one = |error: &io::Error| matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
    failures.iter().any(|(_, error)| is_one(error)).then(|| Error::NoDescriptor { origin: origin.clone() })
}

/// The same as text.
pub(super) fn listed(failures: &Failures) -> String {
    failures.iter().map(|(address, error)| format!("{address}: {error}")).collect::<Vec<_>>().join("; ")
}

/// Tries the addresses in order, each a little after the one before, or at once when that failed.
pub(super) async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, Failures> {
    if let [address] = addresses[..] {
        return TcpStream::connect(address).await.map_err(|error| vec![(address, error)]);
    }
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let patience = if waiting.len() == 0 { Duration::MAX } else { STAGGER };
        match tokio::time::timeout(patience, attempts.join_next()).await {
            Ok(Some(Ok((_, Ok(stream))))) => return Ok(stream),
            Ok(Some(Ok((address, Err(error))))) => failures.push((address, error)),
            Ok(None) => return Err(failures),
            // Nobody answered yet, or an attempt was lost with its runtime: on to the next.
            Err(_) | Ok(Some(Err(_))) => {}
        }
    }
}

async fn tls(origin: &Origin, stream: Stream, config: &Arc<ClientConfig>) -> Result<Transport, Error> {
    let stream = shake_hands(&origin.host, stream, config).await;
    stream.map(|stream| Transport::Tls(Box::new(stream))).map_err(|fault| Error::Tls { origin: origin.clone(), fault })
}

/// TLS on `stream`, with whoever can prove to be `host`.
pub(super) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    host: &Host,
    stream: S,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<S>, TlsFault> {
    let name = match host {
        Host::Ip(ip) => ServerName::from(*ip),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| TlsFault::UnusableName)?,
    };
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    stream.map_err(|error| TlsFault::of(&error))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::{Instant, timeout};
    use tokio_rustls::TlsAcceptor;

    use super::super::settings::{ResolveTo, Settings};
    use super::super::test_server::{SOON, Server, fetch, settings, upstream};
    use super::super::{ClientTls, Tenant};
    use super::*;
    use crate::origin::Authority;
    use crate::tls::{self, Leaves};

    async fn closed_port() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        listener.local_addr().expect("an address")
    }

    /// A port whose queue is full: the system drops further attempts without a word.
    async fn hanging_port() -> (SocketAddr, (socket2::Socket, Vec<TcpStream>)) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        socket.listen(0).expect("listening");
        let address = socket.local_addr().expect("an address").as_socket().expect("an IP address");
        let mut held = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            held.push(stream);
        }
        (address, (socket, held))
    }

    #[tokio::test]
    async fn the_next_address_is_tried_at_once_when_one_refuses() {
        let server = Server::answering("").await;
        let begun = Instant::now();
        let stream = race(vec![closed_port().await, closed_port().await, server.address]).await.expect("connected");
        assert_eq!(stream.peer_addr().expect("an address"), server.address);
        assert!(begun.elapsed() < STAGGER, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_next_address_is_tried_beside_one_that_does_not_answer() {
        let server = Server::answering("").await;
        let (hanging, _held) = hanging_port().await;
        let begun = Instant::now();
        let stream = timeout(SOON, race(vec![hanging, server.address])).await.expect("in time").expect("connected");
        assert_eq!(stream.peer_addr().expect("an address"), server.address);
        assert!(begun.elapsed() >= STAGGER, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_wait_for_a_connection_has_a_limit() {
        let (hanging, _held) = hanging_port().await;
        let upstream = upstream(Settings { connect_timeout: Duration::from_millis(50), ..settings() });
        let error = fetch(&upstream, &origin(Scheme::Http, &hanging.to_string()), "GET").await.expect_err("hangs");
        assert!(matches!(error, Error::Timeout { wait: super::super::Wait::Connect, .. }), "{error}");
    }

    #[tokio::test]
    async fn an_error_names_every_address_that_was_tried() {
        let (first, second) = (closed_port().await, closed_port().await);
        let failures = race(vec![first, second]).await.expect_err("closed");
        assert_eq!(failures.iter().map(|(address, _)| *address).collect::<Vec<_>>(), [first, second]);
        let error = fetch(&upstream(settings()), &origin(Scheme::Http, &first.to_string()), "GET").await.expect_err("closed");
        assert!(matches!(error, Error::Refused { .. }) && error.to_string().contains(&first.to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_tunnel_is_dialled_without_delay() {
        let server = Server::answering("").await;
        let stream = upstream(settings()).dial(&Tenant("t".into()), &server.origin()).await.expect("connected");
        assert!(stream.as_tcp().expect("no proxy is configured").nodelay().expect("an option"));
    }

    fn origin(scheme: Scheme, authority: &str) -> Origin {
        Origin::new(scheme, Authority::parse(authority).expect("an authority"))
    }

    const DAYS_40: Duration = Duration::from_hours(40 * 24);

    fn forty_days_ago() -> SystemTime {
        SystemTime::now() - DAYS_40
    }

    fn in_forty_days() -> SystemTime {
        SystemTime::now() + DAYS_40
    }

    /// A TLS origin that presents a certificate for `names`, made at the time of `clock`; and the
    /// file with its authority.
    async fn tls_origin(name: &str, clock: fn() -> SystemTime, directory: &tempfile::TempDir) -> (SocketAddr, PathBuf) {
        let (certificate, key) = (directory.path().join("ca.pem"), directory.path().join("keys/ca-key.pem"));
        let made_at = clock().min(SystemTime::now());
        let (authority, _) = tls::Authority::load_or_create(&certificate, &key, made_at).expect("an authority");
        let leaves = Leaves::new(Arc::new(authority), 1, clock);
        let config = leaves.server_config(&Host::parse(name).expect("a host")).expect("a leaf");
        let mut config = rustls::ServerConfig::clone(&config);
        config.alpn_protocols.clear();
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&config));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = [0; 4096];
                    while stream.read(&mut head).await.unwrap_or(0) > 0 {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("read");
                        stream.flush().await.expect("read");
                    }
                });
            }
        });
        (address, certificate)
    }

    /// Fetches over TLS from `host` at `address`, trusting `roots`.
    async fn fetch_tls(host: &str, address: SocketAddr, roots: &[PathBuf]) -> Result<String, Error> {
        let roots = tls::Roots::usual().with_files(roots, "egress.extra_roots").expect("roots");
        let client_tls = ClientTls::new(roots, Vec::new(), Vec::new()).expect("made");
        let mut settings = Settings { client_tls, ..settings() };
        let to = ResolveTo { ip: address.ip(), port: Some(address.port()) };
        settings.resolve.insert(Host::parse(host).expect("a host"), to);
        let (upstream, origin) = (upstream(settings), origin(Scheme::Https, host));
        fetch(&upstream, &origin, "GET").await?;
        fetch(&upstream, &origin, "GET").await
    }

    #[tokio::test]
    async fn verifies_names_and_addresses_against_the_extra_roots() {
        for host in ["api.example.com", "127.0.0.1", "[::1]", "10.9.8.7"] {
            let directory = tempfile::tempdir().expect("a directory");
            let (address, root) = tls_origin(host, SystemTime::now, &directory).await;
            assert_eq!(fetch_tls(host, address, &[root]).await.expect(host), "ok");
        }
    }

    #[tokio::test]
    async fn says_what_is_wrong_with_an_upstreams_tls() {
        let directory = || tempfile::tempdir().expect("a directory");
        let (now, early, late) = (directory(), directory(), directory());
        let (valid, root) = tls_origin("a.example", SystemTime::now, &now).await;
        let (expired, old_root) = tls_origin("a.example", forty_days_ago, &early).await;
        let (future, new_root) = tls_origin("a.example", in_forty_days, &late).await;
        let plain = Server::start(|mut visit| async move {
            visit.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
            visit.rest().await;
        })
        .await
        .address;
        let closing = Server::start(|visit| async move { drop(visit) }).await.address;
        for (host, address, roots, sentence) in [
            ("a.example", valid, vec![], "egress.extra_roots"),
            ("b.example", valid, vec![root], "not for this host but for"),
            ("a.example", expired, vec![old_root], "expired"),
            ("a.example", future, vec![new_root], "check the clock"),
            ("a.example", plain, vec![], "does not speak TLS"),
            ("a.example", closing, vec![], "closed the connection during the TLS handshake"),
        ] {
            let error = fetch_tls(host, address, &roots).await.expect_err(sentence);
            assert!(matches!(error, Error::Tls { .. }) && error.to_string().contains(sentence), "{sentence}: {error}");
        }
    }
}
