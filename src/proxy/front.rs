//! How a client's connection begins, whichever door it came through: who is at the other end as far as
//! the connection itself tells, and what is spoken on it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::budget::Slot;
use super::client_stream::ClientStream;
use super::context::Door;
use super::service::{self, Place};
use super::transparent::{self, Role};
use super::{proxy_protocol, socks};
use crate::tls::CertificateName;

/// The door that a connection came through.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// HTTP (`proxy.listen`).
    Http,
    /// HTTP over TLS to the proxy itself (`proxy.listen_tls`).
    Https,
    /// SOCKS 5 (`proxy.socks`).
    Socks,
    /// Whatever clients speak that know nothing of a proxy (`proxy.transparent`).
    Transparent(Arc<Role>),
}

/// Who is at the other end of a connection, as far as that tells.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Where it is.
    pub(super) address: SocketAddr,
    /// Both ends are on this machine.
    pub(super) is_loopback: bool,
    /// The names in the certificate it showed, if it showed one.
    pub(super) certificate: Option<Arc<[CertificateName]>>,
}

impl Door {
    /// Serves one client connection to its end.
    pub async fn welcome(mut self, mut stream: TcpStream, peer: SocketAddr, entrance: Entrance) {
        let _busy = self.shared.drain.busy();
        let slot = self.shared.connections.take(1);
        let overloaded = slot.is_none();
        let Some(slot) = slot.or_else(|| self.shared.turned_away.take(1)) else { return };
        self.slot = Some(Arc::new(Slot::new(slot)));
        let Some(client) = self.introduced(&mut stream, peer).await else { return };
        match entrance {
            Entrance::Http => {
                let place = Place::Front { client: Arc::new(client), overloaded };
                service::serve(self, ClientStream::Plain(stream), BytesMut::new(), place).await;
            }
            Entrance::Https => {
                let Some((stream, client)) = self.shake_hands(stream, client).await else { return };
                let place = Place::Front { client: Arc::new(client), overloaded };
                service::serve(self, stream, BytesMut::new(), place).await;
            }
            Entrance::Socks => socks::serve(self, stream, Arc::new(client), overloaded).await,
            // Nobody could be told why.
            Entrance::Transparent(_) if overloaded => {}
            Entrance::Transparent(role) => transparent::serve(self, stream, Arc::new(client), &role).await,
        }
    }

    /// Who is at the other end: whoever a balancer that is to be believed names, or the other end itself.
    async fn introduced(&self, stream: &mut TcpStream, peer: SocketAddr) -> Option<Client> {
        let settings = self.shared.settings.load_full();
        let is_here = peer.ip().is_loopback() && stream.local_addr().is_ok_and(|local| local.ip().is_loopback());
        let ip = peer.ip().to_canonical();
        if !settings.proxy_protocol.iter().any(|network| network.contains(&ip)) {
            return Some(Client { address: peer, is_loopback: is_here, certificate: None });
        }
        let fault = match tokio::time::timeout(settings.client_head, proxy_protocol::read(stream)).await {
            Ok(Ok(named)) => {
                let address = named.unwrap_or(peer);
                // Another machine's loopback is not ours.
                let is_loopback = is_here && address.ip().to_canonical().is_loopback();
                return Some(Client { address, is_loopback, certificate: None });
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => "it took longer than timeouts.client_head".to_owned(),
        };
        tracing::warn!(target: "subrosa::proxy", %peer, fault, "a connection was closed: proxy.proxy_protocol says that whoever connects from there names its client first");
        None
    }

    /// TLS to the proxy itself.
    async fn shake_hands(&self, stream: TcpStream, client: Client) -> Option<(ClientStream, Client)> {
        let settings = self.shared.settings.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(settings.tls.as_ref()?));
        let fault = match tokio::time::timeout(settings.client_head, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let certificate = shown.map(|shown| CertificateName::all_of(shown).into());
                return Some((ClientStream::Tls(Box::new(stream)), Client { certificate, ..client }));
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => "it took longer than timeouts.client_head".to_owned(),
        };
        tracing::info!(target: "subrosa::proxy", client = %client.address, fault, "a TLS handshake with the proxy itself failed; clients must trust whoever signed proxy.tls.certificate, and their own certificates must be signed by proxy.tls.client_ca");
        None
    }
}
