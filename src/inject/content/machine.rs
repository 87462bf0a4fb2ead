//! How a content of some type goes through: piece by piece, the same whatever the pieces.

use super::window::{Context, Sink, Window};
use crate::inject::Refusal;
use crate::inject::Unsearched;
use crate::inject::reference::{Coding, Scanner, Step, first_reference};
use crate::inject::splice::Splicer;
use crate::secret::{SecretName, Surface};

/// What rewrites a content of one type. Any way to cut a content into pieces gives the same bytes
/// and the same refusals.
pub(super) trait Machine: Send {
    /// Takes the next piece, and sends on what is decided; `is_last`: the content ends with it.
    fn push(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal>;
}

impl<C: Context> Machine for Window<C> {
    fn push(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        Window::push(self, splicer, piece, is_last, sink)
    }
}

/// Content that is not searched goes through as it is.
pub(super) struct Untouched;

impl Machine for Untouched {
    fn push(&mut self, _: &mut Splicer<'_>, piece: &[u8], _: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        sink(piece)
    }
}

/// Content of which it is not clear how to read it: it goes through, unless it holds a reference.
pub(super) struct Unclear {
    refusal: Refusal,
    seeker: Seeker,
}

impl Unclear {
    pub(super) fn new(refusal: Refusal) -> Self {
        Self { refusal, seeker: Seeker::new(Coding::Percent) }
    }
}

impl Machine for Unclear {
    fn push(&mut self, _: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        self.seeker.push(piece, is_last);
        if let Some(found) = self.seeker.found() {
            return Err(self.refusal.clone().about(found, Surface::Body));
        }
        sink(piece)
    }
}

/// Looks for the first reference or escape in a text that comes in pieces.
pub(super) struct Seeker {
    coding: Coding,
    pending: Vec<u8>,
    found: Option<SecretName>,
}

impl Seeker {
    pub(super) fn new(coding: Coding) -> Self {
        Self { coding, pending: Vec::new(), found: None }
    }

    /// The secret that it names, if one was found.
    pub(super) fn found(&self) -> Option<&SecretName> {
        self.found.as_ref()
    }

    pub(super) fn push(&mut self, piece: &[u8], is_last: bool) {
        let mut rest = piece;
        while self.found.is_none() && !self.pending.is_empty() && (is_last || !rest.is_empty()) {
            let (more, after) = rest.split_at(rest.len().min(1024));
            rest = after;
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(more);
            let decided = self.scan(&pending, is_last && rest.is_empty());
            pending.drain(..decided);
            self.pending = pending;
        }
        if self.found.is_none() && !rest.is_empty() {
            let decided = self.scan(rest, is_last);
            self.pending.extend_from_slice(&rest[decided..]);
        }
    }

    fn scan(&mut self, text: &[u8], is_whole: bool) -> usize {
        match Scanner::part(text, self.coding, is_whole).step() {
            Step::Undecided(from) => from,
            Step::Token(token) => {
                self.found = first_reference(&text[token.range()]);
                text.len()
            }
        }
    }
}

/// Content that names no type: text, if it is UTF-8.
///
/// So much of it is held to tell; beyond that it is taken for text as long as it is UTF-8. Bytes that are
/// not, after a reference was replaced, leave it unclear what the content is: refused.
pub(super) struct Untyped {
    held: Vec<u8>,
    /// How much is held at most; nothing once that is decided.
    limit: Option<usize>,
    text: Box<dyn Machine>,
    utf8: Utf8,
    changed: bool,
}

impl Untyped {
    pub(super) fn new(text: Box<dyn Machine>, limit: usize) -> Self {
        Self { held: Vec::new(), limit: Some(limit), text, utf8: Utf8::default(), changed: false }
    }

    /// Tells by the first bytes.
    fn decide(&mut self, splicer: &mut Splicer<'_>, is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        self.limit = None;
        let held = std::mem::take(&mut self.held);
        self.utf8.push(&held, is_last);
        if self.utf8.holds {
            return self.text(splicer, &held, is_last, sink);
        }
        splicer.receipt.unsearched.add(Unsearched::NotText);
        sink(&held)
    }

    fn forward(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        if !self.utf8.holds {
            return sink(piece);
        }
        let valid = self.utf8.push(piece, is_last);
        if self.utf8.holds {
            return self.text(splicer, piece, is_last, sink);
        }
        self.text(splicer, &piece[..valid], true, sink)?;
        if self.changed {
            let detail = "The content names no type; it holds a secret reference and, later, bytes that are no UTF-8 text. Say in Content-Type what it is.";
            let name = splicer.last_on(Surface::Body).cloned();
            return Err(Refusal::malformed(detail).about_any(name, Surface::Body));
        }
        splicer.receipt.unsearched.add(Unsearched::NotText);
        sink(&piece[valid..])
    }

    fn text(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        let before = splicer.changes;
        self.text.push(splicer, piece, is_last, sink)?;
        self.changed |= splicer.changes > before;
        Ok(())
    }
}

impl Machine for Untyped {
    fn push(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        let Some(limit) = self.limit else { return self.forward(splicer, piece, is_last, sink) };
        let (more, rest) = piece.split_at(piece.len().min(limit.saturating_sub(self.held.len())));
        self.held.extend_from_slice(more);
        if self.held.len() < limit && !is_last {
            return Ok(());
        }
        let ends = is_last && rest.is_empty();
        self.decide(splicer, ends, sink)?;
        if ends { Ok(()) } else { self.forward(splicer, rest, is_last, sink) }
    }
}

/// Whether a text that comes in pieces is UTF-8.
#[derive(Debug)]
pub(super) struct Utf8 {
    pub(super) holds: bool,
    /// A character that is not whole yet.
    cut: Vec<u8>,
}

impl Default for Utf8 {
    fn default() -> Self {
        Self { holds: true, cut: Vec::new() }
    }
}

impl Utf8 {
    /// How many bytes of the piece stand before the first that is wrong.
    pub(super) fn push(&mut self, piece: &[u8], is_last: bool) -> usize {
        let mut rest = piece;
        while self.holds && !self.cut.is_empty() {
            let Some((&byte, after)) = rest.split_first() else { break };
            rest = after;
            let mut cut = std::mem::take(&mut self.cut);
            cut.push(byte);
            if self.check(&cut) < cut.len() && !self.holds {
                return 0;
            }
        }
        let mut valid = piece.len();
        if self.holds && self.cut.is_empty() {
            let good = self.check(rest);
            if !self.holds {
                valid = piece.len() - rest.len() + good;
            }
        }
        self.holds &= !is_last || self.cut.is_empty();
        valid
    }

    /// How far the text is good.
    fn check(&mut self, text: &[u8]) -> usize {
        let Err(fault) = std::str::from_utf8(text) else { return text.len() };
        match fault.error_len() {
            None => self.cut = text[fault.valid_up_to()..].to_vec(),
            Some(_) => self.holds = false,
        }
        fault.valid_up_to()
    }
}
