//! `application/x-www-form-urlencoded`: values go in percent-encoded.

use super::media_type::MediaType;
use super::{PLACE, json};
use crate::inject::reference::Coding;
use crate::inject::splice::Splicer;
use crate::inject::{Plaintext, Refusal, encode};

/// `curl -d` calls everything a form; what begins like JSON is JSON.
pub(super) fn rewrite(
    splicer: &mut Splicer<'_>,
    media_type: &MediaType<'_>,
    content: &[u8],
) -> Result<Option<Plaintext>, Refusal> {
    let start = content.trim_ascii_start();
    if start.first() == Some(&b'[') || is_json_object(start) {
        return json::rewrite(splicer, media_type, content);
    }
    splicer.splice(content, Coding::Percent, PLACE, &mut |_, value| Ok(encode::percent(value)))
}

/// `{"`, blanks between them allowed; `{secrets.x}=…` is a form.
fn is_json_object(start: &[u8]) -> bool {
    start.first() == Some(&b'{') && start[1..].trim_ascii_start().first() == Some(&b'"')
}
