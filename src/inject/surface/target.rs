//! References in the path and the query. The rest stays byte for byte, so that signed and cached
//! URLs survive.

use std::ops::Range;

use crate::inject::reference::Coding;
use crate::inject::splice::{Place, Splicer, Spot};
use crate::inject::{Code, Plaintext, Refusal, encode};
use crate::secret::{SecretName, Surface, Surfaces};

/// The longest target that can be sent on, in bytes.
const MAX_TARGET: usize = 65_534;
const TOO_LONG: &str = "it would be over 65,534 bytes; send the value in a field or in the content";

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
        let (secret, surface) =
            splicer.receipt.injected.last().cloned().map_or((None, Surface::Path), |(name, on)| (Some(name), on));
        let detail = format!("With its secrets in place the target would be too long: {TOO_LONG}.");
        return Err(Refusal::new(Code::SecretNotEncodable, detail).about_any(secret, surface));
    }
    Ok(Some(whole))
}

fn encoded(spot: &Spot<'_>, value: &[u8]) -> Result<Plaintext, &'static str> {
    let encoded = if spot.url_encoded { encode::url_encoded(value)? } else { encode::percent(value) };
    // At once: nothing is done with what will be refused.
    if spot.written.len() + encoded.len() > MAX_TARGET { Err(TOO_LONG) } else { Ok(encoded) }
}

fn query(splicer: &mut Splicer<'_>, query: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let place = Place { surface: Surface::Query, field: None };
    splicer.splice(query, Coding::Percent, place, &mut encoded)
}

fn path(splicer: &mut Splicer<'_>, path: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let place = Place { surface: Surface::Path, field: None };
    let mut values: Vec<(SecretName, Range<usize>)> = Vec::new();
    let rewritten = splicer.splice(path, Coding::Percent, place, &mut |spot, value| {
        let encoded = encoded(spot, value)?;
        values.push((spot.name.clone(), spot.written.len()..spot.written.len() + encoded.len()));
        Ok(encoded)
    })?;
    match rewritten.as_ref().and_then(|path| mover(path, &values)) {
        Some(secret) => {
            let detail = "With its secret in place a segment of the path would be `.` or `..`, which means another path. Send the value in the query, a field or the content.";
            Err(Refusal::new(Code::SecretNotEncodable, detail).about(secret, Surface::Path))
        }
        None => Ok(rewritten),
    }
}

/// The first secret whose value touches a segment that is `.` or `..`, in any encoding; a lax reader
/// may take an encoded slash for a slash, or cut a segment at `;`. Each segment is read once.
fn mover<'v>(path: &[u8], values: &'v [(SecretName, Range<usize>)]) -> Option<&'v SecretName> {
    let mut read = 0;
    for (name, value) in values {
        if value.start < read {
            continue;
        }
        let start = path[..value.start].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let end = path[value.end..].iter().position(|&byte| byte == b'/').map_or(path.len(), |slash| value.end + slash);
        let mut pieces = decoded(&path[start..end]);
        // A value that is encoded already may end the path.
        pieces.iter_mut().filter(|byte| matches!(byte, b'\\' | b'?' | b';')).for_each(|byte| *byte = b'/');
        if pieces.split(|byte| *byte == b'/').any(|piece| piece == b"." || piece == b"..") {
            return Some(name);
        }
        read = end;
    }
    None
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
