//! Multipart content: each part is searched by its own type; files that are not text, and parts
//! with a transfer encoding, stay untouched (RFC 2046 section 5.1, RFC 7578).

use std::ops::Range;

use super::media_type::MediaType;
use super::{PLACE, rewrite_as};
use crate::inject::reference::{Coding, holds_reference};
use crate::inject::splice::Splicer;
use crate::inject::{Code, Plaintext, Refusal, encode};

/// How deep multipart types may stand within each other.
const MAX_DEPTH: usize = 4;

pub(super) fn rewrite(splicer: &mut Splicer<'_>, media_type: &MediaType, content: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let parts = match &media_type.boundary {
        Some(boundary) if media_type.depth < MAX_DEPTH => parts(content, boundary),
        _ => None,
    };
    let Some(parts) = parts else {
        return if holds_reference(content) { Err(unreadable()) } else { Ok(None) };
    };
    let boundary = media_type.boundary.as_deref().unwrap_or_default();
    let mut written = Plaintext::default();
    let mut copied = 0;
    for range in parts {
        if let Some(part) = part(splicer, media_type.depth, &content[range.clone()])? {
            check_boundary(&part, boundary)?;
            written.extend_from_slice(&content[copied..range.start]);
            written.extend_from_slice(&part);
            copied = range.end;
        }
    }
    if copied == 0 {
        return Ok(None);
    }
    written.extend_from_slice(&content[copied..]);
    Ok(Some(written))
}

fn unreadable() -> Refusal {
    Refusal::malformed(
        "The multipart content holds a secret reference and cannot be taken apart: its boundary is missing or does not part it, or it nests too deep.",
    )
}

/// A value may not bring a boundary with it.
fn check_boundary(part: &[u8], boundary: &[u8]) -> Result<(), Refusal> {
    let mut line = b"\r\n--".to_vec();
    line.extend_from_slice(boundary);
    // The line end before the part's first byte belongs to the delimiter before it.
    if part.starts_with(&line[2..]) || memchr::memmem::find(part, &line).is_some() {
        return Err(Refusal::new(
            Code::SecretNotEncodable,
            "With its secrets in place a part of the multipart content would hold the boundary. Let the client choose another boundary.",
        ));
    }
    Ok(())
}

/// Where the parts stand, header fields included; `None` if the content does not hold together.
fn parts(content: &[u8], boundary: &[u8]) -> Option<Vec<Range<usize>>> {
    if boundary.is_empty() {
        return None;
    }
    let mut dashed = b"--".to_vec();
    dashed.extend_from_slice(boundary);
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    for at in memchr::memmem::find_iter(content, &dashed) {
        let at_line_start = at == 0 || content[..at].ends_with(b"\r\n");
        let Some((closes, start)) = delimiter_end(&content[at + dashed.len()..]).filter(|_| at_line_start) else { continue };
        if let Some(begin) = open {
            // The line end before a delimiter is a part of it.
            parts.push(begin..at.saturating_sub(2).max(begin));
        }
        if closes {
            return Some(parts);
        }
        open = Some(at + dashed.len() + start);
    }
    None
}

/// What follows a dashed boundary: whether it is the last one, and how long the rest of its line is.
fn delimiter_end(rest: &[u8]) -> Option<(bool, usize)> {
    let closes = rest.starts_with(b"--");
    let blanks_from = if closes { 2 } else { 0 };
    let blanks = rest[blanks_from..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let end = blanks_from + blanks;
    match &rest[end..] {
        [b'\r', b'\n', ..] => Some((closes, end + 2)),
        [] if closes => Some((true, end)),
        _ => None,
    }
}

/// One part, rewritten; `None` if nothing changes.
fn part(splicer: &mut Splicer<'_>, depth: usize, part: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let head_end = if part.starts_with(b"\r\n") { Some(0) } else { memchr::memmem::find(part, b"\r\n\r\n").map(|at| at + 2) };
    let Some(head_end) = head_end else {
        return if holds_reference(part) { Err(unreadable()) } else { Ok(None) };
    };
    let (head, body) = (&part[..head_end], &part[head_end + 2..]);
    let new_head = splicer.splice(head, Coding::Raw, PLACE, &mut |_, value| encode::part_field(value))?;
    let new_body = match PartType::of(head, depth) {
        PartType::Untouched => None,
        PartType::Searched(media_type) => rewrite_as(splicer, media_type.as_ref(), body)?,
    };
    if new_head.is_none() && new_body.is_none() {
        return Ok(None);
    }
    let mut written = new_head.unwrap_or_else(|| Plaintext::new(head.to_vec()));
    written.extend_from_slice(b"\r\n");
    written.extend_from_slice(new_body.as_ref().map_or(body, |body| body.as_slice()));
    Ok(Some(written))
}

enum PartType {
    /// A file that is not text, or content in a transfer encoding.
    Untouched,
    Searched(Option<MediaType>),
}

impl PartType {
    fn of(head: &[u8], depth: usize) -> Self {
        let field = |name: &str| {
            let lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
            lines.filter_map(|line| line.split_at_checked(line.iter().position(|&byte| byte == b':')?)).find_map(
                |(found, value)| {
                    found.trim_ascii().eq_ignore_ascii_case(name.as_bytes()).then(|| value[1..].trim_ascii().to_vec())
                },
            )
        };
        let encoding = field("content-transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        if !matches!(encoding.as_slice(), b"" | b"7bit" | b"8bit" | b"binary") {
            return Self::Untouched;
        }
        match field("content-type") {
            Some(value) => Self::Searched(Some(MediaType { depth: depth + 1, ..MediaType::parse(&value) })),
            None if is_file(&field("content-disposition").unwrap_or_default()) => Self::Untouched,
            None => Self::Searched(None),
        }
    }
}

fn is_file(disposition: &[u8]) -> bool {
    let lower = disposition.to_ascii_lowercase();
    memchr::memmem::find(&lower, b"filename=").is_some() || memchr::memmem::find(&lower, b"filename*=").is_some()
}
