//! JSON, and lines of it, in UTF-8 whatever a charset says (RFC 8259 section 8.1): a value goes in with the escapes of a string, or bare where it is a
//! literal. The text is followed just far enough to know whether a string is open.

use super::PLACE;
use super::media_type::MediaType;
use crate::inject::reference::Coding;
use crate::inject::splice::Splicer;
use crate::inject::{Plaintext, Refusal, encode};

pub(super) fn rewrite(splicer: &mut Splicer<'_>, _: &MediaType<'_>, content: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let mut lexer = Lexer::default();
    splicer.splice(content, Coding::Raw, PLACE, &mut |spot, value| {
        lexer.advance(content, spot.range.start);
        match (lexer.in_string, lexer.escaping) {
            (true, true) => Err("a backslash stands before the reference and would escape the value's first character"),
            (true, false) => encode::json_string(value),
            (false, _) => encode::json_literal(value),
        }
    })
}

/// Where in a JSON text a position is.
#[derive(Default)]
struct Lexer {
    at: usize,
    in_string: bool,
    /// The last character was a backslash that is not itself escaped.
    escaping: bool,
}

impl Lexer {
    fn advance(&mut self, text: &[u8], to: usize) {
        for &byte in &text[self.at..to] {
            match byte {
                _ if self.escaping => self.escaping = false,
                b'\\' if self.in_string => self.escaping = true,
                b'"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
        self.at = to;
    }
}
