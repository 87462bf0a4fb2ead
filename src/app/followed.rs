//! What a configuration is made into that can be exchanged while the server runs: the way out, what the door for runners
//! is told, and its limits.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use rustls::ServerConfig;

use super::{AppError, Rooms};
use crate::config::{self, CleartextSecrets, Config};
use crate::proxy::{self, Cleartext, Limits};
use crate::upstream;

/// Unused upstream connections that a worker keeps: for one runner and origin, and altogether.
const IDLE_PER_KEY: usize = 64;
const IDLE: usize = 1024;

/// Descriptors for everything else: the store's files, listeners, the door for people, and connections that are turned away.
const OTHER_DESCRIPTORS: u64 = 192;

/// What outlives every configuration.
pub(super) struct Lasting {
    /// The ports that the server itself listens on.
    pub(super) own_ports: Vec<u16>,
    /// Where the near ends of upstream connections are noted, if they are.
    pub(super) own_ends: Option<upstream::OwnEnds>,
    /// What is counted on the way out.
    pub(super) measures: upstream::Measures,
}

/// What all workers share on the way to upstreams.
pub(super) fn way_out(
    config: &Config,
    rooms: &Rooms,
    lasting: &Lasting,
    generation: u64,
) -> Result<upstream::Settings, AppError> {
    let allow = config.egress.allow.iter().map(|allowed| upstream::Allow { net: allowed.net, port: allowed.port });
    let resolve = config.egress.resolve.iter().map(|(host, to)| (host.clone(), upstream::ResolveTo { ip: to.ip, port: to.port }));
    let client_tls = super::client_tls::client_tls(config)?;
    Ok(upstream::Settings {
        generation,
        own_ends: lasting.own_ends.clone(),
        rules: upstream::Rules { allow: allow.collect(), own_ports: lasting.own_ports.clone() },
        resolve: resolve.collect(),
        next_proxy: super::next_proxy::next_proxy(config, &rooms.vault, &client_tls)?,
        client_tls,
        connect_timeout: config.timeouts.upstream_connect.0,
        head_timeout: config.timeouts.upstream_head.0,
        body_stall: config.timeouts.body.0,
        idle: config.timeouts.idle.0,
        max_idle_per_key: IDLE_PER_KEY,
        max_idle: IDLE,
        measures: lasting.measures.clone(),
    })
}

/// What the config says about the door for runners; `tls` is how TLS to the proxy itself is done.
pub(super) fn settings(config: &Config, way_out: Arc<upstream::Settings>, tls: Option<Arc<ServerConfig>>) -> proxy::Settings {
    let narrow = config.injection.narrow.iter();
    proxy::Settings {
        way_out,
        anonymous: config.proxy.anonymous.clone(),
        tls,
        proxy_protocol: config.proxy.proxy_protocol.clone(),
        pass_through: config.intercept.pass_through.clone(),
        buffer: config.injection.buffer.bytes(),
        oversize: match config.injection.oversize {
            config::Oversize::Spool => proxy::Oversize::Spool,
            config::Oversize::Stream => proxy::Oversize::Stream,
            config::Oversize::Refuse => proxy::Oversize::Refuse,
        },
        spool: config.data_dir.join("spool"),
        hold: config.injection.hold.0,
        websocket: config.injection.websocket,
        max_growth: config.injection.max_growth.0,
        cleartext: match config.egress.cleartext_secrets {
            CleartextSecrets::AllowedNetworks => Cleartext::AllowedNetworks,
            CleartextSecrets::Anywhere => Cleartext::Anywhere,
            CleartextSecrets::Never => Cleartext::Never,
        },
        redaction: config.redaction.enabled,
        unredacted: config.redaction.except.clone(),
        narrow: narrow.map(|narrow| proxy::Narrow { hosts: narrow.hosts.clone(), surfaces: narrow.surfaces }).collect(),
        head_bytes: config.limits.head.bytes(),
        client_head: config.timeouts.client_head.0,
        idle: config.timeouts.idle.0,
        body: config.timeouts.body.0,
        tunnel: config.timeouts.tunnel.0,
        grace: config.shutdown.grace.0,
    }
}

/// How much there may be at a time.
pub(super) fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    let connections = (limits.connections as u64).min(connections_within(getrlimit(Resource::Nofile).current));
    Limits { connections, held: limits.held.0, spooled: limits.spool.0 }
}

/// How many client connections there may be where the system gives so many descriptors: each may have another one to an upstream.
/// Beyond, they are refused with a sentence instead of not being accepted.
pub fn connections_within(descriptors: Option<u64>) -> u64 {
    descriptors.map_or(u64::MAX, |has| (has.saturating_sub(OTHER_DESCRIPTORS) / 2).max(1))
}
