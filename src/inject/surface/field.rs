//! References in fields: cookies, Authorization and everything else a request carries.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderName,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use super::authentication;
use crate::inject::reference::{Coding, first_reference};
use crate::inject::response::with_values;
use crate::inject::splice::{Place, Splicer};
use crate::inject::{Code, Plaintext, Refusal, encode};
use crate::secret::{Surface, Surfaces};

/// Fields that decide how the message is read: a value in one of them could make it mean anything.
const FORBIDDEN: [HeaderName; 9] =
    [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, TRANSFER_ENCODING, TE, TRAILER, UPGRADE, EXPECT];

/// A rewritten copy of the fields; `None` if nothing changes.
pub(in crate::inject) fn fields(
    splicer: &mut Splicer<'_>,
    surfaces: Surfaces,
    fields: &HeaderMap,
) -> Result<Option<HeaderMap>, Refusal> {
    let mut changed = Vec::new();
    for (index, (name, value)) in fields.iter().enumerate() {
        if let Some(rewritten) = field(splicer, surfaces, name, value.as_bytes())? {
            changed.push((index, field_value(rewritten)?));
        }
    }
    Ok((!changed.is_empty()).then(|| with_values(fields, changed)))
}

/// That no reference stands in a field which decides how the message is read, nor in Host.
pub(in crate::inject) fn check_framing(surfaces: Surfaces, fields: &HeaderMap) -> Result<(), Refusal> {
    for (name, value) in fields {
        if *name == HOST {
            host(value.as_bytes())?;
        } else if surfaces.contains(Surface::Header) && FORBIDDEN.contains(name) {
            forbidden(name, value.as_bytes())?;
        }
    }
    Ok(())
}

/// Plaintext stays wiped when dropped, and never enters a compression table.
fn field_value(plaintext: Plaintext) -> Result<HeaderValue, Refusal> {
    let value = HeaderValue::from_maybe_shared(Bytes::from_owner(plaintext));
    let mut value = value.map_err(|_| {
        Refusal::new(Code::SecretNotEncodable, "With its secrets in place a field would hold a byte that no field may hold.")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn field(splicer: &mut Splicer<'_>, surfaces: Surfaces, name: &HeaderName, value: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    if *name == PROXY_AUTHORIZATION || name.as_str().starts_with("subrosa-") {
        return Ok(None);
    }
    if *name == HOST {
        return host(value);
    }
    let basic = authentication::basic(value);
    let surface = if *name == AUTHORIZATION || basic.is_some() { Surface::Authentication } else { Surface::Header };
    if !surfaces.contains(surface) {
        return Ok(None);
    }
    if FORBIDDEN.contains(name) {
        return forbidden(name, value);
    }
    let place = Place { surface, field: Some(name.as_str()) };
    if let Some(credentials) = basic {
        return authentication::rewrite(splicer, place, &credentials);
    }
    plain(splicer, place, name, value)
}

fn plain(splicer: &mut Splicer<'_>, place: Place<'_>, name: &HeaderName, value: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let encode = if *name == COOKIE { encode::cookie } else { encode::field };
    let mut encoder = |spot: &crate::inject::splice::Spot<'_>, secret: &[u8]| {
        let starts = spot.written.is_empty() && secret.first().is_some_and(|&byte| is_blank(byte));
        let ends = spot.range.end == value.len() && secret.last().is_some_and(|&byte| is_blank(byte));
        if starts || ends {
            return Err("the field would begin or end with a blank, which readers drop");
        }
        encode(secret)
    };
    // A reference in a field is raw; the escape of an upstream's text may be percent-encoded, as
    // that text was.
    let raw = |text: &[u8]| !text.contains(&b'%');
    splicer.splice_if(value, Coding::Percent, place, &mut encoder, raw)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn forbidden(name: &HeaderName, value: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let Some(secret) = first_reference(value) else { return Ok(None) };
    let detail = format!(
        "A secret reference stands in the field {name}, which decides how the message is read. References may stand in other fields, path, query and content."
    );
    Err(Refusal::malformed(detail).about(&secret, Surface::Header))
}

fn host(value: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let Some(secret) = first_reference(value) else { return Ok(None) };
    let detail = "A secret reference stands in Host. Write the host out.";
    Err(Refusal::new(Code::SecretInAuthority, detail).naming(Some(secret)))
}
