//! Allowed domains: which hosts a secret may be sent to.
//!
//! `example.com` means that host only; `*.example.com` every host below it at any depth and not
//! `example.com` itself; an IP literal itself. Ports do not matter. What a person pastes is
//! normalised by the very parser that normalises the hosts of requests, so that pattern and host
//! can only differ where they really do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::origin::{Host, HostError};

/// The most patterns one secret may carry.
const MAX_PATTERNS: usize = 100;

/// Why a text is not a plain domain pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainPatternError {
    /// The host part is at fault.
    #[error("{0}")]
    Host(#[from] HostError),
    /// `*`: leave the list empty to mean any target.
    #[error("`*` alone is no pattern; name a domain (allowed domains that are left empty permit any target)")]
    Everything,
    /// `*.com`, `*.co.uk`: everybody's names.
    #[error("`*.{0}` would permit every name under a public suffix, whoever owns it; name a domain below it")]
    PublicSuffix(String),
    /// A `*` anywhere but as the first label.
    #[error("`*` may only stand as the first label, as in `*.example.com`")]
    Wildcard,
    /// `*.10.0.0.1`.
    #[error("an IP address has no names below it; write the address itself")]
    WildcardAddress,
    /// A user name or password.
    #[error("a domain holds no user name or password")]
    Userinfo,
    /// A port.
    #[error("a domain holds no port: ports do not matter, write the host only")]
    Port,
    /// A path, query or fragment that is more than `/`.
    #[error("a domain holds no path, query or fragment; write the host only")]
    Path,
    /// A scheme other than http and https.
    #[error("only http and https targets can be permitted; write the host only")]
    Scheme,
    /// Over 100 entries.
    #[error("a secret may have 100 allowed domains at most")]
    TooMany,
}

/// One entry of a secret's allowed domains, normalised.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainPattern {
    /// The host itself, or the domain whose names are meant.
    host: Host,
    /// Whether the names below `host` are meant instead of `host`.
    below: bool,
}

impl DomainPattern {
    /// Parses and normalises an entry as a person types or pastes it: `https://API.Example.com/`
    /// becomes `api.example.com`.
    pub fn parse(text: &str) -> Result<Self, DomainPatternError> {
        let bare = bare_host(text.trim())?;
        if bare == "*" || bare == "*." {
            return Err(DomainPatternError::Everything);
        }
        let (below, bare) = bare.strip_prefix("*.").map_or((false, bare), |rest| (true, rest));
        if bare.contains('*') {
            return Err(DomainPatternError::Wildcard);
        }
        let host = match Host::parse(bare) {
            // An address pasted without its brackets is still plain.
            Err(_) if bare.parse::<std::net::Ipv6Addr>().is_ok() => Host::parse(&format!("[{bare}]"))?,
            parsed => parsed?,
        };
        match &host {
            Host::Ip(_) if below => Err(DomainPatternError::WildcardAddress),
            Host::Name(name) if below && is_public_suffix(name) => Err(DomainPatternError::PublicSuffix(name.to_string())),
            Host::Ip(_) | Host::Name(_) => Ok(Self { host, below }),
        }
    }

    /// Whether a request for `host` is meant.
    pub fn matches(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (Host::Name(domain), Host::Name(name)) if self.below => {
                name.strip_suffix(domain.as_ref()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (meant, host) => meant == host,
        }
    }

    /// The suffix under which anybody can get a name, where the pattern permits every name under it:
    /// `s3.amazonaws.com` of `*.s3.amazonaws.com` (the list's private section). It is permitted, and worth a warning.
    pub fn shared_suffix(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) if self.below && is_suffix(name, psl::Type::Private) => Some(name),
            Host::Name(_) | Host::Ip(_) => None,
        }
    }
}

