//! Whether a content that comes in pieces holds anything to replace, found out without opening a
//! value: what holds nothing goes on as it came.

use super::decoding::Decoding;
use super::machine::{Seeker, Utf8};
use super::{Format, Reading};
use crate::inject::Refusal;

/// A look through one content.
pub struct Search {
    decoding: Option<Decoding>,
    looked: Looked,
}

struct Looked {
    seeker: Seeker,
    /// Where no type is named its bytes have to be text.
    utf8: Option<Utf8>,
}

impl Search {
    pub(super) fn new(reading: &Reading<'_>) -> Self {
        let decoding = (!reading.codings.is_empty()).then(|| Decoding::of(&reading.codings));
        let utf8 = matches!(reading.format, Format::Untyped).then(Utf8::default);
        Self { decoding, looked: Looked { seeker: Seeker::new(reading.coding()), utf8 } }
    }

    /// Looks at the next piece; `is_last`: the content ends with it. Refused where its coding is broken
    /// or a bomb.
    pub fn push(&mut self, piece: &[u8], is_last: bool) -> Result<(), Refusal> {
        let looked = &mut self.looked;
        let mut look = |bytes: &[u8], is_last| {
            looked.seeker.push(bytes, is_last);
            if let Some(utf8) = &mut looked.utf8 {
                utf8.push(bytes, is_last);
            }
            Ok(())
        };
        match &mut self.decoding {
            Some(decoding) => decoding.push(piece, is_last, &mut look),
            None => look(piece, is_last),
        }
    }

    /// Whether anything was found so far.
    pub fn found(&self) -> bool {
        self.looked.seeker.found().is_some()
    }

    /// Whether a content that names no type may be text so far; true of every other.
    pub fn is_text(&self) -> bool {
        self.looked.utf8.as_ref().is_none_or(|utf8| utf8.holds)
    }

    /// Whether it stands in a content coding.
    pub fn is_coded(&self) -> bool {
        self.decoding.is_some()
    }
}
