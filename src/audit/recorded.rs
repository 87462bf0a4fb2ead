//! An entry as it is handed over and kept: owned, bounded, and free of values by construction.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Entry, Outcome};
use crate::inject::{Code, Part};
use crate::secret::{OrganizationName, RunnerName, SecretName, Surface};

/// What is kept of a URL, a sentence, a word, in bytes, and how many secrets: entries are small, so
/// that a queue of them is.
const URL: usize = 2_048;
const SENTENCE: usize = 1_024;
const WORD: usize = 128;
const SECRETS: usize = 32;

/// One entry of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When, in unix milliseconds.
    pub at: i64,
    /// For whom, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationName>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A request that held a reference or was refused.
    Exchange(Box<Exchange>),
    /// Somebody changed something.
    Change(Box<Change>),
}

/// An exchange; the members are those of [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Names the request in logs and in the answer.
    pub request_id: String,
    /// Who asked; `None` for a client without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerName>,
    /// The method.
    pub method: String,
    /// The URL as the runner sent it, references included; cut where it is very long.
    pub url: String,
    /// The origin, as `scheme://host[:port]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The host of the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Each secret with the surface it stood on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<(SecretName, Surface)>,
    /// Each secret whose value stood in the answer and was taken out of it, with where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<(SecretName, Part)>,
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// The sentence of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the request probably did not mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The status the runner got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// Something that somebody changed: "alice edited secret crm.apiKey". Never a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who.
    pub actor: String,
    /// What they did, as a word that fits between the two: `created`, `edited`, `renamed`, `deleted`.
    pub action: Cow<'static, str>,
    /// To what sort of thing: `secret`, `runner`, `member`.
    pub object: Cow<'static, str>,
    /// Its name.
    pub name: String,
    /// The name it has from now on, of one that was `renamed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_to: Option<String>,
    /// What else there is to say, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Change {
    /// `actor` did `action` to the `object` called `name`.
    pub fn new(actor: &str, action: &'static str, object: &'static str, name: &str) -> Self {
        Self {
            actor: cut(actor, WORD),
            action: action.into(),
            object: object.into(),
            name: cut(name, WORD),
            renamed_to: None,
            detail: None,
        }
    }

    /// The same, with what else there is to say. Never a value.
    #[must_use]
    pub fn saying(self, detail: &str) -> Self {
        Self { detail: Some(cut(detail, SENTENCE)), ..self }
    }

    /// The same, and the name is `name` from now on.
    #[must_use]
    pub fn renaming_to(self, name: &str) -> Self {
        Self { renamed_to: Some(cut(name, WORD)), ..self }
    }
}

impl Recorded {
    /// A change, at `at`.
    pub fn change(organization: &OrganizationName, change: Change, at: SystemTime) -> Self {
        Self { at: millis(at), organization: Some(organization.clone()), what: What::Change(Box::new(change)) }
    }
}

impl From<&Entry<'_>> for Recorded {
    fn from(entry: &Entry<'_>) -> Self {
        let exchange = Exchange {
            request_id: entry.request_id.to_owned(),
            runner: entry.runner.cloned(),
            method: cut(entry.method, WORD),
            url: cut(entry.url, URL),
            origin: entry.origin.map(|origin| cut(origin, SENTENCE)),
            host: entry.host.map(ToString::to_string),
            secrets: entry.secrets.iter().take(SECRETS).cloned().collect(),
            redacted: entry.redacted.iter().take(SECRETS).cloned().collect(),
            outcome: entry.outcome,
            code: entry.code.map(|code| Code::as_str(code).into()),
            detail: entry.detail.map(|detail| cut(detail, SENTENCE)),
            hint: entry.hint.map(|hint| cut(hint, SENTENCE)),
            status: entry.status,
            duration_us: u64::try_from(entry.duration.as_micros()).unwrap_or(u64::MAX),
        };
        Self { at: millis(entry.at), organization: entry.organization.cloned(), what: What::Exchange(Box::new(exchange)) }
    }
}

/// Unix milliseconds.
pub fn millis(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The beginning of `text`, marked where something is missing.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_characters_and_marked() {
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("äöü!", 6), "äöü…");
        assert_eq!(cut("äöü", 5), "äö…");
    }
}
