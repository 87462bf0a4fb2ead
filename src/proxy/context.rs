//! What all exchanges of one worker share: settings and rooms to ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ipnet::IpNet;

use super::budget::{Budget, Budgets, Room, Slot};
use super::gate::Bounds;
use super::lately::Lately;
use super::measures::Measures;
use super::outgoing::Outgoing;
use super::ways::Ways;
use crate::audit::Audit;
use crate::drain::Drain;
use crate::identity::Identity;
use crate::inject::{Code, Refusal, Secrets};
use crate::origin::Host;
use crate::secret::{DomainPattern, OrganizationName, Surfaces};
use crate::tls::Leaves;
use crate::upstream::{self, Tenant, Upstream};

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

/// What happens to contents that are searched and longer than what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// They are spooled to disk, as the client sent them.
    Spool,
    /// They are searched while they stream.
    Stream,
    /// They are refused.
    Refuse,
}

/// Fewer surfaces for some hosts.
#[derive(Clone, Debug)]
pub struct Narrow {
    /// The hosts meant.
    pub hosts: Vec<DomainPattern>,
    /// The only surfaces on which references to these hosts are honoured.
    pub surfaces: Surfaces,
}

/// What the config says about this door, and about the way out behind it. It is replaced as a whole.
pub struct Settings {
    /// The way out.
    pub way_out: Arc<upstream::Settings>,
    /// The organization of unauthenticated clients, wherever they come from.
    pub anonymous: Option<OrganizationName>,
    /// TLS to the proxy itself, where it is offered.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// From whom the PROXY protocol is expected.
    pub proxy_protocol: Vec<IpNet>,
    /// Hosts whose tunnels are relayed untouched.
    pub pass_through: Vec<DomainPattern>,
    /// Contents up to this many bytes are held and searched.
    pub buffer: usize,
    /// What happens to longer ones.
    pub oversize: Oversize,
    /// Where they are spooled.
    pub spool: PathBuf,
    /// How long a content of no known length is held for more of it to come.
    pub hold: Duration,
    /// Whether references are honoured in the text messages of a WebSocket.
    pub websocket: bool,
    /// What a content may grow by, in bytes.
    pub max_growth: u64,
    /// Where secrets may go over plain http.
    pub cleartext: Cleartext,
    /// Fewer surfaces for some hosts.
    pub narrow: Vec<Narrow>,
    /// Whether values that were sent are taken out of answers.
    pub redaction: bool,
    /// Hosts whose answers are left as they are.
    pub unredacted: Vec<DomainPattern>,
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
    /// How long exchanges may take to finish once the server is to stop.
    pub grace: Duration,
}

/// How much there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections; a tenant may have half.
    pub connections: u64,
    /// Bytes of content that are held; a tenant may take half.
    pub held: u64,
    /// Bytes of content that lie on disk; a tenant may take half.
    pub spooled: u64,
}

impl Limits {
    /// Client connections of one tenant: half, or the one that there may be.
    pub fn connections_each(&self) -> u64 {
        self.connections.div_ceil(2)
    }
}

impl Settings {
    /// The surfaces that are on for requests to `host`.
    pub(super) fn surfaces_for(&self, host: &Host) -> Surfaces {
        let meant = self.narrow.iter().filter(|narrow| narrow.hosts.iter().any(|pattern| pattern.matches(host)));
        meant.fold(Surfaces::ALL, |surfaces, narrow| surfaces.and(narrow.surfaces))
    }

    /// Whether values are taken out of what `host` answers.
    pub(super) fn redacts(&self, host: &Host) -> bool {
        self.redaction && !self.unredacted.iter().any(|pattern| pattern.matches(host))
    }

    /// What the gate of a connection is told. The connection keeps it.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { head_bytes: self.head_bytes, head: self.client_head, idle: self.idle, body: self.body }
    }

    /// Whether tunnels to `host` are relayed untouched.
    pub(super) fn passes_through(&self, host: &Host) -> bool {
        self.pass_through.iter().any(|pattern| pattern.matches(host))
    }
}

