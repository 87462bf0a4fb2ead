//! Which content codings a message names (RFC 9110 section 8.4).

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::Unsearched;

/// A coding that can be taken off and put on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inject) enum ContentCoding {
    Gzip,
    /// In the zlib format, or, as some clients send it, without it.
    Deflate,
    Brotli,
    Zstd,
}

/// So many codings on top of each other are taken off; nobody needs two.
const MOST: usize = 3;

/// The codings in the order they were applied; none for identity.
pub(super) fn named(fields: &HeaderMap) -> Result<Vec<ContentCoding>, Unsearched> {
    let mut codings = Vec::new();
    let values = fields.get_all(CONTENT_ENCODING).into_iter();
    for name in values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii) {
        if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            continue;
        }
        codings.push(coding(name).filter(|_| codings.len() < MOST).ok_or(Unsearched::Coding)?);
    }
    Ok(codings)
}

fn coding(name: &[u8]) -> Option<ContentCoding> {
    const NAMES: [(&str, ContentCoding); 5] = [
        ("gzip", ContentCoding::Gzip),
        ("x-gzip", ContentCoding::Gzip),
        ("deflate", ContentCoding::Deflate),
        ("br", ContentCoding::Brotli),
        ("zstd", ContentCoding::Zstd),
    ];
    NAMES.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, coding)| coding)
}
