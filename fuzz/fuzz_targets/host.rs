//! A host that parses stays the same host, however often it is written and read again, and is the one that a reader of
//! URLs sees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::origin::{Authority, Host};
use subrosa::secret::DomainPattern;

fuzz_target!(|text: &str| {
    if let Ok(host) = Host::parse(text) {
        assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host));
    }
    if let Ok(authority) = Authority::parse(text) {
        let url = url::Url::parse(&format!("http://{text}/")).expect("an authority stands in a URL");
        let seen = url.host_str().expect("with a host").trim_end_matches('.');
        assert_eq!((seen, url.port_or_known_default()), (authority.host.to_string().as_str(), Some(authority.port.unwrap_or(80))));
        assert!(url.username().is_empty() && url.password().is_none() && url.path() == "/");
    }
    if let Ok(pattern) = DomainPattern::parse(text) {
        assert_eq!(DomainPattern::parse(&pattern.to_string()).map(|again| again.to_string()), Ok(pattern.to_string()));
    }
});
