//! From a route to a connection: TCP to whichever address answers first, then TLS, verified.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::error::Error;
use super::resolve::Route;
use super::tls_fault::TlsFault;
use super::watched::Transport;
use crate::origin::{Host, Origin, Scheme};

/// How long an address has for itself before the next is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// What HTTP to `origin` is spoken over: TCP, with TLS where the scheme says so.
pub(super) async fn transport(origin: &Origin, route: Route, config: &Arc<ClientConfig>) -> Result<Transport, Error> {
    let stream = tcp(origin, route).await?;
    match origin.scheme {
        Scheme::Http => Ok(Transport::Plain(stream)),
        Scheme::Https => tls(origin, stream, config).await,
    }
}

/// A TCP connection to one of the route's addresses, whichever answers first.
pub(super) async fn tcp(origin: &Origin, route: Route) -> Result<TcpStream, Error> {
    let stream = race(route.addresses).await.map_err(|failures| Error::Refused {
        origin: origin.clone(),
        cause: failures.iter().map(|(address, error)| format!("{address}: {error}")).collect::<Vec<_>>().join("; "),
    })?;
    // Small writes follow each other (handshakes, heads, chunks): none should wait for the others.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    Ok(stream)
}

/// Tries the addresses in order, each a little after the one before, or at once when that failed.
async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, Vec<(SocketAddr, io::Error)>> {
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

async fn tls(origin: &Origin, stream: TcpStream, config: &Arc<ClientConfig>) -> Result<Transport, Error> {
    let failed = |fault: TlsFault| Error::Tls { origin: origin.clone(), fault };
    let name = match &origin.host {
        Host::Ip(ip) => ServerName::from(*ip),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| failed(TlsFault::UnusableName))?,
    };
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    stream.map(|stream| Transport::Tls(Box::new(stream))).map_err(|error| failed(TlsFault::of(&error)))
}
