//! Passwords: checked with bounded work, kept as Argon2id hashes that lie sealed.
//!
//! The hash is the payload of its record, so whoever takes the disk cannot so much as try
//! passwords. One hash takes 19 MiB and a core for some 20 ms; a quarter of the cores computes them,
//! beside the threads that serve requests, and beyond a short queue nobody waits.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Login, MembersError};
use crate::seal;
use crate::secret::SecretValue;

/// OWASP's advice for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT: usize = 16;
const HASH: usize = 32;
/// NIST SP 800-63B asks for 8 at least beside a second factor, and 15 where there is none; typed words and no
/// rules of composition.
const SHORTEST: usize = 12;
/// Enough for any passphrase, and no work for a flood.
const LONGEST: usize = 1024;
/// How many may wait for their turn: with 20 ms each, the last one waits for about a second.
const IN_QUEUE: usize = 64;

/// What a person typed as a password. Neither shown nor cloned; wiped when dropped.
pub struct Password(Zeroizing<Vec<u8>>);

/// Why a text cannot become somebody's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Under 12 characters.
    #[error("a password needs 12 characters at least; a few words in a row are easy to keep in mind")]
    TooShort,
    /// Over 1,024 bytes.
    #[error("a password may be 1,024 bytes long at most")]
    TooLong,
    /// The login is in it, or it is one character over and over.
    #[error("this password would be guessed first; take a few words that have nothing to do with the login")]
    Obvious,
}

impl Password {
    /// What was typed, whatever it is; it is wiped also when it is of no use.
    pub fn typed(text: Zeroizing<String>) -> Self {
        let mut text = text;
        Self(Zeroizing::new(std::mem::take(&mut *text).into_bytes()))
    }

    /// Whether it may become the password of `login`.
    pub fn check_new(&self, login: &Login) -> Result<(), PasswordError> {
        let characters = std::str::from_utf8(&self.0).map_or(self.0.len(), |text| text.chars().count());
        if characters < SHORTEST {
            return Err(PasswordError::TooShort);
        }
        if self.0.len() > LONGEST {
            return Err(PasswordError::TooLong);
        }
        let word = login.as_str().split('@').next().unwrap_or_default().as_bytes();
        let holds_login = word.len() > 3 && self.0.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        let monotone = self.0.iter().all(|byte| Some(byte) == self.0.first());
        if holds_login || monotone { Err(PasswordError::Obvious) } else { Ok(()) }
    }
}

/// Computes hashes, a few at a time.
pub(super) struct Passwords {
    at_work: Arc<Semaphore>,
    in_queue: Arc<Semaphore>,
    /// What nobody's password gives: compared with where there is no account, at the same cost.
    nobody: Arc<SecretValue>,
}

impl Passwords {
    pub(super) fn new() -> Result<Self, seal::SealError> {
        let (mut salt, mut hash) = ([0; SALT], [0; HASH]);
        seal::random(&mut salt)?;
        seal::random(&mut hash)?;
        let [salt, hash] = [STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash)];
        let text = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}");
        let nobody = SecretValue::new(text.into_bytes()).expect("it is short and not empty");
        // A quarter of the machine: the rest serves runners, whoever floods the admin port.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            at_work: Arc::new(Semaphore::new((cores / 4).max(1))),
            in_queue: Arc::new(Semaphore::new(IN_QUEUE)),
            nobody: Arc::new(nobody),
        })
    }

    /// The hash that is kept of a password.
    pub(super) async fn hash(&self, password: Password) -> Result<SecretValue, MembersError> {
        let mut salt = [0; SALT];
        seal::random(&mut salt)?;
        self.work(move || {
            let hashed: Result<PasswordHash, _> = argon2().hash_password_with_salt(&password.0, &salt);
            let text = hashed.expect("parameters, salt and length are within Argon2's bounds").to_string();
            SecretValue::new(text.into_bytes()).expect("a hash is short and not empty")
        })
        .await
    }

    /// Whether `password` is the one behind `kept`; with nothing kept the answer is no, after the
    /// same work.
    pub(super) async fn verify(&self, password: Password, kept: Option<SecretValue>) -> Result<bool, MembersError> {
        let nobody = Arc::clone(&self.nobody);
        self.work(move || {
            let known = kept.is_some();
            let text = kept.as_ref().unwrap_or(&nobody).expose();
            // What is too long is nobody's; the work is done all the same.
            let (typed, fits) = if password.0.len() > LONGEST { (&[][..], false) } else { (&password.0[..], true) };
            let parsed = std::str::from_utf8(text).ok().and_then(|text| PasswordHash::new(text).ok());
            parsed.is_some_and(|hash| argon2().verify_password(typed, &hash).is_ok()) && known && fits
        })
        .await
    }

    /// Carries out `work` in its turn, away from the threads that serve requests.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, MembersError> {
        let _queued = Arc::clone(&self.in_queue).try_acquire_owned().map_err(|_| MembersError::Busy)?;
        let turn = Arc::clone(&self.at_work).acquire_owned().await.map_err(|_| MembersError::Busy)?;
        // The turn ends with the work, also where whoever asked goes away meanwhile.
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(turn);
            outcome
        });
        done.await.map_err(|_| MembersError::Busy)
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH)).expect("OWASP's advice is within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Password {
        Password::typed(Zeroizing::new(text.to_owned()))
    }

    #[tokio::test]
    async fn only_the_password_itself_is_behind_its_hash() {
        let passwords = Passwords::new().expect("random");
        let hash = || async { passwords.hash(typed("correct horse battery")).await.expect("hashes") };
        for (tried, right) in [("correct horse battery", true), ("correct horse batterY", false), ("", false)] {
            assert_eq!(passwords.verify(typed(tried), Some(hash().await)).await.expect("verifies"), right, "{tried}");
        }
        assert!(!passwords.verify(typed("correct horse battery"), None).await.expect("verifies"));
        let (one, two) = (hash().await, hash().await);
        assert_ne!(seal::digest(&one), seal::digest(&two), "the salt differs");
        assert!(one.expose().starts_with(b"$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[tokio::test]
    async fn what_nobody_is_compared_with_costs_the_same() {
        let passwords = Passwords::new().expect("random");
        let hash = PasswordHash::new(std::str::from_utf8(passwords.nobody.expose()).expect("text")).expect("a hash");
        let params = Params::try_from(&hash).expect("parameters");
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, LANES));
        assert!(hash.hash.is_some(), "without it there would be no work");
    }

    #[tokio::test]
    async fn beyond_the_queue_nobody_waits() {
        let passwords = Passwords::new().expect("random");
        let _all = Arc::clone(&passwords.in_queue).acquire_many_owned(64).await.expect("all");
        let refused = passwords.verify(typed("x"), None).await.expect_err("full");
        assert_eq!(refused.code(), "overloaded");
    }

    #[test]
    fn a_new_password_is_long_and_not_obvious() {
        let login = Login::parse("Augusta@example.com").expect("a login");
        for (text, outcome) in [
            ("correct horse battery", Ok(())),
            ("12 Zeichen ü", Ok(())),
            ("elf letters", Err(PasswordError::TooShort)),
            ("hello AUGUSTA 1815", Err(PasswordError::Obvious)),
            ("aaaaaaaaaaaaaaaa", Err(PasswordError::Obvious)),
            (&"ab".repeat(600), Err(PasswordError::TooLong)),
        ] {
            assert_eq!(typed(text).check_new(&login), outcome, "{text}");
        }
    }
}
