//! The one answer to "which host is meant": scheme, host and port, parsed once and normalised.
//!
//! Every policy, dial, certificate, cache key and log line uses these types, so the host that was
//! checked is the host that is dialled (RFC 9110 section 4.3.1 calls the triple an origin).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// `http` or `https`; nothing else can be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Cleartext HTTP, port 80 unless said.
    Http,
    /// HTTP over TLS, port 443 unless said.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant when none is written.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A normalised host: a lower-case A-label name without a trailing dot, or an IP address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name: lower case, ASCII (international names as A-labels), no trailing dot.
    Name(Arc<str>),
    /// An IP literal. IPv6 has no zone.
    Ip(IpAddr),
}

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing was there.
    #[error("the host is empty")]
    Empty,
    /// `a..b`, a leading dot, or more than one trailing dot.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// `0x7f.1`, `127.1`, `010.0.0.1`: an IPv4 address in any but its canonical form.
    #[error("the host is an IPv4 address that is not written in its canonical form (four decimal numbers)")]
    NonCanonicalIpv4,
    /// Brackets without a plain IPv6 address in them (a zone identifier counts as such).
    #[error("the brackets do not hold a plain IPv6 address")]
    InvalidIpv6,
    /// A byte no host name holds: `%`, `@`, blanks, brackets, controls and so on.
    #[error("the host holds a character that no host name may hold")]
    InvalidCharacter,
    /// Over 253 bytes, or a label over 63.
    #[error("the host, or a label of it, is too long")]
    TooLong,
}

impl Host {
    /// Parses and normalises a host as it stands in an authority: a name, an IPv4 address, or an
    /// IPv6 address in brackets. One trailing dot is dropped.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if is_normal_name(text) {
            return Ok(Self::Name(text.into()));
        }
        // Canonical ones only: four decimal numbers without leading zeros.
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(IpAddr::V4(address)));
        }
        Self::parse_whole(text)
    }

    fn parse_whole(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::InvalidIpv6)?;
            let address: Ipv6Addr = inner.parse().map_err(|_| HostError::InvalidIpv6)?;
            return Ok(Self::Ip(IpAddr::V6(address)));
        }
        // `%` would be percent-decoded by the URL standard; two readers would see two hosts.
        if text.contains(['%', '@', ':', '[', ']', '*']) {
            return Err(HostError::InvalidCharacter);
        }
        let undotted = text.strip_suffix('.').unwrap_or(text);
        if undotted.is_empty() || undotted.split('.').any(str::is_empty) {
            return Err(HostError::EmptyLabel);
        }
        match url::Host::parse(undotted) {
            Ok(url::Host::Ipv4(address)) if address.to_string() == undotted => Ok(Self::Ip(IpAddr::V4(address))),
            Ok(url::Host::Domain(name)) => Self::checked_name(&name),
            // The URL standard reads a name whose last label is a number as an IPv4 address.
            Ok(url::Host::Ipv4(_)) | Err(url::ParseError::InvalidIpv4Address) => Err(HostError::NonCanonicalIpv4),
            Ok(url::Host::Ipv6(_)) | Err(_) => Err(HostError::InvalidCharacter),
        }
    }

    fn checked_name(name: &str) -> Result<Self, HostError> {
        // Mapping (UTS 46) may have made dots of other characters.
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || name.split('.').any(str::is_empty) {
            return Err(HostError::EmptyLabel);
        }
        if name.len() > 253 || name.split('.').any(|label| label.len() > 63) {
            return Err(HostError::TooLong);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !name.bytes().all(plain) {
            return Err(HostError::InvalidCharacter);
        }
        Ok(Self::Name(name.into()))
    }
}

