//! One content of an answer as it goes by: its codings off, the values in it replaced, its codings on again.

use http::HeaderMap;

use super::passage::{Json, Passage};
use super::{Found, Instead, Needles};
use crate::inject::content::{self, ContentCoding, Decoding, Encoding, Shape, Unsearched};

/// So much is decoded at a time, in bytes.
const PIECE: usize = 4 * 1024;

/// How a content is looked through.
pub struct Readable {
    codings: Vec<ContentCoding>,
    shape: Shape,
}

/// A content on its way.
pub struct Redaction {
    passage: Passage,
    coded: Option<Coded>,
}

struct Coded {
    decoding: Decoding,
    /// Made when it is clear how the content was written.
    encoding: Option<Encoding>,
    /// Something was encoded that nobody can decode yet.
    keeps: bool,
    /// So much was decoded.
    decoded: u64,
}

/// A content that is not in the coding that it says, or that grows beyond all bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// What goes out for a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Passed {
    /// So many bytes of the piece, as they are; the rest of it is kept back.
    AsItIs(usize),
    /// This in its place.
    Written(Vec<u8>),
}

impl Readable {
    /// How content under these fields is looked through, or why it is not.
    pub fn of(fields: &HeaderMap) -> Result<Self, Unsearched> {
        content::readable(fields).map(|(codings, shape)| Self { codings, shape })
    }

    /// Whether it is in a coding.
    pub fn is_coded(&self) -> bool {
        !self.codings.is_empty()
    }
}

impl Redaction {
    /// A content that is looked through in this way; what is said takes the place of values.
    pub fn new(readable: &Readable, needles: &Needles, instead: Instead) -> Self {
        let coded = || Coded { decoding: Decoding::of(&readable.codings), encoding: None, keeps: false, decoded: 0 };
        // Followed from its beginning on, where that matters.
        let may_matter = needles.is_empty() || needles.has_numbers();
        let json = Json::of(readable.shape).filter(|_| may_matter);
        Self { passage: Passage::new(instead, json), coded: readable.is_coded().then(coded) }
    }

    /// A text that is in no coding and has no type.
    pub fn of_text() -> Self {
        Self { passage: Passage::new(Instead::Reference, Json::of(Shape::Unknown)), coded: None }
    }

    /// Whether it is encoded anew.
    pub fn is_coded(&self) -> bool {
        self.coded.is_some()
    }

    /// The same of a content of which nothing is held: it may decode to any length.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        if let Some(coded) = &mut self.coded {
            coded.decoding.streams();
        }
        self
    }

    /// How much was decoded so far, in bytes.
    pub fn decoded(&self) -> u64 {
        self.coded.as_ref().map_or(0, |coded| coded.decoded)
    }

    /// Whether nothing is kept back.
    pub fn is_idle(&self) -> bool {
        self.passage.is_idle()
    }

    /// Takes the next piece; `is_last`: the content ends with it.
    pub fn push(&mut self, needles: &Needles, piece: &[u8], is_last: bool, found: &mut Found) -> Result<Passed, Undecodable> {
        let Some(coded) = &mut self.coded else {
            return Ok(self.plain(needles, piece, is_last, found));
        };
        let (mut written, mut rest) = (Vec::new(), piece);
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PIECE));
            rest = after;
            let ends = is_last && rest.is_empty();
            coded.push(&mut self.passage, (needles, found), (piece, ends), &mut written)?;
            if rest.is_empty() {
                return Ok(Passed::Written(written));
            }
        }
    }

    /// What is to be sent so that everything can be read that was decided.
    pub fn flush(&mut self) -> Vec<u8> {
        let Some(coded) = self.coded.as_mut().filter(|coded| coded.keeps) else { return Vec::new() };
        coded.keeps = false;
        coded.encoding.as_mut().map_or_else(Vec::new, |encoding| encoding.flush().to_vec())
    }

    /// Most pieces hold nothing, and nothing is copied.
    fn plain(&mut self, needles: &Needles, piece: &[u8], is_last: bool, found: &mut Found) -> Passed {
        if let Some(passed) = self.passage.pass_by(needles, piece, is_last) {
            return Passed::AsItIs(passed);
        }
        let mut written = Vec::with_capacity(piece.len());
        self.passage.push(needles, piece, is_last, found, &mut written);
        Passed::Written(written)
    }
}

impl Coded {
    fn push(
        &mut self,
        passage: &mut Passage,
        (needles, found): (&Needles, &mut Found),
        (piece, ends): (&[u8], bool),
        out: &mut Vec<u8>,
    ) -> Result<(), Undecodable> {
        let mut decoded = Vec::new();
        let taken = self.decoding.push(piece, ends, &mut |bytes, _| {
            decoded.extend_from_slice(bytes);
            Ok(())
        });
        taken.map_err(|_| Undecodable)?;
        if decoded.is_empty() && !ends {
            return Ok(());
        }
        self.decoded += decoded.len() as u64;
        let mut text = Vec::with_capacity(decoded.len());
        passage.push(needles, &decoded, ends, found, &mut text);
        if !self.decoding.has_begun() {
            // Nothing at all is nothing in any coding.
            return Ok(());
        }
        let forms = || Encoding::of(&self.decoding.forms());
        let encoding = self.encoding.get_or_insert_with(forms);
        out.extend_from_slice(&encoding.push(&text));
        self.keeps |= !text.is_empty();
        if ends {
            self.keeps = false;
            out.extend_from_slice(&encoding.finish());
        }
        Ok(())
    }
}
