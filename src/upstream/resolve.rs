//! From a host to the addresses that may be dialled: each name is resolved once per dial, every
//! address is checked, and those that were checked are the ones dialled.

use std::net::SocketAddr;

use super::egress::{Denied, Opened};
use super::error::Error;
use super::settings::Settings;
use crate::origin::{Host, Origin};

/// More addresses than this are not tried: a name with hundreds would only fail more slowly.
const MAX_ADDRESSES: usize = 8;

/// Addresses that may be dialled; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) addresses: Vec<SocketAddr>,
    /// `ByConfig` only if the config opened all of them: any may be the one that answers.
    pub(super) opened: Opened,
}

/// The addresses of `origin` that may be dialled.
pub(super) async fn resolve(settings: &Settings, origin: &Origin) -> Result<Route, Error> {
    if let Some(fixed) = settings.resolve.get(&origin.host) {
        let address = SocketAddr::new(fixed.ip, fixed.port.unwrap_or(origin.port));
        settings.rules.check_own(address)?;
        return Ok(Route { addresses: vec![address], opened: Opened::ByConfig });
    }
    let found = match &origin.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, origin.port)],
        Host::Name(name) => look_up(name, origin).await?,
    };
    permitted(settings, found).map_err(|denied| match denied {
        Some(denied) => Error::Denied(denied),
        None => Error::Unresolvable { host: origin.host.clone(), cause: "it has no address".to_owned() },
    })
}

async fn look_up(name: &str, origin: &Origin) -> Result<Vec<SocketAddr>, Error> {
    let found = tokio::net::lookup_host((name, origin.port)).await;
    let found = found.map_err(|error| Error::Unresolvable { host: origin.host.clone(), cause: error.to_string() })?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Those that may be dialled, or why the first may not (`None`: there was none at all).
fn permitted(settings: &Settings, found: Vec<SocketAddr>) -> Result<Route, Option<Denied>> {
    let mut route = Route { addresses: Vec::with_capacity(found.len()), opened: Opened::ByConfig };
    let mut first_denied = None;
    for address in found {
        match settings.rules.check(address) {
            Ok(opened) => {
                route.addresses.push(address);
                if opened == Opened::Public {
                    route.opened = Opened::Public;
                }
            }
            Err(denied) => first_denied = first_denied.or(Some(denied)),
        }
    }
    if route.addresses.is_empty() {
        return Err(first_denied);
    }
    route.addresses = interleaved(route.addresses);
    route.addresses.truncate(MAX_ADDRESSES);
    Ok(route)
}

/// The two families by turns, in the order the resolver preferred (RFC 8305 section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let length = addresses.len();
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::with_capacity(length);
    while mixed.len() < length {
        mixed.extend(first.next());
        mixed.extend(second.next());
    }
    mixed
}
