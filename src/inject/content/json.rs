//! JSON, and lines of it: a value goes in with the escapes of a string, or bare where it is a
//! literal. The text is followed just far enough to know whether a string is open.

use super::charset::Charset;
use super::window::Context;
use crate::inject::encode;
use crate::inject::splice::{Encoded, Unfit};

/// Where in a JSON text a position is.
pub(super) struct Json {
    /// JSON is UTF-8 (RFC 8259 section 8.1); where a client says otherwise, values are ASCII.
    ascii_only: bool,
    strings: Strings,
}

/// Whether a string is open.
#[derive(Default)]
pub(in crate::inject) struct Strings {
    in_string: bool,
    /// The last character was a backslash that is not itself escaped.
    escaping: bool,
}

impl Json {
    pub(super) fn new(charset: Charset) -> Self {
        Self { ascii_only: !charset.is_utf8(), strings: Strings::default() }
    }
}

impl Strings {
    /// Whether what stands here stands in a string.
    pub(in crate::inject) fn is_open(&self) -> bool {
        self.in_string
    }

    /// So much of the text has gone by.
    pub(in crate::inject) fn pass(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            if self.escaping {
                self.escaping = false;
                rest = &rest[1..];
                continue;
            }
            // Up to the next backslash nothing matters but whether the number of quotes is odd.
            let (plain, behind) = rest.split_at(memchr::memchr(b'\\', rest).unwrap_or(rest.len()));
            self.in_string ^= memchr::memchr_iter(b'"', plain).count() % 2 == 1;
            let Some((_, after)) = behind.split_first() else { return };
            // Outside of a string it is no JSON, and escapes nothing.
            self.escaping = self.in_string;
            rest = after;
        }
    }
}

impl Context for Json {
    fn pass(&mut self, text: &[u8]) {
        self.strings.pass(text);
    }

    fn encode(&mut self, value: &[u8], _: &[u8]) -> Result<Encoded, Unfit> {
        match (self.strings.in_string, self.strings.escaping) {
            (true, true) => Err("a backslash stands before the reference and would escape the value's first character"),
            (true, false) => encode::json_string(value, self.ascii_only),
            (false, _) => encode::json_literal(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One character after the other.
    fn naive(text: &[u8]) -> (bool, bool) {
        text.iter().fold((false, false), |(open, escaping), byte| match byte {
            _ if escaping => (open, false),
            b'"' => (!open, false),
            b'\\' => (open, open),
            _ => (open, false),
        })
    }

    proptest! {
        #[test]
        fn strings_are_followed_as_one_would_character_by_character(text in "[\"\\\\a]{0,80}", cut in 0_usize..80) {
            let (before, behind) = text.as_bytes().split_at(cut.min(text.len()));
            let mut strings = Strings::default();
            strings.pass(before);
            strings.pass(behind);
            prop_assert_eq!((strings.in_string, strings.escaping), naive(text.as_bytes()));
        }
    }
}
