//! A Content-Type taken apart: essence, charset and boundary (RFC 9110 section 8.3).

/// What a media type says of a content, as far as searching goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MediaType {
    /// `type/subtype`, lower case.
    pub(super) essence: String,
    pub(super) charset: Charset,
    /// The boundary of multipart types.
    pub(super) boundary: Option<Vec<u8>>,
    /// How many multipart types this one stands within.
    pub(super) depth: usize,
}

/// How characters are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Charset {
    #[default]
    Unnamed,
    /// UTF-8, or ASCII, which is a part of it.
    Utf8,
    /// ASCII and something else above it: an ASCII value stands, any other would be mangled.
    AsciiAndMore,
    /// ASCII is not in it as it is.
    Unsearched,
}

impl MediaType {
    pub(super) fn parse(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let (essence, parameters) = text.split_once(';').unwrap_or((&text, ""));
        let mut media_type = Self { essence: essence.trim().to_ascii_lowercase(), ..Self::default() };
        for (name, value) in self::parameters(parameters) {
            match name.as_str() {
                "charset" => media_type.charset = Charset::named(&value.to_ascii_lowercase()),
                "boundary" => media_type.boundary = Some(value.into_bytes()),
                _ => {}
            }
        }
        media_type
    }
}

impl Charset {
    fn named(name: &str) -> Self {
        const ASCII_AND_MORE: [&str; 8] =
            ["iso-8859-", "iso8859-", "latin", "windows-125", "cp125", "koi8-", "macintosh", "euc-"];
        match name {
            "utf-8" | "utf8" | "us-ascii" | "ascii" => Self::Utf8,
            name if ASCII_AND_MORE.iter().any(|known| name.starts_with(known)) => Self::AsciiAndMore,
            _ => Self::Unsearched,
        }
    }
}

/// `; name=value; name="quoted value"`, names in lower case.
fn parameters(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ';']).to_ascii_lowercase();
        let after = after.trim_start();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        found.push((name, value));
        rest = tail;
    }
    found
}

fn unquoted(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, char)| char)),
            _ => value.push(char),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_content_type_apart() {
        let parsed = MediaType::parse(b"Multipart/Form-Data; charset=\"UTF-8\" ; boundary=\"a;\\\"b\"; x=1");
        assert_eq!(parsed.essence, "multipart/form-data");
        assert_eq!(parsed.charset, Charset::Utf8);
        assert_eq!(parsed.boundary.as_deref(), Some(&b"a;\"b"[..]));
        assert_eq!(MediaType::parse(b"text/plain;charset=ISO-8859-1").charset, Charset::AsciiAndMore);
        assert_eq!(MediaType::parse(b"text/plain; charset=utf-16").charset, Charset::Unsearched);
        assert_eq!(MediaType::parse(b"text/plain").charset, Charset::Unnamed);
    }
}
