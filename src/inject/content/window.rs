//! Replacing in a text that comes in pieces: however it is cut, the same comes out.
//!
//! Only what may still become a token is kept back, at most a few hundred bytes of the source;
//! everything before it has gone to the sink. What a position means (within a string, within a
//! comment) is followed by a [`Context`], which is told of every byte once.

use super::PLACE;
use crate::inject::Refusal;
use crate::inject::reference::{Coding, Scanner, Step, Token};
use crate::inject::splice::{Encoded, Splicer, Unfit};

/// Where rewritten bytes go, in order.
pub(super) type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> Result<(), Refusal>;

/// How much is added to what was kept back at a time, in bytes: longer than any token.
const STEP: usize = 1024;

/// What the text around a reference says about the form of its value.
pub(super) trait Context: Send {
    /// So much of the source has gone by.
    fn pass(&mut self, text: &[u8]);

    /// Whether what stands here is text at all; otherwise no token stands here.
    fn is_text(&self) -> bool {
        true
    }

    /// How many bytes behind a reference must be known to judge its value.
    fn lookahead(&self) -> usize {
        0
    }

    /// The form of a value here; `behind` is what follows the reference, as far as that matters.
    fn encode(&mut self, value: &[u8], behind: &[u8]) -> Result<Encoded, Unfit>;

    /// A part of the source has gone by, and this went out in its place.
    fn replaced(&mut self, source: &[u8], _written: &[u8]) {
        self.pass(source);
    }
}

/// A text of one kind as it goes through.
pub(super) struct Window<C> {
    coding: Coding,
    context: C,
    /// What is not decided yet.
    pending: Vec<u8>,
}

impl<C: Context> Window<C> {
    pub(super) fn new(coding: Coding, context: C) -> Self {
        Self { coding, context, pending: Vec::new() }
    }

    /// Takes the next piece; `is_last`: the text ends with it.
    pub(super) fn push(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        let mut rest = piece;
        while !self.pending.is_empty() && (is_last || !rest.is_empty()) {
            let (more, after) = rest.split_at(rest.len().min(STEP));
            rest = after;
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(more);
            let decided = self.scan(splicer, &pending, is_last && rest.is_empty(), sink)?;
            pending.drain(..decided);
            self.pending = pending;
        }
        if !rest.is_empty() {
            let decided = self.scan(splicer, rest, is_last, sink)?;
            self.pending.extend_from_slice(&rest[decided..]);
        }
        Ok(())
    }

    /// Sends on what can be decided; how much that was.
    fn scan(&mut self, splicer: &mut Splicer<'_>, text: &[u8], is_whole: bool, sink: Sink<'_>) -> Result<usize, Refusal> {
        let mut scanner = Scanner::part(text, self.coding, is_whole);
        let mut copied = 0;
        loop {
            let token = match scanner.step() {
                Step::Token(token) => token,
                Step::Undecided(from) => {
                    self.pass(&text[copied..from], sink)?;
                    return Ok(from);
                }
            };
            let range = token.range();
            self.pass(&text[copied..range.start], sink)?;
            copied = range.start;
            if !self.context.is_text() {
                continue;
            }
            let behind = &text[range.end..];
            if !is_whole && behind.len() < self.context.lookahead() {
                return Ok(copied);
            }
            copied = range.end;
            let source = &text[range];
            match token {
                Token::Escape(_, inner) => {
                    splicer.unescaped();
                    self.context.replaced(source, &text[inner.clone()]);
                    sink(&text[inner])?;
                }
                Token::Reference(_, name) => {
                    let context = &mut self.context;
                    let encoded = splicer.put(&name, source.len(), PLACE, &mut |_, value| context.encode(value, behind))?;
                    context.replaced(source, &encoded);
                    sink(&encoded)?;
                }
            }
        }
    }

    fn pass(&mut self, text: &[u8], sink: Sink<'_>) -> Result<(), Refusal> {
        if text.is_empty() {
            return Ok(());
        }
        self.context.pass(text);
        sink(text)
    }
}
