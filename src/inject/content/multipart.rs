//! Multipart content: each part is searched by its own type; files that are not text, and parts
//! with a transfer encoding, stay untouched (RFC 2046 section 5.1, RFC 7578).

use std::ops::Range;

use super::media_type::MediaType;
use super::{PLACE, rewrite_as, rewriter};
use crate::inject::reference::{Coding, Scanner, Token, first_reference, holds_reference};
use crate::inject::splice::Splicer;
use crate::inject::{Code, Plaintext, Refusal, encode};
use crate::secret::Surface;

/// How deep multipart types may stand within each other.
const MAX_DEPTH: usize = 4;

pub(super) fn rewrite(
    splicer: &mut Splicer<'_>,
    media_type: &MediaType<'_>,
    content: &[u8],
) -> Result<Option<Plaintext>, Refusal> {
    if !holds_reference(content) {
        return Ok(None);
    }
    let boundary = media_type.boundary.as_deref().unwrap_or_default().as_bytes();
    let parts = if media_type.depth < MAX_DEPTH { parts(content, boundary) } else { None };
    let Some(parts) = parts else { return Err(unreadable(content)) };
    let mut written = Plaintext::default();
    let mut copied = 0;
    for range in parts {
        if let Some(part) = part(splicer, media_type.depth, &content[range.clone()])? {
            if holds_boundary(&part, boundary) {
                return Err(boundary_inside(&content[range]));
            }
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

fn unreadable(content: &[u8]) -> Refusal {
    let detail = "The multipart content holds a secret reference and cannot be taken apart: its boundary is missing or does not part it, or it nests too deep.";
    Refusal::malformed(detail).about_any(first_reference(content), Surface::Body)
}

/// Whether a value brought a boundary with it.
fn holds_boundary(part: &[u8], boundary: &[u8]) -> bool {
    let line = [b"\r\n--", boundary].concat();
    let ends = |at: usize, dashed: &[u8]| delimiter_end(&part[at + dashed.len()..]).is_some();
    // The line end before the part's first byte belongs to the delimiter before it.
    (part.starts_with(&line[2..]) && ends(0, &line[2..])) || memchr::memmem::find_iter(part, &line).any(|at| ends(at, &line))
}

/// Names the secret, if only one stands in the part.
fn boundary_inside(part: &[u8]) -> Refusal {
    let mut names = Scanner::new(part, Coding::Percent).filter_map(|token| match token {
        Token::Reference(_, name) => Some(name),
        Token::Escape(..) => None,
    });
    let first = names.next();
    let only = first.filter(|first| names.all(|other| other == *first));
    let detail = "With its secrets in place a part of the multipart content would hold the boundary. Let the client choose another boundary.";
    Refusal::new(Code::SecretNotEncodable, detail).about_any(only, Surface::Body)
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
        return if holds_reference(part) { Err(unreadable(part)) } else { Ok(None) };
    };
    let (head, body) = (&part[..head_end], &part[head_end + 2..]);
    for name in ["content-type", "content-transfer-encoding", "content-encoding"] {
        if let Some(secret) = field(head, name).and_then(first_reference) {
            let detail = format!("A secret reference stands in the {name} of a part, which decides how the part is read.");
            return Err(Refusal::malformed(detail).about(&secret, Surface::Body));
        }
    }
    let PartType::Searched(media_type) = PartType::of(head, depth) else { return Ok(None) };
    if media_type.as_ref().is_some_and(|media_type| rewriter(media_type).is_none()) {
        return Ok(None);
    }
    let new_head = splicer.splice(head, Coding::Raw, PLACE, &mut |_, value| encode::part_field(value))?;
    let new_body = rewrite_as(splicer, media_type.as_ref(), body)?;
    if new_head.is_none() && new_body.is_none() {
        return Ok(None);
    }
    let mut written = new_head.unwrap_or_else(|| Plaintext::new(head.to_vec()));
    written.extend_from_slice(b"\r\n");
    written.extend_from_slice(new_body.as_ref().map_or(body, |body| body.as_slice()));
    Ok(Some(written))
}

enum PartType<'a> {
    /// A file that is not text, or content in a transfer encoding.
    Untouched,
    Searched(Option<MediaType<'a>>),
}

impl<'a> PartType<'a> {
    fn of(head: &'a [u8], depth: usize) -> Self {
        let encoding = field(head, "content-transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        if !matches!(encoding.as_slice(), b"" | b"7bit" | b"8bit" | b"binary") {
            return Self::Untouched;
        }
        match field(head, "content-type") {
            Some(value) => Self::Searched(Some(MediaType { depth: depth + 1, ..MediaType::parse(value) })),
            None if is_file(field(head, "content-disposition").unwrap_or_default()) => Self::Untouched,
            None => Self::Searched(None),
        }
    }
}

/// The value of a part's field.
fn field<'h>(head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let mut fields = lines.filter_map(|line| line.split_at_checked(memchr::memchr(b':', line)?));
    let (_, value) = fields.find(|(found, _)| found.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))?;
    Some(value[1..].trim_ascii())
}

fn is_file(disposition: &[u8]) -> bool {
    let lower = disposition.to_ascii_lowercase();
    memchr::memmem::find(&lower, b"filename=").is_some() || memchr::memmem::find(&lower, b"filename*=").is_some()
}
