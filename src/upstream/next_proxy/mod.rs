//! The way through another proxy (`egress.upstream_proxy`), under the same rules as the direct one.
//!
//! A name is resolved and checked here, and the next proxy is asked for the very address that was
//! checked. Only where the config says so ([`Names::Sent`]) it is asked for the name, and then it alone
//! decides where that leads: no rule about addresses holds beyond it. The next proxy's own address is
//! exempt from these rules, because the operator named it; only the proxy's own ports stay closed.

mod fault;
mod http;
mod socks;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use rustls::ClientConfig;
use zeroize::Zeroizing;

pub use fault::NextProxyFault;

use super::dial;
use super::egress::Opened;
use super::error::Error;
use super::home::Tenant;
use super::lookups::Lookups;
use super::resolve::{self, Route};
use super::settings::Settings;
use super::stream::{Stream, Tunnel};
use crate::origin::{Host, Origin};
use crate::secret::DomainPattern;

/// Another proxy, and which requests go through it.
pub struct NextProxy {
    /// What it speaks.
    pub protocol: NextProxyProtocol,
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// What it is shown, if it wants to know who asks.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// What it is asked for.
    pub names: Names,
    /// Hosts that are dialled directly.
    pub direct_hosts: Vec<DomainPattern>,
    /// Networks that are dialled directly.
    pub direct_networks: Vec<IpNet>,
}

/// What the next proxy speaks.
pub enum NextProxyProtocol {
    /// HTTP, asked with CONNECT (RFC 9110 section 9.3.6).
    Http,
    /// The same over TLS, verified.
    Https(Arc<ClientConfig>),
    /// SOCKS 5 (RFC 1928, RFC 1929).
    Socks5,
}

/// What the next proxy is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// An address that was resolved and checked here.
    ResolvedHere,
    /// The name; it is not resolved here.
    Sent,
}

/// What the next proxy is shown: `user:password`, asked for at each connection.
pub trait Credentials: Send + Sync {
    /// The pair, for the proxy at `host`; or why there is none, in one sentence.
    fn pair(&self, host: &Host) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// What the next proxy is asked to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Address(SocketAddr),
    Name(Arc<str>, u16),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// The part of a route that lies beyond the next proxy.
#[derive(Clone)]
pub(super) struct Beyond {
    proxy: Arc<NextProxy>,
    /// Never empty; tried in this order.
    targets: Vec<Target>,
}

/// How `origin` is reached: directly, or through the next proxy.
pub(super) async fn route(settings: &Settings, origin: &Origin, lookups: &Lookups, tenant: &Tenant) -> Result<Route, Error> {
    let Some(proxy) = &settings.next_proxy else {
        return resolve::resolve(settings, origin, lookups.permit(tenant)).await;
    };
    let (targets, opened) = if let Some(name) = proxy.name_to_send(settings, origin) {
        (vec![Target::Name(name, origin.port)], Opened::Public)
    } else {
        let found = resolve::resolve(settings, origin, lookups.permit(tenant)).await?;
        match proxy.part(&origin.host, found.addresses.clone()) {
            Part::Direct(addresses) => return Ok(Route { addresses, ..found }),
            Part::Through(addresses) => (addresses.into_iter().map(Target::Address).collect(), found.opened),
        }
    };
    let addresses = proxy.addresses(settings, origin, lookups.permit(tenant)).await?;
    let beyond = Some(Beyond { proxy: Arc::clone(proxy), targets });
    Ok(Route { addresses, opened, beyond, own_ends: settings.own_ends.clone() })
}

/// Which of a host's addresses are used, and how.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Direct(Vec<SocketAddr>),
    Through(Vec<SocketAddr>),
}

impl NextProxy {
    /// The name that is sent unresolved, if it is.
    fn name_to_send(&self, settings: &Settings, origin: &Origin) -> Option<Arc<str>> {
        match &origin.host {
            Host::Name(name)
                if self.names == Names::Sent
                    && !settings.resolve.contains_key(&origin.host)
                    && !self.is_direct_host(&origin.host)
                    && !is_localhost(name) =>
            {
                Some(Arc::clone(name))
            }
            _ => None,
        }
    }

