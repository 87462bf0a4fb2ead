//! The sockets for runners, door by door.

use std::net::TcpListener;
use std::sync::Arc;

use rustls::ServerConfig;

use super::AppError;
use crate::config::Config;
use crate::proxy::{Entrance, Role};
use crate::serve;
use crate::tls::{self, CertifiedPair, Roots};

/// Each address with its door, and a socket for each worker.
pub(super) type Front = Vec<(Entrance, Vec<TcpListener>)>;

/// Binds every address.
pub(super) fn bind(config: &Config, workers: usize) -> Result<Front, AppError> {
    let proxy = &config.proxy;
    let plain = proxy.listen.iter().map(|address| ("proxy.listen", Entrance::Http, *address));
    let tls = proxy.listen_tls.iter().map(|address| ("proxy.listen_tls", Entrance::Https, *address));
    let socks = proxy.socks.iter().map(|address| ("proxy.socks", Entrance::Socks, *address));
    let transparent = proxy.transparent.iter().map(|entry| {
        let role = Role { organization: entry.organization.clone(), runner: entry.runner.clone() };
        ("proxy.transparent", Entrance::Transparent(Arc::new(role)), entry.listen)
    });
    let bound = plain.chain(tls).chain(socks).chain(transparent).map(|(key, entrance, address)| {
        let sockets = serve::listen_for(address, workers).map_err(|source| AppError::listen(key, address, &source))?;
        Ok((entrance, sockets))
    });
    bound.collect()
}

/// Says what is listened on.
pub(super) fn announce(front: &Front) {
    for (entrance, sockets) in front {
        let door = match entrance {
            Entrance::Http => "proxy",
            Entrance::Https => "proxy-tls",
            Entrance::Socks => "proxy-socks",
            Entrance::Transparent(_) => "proxy-transparent",
        };
        if let Some(address) = sockets.first().and_then(|socket| socket.local_addr().ok()) {
            tracing::info!(door, %address, "listening");
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