/// What is left of a pasted URL once scheme and trailing slash are gone.
fn bare_host(text: &str) -> Result<&str, DomainPatternError> {
    let text = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return Err(DomainPatternError::Scheme),
        None => text,
    };
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains(['/', '?', '#', '\\']) {
        return Err(DomainPatternError::Path);
    }
    if text.contains('@') {
        return Err(DomainPatternError::Userinfo);
    }
    let is_bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let has_port = text.rfind(':') > text.rfind(']');
    if has_port && !is_bare_v6 { Err(DomainPatternError::Port) } else { Ok(text) }
}

/// Whether `name` as a whole is a public suffix of the ICANN section (`com`, `co.uk`). A label that
/// the list does not know (`internal`) is somebody's own.
fn is_public_suffix(name: &str) -> bool {
    is_suffix(name, psl::Type::Icann)
}

/// Whether `name` as a whole stands in this section of the public suffix list, or every name directly below it
/// does (`*.ck`, `*.kobe.jp`).
fn is_suffix(name: &str, section: psl::Type) -> bool {
    let is_listed = |name: &str| {
        psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.typ() == Some(section) && suffix.as_bytes().len() == name.len())
    };
    // No rule is about the name 0 itself.
    is_listed(name) || is_listed(&format!("0.{name}"))
}

impl TryFrom<String> for DomainPattern {
    type Error = DomainPatternError;
    fn try_from(text: String) -> Result<Self, DomainPatternError> {
        Self::parse(&text)
    }
}

impl From<DomainPattern> for String {
    fn from(pattern: DomainPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            // Stored and shown without brackets: an entry is a host, not an authority.
            Host::Ip(address) => write!(f, "{address}"),
            Host::Name(name) => write!(f, "{}{name}", if self.below { "*." } else { "" }),
        }
    }
}

impl fmt::Debug for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The domains a secret may be sent to; empty means any target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<DomainPattern>", into = "Vec<DomainPattern>")]
pub struct AllowedDomains(Vec<DomainPattern>);

impl AllowedDomains {
    /// Takes 100 patterns at most; what stands twice is kept once.
    pub fn new(patterns: Vec<DomainPattern>) -> Result<Self, DomainPatternError> {
        let mut kept: Vec<DomainPattern> = Vec::with_capacity(patterns.len().min(MAX_PATTERNS));
        for pattern in patterns {
            if kept.contains(&pattern) {
                continue;
            }
            if kept.len() == MAX_PATTERNS {
                return Err(DomainPatternError::TooMany);
            }
            kept.push(pattern);
        }
        Ok(Self(kept))
    }

    /// Whether a secret with this list may be sent to `host`.
    pub fn permits(&self, host: &Host) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether any target is permitted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &DomainPattern> {
        self.0.iter()
    }
}

impl TryFrom<Vec<DomainPattern>> for AllowedDomains {
    type Error = DomainPatternError;
    fn try_from(patterns: Vec<DomainPattern>) -> Result<Self, DomainPatternError> {
        Self::new(patterns)
    }
}

impl From<AllowedDomains> for Vec<DomainPattern> {
    fn from(domains: AllowedDomains) -> Self {
        domains.0
    }
}

impl fmt::Display for AllowedDomains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.0.iter().enumerate() {
            write!(f, "{}{pattern}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).expect("a good host")
    }

