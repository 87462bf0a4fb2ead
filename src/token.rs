//! Tokens: 256 random bits that somebody shows to be known, and the hash that is kept of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::seal::{self, SealError};
use crate::secret::SecretValue;

const RANDOM: usize = 32;

/// A new token: a beginning and 256 random bits in URL-safe base64. Wiped when dropped; neither
/// cloned nor logged.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A token that starts with `beginning`, which tells people and scanners what leaked.
    pub fn random(beginning: &str) -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; RANDOM]);
        seal::random(bytes.as_mut_slice())?;
        // With its final capacity from the start, so that no copy stays behind.
        let mut text = Zeroizing::new(String::with_capacity(length(beginning)));
        text.push_str(beginning);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        Ok(Self(text))
    }

    /// The token, to be shown this once.
    pub fn show_once(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }
}

fn length(beginning: &str) -> usize {
    beginning.len() + RANDOM.div_ceil(3) * 4
}

/// The SHA-256 of a token. With 256 random bits behind it, it can be neither guessed nor reversed,
/// and looking it up in a table tells nothing by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token as it was shown.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// The hash of a token that is kept as a value.
    pub fn of_value(token: &SecretValue) -> Self {
        Self(seal::digest(token))
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        URL_SAFE_NO_PAD.encode(hash.0)
    }
}

/// The text is no SHA-256.
#[derive(Debug, thiserror::Error)]
#[error("not a SHA-256 in URL-safe base64")]
pub struct NotAHash;

impl TryFrom<String> for TokenHash {
    type Error = NotAHash;
    fn try_from(text: String) -> Result<Self, NotAHash> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAHash)?;
        bytes.try_into().map(Self).map_err(|_| NotAHash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_beginning_and_256_random_bits_that_survive_every_header() {
        let (one, two) = (Token::random("srt_").expect("random"), Token::random("srt_").expect("random"));
        let body = one.show_once().strip_prefix("srt_").expect("the beginning");
        assert_eq!(URL_SAFE_NO_PAD.decode(body).expect("base64").len(), 32);
        assert!(body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
        assert_ne!(one.show_once(), two.show_once());
        assert!(one.0.capacity() <= length("srt_"), "it never moved while it grew");
    }

    #[test]
    fn a_hash_survives_its_text_and_nothing_else_is_one() {
        let hash = TokenHash::of(b"srt_x");
        assert_eq!(TokenHash::try_from(String::from(hash)).expect("a hash"), hash);
        for bad in ["", "srt_x", "AAAA"] {
            assert!(TokenHash::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
