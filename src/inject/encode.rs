//! The forms a value takes on the wire, one function each.

use super::Plaintext;
use super::splice::{Encoded, Unfit};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// As it is.
pub(super) fn raw(value: &[u8]) -> Encoded {
    Plaintext::new(value.to_vec())
}

/// Everything outside RFC 3986's unreserved characters percent-encoded.
pub(super) fn percent(value: &[u8]) -> Encoded {
    let mut encoded = Plaintext::new(Vec::with_capacity(value.len() * 3));
    for &byte in value {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(byte);
        } else {
            encoded.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    encoded
}

/// A value that is percent-encoded already, in a path or query.
pub(super) fn url_encoded(value: &[u8]) -> Result<Encoded, Unfit> {
    let stands = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`');
    if value.iter().all(stands) {
        Ok(raw(value))
    } else {
        Err("it is marked url_encoded and holds `#`, a blank, a control or another character that no URL holds")
    }
}

/// The inside of a JSON string (RFC 8259 section 7); `ascii_only`: what is not ASCII as `\uXXXX`.
pub(super) fn json_string(value: &[u8], ascii_only: bool) -> Result<Encoded, Unfit> {
    let text = std::str::from_utf8(value).map_err(|_| "it is not UTF-8, which JSON must be")?;
    let mut encoded = Plaintext::new(Vec::with_capacity(value.len() * 6));
    if ascii_only && !text.is_ascii() {
        for char in text.chars() {
            if char.is_ascii() {
                json_byte(&mut encoded, u8::try_from(char).unwrap_or(b'?'));
            } else {
                char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| json_unit(&mut encoded, *unit));
            }
        }
        return Ok(encoded);
    }
    text.as_bytes().iter().for_each(|byte| json_byte(&mut encoded, *byte));
    Ok(encoded)
}

/// One UTF-16 code unit as `\uXXXX`.
fn json_unit(encoded: &mut Encoded, unit: u16) {
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    encoded.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

fn json_byte(encoded: &mut Encoded, byte: u8) {
    match byte {
        b'"' | b'\\' => encoded.extend_from_slice(&[b'\\', byte]),
        b'\n' => encoded.extend_from_slice(b"\\n"),
        b'\r' => encoded.extend_from_slice(b"\\r"),
        b'\t' => encoded.extend_from_slice(b"\\t"),
        0..=0x1f => json_unit(encoded, u16::from(byte)),
        _ => encoded.push(byte),
    }
}

/// A JSON number, true, false or null: what may stand outside a string.
pub(super) fn json_literal(value: &[u8]) -> Result<Encoded, Unfit> {
    if matches!(value, b"true" | b"false" | b"null") || is_json_number(value) {
        Ok(raw(value))
    } else {
        Err("outside a JSON string only a number, true, false or null may stand; put the reference in quotes")
    }
}

/// By the grammar (RFC 8259 section 6): a number too large for a reader is still one.
pub(super) fn is_json_number(value: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = value.strip_prefix(b"-").unwrap_or(value);
    let whole = if value.starts_with(b"0") { 1 } else { digits(value) };
    let (mut rest, mut good) = (&value[whole..], whole > 0);
    if let Some(fraction) = rest.strip_prefix(b".") {
        good &= digits(fraction) > 0;
        rest = &fraction[digits(fraction)..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or(rest.strip_prefix(b"E")) {
        let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        good &= digits(exponent) > 0;
        rest = &exponent[digits(exponent)..];
    }
    good && rest.is_empty()
}

/// Character data or an attribute value of XML 1.0; `ascii_only`: what is not ASCII as a character
/// reference.
pub(super) fn xml(value: &[u8], in_attribute: bool, ascii_only: bool) -> Result<Encoded, Unfit> {
    let text = xml_text(value)?;
    let mut encoded = Plaintext::new(Vec::with_capacity(value.len() * 6));
    for char in text.chars() {
        match char {
            '&' => encoded.extend_from_slice(b"&amp;"),
            '<' => encoded.extend_from_slice(b"&lt;"),
            '>' => encoded.extend_from_slice(b"&gt;"),
            '"' => encoded.extend_from_slice(b"&quot;"),
            '\'' => encoded.extend_from_slice(b"&apos;"),
            // Readers normalise these (XML 1.0 sections 2.11 and 3.3.3).
            '\r' => encoded.extend_from_slice(b"&#13;"),
            '\n' if in_attribute => encoded.extend_from_slice(b"&#10;"),
            '\t' if in_attribute => encoded.extend_from_slice(b"&#9;"),
            char if ascii_only && !char.is_ascii() => character_reference(&mut encoded, char),
            char => encoded.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(encoded)
}

/// `&#N;`.
fn character_reference(encoded: &mut Encoded, char: char) {
    use std::io::Write as _;
    // Writing to memory does not fail.
    let _ = write!(&mut **encoded, "&#{};", u32::from(char));
}

/// The value as text, if XML 1.0 can hold it (section 2.2).
pub(super) fn xml_text(value: &[u8]) -> Result<&str, Unfit> {
    let text = std::str::from_utf8(value).map_err(|_| "it is not UTF-8, which this XML must be")?;
    let stands =
        |char: char| matches!(char, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if text.chars().all(stands) { Ok(text) } else { Err("it holds a character that XML cannot hold") }
}

/// A field value (RFC 9110 section 5.5).
pub(super) fn field(value: &[u8]) -> Result<Encoded, Unfit> {
    let stands = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if value.iter().all(stands) {
        Ok(raw(value))
    } else {
        Err("it holds a line end, a NUL or another byte that no field may hold")
    }
}

/// A cookie's value, between semicolons.
pub(super) fn cookie(value: &[u8]) -> Result<Encoded, Unfit> {
    if value.contains(&b';') { Err("it holds `;`, which would end the cookie") } else { field(value) }
}

/// A field of a multipart part, most often within quotes.
pub(super) fn part_field(value: &[u8]) -> Result<Encoded, Unfit> {
    let stands = |byte: &u8| matches!(byte, b' '..=b'~' | 0x80..) && !matches!(byte, b'"' | b'\\');
    if value.iter().all(stands) {
        Ok(raw(value))
    } else {
        Err("it holds a quote, a backslash, a line end or another byte that a part's field cannot hold")
    }
}