/// Whether a text is a name already as the whole way of [`Host::parse`] would leave it, which nearly all are:
/// short, lower case, no A-label that would have to be checked, and a last label that begins with a letter, so that
/// nobody reads an address in it.
fn is_normal_name(text: &str) -> bool {
    let mut label = 0;
    for byte in text.bytes() {
        match byte {
            b'.' if label == 0 => return false,
            b'.' => label = 0,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            _ => return false,
        }
        if label > 63 {
            return false;
        }
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && last.starts_with(|first: char| first.is_ascii_lowercase()) && !text.contains("xn--")
}

impl fmt::Display for Host {
    /// As it stands in an authority: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A host with the port that stood beside it, if one did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host, normalised.
    pub host: Host,
    /// The port, when written.
    pub port: Option<u16>,
}

/// Why a text is not `host` or `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The host part is at fault.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Userinfo stands before the host.
    #[error("a user name or password stands before the host")]
    Userinfo,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl Authority {
    /// Parses `host`, `host:port` or `[v6]:port`. Userinfo is refused.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        if text.contains('@') {
            return Err(AuthorityError::Userinfo);
        }
        let split = if text.starts_with('[') { text.find(']').map(|end| end + 1) } else { text.find(':') };
        let (host, rest) = text.split_at(split.unwrap_or(text.len()));
        let host = Host::parse(host)?;
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return Err(AuthorityError::Host(HostError::InvalidIpv6)),
            Some(digits) => Some(parse_port(digits)?),
        };
        Ok(Self { host, port })
    }
}

fn parse_port(digits: &str) -> Result<u16, AuthorityError> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(port) if plain && port != 0 => Ok(port),
        _ => Err(AuthorityError::Port),
    }
}

/// Scheme, host and port a request is for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host, normalised.
    pub host: Host,
    /// The port, the scheme's default filled in.
    pub port: u16,
}

impl Origin {
    /// The origin of `authority` under `scheme`.
    pub fn new(scheme: Scheme, authority: Authority) -> Self {
        Self { scheme, host: authority.host, port: authority.port.unwrap_or(scheme.default_port()) }
    }

