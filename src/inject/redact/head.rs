//! Values in the fields of an answer.

use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::passage::Passage;
use super::{Found, Glance, Instead, Needles};
use crate::inject::response::with_values;

/// These say how the message is framed and hold words that are known.
const FRAMING: [HeaderName; 6] = [CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// A copy of `fields` with the values in them replaced, or `None` where there are none.
pub fn redact_fields(needles: &Needles, fields: &HeaderMap, found: &mut Found) -> Option<HeaderMap> {
    let mut changed = Vec::new();
    for (index, (name, value)) in fields.iter().enumerate() {
        if !needles.any_in(value.as_bytes()) || FRAMING.contains(name) {
            continue;
        }
        let mut written = Vec::new();
        Passage::new(Instead::Reference, None).push(needles, value.as_bytes(), true, found, &mut written);
        // What was taken out is longer than what no field may hold.
        let value = HeaderValue::from_bytes(&written).unwrap_or_else(|_| HeaderValue::from_static(""));
        changed.push((index, value));
    }
    (!changed.is_empty()).then(|| with_values(fields, changed))
}

/// Whether a value may stand in any of these fields.
pub fn may_hold_value(glance: &Glance, fields: &HeaderMap) -> bool {
    fields.values().any(|value| glance.may_stand_in(value.as_bytes()))
}

/// Whether a value stands in a text of the head that is no field.
pub fn holds_value(needles: &Needles, text: &[u8]) -> bool {
    needles.any_in(text)
}
