//! XML: a value goes in as character data or as a part of an attribute value, raw within CDATA;
//! nowhere else. The text is followed just far enough to know which of these a position is.

use super::charset::{Characters, Charset};
use super::declaration::Declaration;
use super::window::Context;
use crate::inject::splice::{Encoded, Unfit};
use crate::inject::{Plaintext, encode};

/// Where in an XML text a position is.
pub(super) struct Xml {
    place: Place,
    declaration: Declaration,
    characters: Characters,
    /// The last two bytes that went out.
    before: Plaintext,
}

/// Where in an XML text a position is, as far as what was read tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    /// So many bytes of `<!--` or `<![CDATA[` were read; another byte may make it something else.
    Opening(Opening, usize),
    Tag,
    /// An attribute's value, by its quote.
    Attribute(u8),
    /// What runs on until its end, of which so many bytes were read.
    Until(End, usize),
    /// A document type declaration, with its open brackets.
    Doctype(usize),
    /// A quoted part of it.
    Quoted(u8, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// After `<`, and within `<!`.
    Markup,
    Comment,
    Cdata,
    /// The same within a document type declaration of so many brackets.
    Declaration(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Comment,
    Cdata,
    Instruction,
    /// Comments and instructions within a document type declaration of so many brackets.
    DoctypeComment(usize),
    DoctypeInstruction(usize),
}

const COMMENT: &[u8] = b"<!--";
const CDATA: &[u8] = b"<![CDATA[";

impl Xml {
    pub(super) fn new(charset: Charset) -> Self {
        let declaration = Declaration::new(charset);
        Self { place: Place::Text, characters: Characters::of(charset), declaration, before: Plaintext::default() }
    }

    fn follow(&mut self, text: &[u8]) {
        if self.declaration.pass(text) {
            self.characters = Characters::of(self.declaration.charset());
        }
        self.characters.pass(text);
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            rest = if self.place == Place::Text && byte != b'<' {
                &rest[memchr::memchr(b'<', rest).unwrap_or(rest.len())..]
            } else {
                self.place = self.place.after(byte);
                after
            };
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.before.extend_from_slice(&bytes[bytes.len().saturating_sub(2)..]);
        let more = self.before.len().saturating_sub(2);
        self.before.drain(..more);
    }

    /// Raw, unless its reader would read something else.
    fn cdata(&self, value: &[u8], behind: &[u8]) -> Result<Encoded, Unfit> {
        encode::xml_text(value)?;
        if value.contains(&b'\r') {
            return Err("it holds a carriage return, which readers of a CDATA section drop");
        }
        let encoded = self.declaration.charset().encode(value)?;
        let mut around = self.before.clone();
        around.extend_from_slice(&encoded);
        // The section's own end may follow; nothing before it may end the section.
        let own_end = behind.starts_with(b"]]>").then_some(around.len());
        around.extend_from_slice(&behind[..behind.len().min(3)]);
        match memchr::memmem::find(&around, b"]]>") {
            Some(at) if Some(at) != own_end => Err("`]]>` would end the CDATA section it stands in"),
            _ => Ok(encoded),
        }
    }
}

impl Context for Xml {
    fn pass(&mut self, text: &[u8]) {
        self.follow(text);
        self.wrote(text);
    }

    fn is_text(&self) -> bool {
        self.characters.is_at_start()
    }

    fn lookahead(&self) -> usize {
        if matches!(self.place, Place::Until(End::Cdata, _)) { 3 } else { 0 }
    }

    fn encode(&mut self, value: &[u8], behind: &[u8]) -> Result<Encoded, Unfit> {
        let ascii_only = !self.declaration.is_utf8();
        let encoded = match self.place {
            Place::Text => encode::xml(value, false, ascii_only),
            Place::Attribute(_) => encode::xml(value, true, ascii_only),
            Place::Until(End::Cdata, _) => self.cdata(value, behind),
            Place::Tag | Place::Opening(Opening::Markup, 1) => {
                Err("it would stand within a tag and outside an attribute's value")
            }
            Place::Until(End::Comment, _) => Err("it would stand within an XML comment"),
            Place::Until(End::Instruction, _) => Err("it would stand within a processing instruction"),
            _ => Err("it would stand within a document type declaration"),
        }?;
        Ok(encoded)
    }

    fn replaced(&mut self, source: &[u8], encoded: &[u8]) {
        self.follow(source);
        self.wrote(encoded);
    }
}

impl Place {
    /// Where the position after one more byte is.
    fn after(self, byte: u8) -> Self {
        match self {
            Self::Text if byte == b'<' => Self::Opening(Opening::Markup, 1),
            Self::Text => Self::Text,
            Self::Opening(opening, read) => opening.after(read, byte),
            Self::Tag => match byte {
                b'>' => Self::Text,
                b'"' | b'\'' => Self::Attribute(byte),
                _ => Self::Tag,
            },
            Self::Attribute(quote) if byte == quote => Self::Tag,
            Self::Attribute(quote) => Self::Attribute(quote),
            Self::Until(end, read) => end.after(read, byte),
            Self::Doctype(open) => doctype(open, byte),
            Self::Quoted(quote, open) if byte == quote => Self::Doctype(open),
            Self::Quoted(quote, open) => Self::Quoted(quote, open),
        }
    }
}

fn doctype(open: usize, byte: u8) -> Place {
    match byte {
        b'"' | b'\'' => Place::Quoted(byte, open),
        b'<' => Place::Opening(Opening::Declaration(open), 1),
        b'[' => Place::Doctype(open + 1),
        b']' => Place::Doctype(open.saturating_sub(1)),
        b'>' if open == 0 => Place::Text,
        _ => Place::Doctype(open),
    }
}

impl Opening {
    fn after(self, read: usize, byte: u8) -> Place {
        match (self, read, byte) {
            (Self::Markup, 1, b'!') => Place::Opening(self, 2),
            (Self::Markup, 1, b'?') => Place::Until(End::Instruction, 0),
            (Self::Markup, 1, byte) => Place::Tag.after(byte),
            (Self::Markup, _, b'-') => Place::Opening(Self::Comment, 3),
            (Self::Markup, _, b'[') => Place::Opening(Self::Cdata, 3),
            (Self::Comment, _, b'-') => Place::Until(End::Comment, 0),
            (Self::Cdata, read, byte) if CDATA[read] == byte && read + 1 == CDATA.len() => Place::Until(End::Cdata, 0),
            (Self::Cdata, read, byte) if CDATA[read] == byte => Place::Opening(self, read + 1),
            // `<![` begins a conditional section: a bracket is open.
            (Self::Cdata, _, byte) => doctype(1, byte),
            (Self::Declaration(open), 1, b'?') => Place::Until(End::DoctypeInstruction(open), 0),
            (Self::Declaration(open), read, byte) if COMMENT[read] == byte && read + 1 == COMMENT.len() => {
                Place::Until(End::DoctypeComment(open), 0)
            }
            (Self::Declaration(_), read, byte) if COMMENT[read] == byte => Place::Opening(self, read + 1),
            (Self::Declaration(open), _, byte) => doctype(open, byte),
            (Self::Markup | Self::Comment, _, byte) => doctype(0, byte),
        }
    }
}

impl End {
    fn after(self, read: usize, byte: u8) -> Place {
        let (twice, follows) = match self {
            Self::Comment | Self::DoctypeComment(_) => (b'-', Place::Text),
            Self::Cdata => (b']', Place::Text),
            Self::Instruction | Self::DoctypeInstruction(_) => (b'?', Place::Text),
        };
        let follows = match self {
            Self::DoctypeComment(open) | Self::DoctypeInstruction(open) => Place::Doctype(open),
            _ => follows,
        };
        let wanted = if twice == b'?' { 1 } else { 2 };
        match byte {
            b'>' if read == wanted => follows,
            byte if byte == twice => Place::Until(self, wanted.min(read + 1)),
            _ => Place::Until(self, 0),
        }
    }
}
