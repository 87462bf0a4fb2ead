//! Addresses that are not for everybody: the special-purpose registries of IANA, as tables.
//!
//! A range is listed when its registry (RFC 6890 and updates) does not call it globally reachable,
//! when it is multicast, or when it leads into a cloud's own services. IPv6 forms that embed an
//! IPv4 address are judged by the address inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range of addresses that is closed unless the config opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Special {
    /// The range.
    pub(super) range: IpNet,
    /// What it is for.
    pub(super) purpose: &'static str,
    /// The IPv4 address that decided, where the one asked about embeds it.
    pub(super) inside: Option<Ipv4Addr>,
}

const fn v4(address: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// An IPv6 range by the first four groups of its address; the others are zero in all of them.
const fn v6(groups: [u16; 4], length: u8) -> Ipv6Net {
    let [a, b, c, d] = groups;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>, multicast, and one address that
/// a cloud (Azure) routes to its own services.
static IPV4: [(Ipv4Net, &str); 17] = [
    (v4([0, 0, 0, 0], 8), "this network"),
    (v4([10, 0, 0, 0], 8), "private use"),
    (v4([100, 64, 0, 0], 10), "shared address space of carriers"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([168, 63, 129, 16], 32), "a cloud's own services"),
    (v4([169, 254, 0, 0], 16), "link-local, where clouds serve their metadata"),
    (v4([172, 16, 0, 0], 12), "private use"),
    (v4([192, 0, 0, 0], 24), "IETF protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "6to4 relays, deprecated"),
    (v4([192, 168, 0, 0], 16), "private use"),
    (v4([198, 18, 0, 0], 15), "benchmarking"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "limited broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// <https://www.iana.org/assignments/iana-ipv6-special-registry>, multicast, and the site-local
/// addresses of old (RFC 3879).
static IPV6: [(Ipv6Net, &str); 11] = [
    (v6([0x64, 0xff9b, 1, 0], 48), "local IPv4/IPv6 translation"),
    (v6([0x100, 0, 0, 0], 64), "discard only"),
    (v6([0x100, 0, 0, 1], 64), "dummy prefix"),
    (v6([0x2001, 0, 0, 0], 23), "IETF protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "documentation"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation"),
    (v6([0x5f00, 0, 0, 0], 16), "segment routing"),
    (v6([0xfc00, 0, 0, 0], 7), "unique local"),
    (v6([0xfe80, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0], 10), "site-local, deprecated"),
    (v6([0xff00, 0, 0, 0], 8), "multicast"),
];

const UNSPECIFIED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128);
const LOOPBACK: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);

/// The closed range that an address lies in, if it does in one.
pub(super) fn special(address: IpAddr) -> Option<Special> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    let (range, purpose) = IPV4.iter().find(|(range, _)| range.contains(&address))?;
    Some(Special { range: IpNet::V4(*range), purpose, inside: None })
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    // Before the embedded forms: `::1` would be taken for an IPv4-compatible 0.0.0.1.
    for (range, purpose) in [(UNSPECIFIED, "unspecified"), (LOOPBACK, "loopback")] {
        if range.contains(&address) {
            return Some(Special { range: IpNet::V6(range), purpose, inside: None });
        }
    }
    if let Some(inside) = embedded(address)
        && let Some(special) = special_v4(inside)
    {
        return Some(Special { inside: Some(inside), ..special });
    }
    let (range, purpose) = IPV6.iter().find(|(range, _)| range.contains(&address))?;
    Some(Special { range: IpNet::V6(*range), purpose, inside: None })
}

/// The IPv4 address inside an IPv6 one, for the forms that say where it is.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let groups = address.segments();
    let at = |index: usize| (u32::from(groups[index]) << 16) | u32::from(groups[index + 1]);
    let bits = match groups {
        // IPv4-mapped, IPv4-compatible (RFC 4291 section 2.5.5), IPv4-translated (RFC 2765), and
        // NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => at(6),
        // 6to4 (RFC 3056).
        [0x2002, ..] => at(1),
        // Teredo (RFC 4380): the client's address, every bit inverted.
        [0x2001, 0, ..] => !at(6),
        _ => return None,
    };
    Some(Ipv4Addr::from(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_the_first_and_the_last_address_of_every_range() {
        for (range, purpose) in &IPV4 {
            for address in [range.network(), range.broadcast()] {
                assert!(special(IpAddr::V4(address)).is_some(), "{address} ({purpose})");
            }
        }
        for (range, purpose) in &IPV6 {
            for address in [range.network(), range.broadcast()] {
                assert!(special(IpAddr::V6(address)).is_some(), "{address} ({purpose})");
            }
        }
    }

    #[test]
    fn names_the_range_and_judges_embedded_addresses() {
        for (address, range) in [
            ("0.0.0.0", "0.0.0.0/8"),
            ("10.255.255.255", "10.0.0.0/8"),
            ("100.64.0.1", "100.64.0.0/10"),
            ("127.0.0.1", "127.0.0.0/8"),
            ("168.63.129.16", "168.63.129.16/32"),
            ("169.254.169.254", "169.254.0.0/16"),
            ("172.31.255.255", "172.16.0.0/12"),
            ("192.0.0.170", "192.0.0.0/24"),
            ("192.168.1.1", "192.168.0.0/16"),
            ("198.19.255.255", "198.18.0.0/15"),
            ("239.1.2.3", "224.0.0.0/4"),
            ("240.0.0.1", "240.0.0.0/4"),
            ("255.255.255.255", "255.255.255.255/32"),
            ("::", "::/128"),
            ("::1", "::1/128"),
            ("::ffff:127.0.0.1", "127.0.0.0/8"),
            ("::ffff:0:10.0.0.1", "10.0.0.0/8"),
            ("::10.1.2.3", "10.0.0.0/8"),
            ("64:ff9b::169.254.169.254", "169.254.0.0/16"),
            ("64:ff9b:1::1", "64:ff9b:1::/48"),
            ("100::1", "100::/64"),
            ("100:0:0:1::1", "100:0:0:1::/64"),
            // Teredo with a public client is within 2001::/23 all the same.
            ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "2001::/23"),
            ("2001:0:4136:e378:8000:63bf:f5fe:fdfc", "10.0.0.0/8"),
            ("2001:db8::1", "2001:db8::/32"),
            ("2002:7f00:1::", "127.0.0.0/8"),
            ("2002:a9fe:a9fe::1", "169.254.0.0/16"),
            ("3fff:fff::1", "3fff::/20"),
            ("5f00::1", "5f00::/16"),
            ("fd00:ec2::254", "fc00::/7"),
            ("fe80::1", "fe80::/10"),
            ("fec0::1", "fec0::/10"),
            ("ff02::1", "ff00::/8"),
        ] {
            let found = special(address.parse().expect(address)).map(|special| special.range.to_string());
            assert_eq!(found.as_deref(), Some(range), "{address}");
        }
    }

    #[test]
    fn leaves_public_addresses_open() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "168.63.129.17",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "4000::1",
        ] {
            assert_eq!(special(address.parse().expect(address)), None, "{address}");
        }
    }
}