    #[test]
    fn normalises_what_people_paste() {
        for (given, kept) in [
            ("example.com", "example.com"),
            ("https://API.Example.com/", "api.example.com"),
            ("HTTP://api.example.com", "api.example.com"),
            (" *.Example.com. ", "*.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("[::1]", "::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("10.0.0.1", "10.0.0.1"),
            ("localhost", "localhost"),
            ("*.s3.amazonaws.com", "*.s3.amazonaws.com"),
            ("*.github.io", "*.github.io"),
            ("co.uk", "co.uk"),
        ] {
            assert_eq!(DomainPattern::parse(given).map(|pattern| pattern.to_string()), Ok(kept.to_owned()), "{given}");
        }
    }

    #[test]
    fn refuses_what_cannot_become_a_plain_pattern() {
        use DomainPatternError as E;
        for (given, fault) in [
            ("*", E::Everything),
            ("*.com", E::PublicSuffix("com".into())),
            ("*.co.uk", E::PublicSuffix("co.uk".into())),
            ("*.ck", E::PublicSuffix("ck".into())),
            ("*.kobe.jp", E::PublicSuffix("kobe.jp".into())),
            ("api.*.com", E::Wildcard),
            ("**.example.com", E::Wildcard),
            ("a*.example.com", E::Wildcard),
            ("*.10.0.0.1", E::WildcardAddress),
            ("user@example.com", E::Userinfo),
            ("https://u:p@example.com", E::Userinfo),
            ("example.com:443", E::Port),
            ("[::1]:443", E::Port),
            ("a..b", E::Host(HostError::EmptyLabel)),
            (".example.com", E::Host(HostError::EmptyLabel)),
            ("", E::Host(HostError::Empty)),
            ("0x7f.1", E::Host(HostError::NonCanonicalIpv4)),
            ("example.com/path", E::Path),
            ("ftp://example.com", E::Scheme),
        ] {
            assert_eq!(DomainPattern::parse(given), Err(fault), "{given}");
        }
    }

    /// The list's own tests: a name, and what of it can be registered (`null`: it is a suffix, or none at all).
    #[test]
    fn the_tests_of_the_public_suffix_list_hold() {
        let lines = include_str!("../../tests/fixtures/public_suffix_list_tests.txt").lines();
        let mut count = 0;
        for line in lines.filter_map(|line| line.strip_prefix("checkPublicSuffix(")?.strip_suffix(");")) {
            let (name, registrable) = line.split_once(", ").expect("two arguments");
            let (Some(name), registrable) = (quoted(name), quoted(registrable)) else { continue };
            let is_refused = |name: &str| DomainPattern::parse(&format!("*.{name}")).is_err();
            match registrable {
                // What can be registered may be permitted with what is below it.
                Some(registrable) => assert!(!is_refused(registrable), "{line}"),
                // A label that the list does not know is somebody's own, and a suffix of its private section is warned of.
                None if name == "example" => assert!(!is_refused(name), "{line}"),
                None => {
                    let pattern = DomainPattern::parse(&format!("*.{name}"));
                    assert!(pattern.is_err() || pattern.is_ok_and(|pattern| pattern.shared_suffix().is_some()), "{line}");
                }
            }
            count += 1;
        }
        assert!(count > 70, "{count}");
    }

    fn quoted(text: &str) -> Option<&str> {
        text.strip_prefix('\'')?.strip_suffix('\'')
    }

    #[test]
    fn matches_the_host_alone_or_the_names_below_it() {
        let exact = DomainPattern::parse("example.com").expect("good");
        let below = DomainPattern::parse("*.example.com").expect("good");
        for (name, is_exact, is_below) in [
            ("example.com", true, false),
            ("EXAMPLE.com.", true, false),
            ("api.example.com", false, true),
            ("a.b.example.com", false, true),
            ("notexample.com", false, false),
            ("example.com.evil.test", false, false),
            ("com", false, false),
        ] {
            assert_eq!((exact.matches(&host(name)), below.matches(&host(name))), (is_exact, is_below), "{name}");
        }
    }

    #[test]
    fn an_address_matches_itself_however_it_was_written() {
        let pattern = DomainPattern::parse("0:0:0:0:0:0:0:1").expect("good");
        assert!(pattern.matches(&host("[::1]")) && !pattern.matches(&host("127.0.0.1")));
    }

    #[test]
    fn an_empty_list_permits_any_target() {
        assert!(AllowedDomains::default().permits(&host("anything.test")));
        let hundred_and_one = (0..101).map(|n| DomainPattern::parse(&format!("h{n}.test")).expect("good")).collect();
        assert_eq!(AllowedDomains::new(hundred_and_one), Err(DomainPatternError::TooMany));
    }
}
