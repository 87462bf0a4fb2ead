//! What all exchanges of one worker share: settings, rooms to ask, and budgets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpStream;

use super::outgoing::Outgoing;
use super::service::{self, Place};
use crate::audit::Audit;
use crate::drain::Drain;
use crate::identity::Identity;
use crate::inject::{Code, Refusal, Secrets};
use crate::origin::Host;
use crate::secret::{DomainPattern, OrganizationName, Surfaces};
use crate::tls::Leaves;
use crate::upstream::{Tenant, Upstream};

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

/// A budget of the same size for each tenant that is there at the moment.
#[derive(Debug)]
pub struct Budgets {
    each: u64,
    by: Mutex<HashMap<Tenant, Weak<Budget>>>,
}

impl Budgets {
    /// Budgets of `each`.
    pub fn new(each: u64) -> Self {
        Self { each, by: Mutex::default() }
    }

    fn of(&self, tenant: &Tenant) -> Arc<Budget> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = by.get(tenant).and_then(Weak::upgrade) {
            return budget;
        }
        by.retain(|_, budget| budget.strong_count() > 0);
        let budget = Budget::new(self.each);
        by.insert(tenant.clone(), Arc::downgrade(&budget));
        budget
    }
}

/// What one exchange holds of the budgets for contents; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    budgets: [Arc<Budget>; 2],
    taken: Vec<Share>,
}

impl Room {
    /// Takes room for `amount` more bytes.
    pub(super) fn grow(&mut self, amount: u64) -> Result<(), Refusal> {
        let taken: Option<Vec<Share>> = self.budgets.iter().map(|budget| budget.take(amount)).collect();
        let full = || {
            let detail = "Too many bytes of content are held at the moment (limits.held). Try again in a moment.";
            Refusal::new(Code::Overloaded, detail)
        };
        self.taken.extend(taken.ok_or_else(full)?);
        Ok(())
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
    /// The same for each tenant alone, so that one cannot take everything.
    pub held_by_tenant: Budgets,
    /// Client connections that may be open at a time, tunnels included.
    pub connections: Arc<Budget>,
    /// Connections beyond those that may be told so at a time; the rest are closed unheard.
    pub turned_away: Arc<Budget>,
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
    /// The client connection's part of `limits.connections`: whatever becomes of the connection, a
    /// tunnel or another protocol, holds it as long as it lives.
    slot: Option<Arc<Share>>,
}

impl Door {
    /// The door of a worker with its own upstream connections.
    pub fn new(shared: Arc<Shared>, upstream: Upstream<Outgoing>) -> Self {
        Self { shared, upstream, slot: None }
    }

    /// Serves one client connection to its end.
    pub async fn welcome(mut self, stream: TcpStream, peer: SocketAddr) {
        let _busy = self.shared.drain.busy();
        let slot = self.shared.connections.take(1);
        let overloaded = slot.is_none();
        let Some(slot) = slot.or_else(|| self.shared.turned_away.take(1)) else { return };
        self.slot = Some(Arc::new(slot));
        let is_loopback = peer.ip().is_loopback() && stream.local_addr().is_ok_and(|local| local.ip().is_loopback());
        service::serve(self, stream, bytes::BytesMut::new(), Place::Front { is_loopback, overloaded }).await;
    }

    /// Room for contents, of everybody's and of this tenant's.
    pub(super) fn room_for(&self, tenant: &Tenant) -> Room {
        let tenant = self.shared.held_by_tenant.of(tenant);
        Room { budgets: [Arc::clone(&self.shared.held), tenant], taken: Vec::new() }
    }

    /// A name for one request, in answers, logs and the audit trail.
    pub(super) fn request_id(&self) -> String {
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number:08x}", self.shared.instance)
    }
}
