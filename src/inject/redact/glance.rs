//! A look that is cheap: a short piece of a value stands in every form of it, so where none of the pieces is
//! nothing is to be found, and the forms need not be made.
//!
//! Every form but those of base64 leaves letters and digits as they are, and base64 writes whole groups of a
//! value alike wherever it stands. A property holds the pieces against the forms.

use zeroize::Zeroizing;

use super::super::Unavailable;
use super::base64::Alignment;
use super::forms::{self, LEAST};
use super::needles::{Sent, opened};
use crate::secret::SecretName;

/// How long a piece is at least, and at most, in bytes.
const SHORTEST: usize = 4;
const LONGEST: usize = 16;
/// What is encoded of a value to find a piece of its base64: at first, as that is enough of most, and at most.
const FIRST: usize = 16;
const ENCODED: usize = 48;
/// In texts up to so many bytes all pieces are looked for at once; in longer ones, one after the other.
const AT_ONCE: usize = 512;

/// Pieces of some values. It holds them in the clear, as needles do, and lives no longer.
#[derive(Default)]
pub struct Glance {
    /// The first four bytes of each piece.
    begins: Zeroizing<Vec<u32>>,
    pieces: Vec<Piece>,
    /// A value has no piece that would do: there is no telling without its forms.
    must_look: bool,
    /// No value is long enough to be looked for.
    is_empty: bool,
}

struct Piece {
    bytes: Zeroizing<[u8; LONGEST]>,
    length: usize,
}

impl Glance {
    /// Of the values of these; see [`Needles::of`](super::Needles::of), whose forms they stand for.
    pub fn of(sent: &[Sent], must: usize, current: &dyn Fn(&SecretName) -> Option<Sent>) -> Result<Self, Unavailable> {
        let pieces = Vec::with_capacity(4 * sent.len());
        let mut glance = Self { is_empty: true, pieces, ..Self::default() };
        for (index, one) in sent.iter().enumerate() {
            let Some(value) = opened(one, index < must, current)? else { continue };
            let value = value.expose();
            if value.len() < LEAST {
                continue;
            }
            glance.is_empty = false;
            glance.must_look |= one.limits().url_encoded && forms::decoded(value).is_some();
            glance.add(long_run(value));
            for alignment in Alignment::of(value) {
                let core = |length: usize| alignment.core(&value[..value.len().min(length)], false);
                let beginning = core(FIRST);
                match long_run(&beginning) {
                    run if run.len() >= LONGEST => glance.add(run),
                    _ => glance.add(long_run(&core(ENCODED))),
                }
            }
        }
        glance.begins.extend(glance.pieces.iter().map(|piece| beginning(&*piece.bytes)));
        Ok(glance)
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Whether a value may stand in a whole text. If not, no form of any does.
    pub fn may_stand_in(&self, text: &[u8]) -> bool {
        if self.must_look {
            return true;
        }
        if text.len() > AT_ONCE {
            return self.pieces.iter().any(|piece| memchr::memmem::find(text, piece.bytes()).is_some());
        }
        text.windows(SHORTEST).enumerate().any(|(at, window)| {
            let begins = beginning(window);
            self.begins.contains(&begins) && self.pieces.iter().any(|piece| text[at..].starts_with(piece.bytes()))
        })
    }

    fn add(&mut self, run: &[u8]) {
        if run.len() < SHORTEST {
            self.must_look = true;
            return;
        }
        let length = run.len().min(LONGEST);
        let mut bytes = Zeroizing::new([0; LONGEST]);
        bytes[..length].copy_from_slice(&run[..length]);
        self.pieces.push(Piece { bytes, length });
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn beginning(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The longest run of letters and digits, or the first that is as long as a piece can be.
fn long_run(text: &[u8]) -> &[u8] {
    let (mut longest, mut rest) = (&text[..0], text);
    while let Some(from) = rest.iter().position(u8::is_ascii_alphanumeric) {
        let length = rest[from..].iter().take(LONGEST).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let run;
        (run, rest) = rest[from..].split_at(length);
        if run.len() > longest.len() {
            longest = run;
        }
        if longest.len() == LONGEST {
            break;
        }
    }
    longest
}
