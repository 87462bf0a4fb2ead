//! XML: a value goes in as character data or as a part of an attribute value, raw within CDATA;
//! nowhere else. The text is followed just far enough to know which of these a position is.

use super::media_type::{Charset, MediaType};
use super::{PLACE, text};
use crate::inject::reference::Coding;
use crate::inject::splice::{Encoded, Splicer, Spot, Unfit};
use crate::inject::{Plaintext, Refusal, encode};

pub(super) fn rewrite(
    splicer: &mut Splicer<'_>,
    media_type: &MediaType<'_>,
    content: &[u8],
) -> Result<Option<Plaintext>, Refusal> {
    let mut lexer = Lexer { at: 0, place: Inside::Text };
    let charset = if declares_other_charset(content) { Charset::AsciiAndMore } else { media_type.charset };
    splicer.splice(content, Coding::Raw, PLACE, &mut |spot, value| {
        lexer.advance(content, spot.range.start);
        text::fits(charset, value)?;
        match lexer.place {
            Inside::Text => encode::xml(value, false),
            Inside::Attribute(_) => encode::xml(value, true),
            Inside::Cdata => cdata(spot, value, &content[spot.range.end..]),
            Inside::Tag => Err("it would stand within a tag and outside an attribute's value"),
            Inside::Comment => Err("it would stand within an XML comment"),
            Inside::Instruction => Err("it would stand within a processing instruction"),
            Inside::Doctype(_) => Err("it would stand within a document type declaration"),
        }
    })
}

/// Raw, unless its reader would read something else.
fn cdata(spot: &Spot<'_>, value: &[u8], behind: &[u8]) -> Result<Encoded, Unfit> {
    encode::xml_text(value)?;
    let before = &spot.written[spot.written.len().saturating_sub(2)..];
    let mut around = Plaintext::new(before.to_vec());
    around.extend_from_slice(value);
    around.extend_from_slice(&behind[..behind.len().min(2)]);
    if memchr::memmem::find(&around, b"]]>").is_some_and(|at| at + 3 > before.len()) && !behind.starts_with(b"]]>")
        || closes_early(before, value, behind)
    {
        return Err("`]]>` would end the CDATA section it stands in");
    }
    if value.contains(&b'\r') {
        Err("it holds a carriage return, which readers of a CDATA section drop")
    } else {
        Ok(encode::raw(value))
    }
}

/// Whether `]]>` comes about before the section's own.
fn closes_early(before: &[u8], value: &[u8], behind: &[u8]) -> bool {
    if !behind.starts_with(b"]]>") {
        return false;
    }
    let mut around = Plaintext::new(before.to_vec());
    around.extend_from_slice(value);
    memchr::memmem::find(&around, b"]]>").is_some()
}

/// An XML declaration that names something else than UTF-8 or ASCII.
fn declares_other_charset(content: &[u8]) -> bool {
    let Some(rest) = content.strip_prefix(b"<?xml") else { return false };
    let declaration = &rest[..memchr::memmem::find(rest, b"?>").unwrap_or(0)];
    let Some(at) = memchr::memmem::find(declaration, b"encoding") else { return false };
    let name: Vec<u8> = declaration[at + 8..]
        .iter()
        .skip_while(|byte| matches!(byte, b' ' | b'\t' | b'=' | b'"' | b'\''))
        .take_while(|byte| !matches!(byte, b'"' | b'\''))
        .map(u8::to_ascii_lowercase)
        .collect();
    !matches!(name.as_slice(), b"utf-8" | b"utf8" | b"us-ascii" | b"ascii")
}

/// Where in an XML text a position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Text,
    Tag,
    /// An attribute's value, by its quote.
    Attribute(u8),
    Comment,
    Cdata,
    Instruction,
    /// A document type declaration, with its open brackets.
    Doctype(usize),
}

struct Lexer {
    at: usize,
    place: Inside,
}

/// How long what begins here is, up to and with its `end`.
fn past(rest: &[u8], opening: usize, end: &[u8]) -> usize {
    memchr::memmem::find(&rest[opening..], end).map_or(rest.len(), |at| opening + at + end.len())
}

impl Lexer {
    fn advance(&mut self, text: &[u8], to: usize) {
        while self.at < to {
            let (place, step) = self.next(&text[self.at..]);
            self.place = place;
            self.at += step;
        }
    }

    /// What follows the characters at the start of `rest`, and how many they are.
    fn next(&self, rest: &[u8]) -> (Inside, usize) {
        let ends = |end: &[u8], inside| if rest.starts_with(end) { (Inside::Text, end.len()) } else { (inside, 1) };
        match self.place {
            Inside::Text => Self::opened(rest),
            Inside::Tag => match rest[0] {
                b'>' => (Inside::Text, 1),
                quote @ (b'"' | b'\'') => (Inside::Attribute(quote), 1),
                _ => (Inside::Tag, 1),
            },
            Inside::Attribute(quote) if rest[0] == quote => (Inside::Tag, 1),
            Inside::Attribute(quote) => (Inside::Attribute(quote), 1),
            Inside::Comment => ends(b"-->", Inside::Comment),
            Inside::Cdata => ends(b"]]>", Inside::Cdata),
            Inside::Instruction => ends(b"?>", Inside::Instruction),
            Inside::Doctype(open) => match rest[0] {
                quote @ (b'"' | b'\'') => (Inside::Doctype(open), past(rest, 1, &[quote])),
                b'<' if rest.starts_with(b"<!--") => (Inside::Doctype(open), past(rest, 4, b"-->")),
                b'<' if rest.starts_with(b"<?") => (Inside::Doctype(open), past(rest, 2, b"?>")),
                b'[' => (Inside::Doctype(open + 1), 1),
                b']' => (Inside::Doctype(open.saturating_sub(1)), 1),
                b'>' if open == 0 => (Inside::Text, 1),
                _ => (Inside::Doctype(open), 1),
            },
        }
    }

    fn opened(rest: &[u8]) -> (Inside, usize) {
        const OPENINGS: [(&[u8], Inside); 5] = [
            (b"<!--", Inside::Comment),
            (b"<![CDATA[", Inside::Cdata),
            (b"<?", Inside::Instruction),
            (b"<!", Inside::Doctype(0)),
            (b"<", Inside::Tag),
        ];
        let opening = OPENINGS.iter().find(|(opening, _)| rest.starts_with(opening));
        opening.map_or((Inside::Text, 1), |(opening, inside)| (*inside, opening.len()))
    }
}
