//! The layout of an envelope, version 1: where each part lies, and nothing about what it means.
//!
//! ```text
//! "SBRS" | version, 1 byte | header length, 4 bytes big-endian | header
//!        | key id, 8 bytes | nonce 24, wrapped data key 32, tag 16 | nonce 24, ciphertext, tag 16
//! ```

use super::{KeyId, SealError};

const MAGIC: &[u8; 4] = b"SBRS";
const VERSION: u8 = 1;
/// The length of an XChaCha20-Poly1305 nonce: long enough that random ones never meet.
pub(super) const NONCE: usize = 24;
/// The length of a Poly1305 tag.
pub(super) const TAG: usize = 16;
/// The length of a data-encryption key.
pub(super) const DATA_KEY: usize = 32;
const WRAPPED: usize = NONCE + DATA_KEY + TAG;
const KEY_ID: usize = 8;

/// An envelope taken apart. Nothing of it is authenticated yet.
#[derive(Clone, Copy)]
pub struct Envelope<'a> {
    header: &'a [u8],
    key_id: KeyId,
    wrapped_key: &'a [u8],
    sealed_payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes an envelope apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SealError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(SealError::Corrupt)?;
        let (&version, rest) = rest.split_first().ok_or(SealError::Corrupt)?;
        if version != VERSION {
            return Err(SealError::UnknownVersion(version));
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(SealError::Corrupt)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SealError::Corrupt)?;
        let (header, rest) = rest.split_at_checked(length).ok_or(SealError::Corrupt)?;
        let (key_id, rest) = rest.split_first_chunk::<KEY_ID>().ok_or(SealError::Corrupt)?;
        let (wrapped_key, sealed_payload) = rest.split_at_checked(WRAPPED).ok_or(SealError::Corrupt)?;
        if sealed_payload.len() < NONCE + TAG {
            return Err(SealError::Corrupt);
        }
        Ok(Self { header, key_id: KeyId::from_bytes(*key_id), wrapped_key, sealed_payload })
    }

    /// The header as it is stored. It may be believed only after the envelope was opened.
    pub fn unverified_header(&self) -> &'a [u8] {
        self.header
    }

    /// The key the envelope says it was sealed with.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// How long the payload is, in bytes; its length is not hidden.
    pub fn payload_len(&self) -> usize {
        self.sealed_payload.len().saturating_sub(NONCE + TAG)
    }

    pub(super) fn wrapped_key(&self) -> &'a [u8] {
        self.wrapped_key
    }

    pub(super) fn sealed_payload(&self) -> &'a [u8] {
        self.sealed_payload
    }
}

/// Puts an envelope together.
pub(super) fn write(header: &[u8], key_id: KeyId, wrapped_key: &[u8], sealed_payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let length = u32::try_from(header.len()).map_err(|_| SealError::TooLong)?.to_be_bytes();
    Ok([MAGIC, &[VERSION][..], &length, header, key_id.as_bytes(), wrapped_key, sealed_payload].concat())
}
