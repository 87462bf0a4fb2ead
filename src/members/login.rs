//! Logins: what a person types to say who they are, in one spelling.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest login: the longest e-mail address that can be delivered to (RFC 5321, 4.5.3.1.3).
const MAX_LOGIN: usize = 254;

/// An e-mail address or a plain word, in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Login(Arc<str>);

/// Why a text is no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Nothing was there.
    #[error("a login may not be empty")]
    Empty,
    /// It is longer than 254 bytes.
    #[error("a login may be 254 characters long at most")]
    TooLong,
    /// It starts with something else than a letter or digit.
    #[error("a login starts with a letter or a digit (A to Z, 0 to 9)")]
    Start,
    /// It holds something that neither a word nor the usual e-mail address has.
    #[error("a login is a word or an e-mail address: letters, digits and . _ + - ' with one @ at most")]
    Character,
}

impl Login {
    /// Parses a login. Case does not count, nor do blanks around it.
    pub fn parse(text: &str) -> Result<Self, LoginError> {
        let text = text.trim().to_ascii_lowercase();
        let first = text.bytes().next().ok_or(LoginError::Empty)?;
        if text.len() > MAX_LOGIN {
            return Err(LoginError::TooLong);
        }
        if !first.is_ascii_alphanumeric() {
            return Err(LoginError::Start);
        }
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".@_+-'".contains(&byte));
        let mut parts = text.split('@');
        let (_, domain, more) = (parts.next(), parts.next(), parts.next());
        if !plain || more.is_some() || domain.is_some_and(|domain| !domain.starts_with(|c: char| c.is_ascii_alphanumeric())) {
            return Err(LoginError::Character);
        }
        Ok(Self(text.into()))
    }

    /// The login as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Login {
    type Error = LoginError;
    fn try_from(text: String) -> Result<Self, LoginError> {
        Self::parse(&text)
    }
}

impl From<Login> for String {
    fn from(login: Login) -> Self {
        login.0.as_ref().to_owned()
    }
}

impl std::str::FromStr for Login {
    type Err = LoginError;
    fn from_str(text: &str) -> Result<Self, LoginError> {
        Self::parse(text)
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_words_are_logins_in_one_spelling() {
        for (typed, kept) in [
            ("ada", "ada"),
            (" Ada@Example.COM ", "ada@example.com"),
            ("o'brien+crm@example.com", "o'brien+crm@example.com"),
            ("7", "7"),
        ] {
            assert_eq!(Login::parse(typed).map(String::from), Ok(kept.to_owned()), "{typed}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_login() {
        for (typed, fault) in [
            ("", LoginError::Empty),
            ("  ", LoginError::Empty),
            ("@example.com", LoginError::Start),
            (".ada", LoginError::Start),
            ("ada@", LoginError::Character),
            ("ada@x@y", LoginError::Character),
            ("ada lovelace", LoginError::Character),
            ("ada/../x", LoginError::Character),
            ("ada\n", LoginError::Empty),
            ("àda", LoginError::Start),
            ("adà", LoginError::Character),
            (&"a".repeat(255), LoginError::TooLong),
        ] {
            match Login::parse(typed) {
                // A line end around it is a blank.
                Ok(login) => assert_eq!((typed, login.as_str()), ("ada\n", "ada")),
                Err(found) => assert_eq!(found, fault, "{typed}"),
            }
        }
    }
}
