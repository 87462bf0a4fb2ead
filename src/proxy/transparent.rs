//! Clients that know nothing of a proxy: their connections are redirected here, and the system still
//! knows where they were going.
//!
//! What a client names decides (SNI in TLS, Host in plain HTTP): a tunnel to that host is opened, as if it
//! had been asked for. The address that the client meant counts only where it names nothing; its port always
//! counts. No credential can be shown here, so each listener acts for one runner, and whoever was not
//! redirected is not served.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rustls::server::Acceptor;
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::client_auth::Caller;
use super::client_stream::ClientStream;
use super::context::Door;
use super::front::Client;
use super::refused_tunnel::RefusedTunnel;
use super::tunnel::{self, TLS_HANDSHAKE, Tunnel};
use super::wire;
use crate::origin::{Authority, Host};
use crate::secret::{OrganizationName, RunnerName};

/// The longest `ClientHello` that is waited for, in bytes: with post-quantum keys they have about 2 KiB.
const MAX_HELLO: usize = 64 * 1024;
/// Fields of a head among which Host is looked for; the gate's own limit.
const MAX_FIELDS: usize = 256;

/// Whom a listener acts for.
#[derive(Clone, Debug)]
pub struct Role {
    /// The runner's organization.
    pub organization: OrganizationName,
    /// The runner.
    pub runner: RunnerName,
}

/// Serves one redirected connection to its end.
pub(super) async fn serve(door: Door, stream: TcpStream, client: Arc<Client>, role: &Role) {
    let began = Instant::now();
    let Some(meant) = original_destination(&stream) else {
        return tracing::warn!(target: "subrosa::proxy", client = %client.address, "a connection to proxy.transparent was closed: it was not redirected there; clients that know of the proxy use proxy.listen");
    };
    let Some(caller) = Caller::redirected(&door.shared, role, &client) else {
        return tracing::warn!(target: "subrosa::proxy", client = %client.address, runner = %role.runner, organization = %role.organization, "a redirected connection was closed: proxy.transparent names a runner that does not exist; create it");
    };
    let mut stream = ClientStream::Plain(stream);
    let mut early = BytesMut::new();
    let by_address = Authority { host: Host::Ip(meant.ip()), port: Some(meant.port()) };
    if !tunnel::heard(&door, &mut stream, &mut early, &by_address).await {
        return;
    }
    // Its first bytes are here, so its other end is noted, if it is one of ours.
    if door.upstream(&door.shared.settings.load()).is_own_end(client.address) {
        return tracing::error!(target: "subrosa::proxy", %meant, "a connection of this proxy itself was redirected back to it and closed: exempt the proxy from the redirection (config/transparent)");
    }
    let bound = door.shared.settings.load().client_head;
    let named = match tokio::time::timeout(bound, named(&door, &mut stream, &mut early)).await {
        Ok(Ok(named)) => named,
        Ok(Err(fault)) => {
            return tracing::debug!(target: "subrosa::proxy", client = %client.address, %fault, "a redirected connection ended before it named a host");
        }
        Err(_) => return,
    };
    match Tunnel::open(&door, authority(named.as_deref(), by_address), caller.clone()).await {
        Ok(tunnel) => tunnel.serve(stream, early).await,
        // Nobody can be told inside a tunnel that is to be relayed; the log is.
        Err(refusal) => {
            let target = named.unwrap_or_else(|| meant.to_string());
            RefusedTunnel { client: &client, caller: Some(&caller), target: &target, began }.write_down(&door, &refusal);
        }
    }
}

/// Where a connection was going before it was redirected; `None` if it was not.
fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let local = stream.local_addr().ok()?;
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let original = original.ok()?.as_socket()?;
    (original != local).then_some(original)
}

/// The host that a client names, on the port that it meant. What is no host is refused inside, with an
/// answer.
fn authority(named: Option<&str>, meant: Authority) -> Authority {
    match named.map(wire::authority) {
        Some(Ok(named)) => Authority { host: named.host, port: meant.port },
        Some(Err(_)) | None => meant,
    }
}

/// What a client names first, of the bytes that it sends first; they stay in `early`. `None` if it names
/// nothing, or nothing that can be read: then it is judged by whoever serves the tunnel.
async fn named(door: &Door, stream: &mut ClientStream, early: &mut BytesMut) -> io::Result<Option<String>> {
    if early[0] == TLS_HANDSHAKE {
        return server_name(stream, early).await;
    }
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        match head.parse(early) {
            Ok(httparse::Status::Partial) if early.len() <= door.shared.settings.load().head_bytes => more(stream, early).await?,
            Ok(httparse::Status::Partial) | Err(_) => return Ok(None),
            Ok(httparse::Status::Complete(_)) => {
                let host = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
                return Ok(host.map(|host| String::from_utf8_lossy(host.value).into_owned()));
            }
        }
    }
}

/// SNI (RFC 6066 section 3).
async fn server_name(stream: &mut ClientStream, early: &mut BytesMut) -> io::Result<Option<String>> {
    let (mut acceptor, mut fed) = (Acceptor::default(), 0);
    loop {
        let mut rest = &early[fed..];
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest)?;
        }
        fed = early.len();
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted.client_hello().server_name().map(str::to_owned)),
            Ok(None) if early.len() <= MAX_HELLO => more(stream, early).await?,
            Ok(None) => return Err(io::Error::other("the ClientHello is too long")),
            Err((fault, _)) => return Err(io::Error::other(fault)),
        }
    }
}

async fn more(stream: &mut ClientStream, early: &mut BytesMut) -> io::Result<()> {
    match stream.read_buf(early).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
