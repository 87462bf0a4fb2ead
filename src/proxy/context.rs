//! What all exchanges of one worker share: settings, rooms to ask, and budgets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

use super::outgoing::Outgoing;
use super::service::{self, Place};
use crate::audit::Audit;
use crate::drain::Drain;
use crate::identity::Identity;
use crate::inject::Secrets;
use crate::origin::Host;
use crate::secret::{DomainPattern, OrganizationName, Surfaces};
use crate::tls::Leaves;
use crate::upstream::Upstream;

/// To which addresses a secret may go over plain http.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleartext {
    /// To those that `egress.allow` or `egress.resolve` opened.
    AllowedNetworks,
    /// To any.
    Anywhere,
    /// To none.
    Never,
}

/// Fewer surfaces for some hosts.
#[derive(Clone, Debug)]
pub struct Narrow {
    /// The hosts meant.
    pub hosts: Vec<DomainPattern>,
    /// The only surfaces on which references to these hosts are honoured.
    pub surfaces: Surfaces,
}

/// What the config says about this door.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The organization of unauthenticated clients, wherever they come from.
    pub anonymous: Option<OrganizationName>,
    /// Hosts whose tunnels are relayed untouched.
    pub pass_through: Vec<DomainPattern>,
    /// Contents up to this many bytes are held and searched.
    pub buffer: usize,
    /// What a content may grow by, in bytes.
    pub max_growth: u64,
    /// Where secrets may go over plain http.
    pub cleartext: Cleartext,
    /// Fewer surfaces for some hosts.
    pub narrow: Vec<Narrow>,
    /// The largest request head, in bytes.
    pub head_bytes: usize,
    /// How long a client may take for a head.
    pub client_head: Duration,
    /// How long a connection may idle between exchanges.
    pub idle: Duration,
    /// How long no byte of a content may come, either way.
    pub body: Duration,
    /// How long a relayed tunnel may be silent.
    pub tunnel: Duration,
}

impl Settings {
    /// The surfaces that are on for requests to `host`.
    pub(super) fn surfaces_for(&self, host: &Host) -> Surfaces {
        let meant = self.narrow.iter().filter(|narrow| narrow.hosts.iter().any(|pattern| pattern.matches(host)));
        meant.fold(Surfaces::ALL, |surfaces, narrow| surfaces.and(narrow.surfaces))
    }

    /// Whether tunnels to `host` are relayed untouched.
    pub(super) fn passes_through(&self, host: &Host) -> bool {
        self.pass_through.iter().any(|pattern| pattern.matches(host))
    }
}

/// A bound that many share: bytes or connections.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// A budget of `size`.
    pub fn new(size: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(size) })
    }

    /// Takes `amount`, unless that much is not left.
    pub(super) fn take(self: &Arc<Self>, amount: u64) -> Option<Share> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount));
        taken.is_ok().then(|| Share { of: Arc::clone(self), amount })
    }
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Budget>,
    amount: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.left.fetch_add(self.amount, Ordering::Relaxed);
    }
}

/// What all workers share.
pub struct Shared {
    /// What the config says.
    pub settings: Settings,
    /// Who knows the secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Who knows the runners.
    pub identity: Arc<Identity>,
    /// Who writes down what happened.
    pub audit: Arc<Audit>,
    /// Leaf certificates.
    pub leaves: Arc<Leaves>,
    /// Bytes of content that may be held at a time.
    pub held: Arc<Budget>,
    /// Client connections that may be open at a time.
    pub connections: Arc<Budget>,
    /// When to stop.
    pub drain: Drain,
    /// Sets this process's request ids apart from another's.
    pub instance: u32,
    /// Counts requests.
    pub requests: AtomicU64,
}

/// The door of one worker thread.
#[derive(Clone)]
pub struct Door {
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: Upstream<Outgoing>,
}

impl Door {
    /// The door of a worker with its own upstream connections.
    pub fn new(shared: Arc<Shared>, upstream: Upstream<Outgoing>) -> Self {
        Self { shared, upstream }
    }

    /// Serves one client connection to its end.
    pub async fn welcome(self, stream: TcpStream, peer: SocketAddr) {
        let _busy = self.shared.drain.busy();
        let share = self.shared.connections.take(1);
        let is_loopback = peer.ip().is_loopback() && stream.local_addr().is_ok_and(|local| local.ip().is_loopback());
        let place = Place::Front { is_loopback, overloaded: share.is_none() };
        service::serve(self, stream, bytes::BytesMut::new(), place).await;
        drop(share);
    }

    /// A name for one request, in answers, logs and the audit trail.
    pub(super) fn request_id(&self) -> String {
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number:08x}", self.shared.instance)
    }
}
