//! One content as it is rewritten piece by piece: its codings off, its references replaced, its
//! codings on again.

use http::HeaderMap;

use super::decoding::Decoding;
use super::encoding::Encoding;
use super::machine::Machine;
use super::window::Sink;
use super::{Reading, digest, digested};
use crate::inject::Refusal;
use crate::inject::splice::Splicer;

/// So much is decoded at a time, in bytes.
const PIECE: usize = 4 * 1024;

/// A content on its way through.
pub struct Rewriting {
    machine: Box<dyn Machine>,
    coded: Option<Coded>,
    /// The field that holds a digest of the content: it may not change.
    digest: Option<&'static str>,
    /// What was replaced before this content.
    before: u64,
}

struct Coded {
    decoding: Decoding,
    /// Made when it is clear how the content was written.
    encoding: Option<Encoding>,
}

impl Rewriting {
    pub(super) fn new(splicer: &Splicer<'_>, fields: &HeaderMap, reading: &Reading<'_>, untyped: usize) -> Self {
        let coded = || Coded { decoding: Decoding::of(&reading.codings), encoding: None };
        Self {
            machine: reading.machine(untyped),
            coded: (!reading.codings.is_empty()).then(coded),
            digest: digest(fields),
            before: splicer.changes,
        }
    }

    /// Whether anything of it was replaced so far.
    pub(in crate::inject) fn has_changed(&self, splicer: &Splicer<'_>) -> bool {
        splicer.changes > self.before
    }

    /// Takes the next piece; `is_last`: the content ends with it. What comes out may go on only if this
    /// succeeds.
    pub(in crate::inject) fn push(
        &mut self,
        splicer: &mut Splicer<'_>,
        piece: &[u8],
        is_last: bool,
        sink: Sink<'_>,
    ) -> Result<(), Refusal> {
        match &mut self.coded {
            None => self.machine.push(splicer, piece, is_last, sink)?,
            Some(coded) => coded.push(self.machine.as_mut(), splicer, piece, is_last, sink)?,
        }
        match self.digest {
            Some(digest) if self.has_changed(splicer) => Err(digested(splicer, digest)),
            _ => Ok(()),
        }
    }

    /// Sends on what a coding keeps back, so that the other side can read all that was decided.
    pub fn flush(&mut self, sink: Sink<'_>) -> Result<(), Refusal> {
        match self.coded.as_mut().and_then(|coded| coded.encoding.as_mut()) {
            Some(encoding) => sink(&encoding.flush()),
            None => Ok(()),
        }
    }
}

impl Coded {
    fn push(
        &mut self,
        machine: &mut dyn Machine,
        splicer: &mut Splicer<'_>,
        piece: &[u8],
        is_last: bool,
        sink: Sink<'_>,
    ) -> Result<(), Refusal> {
        let mut rest = piece;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PIECE));
            rest = after;
            let ends = is_last && rest.is_empty();
            let mut decoded = Vec::new();
            self.decoding.push(piece, ends, &mut |bytes, _| {
                decoded.extend_from_slice(bytes);
                Ok(())
            })?;
            let forms = || Encoding::of(&self.decoding.forms());
            if !decoded.is_empty() || ends {
                let encoding = self.encoding.get_or_insert_with(forms);
                machine.push(splicer, &decoded, ends, &mut |bytes| sink(&encoding.push(bytes)))?;
                if ends {
                    return sink(&encoding.finish());
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
    }
}
