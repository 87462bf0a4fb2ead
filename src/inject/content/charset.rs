//! Charsets: in which of them references can be found, and how a value stands in them.

use encoding_rs::{EncoderResult, Encoding};

use crate::inject::Plaintext;
use crate::inject::splice::{Encoded, Unfit};

/// How characters are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Charset {
    #[default]
    Unnamed,
    /// UTF-8, or ASCII, which is a part of it.
    Utf8,
    /// ASCII and something else above it; values are written in it where it is known.
    AsciiAndMore(Option<&'static Encoding>),
    /// ASCII is not in it as it is.
    Unsearched,
}

/// A value that is not ASCII and no UTF-8 either is bytes of nobody knows what.
const NO_TEXT: Unfit = "it is not UTF-8, so it cannot be written in the charset of the content";

impl Charset {
    /// The one called `name`, in lower case.
    pub(super) fn named(name: &str) -> Self {
        // Names that the table below lacks, of charsets that do not hold ASCII as it is.
        const OTHERWISE: [&str; 9] = ["utf-16", "utf16", "utf-32", "utf32", "utf-7", "ucs-", "ebcdic", "ibm", "iso-10646"];
        let name = name.trim_matches(['\'', ' ']);
        match Encoding::for_label(name.as_bytes()) {
            _ if name.is_empty() => Self::Unnamed,
            _ if matches!(name, "utf8" | "us-ascii" | "ascii") => Self::Utf8,
            Some(known) if known == encoding_rs::UTF_8 => Self::Utf8,
            Some(known) if known.is_ascii_compatible() => Self::AsciiAndMore(Some(known)),
            Some(_) => Self::Unsearched,
            None if OTHERWISE.iter().any(|known| name.starts_with(known)) => Self::Unsearched,
            None => Self::AsciiAndMore(None),
        }
    }

    /// Whether what is not ASCII stands as it is in UTF-8.
    pub(super) fn is_utf8(self) -> bool {
        matches!(self, Self::Unnamed | Self::Utf8)
    }

    /// The bytes of a value in this charset; refused where they would mean something else.
    pub(super) fn encode(self, value: &[u8]) -> Result<Encoded, Unfit> {
        let encoding = match self {
            _ if value.is_ascii() => return Ok(Plaintext::new(value.to_vec())),
            Self::Unnamed | Self::Utf8 => return Ok(Plaintext::new(value.to_vec())),
            Self::Unsearched => return Err("the charset of the content does not hold ASCII as it is"),
            Self::AsciiAndMore(None) => return Err("it is not ASCII, and the charset of the content is not known"),
            Self::AsciiAndMore(Some(encoding)) => encoding,
        };
        let text = std::str::from_utf8(value).map_err(|_| NO_TEXT)?;
        let mut encoder = encoding.new_encoder();
        let room = encoder.max_buffer_length_from_utf8_without_replacement(text.len()).ok_or("it is too long")?;
        let mut encoded = Plaintext::new(vec![0; room]);
        match encoder.encode_from_utf8_without_replacement(text, &mut encoded, true) {
            (EncoderResult::InputEmpty, _, written) => {
                encoded.truncate(written);
                Ok(encoded)
            }
            _ => Err("it holds a character that the charset of the content does not have"),
        }
    }

    /// Which bytes begin a character whose second byte may be a brace.
    fn leads(self) -> Option<fn(u8) -> bool> {
        use encoding_rs::{BIG5, GB18030, GBK, SHIFT_JIS};
        match self {
            Self::AsciiAndMore(Some(encoding)) if encoding == SHIFT_JIS => Some(|byte| matches!(byte, 0x81..=0x9f | 0xe0..=0xfc)),
            Self::AsciiAndMore(Some(encoding)) if [GBK, GB18030, BIG5].contains(&encoding) => {
                Some(|byte| matches!(byte, 0x81..=0xfe))
            }
            _ => None,
        }
    }
}

/// Follows a text in a charset of two bytes a character, so that the second byte of one is not
/// taken for a brace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Characters {
    leads: Option<fn(u8) -> bool>,
    /// The last byte began a character.
    is_open: bool,
}

impl Characters {
    pub(super) fn of(charset: Charset) -> Self {
        Self { leads: charset.leads(), is_open: false }
    }

    pub(super) fn pass(&mut self, text: &[u8]) {
        if let Some(leads) = self.leads {
            for &byte in text {
                self.is_open = !self.is_open && leads(byte);
            }
        }
    }

    /// Whether the next byte begins a character.
    pub(super) fn is_at_start(self) -> bool {
        !self.is_open
    }
}
