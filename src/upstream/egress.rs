//! Which addresses may be dialled: public ones, those that the config opens, and never the
//! proxy's own ports.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use ipnet::IpNet;

use super::special::{Special, special};

/// One entry of `egress.allow`: a network, and a port where only that one is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow {
    /// The network, without host bits.
    pub net: IpNet,
    /// The port; `None` for all.
    pub port: Option<u16>,
}

/// Why a text is no entry of `egress.allow`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a network: write an address or a network, with a port where wanted, like \"10.0.0.0/8\", \"10.1.2.3:443\", \"fd00::/8\" or \"[fd00::/8]:443\""
)]
pub struct AllowError(String);

impl Allow {
    /// Parses `10.0.0.0/8`, `10.1.2.3`, `127.0.0.0/8:9000`, `fd00::/8`, `[fd00::/8]:443`.
    pub fn parse(text: &str) -> Result<Self, AllowError> {
        Self::parts(text.trim()).ok_or_else(|| AllowError(text.to_owned()))
    }

    fn parts(text: &str) -> Option<Self> {
        if let Some(bracketed) = text.strip_prefix('[') {
            let (net, rest) = bracketed.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(port(rest.strip_prefix(':')?)?) };
            return net.contains(':').then_some(Self { net: network(net)?, port });
        }
        // More than one colon: IPv6, which takes a port only behind brackets.
        match text.split_once(':') {
            Some((net, digits)) if !digits.contains(':') => Some(Self { net: network(net)?, port: Some(port(digits)?) }),
            _ => Some(Self { net: network(text)?, port: None }),
        }
    }

    fn covers(&self, address: SocketAddr) -> bool {
        let here = |ip: IpAddr| self.net.contains(&ip);
        // `::ffff:10.0.0.1` is dialled as 10.0.0.1.
        (here(address.ip()) || here(address.ip().to_canonical())) && self.port.is_none_or(|port| port == address.port())
    }
}

fn network(text: &str) -> Option<IpNet> {
    let net = if text.contains('/') { text.parse().ok()? } else { IpNet::from(text.parse::<IpAddr>().ok()?) };
    Some(net.trunc())
}

fn port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

/// The rules of egress.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// `egress.allow`.
    pub allow: Vec<Allow>,
    /// The ports that this proxy itself listens on.
    pub own_ports: Vec<u16>,
}

/// Why an address may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is globally reachable.
    Public,
    /// `egress.allow` or `egress.resolve` names it.
    ByConfig,
}

/// Why an address may not be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    address: SocketAddr,
    /// `None`: it is a door of this proxy itself.
    special: Option<Special>,
}

impl Rules {
    /// Whether `address` may be dialled, and by whose leave.
    pub fn check(&self, address: SocketAddr) -> Result<Opened, Denied> {
        self.check_own(address)?;
        if self.allow.iter().any(|allow| allow.covers(address)) {
            return Ok(Opened::ByConfig);
        }
        match special(address.ip()) {
            None => Ok(Opened::Public),
            special => Err(Denied { address, special }),
        }
    }

    /// That `address` is none of the proxy's own ports: those are closed whatever the config says,
    /// because a request that comes in again could go round without end, or reach the admin port
    /// as a local client.
    pub(super) fn check_own(&self, address: SocketAddr) -> Result<(), Denied> {
        if self.own_ports.contains(&address.port()) && is_local(address.ip().to_canonical()) {
            return Err(Denied { address, special: None });
        }
        Ok(())
    }
}

