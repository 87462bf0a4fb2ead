//! The head of a part of multipart content: its fields, and how they say the part is to be read.

use super::media_type::MediaType;
use super::window::Context;
use crate::inject::reference::first_reference;
use crate::inject::splice::{Encoded, Unfit};
use crate::inject::{Refusal, Unsearched, encode};
use crate::secret::Surface;

/// A part's fields, each with its line end.
pub(super) struct Head<'h>(pub(super) &'h [u8]);

/// How a part is searched.
pub(super) enum Kind<'h> {
    /// Not at all.
    Unsearched(Unsearched),
    /// As text, if it is UTF-8.
    Untyped,
    As(MediaType<'h>),
}

impl<'h> Head<'h> {
    /// That no reference stands in a field which decides how the part is read.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        for name in ["content-type", "content-transfer-encoding", "content-encoding"] {
            if let Some(secret) = self.field(name).and_then(first_reference) {
                let detail = format!("A secret reference stands in the {name} of a part, which decides how the part is read.");
                return Err(Refusal::malformed(detail).about(&secret, Surface::Body));
            }
        }
        Ok(())
    }

    /// How the part is searched; it stands within `depth` multipart types.
    pub(super) fn kind(&self, depth: usize) -> Kind<'h> {
        let encoding = self.field("content-transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        if !matches!(encoding.as_slice(), b"" | b"7bit" | b"8bit" | b"binary") {
            return Kind::Unsearched(Unsearched::EncodedPart);
        }
        if self.field("content-encoding").is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")) {
            return Kind::Unsearched(Unsearched::EncodedPart);
        }
        match self.field("content-type") {
            Some(value) => Kind::As(MediaType { depth, ..MediaType::parse(value) }),
            None if self.is_file() => Kind::Unsearched(Unsearched::Binary),
            None => Kind::Untyped,
        }
    }

    fn field(&self, name: &str) -> Option<&'h [u8]> {
        let lines = self.0.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let mut fields = lines.filter_map(|line| line.split_at_checked(memchr::memchr(b':', line)?));
        let (_, value) = fields.find(|(found, _)| found.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))?;
        Some(value[1..].trim_ascii())
    }

    fn is_file(&self) -> bool {
        let lower = self.field("content-disposition").unwrap_or_default().to_ascii_lowercase();
        memchr::memmem::find(&lower, b"filename=").is_some() || memchr::memmem::find(&lower, b"filename*=").is_some()
    }
}

/// Any position in a part's fields is like any other.
pub(super) struct Fields;

impl Context for Fields {
    fn pass(&mut self, _: &[u8]) {}

    fn encode(&mut self, value: &[u8], _: &[u8]) -> Result<Encoded, Unfit> {
        encode::part_field(value)
    }
}
