//! What an upstream says is not a reference: text of that shape in a response's head is escaped, so
//! that a hostile origin cannot plant references that clients send back.

use http::{HeaderMap, HeaderValue};

use super::reference::escape_text;

/// A copy of `fields` with reference-shaped text escaped, or `None` where there is none.
pub fn escape_response_fields(fields: &HeaderMap) -> Option<HeaderMap> {
    let escaped: Vec<(usize, HeaderValue)> = fields
        .values()
        .enumerate()
        .filter_map(|(index, value)| Some((index, HeaderValue::from_bytes(&escape_value(value.as_bytes())?).ok()?)))
        .collect();
    (!escaped.is_empty()).then(|| with_values(fields, escaped))
}

/// Readers of URLs drop tabs (WHATWG URL, basic URL parser), so a reference may be hidden by one: where
/// there is such text without them, it goes on without them.
fn escape_value(value: &[u8]) -> Option<Vec<u8>> {
    if !value.contains(&b'\t') {
        return escape_text(value);
    }
    let dense: Vec<u8> = value.iter().copied().filter(|byte| *byte != b'\t').collect();
    escape_text(&dense)
}

/// A copy of `fields` with the values at some places (in the map's order) replaced.
pub(super) fn with_values(fields: &HeaderMap, changed: Vec<(usize, HeaderValue)>) -> HeaderMap {
    let mut copy = fields.clone();
    let mut changed = changed.into_iter().peekable();
    for (index, value) in copy.values_mut().enumerate() {
        if let Some((_, new)) = changed.next_if(|(at, _)| *at == index) {
            *value = new;
        }
    }
    copy
}
