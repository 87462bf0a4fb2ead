//! Any request, any value: nothing panics, a request without references is not changed, and a
//! rewritten request never holds a line end that its fields did not have.
#![no_main]

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use subrosa::inject::{Absence, Injection, Resolver, Secret, Unavailable, holds_reference};
use subrosa::origin::Host;
use subrosa::secret::{AllowedDomains, Limits, SecretName, SecretValue, Surfaces};

struct One {
    value: Vec<u8>,
    domains: AllowedDomains,
    limits: Limits,
}

impl Secret for One {
    fn allowed_domains(&self) -> &AllowedDomains {
        &self.domains
    }
    fn limits(&self) -> &Limits {
        &self.limits
    }
    fn open(&self) -> Result<SecretValue, Unavailable> {
        SecretValue::new(self.value.clone()).map_err(|fault| Unavailable(fault.to_string()))
    }
}

struct Book(Arc<One>);

impl Resolver for Book {
    fn find(&self, name: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
        if name.as_str().starts_with('z') { Err(Absence::NotFound) } else { Ok(Arc::clone(&self.0) as Arc<dyn Secret>) }
    }
}

const TYPES: [&str; 8] = [
    "application/json",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
    "application/xml",
    "multipart/form-data; boundary=b",
    "text/plain",
    "text/html; charset=iso-8859-1",
    "application/octet-stream",
];

fuzz_target!(|data: &[u8]| {
    // selector, length of the value, the value, and the text that stands on every surface.
    let [selector, length, rest @ ..] = data else { return };
    let (value, text) = rest.split_at((*length as usize).min(rest.len()));
    let limits = Limits { url_encoded: selector & 0x80 != 0, ..Limits::default() };
    let book = Book(Arc::new(One { value: value.to_vec(), domains: AllowedDomains::default(), limits }));
    let host = Host::parse("api.example.com").expect("a name");
    let mut injection = Injection::new(&book, &host, Surfaces::ALL);

    if let Ok(Some(target)) = injection.target(text) {
        assert!(holds_reference(text));
        let added = |byte: u8| target.contains(&byte) && !text.contains(&byte);
        assert!(!added(b'\r') && !added(b'\n') && !added(b' ') && !added(b'#'));
    }
    if let Ok(field) = HeaderValue::from_bytes(text) {
        let mut fields = HeaderMap::new();
        for name in ["x-any", "cookie", "authorization"] {
            fields.insert(HeaderName::from_static(name), field.clone());
        }
        if let Ok(Some(injected)) = injection.fields(&fields) {
            assert_eq!(injected.len(), fields.len());
        }
    }
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(TYPES[usize::from(selector & 7)]));
    if let Ok(Some(_)) = injection.content(&fields, text) {
        assert!(subrosa_fuzz::holds(text, b"{secrets.") || holds_reference(text));
    }
});
