//! What an upstream says is not to hold a value: values that were sent to it are found in what it answers
//! and replaced by their reference, which still works when it is sent again.
//!
//! ```text
//! Glance::of(&[Sent])                        a piece of every form: most answers hold none, and that is all
//! Needles::of(&[Sent])                       every form of the values (forms, base64)
//! redact_fields(&needles, &fields, found)    -> Option<HeaderMap>
//! Redaction::new(&readable, instead)         a content in pieces (redaction: codings; passage: the text)
//!     .push(&needles, piece, is_last, found) -> what goes out
//! ```
//! Pure, like the rest of the core. It is meant against echoes that nobody intended: whoever wants to show
//! a value to a runner can write it in a form that is not looked for.

mod base64;
mod forms;
mod glance;
mod head;
mod needles;
mod passage;
mod redaction;

pub use forms::LEAST;
pub use glance::Glance;
pub use head::{holds_value, may_hold_value, redact_fields};
pub use needles::{Needles, Sent};
pub use redaction::{Passed, Readable, Redaction, Undecodable};

use serde::{Deserialize, Serialize};

use crate::secret::SecretName;

/// What takes the place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Its reference.
    Reference,
    /// As many stars as it has bytes: in a part of a content every byte has its place.
    Stars,
}

/// Where in an answer a value stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// In its fields, trailers included.
    Head,
    /// In its content.
    Body,
    /// In a message of a WebSocket.
    Message,
}

impl Part {
    /// Each, in order.
    pub const ALL: [Self; 3] = [Self::Head, Self::Body, Self::Message];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Body => "body",
            Self::Message => "message",
        }
    }
}

/// What was found and replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Each secret once.
    pub names: Vec<SecretName>,
    /// How many times a value was replaced.
    pub count: u64,
}

impl Found {
    fn add(&mut self, name: &SecretName) {
        self.count += 1;
        if !self.names.contains(name) {
            self.names.push(name.clone());
        }
    }
}

#[cfg(test)]
mod tests;
