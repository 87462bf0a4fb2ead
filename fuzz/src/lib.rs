//! What the targets share: secrets of one value, and models that are naive on purpose.

pub mod model;
pub mod parsers;

use std::sync::Arc;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use subrosa::inject::{Absence, Injection, Resolver, Secret, Unavailable};
use subrosa::origin::Host;
use subrosa::secret::{AllowedDomains, Limits, SecretName, SecretValue, Surfaces};

/// Stands in the place of a value where it is asked what else a value changed: nothing has to be encoded in it.
pub const MARK: &[u8] = b"Qq7Zmark7qQ";

pub struct One {
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

/// Every name leads to the same value.
pub struct Book(Arc<One>);

impl Book {
    pub fn of(value: &[u8]) -> Self {
        Self(Arc::new(One { value: value.to_vec(), domains: AllowedDomains::default(), limits: Limits::default() }))
    }
}

impl Resolver for Book {
    fn find(&self, _: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
        Ok(Arc::clone(&self.0) as Arc<dyn Secret>)
    }
}

pub fn host() -> Host {
    Host::parse("api.example.com").expect("a name")
}

pub fn fields(media_type: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if !media_type.is_empty() {
        fields.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).expect("a field value"));
    }
    fields
}

/// A content with `value` in the place of every reference; the content itself where nothing changes, `None` where it is
/// refused.
pub fn content(value: &[u8], media_type: &str, content: &[u8]) -> Option<Vec<u8>> {
    let (book, host) = (Book::of(value), host());
    let mut injection = Injection::new(&book, &host, Surfaces::ALL);
    let rewritten = injection.content(&fields(media_type), content).ok()?;
    Some(rewritten.map_or_else(|| content.to_vec(), |rewritten| rewritten.to_vec()))
}

/// The length of a value and the value, and the rest.
pub fn split_value(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first()?;
    let (value, rest) = rest.split_at((*length as usize % 48).min(rest.len()));
    (!value.is_empty()).then_some((value, rest))
}

pub fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

/// Every MARK replaced.
pub fn marked(bytes: &[u8], value: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(MARK.len()).position(|part| part == MARK) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value);
        rest = &rest[at + MARK.len()..];
    }
    out.extend_from_slice(rest);
    out
}
