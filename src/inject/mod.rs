//! The injection core: find references, resolve them, permit them, put the values in; all or
//! nothing.
//!
//! Pure: no clock, no io, no async, no logging. The caller hands over the parts of one request in
//! the order target, fields, content; each answer is a rewritten copy of that part, or `None` when
//! nothing in it changes. The caller commits the copies only when every part succeeded.
//!
//! ```text
//! Injection::new(resolver, host, surfaces)
//!     .target("/v1/{secrets.a}?k={secrets.b}")   -> Option<Plaintext>   or Refusal
//!     .fields(&HeaderMap)                        -> Option<HeaderMap>   or Refusal
//!     .content(&Content, body)                   -> Option<Plaintext>   or Refusal
//!     .finish()                                  -> Receipt (names and surfaces, never a value)
//! ```

mod bare;
mod content;
mod encode;
mod once;
mod redact;
mod reference;
mod refusal;
mod response;
mod splice;
mod surface;

pub use bare::bare_hint;
pub use content::{Reasons, Rewriting, Search, Unsearched};
pub use once::Once;
pub use redact::{
    Found, Glance, Instead, LEAST, Needles, Part, Passed, Readable, Redaction, Sent, Undecodable, holds_value, may_hold_value,
    redact_fields,
};
pub use reference::{escape_text, first_reference, holds_reference};
pub use refusal::{Code, Refusal};
pub use response::escape_response_fields;

use std::sync::Arc;

use http::HeaderMap;
use zeroize::Zeroizing;

use self::splice::Splicer;

use crate::origin::Host;
use crate::secret::{AllowedDomains, Limits, NamePattern, OrganizationName, SecretName, SecretValue, Surface, Surfaces};

/// Bytes that hold at least one value; wiped when dropped.
pub type Plaintext = Zeroizing<Vec<u8>>;

/// Answers for the secrets that one runner of one organization may use. Never waits: it is asked
/// on the road of a request.
pub trait Resolver: Send + Sync {
    /// The secret called `name`, or why there is none for this runner.
    fn find(&self, name: &SecretName) -> Result<Arc<dyn Secret>, Absence>;
}

/// A stored secret: its rules in the clear, its value still sealed.
pub trait Secret: Send + Sync {
    /// Where it may be sent.
    fn allowed_domains(&self) -> &AllowedDomains;
    /// What else limits its use.
    fn limits(&self) -> &Limits;
    /// Opens the value. Called only once all rules permit its use.
    fn open(&self) -> Result<SecretValue, Unavailable>;
}

/// Why a name leads to no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The organization has no such secret.
    NotFound,
    /// The name is outside the runner's patterns, whether it exists or not.
    NotPermitted,
    /// The record is there and does not open, or the store is locked.
    Unavailable(Unavailable),
}

/// One sentence on why a record cannot be opened; it never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Makes resolvers: the road knows this and not the vault behind it.
pub trait Secrets: Send + Sync {
    /// What a runner of `organization`, limited to names that match any of `names` (`None`: all
    /// names), may use.
    fn resolver(&self, organization: &OrganizationName, names: Option<Arc<[NamePattern]>>) -> Box<dyn Resolver>;
}

/// What was put where: names, surfaces and counts, never a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Each secret with each surface it was put on, once, in the order found.
    pub injected: Once<(SecretName, Surface)>,
    /// The same secrets as they were then, their values sealed.
    pub sent: Once<Sent>,
    /// How many escapes (`{{secrets.NAME}}`) were undone.
    pub unescaped: usize,
    /// Why the content, or a part of it, was not searched.
    pub unsearched: Reasons,
}

impl Receipt {
    fn used(&mut self, name: &SecretName, surface: Surface, secret: Arc<dyn Secret>) {
        self.injected.add((name.clone(), surface));
        self.sent.add(Sent::new(name.clone(), secret));
    }
}

/// The injection into one request.
pub struct Injection<'a> {
    splicer: Splicer<'a>,
    surfaces: Surfaces,
}

impl<'a> Injection<'a> {
    /// For a request to `host`, with what `resolver` knows, on those of the `surfaces` only.
    pub fn new(resolver: &'a dyn Resolver, host: &'a Host, surfaces: Surfaces) -> Self {
        let splicer =
            Splicer { resolver, host, max_growth: u64::MAX, grown: 0, changes: 0, last: None, receipt: Receipt::default() };
        Self { splicer, surfaces }
    }

    /// Whether the secret called `name` may go out on `surface`.
    pub fn may_use(&self, name: &SecretName, surface: Surface) -> Result<(), Refusal> {
        self.splicer.may_use(name, surface)
    }

    /// The same, refusing to let the request grow by more than `bytes`.
    #[must_use]
    pub fn with_max_growth(mut self, bytes: u64) -> Self {
        self.splicer.max_growth = bytes;
        self
    }

    /// That no reference stands in a field which decides how the message is read.
    pub fn check_framing(&self, fields: &HeaderMap) -> Result<(), Refusal> {
        surface::check_framing(self.surfaces, fields)
    }

