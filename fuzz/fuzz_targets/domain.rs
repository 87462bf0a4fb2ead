//! Allowed domains, held against a matcher that compares texts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::origin::Host;
use subrosa::secret::DomainPattern;

/// What the text of a pattern says of the text of a host.
fn permits(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            host.len() > suffix.len() && host.ends_with(suffix) && host.parse::<std::net::IpAddr>().is_err()
        }
        None => pattern == host,
    }
}

fuzz_target!(|data: &str| {
    let Some((pattern, host)) = data.split_once('\n') else { return };
    let (Ok(pattern), Ok(host)) = (DomainPattern::parse(pattern), Host::parse(host)) else { return };
    let bare = host.to_string().replace(['[', ']'], "");
    assert_eq!(pattern.matches(&host), permits(&pattern.to_string(), &bare), "{pattern} {host}");
    if let Some(domain) = pattern.to_string().strip_prefix("*.") {
        assert!(domain.parse::<std::net::IpAddr>().is_err(), "{pattern}");
        assert!(!pattern.matches(&Host::parse(domain).expect("a host")), "{pattern} is not what it stands below");
        let below = Host::parse(&format!("a.{domain}"));
        assert!(below.is_err() || below.is_ok_and(|below| pattern.matches(&below)), "{pattern}");
    }
});
