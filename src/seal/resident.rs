//! A value that is used often, kept in memory sealed under a key that this process alone has ever
//! had: one short operation opens it.
//!
//! What lies in the store is opened with two operations and authenticated with its whole header. That
//! is done once, at the first use; what follows opens this copy (AES-256-GCM, a key and nonces from
//! the operating system). It is never written anywhere and ends with the process.

use std::sync::OnceLock;

use ::ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{SealError, random};
use crate::secret::SecretValue;

/// A value, sealed for this process.
pub struct Resident {
    nonce: [u8; NONCE_LEN],
    sealed: Box<[u8]>,
}

impl Resident {
    /// Seals `value` for this process.
    pub fn seal(value: &SecretValue) -> Result<Self, SealError> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        // Of this length from the beginning, so that no plaintext is left behind by growing.
        let mut sealed = Zeroizing::new(Vec::with_capacity(value.expose().len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(value.expose());
        let unique = Nonce::assume_unique_for_key(nonce);
        key()?.seal_in_place_append_tag(unique, Aad::empty(), &mut *sealed).map_err(|_| SealError::TooLong)?;
        Ok(Self { nonce, sealed: std::mem::take(&mut *sealed).into_boxed_slice() })
    }

    /// Opens it.
    pub fn open(&self) -> Result<SecretValue, SealError> {
        let mut bytes = Zeroizing::new(self.sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let length = key()?.open_in_place(nonce, Aad::empty(), &mut bytes).map_err(|_| SealError::Corrupt)?.len();
        bytes.truncate(length);
        SecretValue::new(std::mem::take(&mut *bytes)).map_err(|_| SealError::Corrupt)
    }
}

/// The key of this process, made at its first use.
fn key() -> Result<&'static LessSafeKey, SealError> {
    static KEY: OnceLock<LessSafeKey> = OnceLock::new();
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let mut bytes = Zeroizing::new([0_u8; 32]);
    random(bytes.as_mut_slice())?;
    let made = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).map_err(|_| SealError::NoRandomness)?;
    Ok(KEY.get_or_init(|| LessSafeKey::new(made)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> SecretValue {
        SecretValue::new(bytes.to_vec()).expect("a value")
    }

    #[test]
    fn what_was_sealed_opens_and_does_not_show() {
        for bytes in [b"x".as_slice(), b"hunter2-hunter2-hunter2", &vec![7; 64 * 1024]] {
            let resident = Resident::seal(&value(bytes)).expect("seals");
            assert_eq!(resident.open().expect("opens").expose(), bytes);
            assert!(bytes.len() < 8 || !resident.sealed.windows(8).any(|part| part == &bytes[..8]));
        }
    }

    #[test]
    fn one_value_sealed_twice_shares_nothing() {
        let (one, other) = (Resident::seal(&value(&[0; 32])).expect("seals"), Resident::seal(&value(&[0; 32])).expect("seals"));
        assert_ne!(one.nonce, other.nonce);
        assert_ne!(one.sealed, other.sealed);
    }

    #[test]
    fn what_was_changed_does_not_open() {
        for position in 0..(7 + AES_256_GCM.tag_len()) {
            let mut resident = Resident::seal(&value(b"hunter2")).expect("seals");
            resident.sealed[position] ^= 1;
            assert_eq!(resident.open().err(), Some(SealError::Corrupt), "{position}");
        }
    }
}
