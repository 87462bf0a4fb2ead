//! Basic credentials: the reference stands inside the base64 of `user:password`, so the pair is
//! decoded, searched, and encoded again (RFC 7617).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use std::ops::Range;
use zeroize::Zeroizing;

use crate::inject::reference::Coding;
use crate::inject::splice::{Place, Splicer};
use crate::inject::{Plaintext, Refusal, encode};

/// Clients with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials up to this length, in bytes of base64, are looked at without memory of their own:
/// real ones are far shorter.
const SCRATCH: usize = 1024;
/// How every reference begins, the escaped ones too.
const OPENING: &[u8] = b"{secrets.";

/// Basic credentials as they stand in a field.
pub(super) struct Basic<'a> {
    field: &'a [u8],
    /// Where the base64 stands.
    encoded: Range<usize>,
    pair: Plaintext,
}

/// The credentials in a field of the form `Basic BASE64`; `None` if it is of another form.
pub(super) fn basic(field: &[u8]) -> Option<Basic<'_>> {
    let rest = field.get(5..).filter(|_| field[..5].eq_ignore_ascii_case(b"basic"))?;
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if blanks == 0 {
        return None;
    }
    let start = 5 + blanks;
    let end = start + field[start..].trim_ascii_end().len();
    let pair = decoded(&field[start..end])?;
    Some(Basic { field, encoded: start..end, pair })
}

/// The pair; empty if it holds no reference and is short enough to be looked at in place.
fn decoded(encoded: &[u8]) -> Option<Plaintext> {
    let mut scratch = Zeroizing::new([0; SCRATCH]);
    if encoded.len() <= scratch.len() {
        let length = LENIENT.decode_slice(encoded, scratch.as_mut_slice()).ok()?;
        if memchr::memmem::find(&scratch[..length], OPENING).is_none() {
            return Some(Plaintext::default());
        }
    }
    Some(Plaintext::new(LENIENT.decode(encoded).ok()?))
}

/// The field with the references in its decoded pair replaced; `None` if there are none.
pub(super) fn rewrite(splicer: &mut Splicer<'_>, place: Place<'_>, basic: &Basic<'_>) -> Result<Option<Plaintext>, Refusal> {
    let colon = memchr::memchr(b':', &basic.pair).unwrap_or(basic.pair.len());
    let pair = splicer.splice(&basic.pair, Coding::Raw, place, &mut |spot, value| {
        if spot.range.start < colon && value.contains(&b':') {
            return Err("it holds `:`, which would end the user name of Basic credentials");
        }
        Ok(encode::raw(value))
    })?;
    let Some(pair) = pair else { return Ok(None) };
    let mut field = Plaintext::new(basic.field[..basic.encoded.start].to_vec());
    let encoded = Plaintext::new(general_purpose::STANDARD.encode(&*pair).into_bytes());
    field.extend_from_slice(&encoded);
    field.extend_from_slice(&basic.field[basic.encoded.end..]);
    Ok(Some(field))
}