/// Whether an address is one of this machine: the system lets nobody bind any other.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = self.address.ip();
        let Some(Special { range, purpose, inside }) = self.special else {
            return write!(f, "{} is a port of this proxy itself, which is never dialled", self.address);
        };
        match inside {
            // The range does not cover the address that is dialled: the address itself would.
            Some(inside) => write!(
                f,
                "{ip} embeds {inside}, which lies in {range} ({purpose}); if it is meant to be reached, open it in the config: egress.allow = [\"{ip}\"]"
            ),
            None => write!(
                f,
                "{ip} lies in {range} ({purpose}); if it is meant to be reached, open it, or a part of that range, in the config: egress.allow = [\"{range}\"]"
            ),
        }
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], own_ports: &[u16]) -> Rules {
        let allow = allow.iter().map(|text| Allow::parse(text).expect("a network")).collect();
        Rules { allow, own_ports: own_ports.to_vec() }
    }

    fn check(rules: &Rules, address: &str) -> Result<Opened, String> {
        rules.check(address.parse().expect("an address")).map_err(|denied| denied.to_string())
    }

    #[test]
    fn reads_networks_addresses_and_ports() {
        for (text, net, port) in [
            ("127.0.0.0/8", "127.0.0.0/8", None),
            ("127.0.0.0/8:9000", "127.0.0.0/8", Some(9000)),
            ("10.1.2.3", "10.1.2.3/32", None),
            ("10.1.2.3:443", "10.1.2.3/32", Some(443)),
            ("10.1.2.3/8", "10.0.0.0/8", None),
            ("fd00::/8", "fd00::/8", None),
            ("fd00::1", "fd00::1/128", None),
            ("[fd00::/8]", "fd00::/8", None),
            ("[fd00::/8]:443", "fd00::/8", Some(443)),
        ] {
            assert_eq!(Allow::parse(text), Ok(Allow { net: net.parse().expect(net), port }), "{text}");
        }
        for text in
            ["", "example.com", "10.0.0.0/33", "10.0.0.0/8:0", "10.0.0.0/8:", "10.0.0.0/8:+1", "[10.0.0.0/8]:1", "[fd00::/8"]
        {
            assert!(Allow::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn opens_what_the_config_names_and_no_more() {
        let rules = rules(&["10.0.0.0/8", "127.0.0.0/8:9000", "1.1.1.0/24", "64:ff9b::a00:1"], &[]);
        assert_eq!(check(&rules, "9.9.9.9:443"), Ok(Opened::Public));
        for address in ["10.1.2.3:1", "[::ffff:10.1.2.3]:1", "127.0.0.1:9000", "1.1.1.1:443", "[64:ff9b::10.0.0.1]:443"] {
            assert_eq!(check(&rules, address), Ok(Opened::ByConfig), "{address}");
        }
        for address in ["127.0.0.1:9001", "192.168.0.1:9000", "[::1]:9000", "[64:ff9b::10.0.0.2]:443", "[2002:a00:1::]:443"] {
            assert!(check(&rules, address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_denial_names_the_range_and_the_key_that_would_open_it() {
        let rules = rules(&[], &[]);
        assert_eq!(
            check(&rules, "10.1.2.3:443").expect_err("private"),
            "10.1.2.3 lies in 10.0.0.0/8 (private use); if it is meant to be reached, open it, or a part of that range, in the config: egress.allow = [\"10.0.0.0/8\"]"
        );
        assert_eq!(
            check(&rules, "[2002:a9fe:a9fe::1]:80").expect_err("6to4"),
            "2002:a9fe:a9fe::1 embeds 169.254.169.254, which lies in 169.254.0.0/16 (link-local, where clouds serve their metadata); if it is meant to be reached, open it in the config: egress.allow = [\"2002:a9fe:a9fe::1\"]"
        );
    }

    #[test]
    fn never_dials_its_own_ports_on_any_local_address() {
        let rules = rules(&["0.0.0.0/0", "::/0"], &[8080]);
        for address in ["127.0.0.1:8080", "127.9.9.9:8080", "0.0.0.0:8080", "[::1]:8080", "[::]:8080", "[::ffff:127.0.0.1]:8080"]
        {
            let denied = check(&rules, address).expect_err(address);
            assert!(denied.contains("this proxy itself"), "{denied}");
        }
        assert_eq!(check(&rules, "127.0.0.1:8081"), Ok(Opened::ByConfig));
        // No address of this machine: another proxy's port 8080 is none of ours.
        assert_eq!(check(&rules, "192.0.2.1:8080"), Ok(Opened::ByConfig));
    }
}