    /// The value of a Host field for this origin: the port only where it is not the default.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether `other`, as it stands in a Host field, means this origin: an absent port is the
    /// scheme's default.
    pub fn agrees_with(&self, other: &Authority) -> bool {
        self.host == other.host && self.port == other.port.unwrap_or(self.scheme.default_port())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_case_the_trailing_dot_and_international_names() {
        for (given, meant) in [
            ("API.Example.com", "api.example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("my_service.local", "my_service.local"),
        ] {
            assert_eq!(Host::parse(given).map(|host| host.to_string()), Ok(meant.to_owned()), "{given}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_leads_where_the_whole_one_does(text in "[a-z0-9x][a-z0-9._x-]{0,12}|([a-z0-9_-]{1,63}[.]){0,4}[a-z0-9_-]{0,64}|xn--[a-z0-9]{1,6}|[a-z0-9]{1,4}[.]0?x?[0-9a-f]{0,4}[.]?") {
            proptest::prop_assert_eq!(Host::parse(&text), Host::parse_whole(&text));
            if is_normal_name(&text) {
                proptest::prop_assert_eq!(Host::parse_whole(&text).map(|host| host.to_string()), Ok(text));
            }
        }
    }

    /// Hosts of the URL standard's test data and of UTS 46: what they mean there they mean here, or they are refused.
    /// `None`: they mean nothing there.
    #[test]
    fn a_host_means_what_the_standards_say_or_nothing() {
        for (text, meant) in [
            ("www.google.com", Some("www.google.com")),
            ("192.0x00A80001", Some("192.168.0.1")),
            ("192.168.257", Some("192.168.1.1")),
            ("0Xc0.0250.01", Some("192.168.0.1")),
            ("%30%78%63%30%2e%30%32%35%30.01", Some("192.168.0.1")),
            (
                "\u{ff10}\u{ff38}\u{ff43}\u{ff10}\u{ff0e}\u{ff10}\u{ff12}\u{ff15}\u{ff10}\u{ff0e}\u{ff10}\u{ff11}",
                Some("192.168.0.1"),
            ),
            ("\u{ff27}\u{ff4f}.com", Some("go.com")),
            ("GOO\u{200b}\u{2060}\u{feff}goo.com", Some("googoo.com")),
            ("www.foo\u{3002}bar.com", Some("www.foo.bar.com")),
            ("fa\u{df}.ExAmPlE", Some("xn--fa-hia.example")),
            ("\u{4f60}\u{597d}\u{4f60}\u{597d}", Some("xn--6qqa088eba")),
            ("\u{1f4a9}.example", Some("xn--ls8h.example")),
            ("look\u{180e}out.net", Some("lookout.net")),
            ("\u{ff05}\u{ff14}\u{ff11}.com", None),
            ("%ef%bc%85%ef%bc%94%ef%bc%91.com", None),
            ("\u{ad}", None),
            ("xn--", None),
            ("xn--a", None),
            ("xn--pokxncvks", None),
            ("a.b.c.XN--pokxncvks", None),
            ("10.0.0.Xn--pokxncvks", None),
            ("a\u{200c}b", None),
            ("\u{5d0}1\u{661}.example", None),
            ("256.256.256.256", None),
            ("4294967296", None),
            ("0xffffffff1", None),
            ("1.2.3.4.5", None),
            ("1.2.3.08", None),
            ("09.2.3.4", None),
            ("0x100.2.3.4", None),
            ("foo.0x4", None),
            ("foo.2.3.4", None),
            ("0999999999999999999", None),
            ("\u{1f4a9}.123", None),
            ("[::127.0.0.0.1]", None),
            ("[www.google.com]", None),
            ("[::1.2.3]", None),
            ("[::.1.2.3]", None),
            ("[0:1:2:3:4:5:6:7:8]", None),
            ("[1:2:0:0:5:0:0:0]", Some("[1:2:0:0:5::]")),
            ("[::127.0.0.1]", Some("[::7f00:1]")),
            ("[0:1:0:1:0:1:0:1]", Some("[0:1:0:1:0:1:0:1]")),
            ("a<b", None),
            ("a^b", None),
            ("a|b", None),
            ("a b", None),
            ("a\u{7f}b", None),
            ("ho%00st", None),
            ("ho%3Ast", None),
            ("!\"$&'()*+,-.;=_`{}~", None),
            ("..", None),
            ("foo.09..", None),
        ] {
            match Host::parse(text) {
                Ok(host) => {
                    let host = host.to_string().parse::<std::net::Ipv6Addr>().map_or(host.to_string(), |v6| format!("[{v6}]"));
                    let same = |meant: &str| meant == host || Host::parse(meant).is_ok_and(|meant| meant.to_string() == host);
                    assert!(meant.is_some_and(same), "{text:?} is {host}, and meant {meant:?}");
                }
                // Readers of URLs decode these, and we refuse all of them.
                Err(_) => assert!(meant.is_none_or(|meant| text.contains('%') || meant.starts_with("192.")), "{text:?}"),
            }
        }
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for (given, fault) in [
            ("", HostError::Empty),
            (".", HostError::EmptyLabel),
            ("a..b", HostError::EmptyLabel),
            ("example.com..", HostError::EmptyLabel),
            (".example.com", HostError::EmptyLabel),
            ("0x7f.1", HostError::NonCanonicalIpv4),
            ("127.1", HostError::NonCanonicalIpv4),
            ("2130706433", HostError::NonCanonicalIpv4),
            ("0177.0.0.1", HostError::NonCanonicalIpv4),
            ("[[x]]", HostError::InvalidIpv6),
            ("[fe80::1%25eth0]", HostError::InvalidIpv6),
            ("[127.0.0.1]", HostError::InvalidIpv6),
            ("a%2eb", HostError::InvalidCharacter),
            ("a b", HostError::InvalidCharacter),
            ("{secrets.h}", HostError::InvalidCharacter),
        ] {
            assert_eq!(Host::parse(given), Err(fault), "{given}");
        }
    }

    #[test]
    fn an_authority_has_no_userinfo_and_a_port_in_digits() {
        assert!(Authority::parse("example.com").is_ok_and(|authority| authority.port.is_none()));
        assert!(Authority::parse("[::1]:8443").is_ok_and(|authority| authority.port == Some(8443)));
        for bad in [
            "u@example.com",
            "u:p@example.com:1",
            "example.com:",
            "example.com:0",
            "example.com:+80",
            "example.com:65536",
            "[::1]x",
            "::1",
        ] {
            assert!(Authority::parse(bad).is_err(), "{bad}");
        }
    }
}
