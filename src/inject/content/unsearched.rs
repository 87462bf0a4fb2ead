//! Why a content, or a part of one, was not searched: nothing is skipped without a reason.

use std::fmt;

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsearched {
    /// Its type is binary: images, archives, protobuf, files without a type.
    Binary,
    /// It names no type and is no UTF-8 text.
    NotText,
    /// Its charset does not hold ASCII as it is.
    Charset,
    /// It has a content coding that is not known here.
    Coding,
    /// A part of it is in quoted-printable, base64 or another encoding of its own.
    EncodedPart,
}

impl Unsearched {
    /// Each, in the order they are told.
    pub const ALL: [Self; 5] = [Self::Binary, Self::NotText, Self::Charset, Self::Coding, Self::EncodedPart];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::NotText => "not_text",
            Self::Charset => "charset",
            Self::Coding => "coding",
            Self::EncodedPart => "encoded_part",
        }
    }
}

/// The reasons that were met in one request.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons([bool; Unsearched::ALL.len()]);

impl Reasons {
    /// One more.
    pub fn add(&mut self, reason: Unsearched) {
        self.0[reason as usize] = true;
    }

    /// Each once.
    pub fn iter(self) -> impl Iterator<Item = Unsearched> {
        Unsearched::ALL.into_iter().filter(move |reason| self.0[*reason as usize])
    }

    /// Whether everything was searched.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether something may hold a reference that nobody saw, beyond content that by its type never
    /// holds one.
    pub fn is_notable(self) -> bool {
        self.iter().any(|reason| reason != Unsearched::Binary)
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Unsearched::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

impl fmt::Debug for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
