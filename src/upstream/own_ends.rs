//! The near ends of the connections that are open to upstreams, so that one which a firewall rule leads
//! back to the proxy is known for its own.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;

/// Near ends, of all workers.
#[derive(Clone, Debug, Default)]
pub struct OwnEnds(Arc<Mutex<HashSet<SocketAddr>>>);

/// One near end, noted as long as this lives.
pub(super) struct OwnEnd {
    ends: OwnEnds,
    address: SocketAddr,
}

impl OwnEnds {
    /// Whether a connection from `address` is one of ours. It is known by the time that its first byte
    /// is sent.
    pub fn holds(&self, address: SocketAddr) -> bool {
        self.lock().contains(&plain(address))
    }

    pub(super) fn note(&self, stream: &TcpStream) -> Option<OwnEnd> {
        let address = plain(stream.local_addr().ok()?);
        self.lock().insert(address);
        Some(OwnEnd { ends: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the IPv6 clothes of an IPv4 address.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Drop for OwnEnd {
    fn drop(&mut self) {
        self.ends.lock().remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_known_as_long_as_it_is_open() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (ends, address) = (OwnEnds::default(), stream.local_addr().expect("an address"));
        let end = ends.note(&stream).expect("an address");
        assert!(ends.holds(address) && !ends.holds(listener.local_addr().expect("an address")));
        drop(end);
        assert!(!ends.holds(address));
    }
}
