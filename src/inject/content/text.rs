//! Text of any other type: values go in as they are, in the charset of the text.

use super::charset::{Characters, Charset};
use super::window::Context;
use crate::inject::splice::{Encoded, Unfit};

/// Any position in such a text is like any other.
pub(super) struct Text {
    charset: Charset,
    characters: Characters,
}

impl Text {
    pub(super) fn new(charset: Charset) -> Self {
        Self { charset, characters: Characters::of(charset) }
    }
}

impl Context for Text {
    fn pass(&mut self, text: &[u8]) {
        self.characters.pass(text);
    }

    fn is_text(&self) -> bool {
        self.characters.is_at_start()
    }

    fn encode(&mut self, value: &[u8], _: &[u8]) -> Result<Encoded, Unfit> {
        self.charset.encode(value)
    }
}
