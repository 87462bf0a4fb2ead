//! Names: of secrets, of organizations, and patterns over the names of secrets.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name of a secret, in bytes.
pub const MAX_NAME: usize = 128;
/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 1_000;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was there.
    #[error("a name may not be empty")]
    Empty,
    /// It starts with something else than an ASCII letter.
    #[error("a name must start with a letter (A to Z, a to z)")]
    Start,
    /// It holds something else than letters, digits, `_`, `-` and `.`.
    #[error("a name may hold letters, digits, underscores, hyphens and dots only")]
    Character,
    /// It is longer than 128 bytes.
    #[error("a name may be 128 characters long at most")]
    TooLong,
}

/// Whether `byte` may stand in a name after its first letter.
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn check(text: &str) -> Result<(), NameError> {
    let first = text.bytes().next().ok_or(NameError::Empty)?;
    if !first.is_ascii_alphabetic() {
        return Err(NameError::Start);
    }
    if !text.bytes().all(is_name_byte) {
        return Err(NameError::Character);
    }
    if text.len() > MAX_NAME { Err(NameError::TooLong) } else { Ok(()) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name: an ASCII letter, then letters, digits, `_`, `-`, `.`; 128 bytes at most.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check(text).map(|()| Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// The name of a secret, unique in its organization; case counts.
    SecretName
}

name_type! {
    /// The name of an organization. `default` always exists. The same grammar as a secret's name.
    OrganizationName
}

name_type! {
    /// The name of a runner, unique in its organization. The same grammar as a secret's name.
    RunnerName
}

name_type! {
    /// The name of an API token, unique in its organization. The same grammar as a secret's name.
    TokenName
}

impl Default for OrganizationName {
    /// The organization that always exists.
    fn default() -> Self {
        Self("default".into())
    }
}

/// Names of secrets a runner may use: one name, or a beginning and `*` (`crm.*`), or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    beginning: String,
    open: bool,
}

impl NamePattern {
    /// Parses a name or a beginning of names followed by one `*`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (beginning, open) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
        if !(open && beginning.is_empty()) {
            check(beginning)?;
        }
        Ok(Self { beginning: beginning.to_owned(), open })
    }

    /// Whether `name` is among the names meant.
    pub fn matches(&self, name: &SecretName) -> bool {
        if self.open { name.as_str().starts_with(&self.beginning) } else { name.as_str() == self.beginning }
    }
}

impl TryFrom<String> for NamePattern {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.beginning, if self.open { "*" } else { "" })
    }
}

/// Notes for the team: 1,000 characters at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Description(String);

/// The description is over 1,000 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a description may be 1,000 characters long at most")]
pub struct DescriptionError;

impl Description {
    /// Takes a text of 1,000 characters at most.
    pub fn parse(text: &str) -> Result<Self, DescriptionError> {
        if text.chars().count() > MAX_DESCRIPTION { Err(DescriptionError) } else { Ok(Self(text.to_owned())) }
    }

    /// The text; empty when there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Description {
    type Error = DescriptionError;
    fn try_from(text: String) -> Result<Self, DescriptionError> {
        Self::parse(&text)
    }
}

impl From<Description> for String {
    fn from(description: Description) -> Self {
        description.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_guides_names_and_refuses_the_rest() {
        for good in ["crm.apiKey", "aws.accessKey", "a", "A-_.9", &"a".repeat(MAX_NAME)] {
            assert!(SecretName::parse(good).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("", NameError::Empty),
            ("9x", NameError::Start),
            (".x", NameError::Start),
            ("é", NameError::Start),
            ("a b", NameError::Character),
            ("a/b", NameError::Character),
            ("aé", NameError::Character),
        ] {
            assert_eq!(SecretName::parse(bad), Err(fault), "{bad}");
        }
        assert_eq!(SecretName::parse(&"a".repeat(MAX_NAME + 1)), Err(NameError::TooLong));
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        let name = |text| SecretName::parse(text).expect("a good name");
        let crm = NamePattern::parse("crm.*").expect("a good pattern");
        assert!(crm.matches(&name("crm.apiKey")) && !crm.matches(&name("crmx")) && !crm.matches(&name("CRM.apiKey")));
        assert!(NamePattern::parse("*").is_ok_and(|all| all.matches(&name("x"))));
        assert!(NamePattern::parse("crm").is_ok_and(|one| one.matches(&name("crm")) && !one.matches(&name("crm.x"))));
        for bad in ["", "a*b", "*a", "9*"] {
            assert!(NamePattern::parse(bad).is_err(), "{bad}");
        }
    }
}
