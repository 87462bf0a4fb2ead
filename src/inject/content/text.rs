//! Text of any other type: values go in as they are.

use super::PLACE;
use super::media_type::{Charset, MediaType};
use crate::inject::reference::Coding;
use crate::inject::splice::{Splicer, Unfit};
use crate::inject::{Plaintext, Refusal, encode};

pub(super) fn rewrite(
    splicer: &mut Splicer<'_>,
    media_type: &MediaType<'_>,
    content: &[u8],
) -> Result<Option<Plaintext>, Refusal> {
    let charset = media_type.charset;
    splicer.splice(content, Coding::Raw, PLACE, &mut |_, value| fits(charset, value).map(|()| encode::raw(value)))
}

/// A value that is not ASCII stands in UTF-8 text only; elsewhere it would be mangled.
pub(super) fn fits(charset: Charset, value: &[u8]) -> Result<(), Unfit> {
    if charset == Charset::AsciiAndMore && !value.is_ascii() {
        return Err("it is not ASCII, and the charset of the content is not UTF-8");
    }
    Ok(())
}
