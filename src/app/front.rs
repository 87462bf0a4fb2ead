//! The sockets for runners, door by door.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::ServerConfig;

use super::AppError;
use super::sockets::{DOORS, Sockets};
use crate::config::Config;
use crate::proxy::{Entrance, Role};
use crate::serve;
use crate::tls::{self, CertifiedPair, Roots};

/// An address with its door.
pub(super) struct Front {
    pub(super) entrance: Entrance,
    /// The door's name.
    pub(super) door: &'static str,
    /// What the configuration says of its address.
    pub(super) configured: SocketAddr,
    /// At least one; a socket for each worker, where they were bound here.
    pub(super) sockets: Vec<TcpListener>,
}

impl Front {
    /// Where it is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.sockets.first().and_then(|socket| socket.local_addr().ok())
    }
}

/// Takes what is at hand, and binds the other addresses.
pub(super) fn bind(config: &Config, workers: usize, at_hand: &mut Sockets) -> Result<Vec<Front>, AppError> {
    let proxy = &config.proxy;
    let plain = proxy.listen.iter().map(|address| (0, Entrance::Http, *address));
    let tls = proxy.listen_tls.iter().map(|address| (1, Entrance::Https, *address));
    let socks = proxy.socks.iter().map(|address| (2, Entrance::Socks, *address));
    let transparent = proxy.transparent.iter().map(|entry| {
        let role = Role { organization: entry.organization.clone(), runner: entry.runner.clone() };
        (3, Entrance::Transparent(Arc::new(role)), entry.listen)
    });
    let bound = plain.chain(tls).chain(socks).chain(transparent).map(|(which, entrance, configured)| {
        let (door, key): (_, &'static str) = DOORS[which];
        let mut sockets = at_hand.take(door, configured);
        if sockets.is_empty() {
            sockets = serve::listen_for(configured, workers).map_err(|source| AppError::listen(key, configured, &source))?;
        }
        Ok(Front { entrance, door, configured, sockets })
    });
    bound.collect()
}

/// Says what is listened on.
pub(super) fn announce(front: &[Front]) {
    for front in front {
        if let Some(address) = front.address() {
            tracing::info!(door = front.door, %address, "listening");
        }
    }
}

/// TLS to the proxy itself, from the files that the config names.
pub(super) fn listener_tls(config: &Config) -> Result<Option<Arc<ServerConfig>>, AppError> {
    let Some(files) = &config.proxy.tls else { return Ok(None) };
    let fault = |fault: &dyn std::fmt::Display| config.fault("proxy.tls", fault.to_string());
    let pair = CertifiedPair::load(&files.certificate, &files.key).map_err(|cause| fault(&cause))?;
    let clients = match &files.client_ca[..] {
        [] => None,
        paths => Some(Roots::none().with_files(paths, "proxy.tls.client_ca").map_err(|cause| fault(&cause))?),
    };
    let listener = tls::listener_config(&pair, clients.as_ref()).map_err(|cause| fault(&cause))?;
    Ok(Some(listener))
}
