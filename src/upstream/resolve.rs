//! From a host to the addresses that may be dialled: each name is resolved once per dial, every
//! address is checked, and those that were checked are the ones dialled.

use std::net::SocketAddr;

use super::egress::{Denied, Opened};
use super::error::Error;
use super::lookups::Permit;
use super::next_proxy::Beyond;
use super::own_ends::OwnEnds;
use super::settings::Settings;
use crate::origin::{Host, Origin};

/// More addresses than this are not tried: a name with hundreds would only fail more slowly.
const MAX_ADDRESSES: usize = 8;

/// Addresses that may be dialled; never empty.
#[derive(Clone)]
pub(super) struct Route {
    /// Those of the origin, or, if the route goes `beyond`, of the next proxy.
    pub(super) addresses: Vec<SocketAddr>,
    /// `ByConfig` only if the config opened all of the origin's: any may be the one that answers.
    pub(super) opened: Opened,
    /// What the next proxy is to do, if there is one on the way.
    pub(super) beyond: Option<Beyond>,
    /// Where the connection's near end is noted, if it is.
    pub(super) own_ends: Option<OwnEnds>,
}

/// The addresses of `origin` that may be dialled. A name is looked up once there is a `permit`.
pub(super) async fn resolve(
    settings: &Settings,
    origin: &Origin,
    permit: impl Future<Output = Option<Permit>>,
) -> Result<Route, Error> {
    if let Some(fixed) = settings.resolve.get(&origin.host) {
        let address = SocketAddr::new(fixed.ip, fixed.port.unwrap_or(origin.port));
        settings.rules.check_own(address)?;
        return Ok(Route {
            addresses: vec![address],
            opened: Opened::ByConfig,
            beyond: None,
            own_ends: settings.own_ends.clone(),
        });
    }
    let found = match &origin.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, origin.port)],
        Host::Name(name) => {
            let unresolvable = |cause| Error::Unresolvable { host: origin.host.clone(), cause };
            look_up(name, origin.port, permit.await).await.map_err(unresolvable)?
        }
    };
    permitted(settings, found).map_err(|denied| match denied {
        Some(denied) => Error::Denied(denied),
        None => Error::Unresolvable { host: origin.host.clone(), cause: "it has no address".to_owned() },
    })
}

/// In a task of its own, with its permit: who no longer waits for it has not ended it.
pub(super) async fn look_up(name: &str, port: u16, permit: Option<Permit>) -> Result<Vec<SocketAddr>, String> {
    let name = name.to_owned();
    let looked_up = tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, port)).await.map(Vec::from_iter);
        drop(permit);
        found
    });
    let found = looked_up.await.unwrap_or_else(|fault| Err(fault.into()));
    let found = found.map_err(|error| error.to_string())?;
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
    let mut route = Route {
        addresses: Vec::with_capacity(found.len()),
        opened: Opened::ByConfig,
        beyond: None,
        own_ends: settings.own_ends.clone(),
    };
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::settings::ResolveTo;
    use super::super::test_server::{Server, fetch, origin, settings, upstream};
    use super::super::{Allow, Rules, Tenant};
    use super::*;

    fn under(allow: &[&str]) -> Settings {
        let allow = allow.iter().map(|text| Allow::parse(text).expect("a network")).collect();
        Settings { rules: Rules { allow, own_ports: vec![8080] }, ..settings() }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[tokio::test]
    async fn a_fixed_address_goes_before_dns_and_counts_as_opened() {
        let mut settings = under(&[]);
        let ip: IpAddr = "10.1.2.3".parse().expect("an address");
        let fix = |port| ResolveTo { ip, port };
        settings.resolve.insert(Host::parse("crm.invalid").expect("a host"), fix(None));
        settings.resolve.insert(Host::parse("port.invalid").expect("a host"), fix(Some(8443)));
        for (authority, address) in
            [("crm.invalid", "10.1.2.3:80"), ("crm.invalid:81", "10.1.2.3:81"), ("port.invalid:81", "10.1.2.3:8443")]
        {
            let route = resolve(&settings, &origin(authority), async { None }).await.expect(authority);
            assert_eq!((route.addresses, route.opened), (addresses(&[address]), Opened::ByConfig), "{authority}");
        }
    }

    #[tokio::test]
    async fn a_fixed_address_with_a_port_is_the_one_that_is_dialled() {
        let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let mut settings = under(&[]);
        let to = ResolveTo { ip: server.address.ip(), port: Some(server.address.port()) };
        settings.resolve.insert(Host::parse("crm.invalid").expect("a host"), to);
        assert_eq!(fetch(&upstream(settings), &origin("crm.invalid"), "GET").await.expect("an answer"), "ok");
        assert_eq!(server.accepted(), 1);
    }

    #[tokio::test]
    async fn not_even_a_fixed_address_leads_to_the_proxy_itself() {
        let mut settings = under(&[]);
        let ip = "127.0.0.1".parse().expect("an address");
        settings.resolve.insert(Host::parse("loop.invalid").expect("a host"), ResolveTo { ip, port: Some(8080) });
        let error = resolve(&settings, &origin("loop.invalid"), async { None }).await.err().expect("its own port");
        assert!(error.to_string().contains("this proxy itself"), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_dialled_where_every_address_is_denied() {
        let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let port = server.address.port();
        let upstream = upstream(under(&["10.0.0.0/8"]));
        for authority in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::ffff:127.0.0.1]:{port}")] {
            let error = fetch(&upstream, &origin(&authority), "GET").await.expect_err(&authority);
            assert!(matches!(error, Error::Denied(_)), "{authority}: {error}");
            let error = upstream.dial(&Tenant("t".into()), &origin(&authority)).await.err().expect(&authority);
            assert!(error.to_string().contains("egress.allow"), "{authority}: {error}");
        }
        assert_eq!(server.accepted(), 0);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_named() {
        let error = resolve(&under(&[]), &origin("no-such-name.invalid"), async { None }).await.err().expect("no such name");
        assert!(matches!(error, Error::Unresolvable { .. }), "{error}");
        assert!(error.to_string().contains("no-such-name.invalid"), "{error}");
    }

    #[test]
    fn only_what_is_permitted_is_dialled_and_counts_as_opened_only_if_all_of_it_is() {
        let settings = under(&["10.0.0.0/8"]);
        let route = |texts: &[&str]| permitted(&settings, addresses(texts)).map(|route| (route.addresses, route.opened));
        assert_eq!(route(&["10.0.0.1:80", "10.0.0.2:80"]), Ok((addresses(&["10.0.0.1:80", "10.0.0.2:80"]), Opened::ByConfig)));
        assert_eq!(
            route(&["10.0.0.1:80", "192.168.0.1:80", "1.1.1.1:80"]),
            Ok((addresses(&["10.0.0.1:80", "1.1.1.1:80"]), Opened::Public))
        );
        let denied = route(&["192.168.0.1:80", "127.0.0.1:80"]).expect_err("none").expect("a reason");
        assert!(denied.to_string().starts_with("192.168.0.1 "), "{denied}");
        assert_eq!(route(&[]), Err(None));
    }

    #[test]
    fn the_families_take_turns() {
        let given = ["[2001:db9::1]:1", "[2001:db9::2]:1", "[2001:db9::3]:1", "1.1.1.1:1"];
        let mixed = ["[2001:db9::1]:1", "1.1.1.1:1", "[2001:db9::2]:1", "[2001:db9::3]:1"];
        assert_eq!(interleaved(addresses(&given)), addresses(&mixed));
    }
}