/// What all workers share.
pub struct Shared {
    /// What the config says. Whoever serves a request takes what is in force once, and keeps it.
    pub settings: ArcSwap<Settings>,
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
    /// Bytes of content that may lie on disk at a time.
    pub spooled: Arc<Budget>,
    /// The same for each tenant alone.
    pub spooled_by_tenant: Budgets,
    /// Client connections that may be open at a time, tunnels included.
    pub connections: Arc<Budget>,
    /// The same for each tenant alone.
    pub connections_by_tenant: Budgets,
    /// Connections beyond those that may be told so at a time; the rest are closed unheard.
    pub turned_away: Arc<Budget>,
    /// What was lately sent where.
    pub lately: Lately,
    /// What is counted.
    pub measures: Measures,
    /// When to stop.
    pub drain: Drain,
    /// Sets this process's request ids apart from another's.
    pub instance: u32,
    /// Counts requests.
    pub requests: AtomicU64,
}

impl Shared {
    /// Others hold from now on, for whatever begins from now on. What was taken of a limit stays taken.
    pub fn put_in_force(&self, settings: Settings, limits: Limits) {
        self.held.resize(limits.held);
        self.held_by_tenant.resize(limits.held / 2);
        self.spooled.resize(limits.spooled);
        self.spooled_by_tenant.resize(limits.spooled / 2);
        self.connections.resize(limits.connections);
        self.connections_by_tenant.resize(limits.connections_each());
        self.settings.store(Arc::new(settings));
    }
}

/// The door of one worker thread.
#[derive(Clone)]
pub struct Door {
    pub(super) shared: Arc<Shared>,
    ways: Ways,
    /// The client connection's part of `limits.connections`: whatever becomes of the connection, a
    /// tunnel or another protocol, holds it as long as it lives.
    pub(super) slot: Option<Arc<Slot>>,
}

impl Door {
    /// The door of a worker with its own upstream connections.
    pub fn new(shared: Arc<Shared>) -> Self {
        let ways = Ways::new(&shared.settings.load().way_out);
        Self { shared, ways, slot: None }
    }

    /// This worker's upstream connections that were made under `settings`.
    pub(super) fn upstream(&self, settings: &Settings) -> Guard<Arc<Upstream<Outgoing>>> {
        self.ways.under(&settings.way_out)
    }

    /// The client connection is this tenant's from now on, unless that one has as many as it may.
    pub(super) fn belongs_to(&self, tenant: &Tenant) -> Result<(), Refusal> {
        let Some(slot) = &self.slot else { return Ok(()) };
        if slot.belongs_to(tenant, &self.shared.connections_by_tenant) {
            return Ok(());
        }
        let detail = "Too many connections of this runner are open: one runner may have half of limits.connections. Close some that are not needed, or try again in a moment.";
        Err(Refusal::new(Code::Overloaded, detail))
    }

    /// Room for contents, of everybody's and of this tenant's.
    pub(super) fn room_for(&self, tenant: &Tenant) -> Room {
        let tenant = self.shared.held_by_tenant.of(tenant);
        let full = "Too many bytes of content are held at the moment (limits.held). Try again in a moment.";
        Room::of([Arc::clone(&self.shared.held), tenant], full)
    }

    /// Room on disk for contents, of everybody's and of this tenant's.
    pub(super) fn spool_room_for(&self, tenant: &Tenant) -> Room {
        let tenant = self.shared.spooled_by_tenant.of(tenant);
        let full = "Too many bytes of content are spooled at the moment, or the content is over half of limits.spool. Try again in a moment, raise limits.spool, or set injection.oversize to \"stream\".";
        Room::of([Arc::clone(&self.shared.spooled), tenant], full)
    }

    /// A name for one request, in answers, logs and the audit trail.
    pub(super) fn request_id(&self) -> String {
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number:08x}", self.shared.instance)
    }
}