    /// That `trailers` hold no digest of a content that was rewritten.
    pub fn check_digests(&self, trailers: &HeaderMap) -> Result<(), Refusal> {
        content::check_digests(&self.splicer, trailers)
    }

    /// The path and query, rewritten; `None` if nothing changes.
    pub fn target(&mut self, path_and_query: &[u8]) -> Result<Option<Plaintext>, Refusal> {
        surface::target(&mut self.splicer, self.surfaces, path_and_query)
    }

    /// A secret this runner may use whose name stands in a target without its braces, as if a client
    /// had left them out.
    pub fn bare_name(&self, path_and_query: &[u8]) -> Option<SecretName> {
        let is_searched = self.surfaces.contains(Surface::Path) || self.surfaces.contains(Surface::Query);
        if is_searched { bare::name(self.splicer.resolver, path_and_query) } else { None }
    }

    /// A rewritten copy of the fields; `None` if nothing changes. The order among the fields of one
    /// name is kept.
    pub fn fields(&mut self, fields: &HeaderMap) -> Result<Option<HeaderMap>, Refusal> {
        surface::fields(&mut self.splicer, self.surfaces, fields)
    }

    /// Whether content under these fields is searched at all; if not, the receipt says why.
    pub fn searches_content(&mut self, fields: &HeaderMap) -> bool {
        if !self.surfaces.contains(Surface::Body) {
            return false;
        }
        let unsearched = content::unsearched(fields);
        if let Some(reason) = unsearched {
            self.skip(reason);
        }
        unsearched.is_none()
    }

    /// Has the receipt say why a content, or a part of it, was not searched.
    pub fn skip(&mut self, reason: Unsearched) {
        self.splicer.receipt.unsearched.add(reason);
    }

    /// The content, rewritten; `None` if nothing changes.
    pub fn content(&mut self, fields: &HeaderMap, content: &[u8]) -> Result<Option<Plaintext>, Refusal> {
        if !self.surfaces.contains(Surface::Body) {
            return Ok(None);
        }
        content::rewrite(&mut self.splicer, fields, content)
    }

    /// A look through a content that comes in pieces; `None` if it is not searched.
    pub fn search(&self, fields: &HeaderMap) -> Option<Search> {
        if self.surfaces.contains(Surface::Body) { content::search(fields) } else { None }
    }

    /// Begins to rewrite a content that comes in pieces; `None` if it is not searched. Where no type is
    /// named, `untyped` bytes are held to tell whether it is text.
    pub fn rewriting(&self, fields: &HeaderMap, untyped: usize) -> Option<Rewriting> {
        if self.surfaces.contains(Surface::Body) { content::rewriting(&self.splicer, fields, untyped) } else { None }
    }

    /// Takes the next piece of a content; `is_last`: the content ends with it. What `sink` was given may
    /// go on only if this succeeds.
    pub fn rewrite(
        &mut self,
        rewriting: &mut Rewriting,
        piece: &[u8],
        is_last: bool,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        rewriting.push(&mut self.splicer, piece, is_last, sink)
    }

    /// Whether anything of a content was replaced so far.
    pub fn has_changed(&self, rewriting: &Rewriting) -> bool {
        rewriting.has_changed(&self.splicer)
    }

    /// How many bytes the values have added so far.
    pub fn grown(&self) -> u64 {
        self.splicer.grown
    }

    /// What was put where so far.
    pub fn receipt(&self) -> &Receipt {
        &self.splicer.receipt
    }

    /// What was put where.
    pub fn finish(self) -> Receipt {
        self.splicer.receipt
    }

    /// Where it stands, to go on from there elsewhere.
    pub fn snapshot(&self) -> Paused {
        let Splicer { max_growth, grown, changes, last, receipt, .. } = &self.splicer;
        let (last, receipt) = (last.clone(), receipt.clone());
        Paused { surfaces: self.surfaces, max_growth: *max_growth, grown: *grown, changes: *changes, last, receipt }
    }

    /// Lets go of whom it asks, between two pieces of a content.
    pub fn pause(self) -> Paused {
        let Splicer { max_growth, grown, changes, last, receipt, .. } = self.splicer;
        Paused { surfaces: self.surfaces, max_growth, grown, changes, last, receipt }
    }
}

/// An injection between two pieces of a content.
#[derive(Clone, Debug)]
pub struct Paused {
    surfaces: Surfaces,
    max_growth: u64,
    grown: u64,
    changes: u64,
    last: Option<SecretName>,
    receipt: Receipt,
}

impl Paused {
    /// Goes on with it, for the same request.
    pub fn resume<'a>(self, resolver: &'a dyn Resolver, host: &'a Host) -> Injection<'a> {
        let Self { surfaces, max_growth, grown, changes, last, receipt } = self;
        Injection { splicer: Splicer { resolver, host, max_growth, grown, changes, last, receipt }, surfaces }
    }

    /// What was put where so far.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

#[cfg(test)]
mod tests;
