//! What the way out is told: rules, fixed addresses, trust, and how long each wait may take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::client_tls::ClientTls;
use super::egress::Rules;
use super::measures::Measures;
use super::next_proxy::NextProxy;
use super::own_ends::OwnEnds;
use crate::origin::Host;

/// The settings of an [`Upstream`](super::Upstream), shared by all workers.
pub struct Settings {
    /// Grows with each change: connections of different generations are never exchanged for one another.
    pub generation: u64,
    /// Which addresses may be dialled.
    pub rules: Rules,
    /// `egress.resolve`: hosts whose address is fixed, and thereby allowed.
    pub resolve: HashMap<Host, ResolveTo>,
    /// The proxy that requests go through, and which of them.
    pub next_proxy: Option<Arc<NextProxy>>,
    /// Where the near ends of connections are noted, if they are.
    pub own_ends: Option<OwnEnds>,
    /// How TLS is done with each host.
    pub client_tls: ClientTls,
    /// For resolving, connecting and the TLS handshake together.
    pub connect_timeout: Duration,
    /// Until the response head; it does not run while the client is still sending content.
    pub head_timeout: Duration,
    /// The longest silence within a response's content.
    pub body_stall: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// Unused connections kept per tenant and origin.
    pub max_idle_per_key: usize,
    /// Unused connections kept altogether (per worker).
    pub max_idle: usize,
    /// What is counted.
    pub measures: Measures,
}

/// The fixed address of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolveTo {
    /// The address.
    pub ip: IpAddr,
    /// The port, when it is another than the origin's.
    pub port: Option<u16>,
}
