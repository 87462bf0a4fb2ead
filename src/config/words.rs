//! The words of the config file that are no plain text: spans of time, sizes, networks, fixed
//! addresses, hosts and variable names, each parsed once with the reason when it does not parse.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::origin::Host;

/// A span of time, written with its unit: `"100ms"`, `"10s"`, `"5m"`, `"1h 30m"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl de::Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time with its unit in quotes, as in \"10s\", \"100ms\" or \"5m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        humantime::parse_duration(text)
            .map(Span)
            .map_err(|_| E::custom(format!("`{text}` is no time with a unit, as in \"10s\", \"100ms\" or \"5m\"")))
    }
}

/// A number of bytes, written with its unit (`"64KiB"`, `"1MiB"`) or as a plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// As a count of bytes in memory; what no memory could hold becomes the most it could.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    /// In the largest unit that is exact, as a person would write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl de::Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size, as in \"64KiB\", \"1MiB\" or a number of bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse::<bytesize::ByteSize>()
            .map(|size| Size(size.as_u64()))
            .map_err(|_| E::custom(format!("`{text}` is no size, as in \"64KiB\", \"1MiB\" or a number of bytes")))
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
        u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size is not negative"))
    }
}

/// A network that requests may go to although it is not globally reachable: `"10.0.0.0/8"`, a
/// single address, either with a port (`"127.0.0.0/8:9000"`, `"[fd00::/8]:443"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedNetwork {
    /// The network.
    pub net: IpNet,
    /// The only port meant; every port when none is written.
    pub port: Option<u16>,
}

impl AllowedNetwork {
    /// Parses a network or address, with or without a port.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no network, as in \"10.0.0.0/8\", \"127.0.0.0/8:9000\" or \"[fd00::/8]:443\"");
        let (net, port) = split_port(text).ok_or_else(fault)?;
        let net: IpNet = match net.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => net.parse().map_err(|_| fault())?,
        };
        if net.trunc() != net {
            return Err(format!("`{text}` has bits beyond its prefix; the network meant is probably `{}`", net.trunc()));
        }
        Ok(Self { net, port })
    }
}

/// `net`, `v4:port`, `[v6]`, `[v6]:port`.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (net, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((net, Some(parse_port(port)?))),
            // `[fd00::]/8` is how some write a prefix; two ways to write one thing are one too many.
            None => rest.is_empty().then_some((net, None)),
        };
    }
    match text.split_once(':') {
        Some((net, port)) if net.contains('.') => Some((net, Some(parse_port(port)?))),
        _ => Some((text, None)),
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

impl fmt::Display for AllowedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.net, self.port) {
            (net, None) => net.fmt(f),
            (IpNet::V4(net), Some(port)) => write!(f, "{net}:{port}"),
            (IpNet::V6(net), Some(port)) => write!(f, "[{net}]:{port}"),
        }
    }
}

/// A network, or a single address as one.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| format!("`{text}` is no network, as in \"10.0.0.0/8\" or \"fd00::/8\""))?;
    if network.trunc() != network {
        return Err(format!("`{text}` has bits beyond its prefix; the network meant is probably `{}`", network.trunc()));
    }
    Ok(network)
}

/// A list of networks, for `#[serde(with)]`.
pub(super) mod networks {
    use super::{Deserialize, Deserializer, IpNet, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| super::network(text).map_err(de::Error::custom)).collect()
    }
}

/// Where a host is to be found instead of asking the resolver: `"10.1.2.3"` or `"10.1.2.3:8443"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port dialled instead of the request's own, when written.
    pub port: Option<u16>,
}

impl FixedAddress {
    /// Parses an address, with or without a port.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no address, as in \"10.1.2.3\", \"10.1.2.3:8443\" or \"[fd00::1]:443\"");
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { ip, port: None });
        }
        if let Some(ip) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return ip.parse::<Ipv6Addr>().map(|ip| Self { ip: ip.into(), port: None }).map_err(|_| fault());
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Self { ip: address.ip(), port: Some(address.port()) }),
            _ => Err(fault()),
        }
    }
}

