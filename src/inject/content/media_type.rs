//! A Content-Type taken apart: essence, charset and boundary (RFC 9110 section 8.3).

use std::borrow::Cow;

use super::charset::Charset;

/// What a media type says of a content, as far as searching goes. As clients write it, it is only
/// looked at: nothing is copied for a content in which nothing is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MediaType<'a> {
    /// `type/subtype`, lower case.
    pub(super) essence: Cow<'a, str>,
    pub(super) charset: Charset,
    /// The boundary of multipart types.
    pub(super) boundary: Option<Cow<'a, str>>,
    /// How many multipart types this one stands within.
    pub(super) depth: usize,
}

impl<'a> MediaType<'a> {
    /// What `value` says, if it names a type at all.
    pub(super) fn named(value: &'a [u8]) -> Option<Self> {
        Some(Self::parse(value)).filter(|media_type| !media_type.essence.is_empty())
    }

    /// What `value` says. A value that is no text says nothing, which is the type of binary content.
    pub(super) fn parse(value: &'a [u8]) -> Self {
        let text = std::str::from_utf8(value).unwrap_or("application/octet-stream");
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut media_type = Self { essence: lower_case(essence.trim()), ..Self::default() };
        for (name, value) in Parameters(parameters) {
            if name.eq_ignore_ascii_case("charset") {
                media_type.charset = Charset::named(&lower_case(&value));
            } else if name.eq_ignore_ascii_case("boundary") {
                media_type.boundary = Some(value);
            }
        }
        media_type
    }
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// `; name=value; name="quoted value"`.
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, after) = self.0.split_once('=')?;
        let after = after.trim_start();
        let (value, rest) = after.strip_prefix('"').map_or_else(|| token(after), unquoted);
        self.0 = rest;
        // What stands before it and has no value says nothing.
        let name = name.rsplit(';').next().unwrap_or(name);
        Some((name.trim(), value))
    }
}

fn token(text: &str) -> (Cow<'_, str>, &str) {
    let (value, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    (value.trim_end().into(), rest)
}

/// A quoted string without its quotes, and what follows it.
fn unquoted(quoted: &str) -> (Cow<'_, str>, &str) {
    match quoted.split_once('"') {
        Some((value, rest)) if !value.contains('\\') => (value.into(), rest),
        _ => unescaped(quoted),
    }
}

fn unescaped(quoted: &str) -> (Cow<'_, str>, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value.into(), &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, char)| char)),
            _ => value.push(char),
        }
    }
    (value.into(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_content_type_apart() {
        let parsed = MediaType::parse(b"Multipart/Form-Data; charset=\"UTF-8\" ; boundary=\"a;\\\"b\"; x=1");
        assert_eq!(parsed.essence, "multipart/form-data");
        assert_eq!(parsed.charset, Charset::Utf8);
        assert_eq!(parsed.boundary.as_deref(), Some("a;\"b"));
        assert_eq!(
            MediaType::parse(b"text/plain;charset=ISO-8859-1").charset,
            Charset::AsciiAndMore(Some(encoding_rs::WINDOWS_1252))
        );
        assert_eq!(MediaType::parse(b"text/plain; charset=utf-16").charset, Charset::Unsearched);
        assert_eq!(MediaType::parse(b"text/plain").charset, Charset::Unnamed);
    }
}
