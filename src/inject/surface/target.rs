//! References in the path and the query. The rest stays byte for byte, so that signed and cached
//! URLs survive.

use std::ops::Range;

use crate::inject::reference::Coding;
use crate::inject::splice::{Place, Splicer, Spot};
use crate::inject::{Code, Plaintext, Refusal, encode};
use crate::secret::{Surface, Surfaces};

/// The longest target that can be sent on, in bytes.
const MAX_TARGET: usize = 65_534;

/// The path and query, rewritten; `None` if nothing changes.
pub(in crate::inject) fn target(
    splicer: &mut Splicer<'_>,
    surfaces: Surfaces,
    target: &[u8],
) -> Result<Option<Plaintext>, Refusal> {
    let split = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(split);
    let new_path = if surfaces.contains(Surface::Path) { self::path(splicer, path)? } else { None };
    let new_query = if surfaces.contains(Surface::Query) && !query.is_empty() { self::query(splicer, query)? } else { None };
    if new_path.is_none() && new_query.is_none() {
        return Ok(None);
    }
    let mut whole = new_path.unwrap_or_else(|| Plaintext::new(path.to_vec()));
    whole.extend_from_slice(new_query.as_ref().map_or(query, |query| query.as_slice()));
    if whole.len() > MAX_TARGET {
        return Err(Refusal::new(
            Code::SecretNotEncodable,
            format!(
                "With its secrets in place the target would be over {MAX_TARGET} bytes long. Send the value in a field or in the content."
            ),
        ));
    }
    Ok(Some(whole))
}

fn encoded(spot: &Spot<'_>, value: &[u8]) -> Result<Plaintext, &'static str> {
    if spot.url_encoded { encode::url_encoded(value) } else { Ok(encode::percent(value)) }
}

fn query(splicer: &mut Splicer<'_>, query: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let place = Place { surface: Surface::Query, field: None };
    splicer.splice(query, Coding::Percent, place, &mut encoded)
}

fn path(splicer: &mut Splicer<'_>, path: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let place = Place { surface: Surface::Path, field: None };
    let mut values: Vec<Range<usize>> = Vec::new();
    let rewritten = splicer.splice(path, Coding::Percent, place, &mut |spot, value| {
        let encoded = encoded(spot, value)?;
        values.push(spot.written.len()..spot.written.len() + encoded.len());
        Ok(encoded)
    })?;
    if let Some(path) = &rewritten
        && values.iter().any(|value| moves(path, value))
    {
        let detail = "With its secret in place a segment of the path would be `.` or `..`, which means another path. Send the value in the query, a field or the content.";
        let refusal = Refusal::new(Code::SecretNotEncodable, detail);
        return Err(match splicer.last_on(Surface::Path) {
            Some(secret) => refusal.about(secret, Surface::Path),
            None => refusal,
        });
    }
    Ok(rewritten)
}

/// Whether a segment that a value touches is `.` or `..`, in any encoding; a lax reader may take an
/// encoded slash for a slash.
fn moves(path: &[u8], value: &Range<usize>) -> bool {
    let start = path[..value.start].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let end = path[value.end..].iter().position(|&byte| byte == b'/').map_or(path.len(), |slash| value.end + slash);
    let decoded = decoded(&path[start..end]);
    decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|piece| piece == b"." || piece == b"..")
}

fn decoded(segment: &[u8]) -> Plaintext {
    let mut decoded = Plaintext::default();
    let mut rest = segment;
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| (byte as char).to_digit(16);
        let coded = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some(byte) = coded.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
            decoded.push(byte);
            rest = &tail[2..];
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    decoded
}
