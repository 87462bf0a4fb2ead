//! A host that parses stays the same host, however often it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::origin::{Authority, Host};
use subrosa::secret::DomainPattern;

fuzz_target!(|text: &str| {
    if let Ok(host) = Host::parse(text) {
        assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host));
    }
    let _ = Authority::parse(text);
    if let Ok(pattern) = DomainPattern::parse(text) {
        assert_eq!(DomainPattern::parse(&pattern.to_string()).map(|again| again.to_string()), Ok(pattern.to_string()));
    }
});
