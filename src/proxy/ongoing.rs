//! A content that is rewritten while it comes or while it is read back: it owns what it asks, since
//! the road has long gone on.

use http::HeaderMap;

use crate::inject::{Injection, Paused, Receipt, Refusal, Resolver, Rewriting};
use crate::origin::Host;

/// One content on its way through.
pub(super) struct Ongoing {
    resolver: Box<dyn Resolver>,
    host: Host,
    /// Taken for the time of a call.
    paused: Option<Paused>,
    rewriting: Rewriting,
}

impl Ongoing {
    /// Goes on from where an injection stands, for the same request.
    pub(super) fn new(injection: &Injection<'_>, rewriting: Rewriting, resolver: Box<dyn Resolver>, host: Host) -> Self {
        Self { resolver, host, paused: Some(injection.snapshot()), rewriting }
    }

    /// Takes the next piece; `is_last`: the content ends with it. What `sink` was given may go on only if
    /// this succeeds.
    pub(super) fn push(
        &mut self,
        piece: &[u8],
        is_last: bool,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let rewriting = &mut self.rewriting;
        let paused = self.paused.take().expect("it is put back below");
        let mut injection = paused.resume(self.resolver.as_ref(), &self.host);
        let done = injection.rewrite(rewriting, piece, is_last, sink);
        self.paused = Some(injection.pause());
        done
    }

    /// Sends on what a coding keeps back, so that the other side can read all that was decided.
    pub(super) fn flush(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.rewriting.flush(sink)
    }

    /// That trailers hold no digest of a content that was changed.
    pub(super) fn check_digests(&mut self, trailers: &HeaderMap) -> Result<(), Refusal> {
        let paused = self.paused.take().expect("it is put back below");
        let injection = paused.resume(self.resolver.as_ref(), &self.host);
        let checked = if injection.has_changed(&self.rewriting) { injection.check_digests(trailers) } else { Ok(()) };
        self.paused = Some(injection.pause());
        checked
    }

    /// Whether anything was replaced so far.
    pub(super) fn has_changed(&mut self) -> bool {
        let paused = self.paused.take().expect("it is put back below");
        let injection = paused.resume(self.resolver.as_ref(), &self.host);
        let changed = injection.has_changed(&self.rewriting);
        self.paused = Some(injection.pause());
        changed
    }

    /// What was put where so far.
    pub(super) fn receipt(&self) -> &Receipt {
        self.paused.as_ref().expect("it is put back after each call").receipt()
    }
}