impl fmt::Display for FixedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// The name of an environment variable that the configuration reads a value from.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableName(String);

impl VariableName {
    /// Parses a name as shells take it: letters, digits and `_`, not beginning with a digit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if text.is_empty() || !plain || text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err("this is no name of an environment variable: letters, digits and `_` only".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Serialised as its text, parsed from it.
macro_rules! text_form {
    ($type:ident, $expected:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

text_form!(AllowedNetwork, "a network");
text_form!(FixedAddress, "an address");
text_form!(VariableName, "the name of an environment variable");
text_form!(HostText, "a host");

/// A host in its text form; the type behind the helpers below.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct HostText(Host);

impl HostText {
    fn parse(text: &str) -> Result<Self, String> {
        let bracketed = text.parse::<Ipv6Addr>().map(|address| format!("[{address}]"));
        let text = bracketed.as_deref().unwrap_or(text);
        Host::parse(text).map(Self).map_err(|fault| format!("`{text}`: {fault}"))
    }
}

impl fmt::Display for HostText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A list of hosts, for `#[serde(with)]`.
pub(super) mod hosts {
    use super::{Deserialize, Deserializer, Host, HostText, Serializer};

    pub(crate) fn serialize<S: Serializer>(hosts: &[Host], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hosts.iter().cloned().map(HostText))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Host>, D::Error> {
        let hosts = Vec::<HostText>::deserialize(deserializer)?;
        Ok(hosts.into_iter().map(|host| host.0).collect())
    }
}

/// Fixed addresses by host, for `#[serde(with)]`.
pub(super) mod resolve {
    use super::{BTreeMap, Deserialize, Deserializer, FixedAddress, Host, HostText, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<Host, FixedAddress>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(host, address)| (HostText(host.clone()), address)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Host, FixedAddress>, D::Error> {
        // By their text first: two texts may mean one host.
        let written = BTreeMap::<String, FixedAddress>::deserialize(deserializer)?;
        written.into_iter().try_fold(BTreeMap::new(), |mut map, (text, address)| {
            let HostText(host) = HostText::parse(&text).map_err(de::Error::custom)?;
            match map.insert(host.clone(), address) {
                None => Ok(map),
                Some(_) => Err(de::Error::custom(format!(
                    "`{host}` has two addresses in egress.resolve, and one host is meant; remove one"
                ))),
            }
        })
    }
}

/// `path` without `.` and resolved `..`, by its text alone: the file need not exist.
pub(super) fn plain_path(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            other => plain.push(other),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_taken_with_and_without_a_port() {
        for (given, kept) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("127.0.0.0/8:9000", "127.0.0.0/8:9000"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3:80", "10.1.2.3/32:80"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("[::1]", "::1/128"),
            ("[fd00::/8]:443", "[fd00::/8]:443"),
        ] {
            assert_eq!(AllowedNetwork::parse(given).map(|net| net.to_string()), Ok(kept.to_owned()), "{given}");
        }
        for bad in ["", "example.com", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8:0", "10.0.0.0/8:x", "[::1", "[::1]9"] {
            assert!(AllowedNetwork::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fixed_addresses_are_taken_with_and_without_a_port() {
        for (given, kept) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3:8443", "10.1.2.3:8443"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:443", "[::1]:443"),
        ] {
            assert_eq!(FixedAddress::parse(given).map(|address| address.to_string()), Ok(kept.to_owned()), "{given}");
        }
        for bad in ["", "localhost", "10.1.2.3:0", "10.1.2"] {
            assert!(FixedAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_spans_are_shown_as_a_person_writes_them() {
        for (size, shown) in [(Size::mib(1), "1MiB"), (Size::kib(128), "128KiB"), (Size(1500), "1500B"), (Size(0), "0B")] {
            assert_eq!(size.to_string(), shown);
            assert_eq!(shown.parse::<bytesize::ByteSize>().map(|parsed| parsed.as_u64()), Ok(size.0));
        }
        assert_eq!(Span::millis(100).to_string(), "100ms");
        assert_eq!(Span::secs(300).to_string(), "5m");
        assert_eq!(Span::secs(90).to_string(), "1m 30s");
    }
}