    /// Where some addresses of a host are direct and others not, those like the first are used.
    fn part(&self, host: &Host, mut addresses: Vec<SocketAddr>) -> Part {
        if self.is_direct_host(host) {
            return Part::Direct(addresses);
        }
        let first = addresses.first().is_some_and(|address| self.is_direct(address.ip()));
        addresses.retain(|address| self.is_direct(address.ip()) == first);
        if first { Part::Direct(addresses) } else { Part::Through(addresses) }
    }

    fn is_direct_host(&self, host: &Host) -> bool {
        self.direct_hosts.iter().any(|pattern| pattern.matches(host))
    }

    fn is_direct(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        is_of_here(ip) || self.direct_networks.iter().any(|network| network.contains(&ip))
    }

    async fn addresses(
        &self,
        settings: &Settings,
        origin: &Origin,
        permit: impl Future<Output = Option<super::lookups::Permit>>,
    ) -> Result<Vec<SocketAddr>, Error> {
        let found = match (settings.resolve.get(&self.host), &self.host) {
            (Some(fixed), _) => vec![SocketAddr::new(fixed.ip, fixed.port.unwrap_or(self.port))],
            (None, Host::Ip(ip)) => vec![SocketAddr::new(*ip, self.port)],
            (None, Host::Name(name)) => resolve::look_up(name, self.port, permit.await)
                .await
                .map_err(|cause| self.failed(origin, NextProxyFault::Unresolvable(cause)))?,
        };
        let (mut open, mut own) = (Vec::new(), None);
        for address in found {
            match settings.rules.check_own(address) {
                Ok(()) => open.push(address),
                Err(denied) => own = Some(denied),
            }
        }
        match own {
            _ if !open.is_empty() => Ok(open),
            Some(denied) => Err(self.failed(origin, NextProxyFault::Own(denied))),
            None => Err(self.failed(origin, NextProxyFault::Unresolvable("it has no address".to_owned()))),
        }
    }

    fn failed(&self, origin: &Origin, fault: NextProxyFault) -> Error {
        Error::NextProxy { origin: origin.clone(), proxy: self.to_string(), fault }
    }

    fn pair(&self) -> Result<Option<Zeroizing<Vec<u8>>>, NextProxyFault> {
        let pair = self.credentials.as_ref().map(|credentials| credentials.pair(&self.host));
        pair.transpose().map_err(NextProxyFault::Credentials)
    }

    async fn open(&self, tcp: tokio::net::TcpStream, target: &Target) -> Result<Box<dyn Tunnel>, NextProxyFault> {
        let pair = self.pair()?;
        Ok(match &self.protocol {
            NextProxyProtocol::Http => Box::new(http::connect(tcp, target, pair).await?),
            NextProxyProtocol::Https(config) => {
                let tls = dial::shake_hands(&self.host, tcp, config).await.map_err(NextProxyFault::Tls)?;
                Box::new(http::connect(tls, target, pair).await?)
            }
            NextProxyProtocol::Socks5 => Box::new(socks::connect(tcp, target, pair).await?),
        })
    }
}

impl fmt::Display for NextProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            NextProxyProtocol::Http => "http",
            NextProxyProtocol::Https(_) => "https",
            NextProxyProtocol::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Dials the next proxy and has it connect to the first of the targets that it can reach.
pub(super) async fn connect(origin: &Origin, route: &Route, beyond: &Beyond) -> Result<Stream, Error> {
    let Beyond { proxy, targets } = beyond;
    let mut last = None;
    for target in targets {
        let tcp = dial::race(route.addresses.clone()).await;
        let tcp = tcp.map_err(|failures| {
            let unreachable = || proxy.failed(origin, NextProxyFault::Unreachable(dial::listed(&failures)));
            dial::for_want_of_descriptors(origin, &failures).unwrap_or_else(unreachable)
        })?;
        dial::without_delay(&tcp);
        let own_end = route.own_ends.as_ref().and_then(|ends| ends.note(&tcp));
        match proxy.open(tcp, target).await {
            Ok(tunnel) => return Ok(Stream::through(tunnel, own_end)),
            Err(fault) if fault.is_of_the_target() => last = Some(fault),
            Err(fault) => return Err(proxy.failed(origin, fault)),
        }
    }
    Err(proxy.failed(origin, last.unwrap_or_else(|| NextProxyFault::Unresolvable("there is no target".to_owned()))))
}

/// Addresses that mean another machine when another machine is asked for them: these are never
/// handed on.
fn is_of_here(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local(),
    }
}

/// RFC 6761 section 6.3.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
