//! Sealing: a payload and its cleartext header become one envelope that only the right
//! key-encryption key opens, and only unchanged. The current key of a ring seals; all of its keys open.
//!
//! Every envelope has a random data-encryption key of its own, wrapped by the key-encryption key.
//! Both AEAD operations (XChaCha20-Poly1305, RFC 5116 in its words) authenticate the header bytes
//! exactly as they are stored, behind a label that says which operation it is. An empty payload is
//! how metadata that holds no secret is authenticated. `docs/security.md` has the layout.

mod envelope;
mod key;
mod resident;
mod ring;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use self::resident::Resident;
pub use self::ring::KeyRing;
pub use envelope::Envelope;
pub use key::{KeyEncryptionKey, KeyError, KeyId};

use crate::secret::SecretValue;
use envelope::{DATA_KEY, NONCE, TAG};

const WRAP_LABEL: &[u8] = b"subrosa envelope v1 data key\0";
const PAYLOAD_LABEL: &[u8] = b"subrosa envelope v1 payload\0";

/// Why something cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed under another key-encryption key.
    #[error("it was sealed with the key {sealed_with}, and the key given is {given}")]
    WrongKey {
        /// The key it names.
        sealed_with: KeyId,
        /// The key at hand.
        given: KeyId,
    },
    /// It does not authenticate, or is no envelope at all.
    #[error("it is damaged or was tampered with: it does not authenticate")]
    Corrupt,
    /// A version of the format that this program does not know.
    #[error("it is in version {0} of the sealed format, which this version of subrosa does not know")]
    UnknownVersion(u8),
    /// The header is over 4 GiB.
    #[error("its metadata is too long to be sealed")]
    TooLong,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

/// Seals under the current key of a ring, and opens under any of its keys. Clones share the ring.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<Keys>,
}

struct Keys {
    ring: ArcSwap<KeyRing>,
    /// Of what never leaves this process; made when first needed, and changed by no rotation.
    own: OnceLock<KeyEncryptionKey>,
}

impl Sealer {
    /// A sealer under `key`.
    pub fn new(key: KeyEncryptionKey) -> Self {
        Self::with(KeyRing::new(key))
    }

    /// A sealer under the keys of `ring`.
    pub fn with(ring: KeyRing) -> Self {
        Self { keys: Arc::new(Keys { ring: ArcSwap::from_pointee(ring), own: OnceLock::new() }) }
    }

    /// Which key seals.
    pub fn key_id(&self) -> KeyId {
        self.keys.ring.load().current()
    }

    /// The ring as it is now.
    pub fn ring(&self) -> Arc<KeyRing> {
        self.keys.ring.load_full()
    }

    /// Seals and opens under the keys of `ring` from now on, in every clone.
    pub fn set_ring(&self, ring: KeyRing) {
        self.keys.ring.store(Arc::new(ring));
    }

    /// Whether `envelope` is sealed under a key that is not the current one. What is no envelope is not.
    pub fn is_former(&self, envelope: &[u8]) -> bool {
        Envelope::parse(envelope).is_ok_and(|envelope| envelope.key_id() != self.key_id())
    }

    /// Seals what `envelope` holds anew, beneath the same header, under the current key: with another
    /// data-encryption key too, so that whoever knows a former key can make nothing of it.
    pub fn renew(&self, envelope: &[u8]) -> Result<Vec<u8>, SealError> {
        self.reseal(envelope, Envelope::parse(envelope)?.unverified_header())
    }

    /// Seals what is kept in this process's memory only, under a key that never leaves it.
    pub fn seal_in_memory(&self, header: &[u8], payload: Option<&SecretValue>) -> Result<Vec<u8>, SealError> {
        let key = if let Some(key) = self.keys.own.get() {
            key
        } else {
            let made = KeyEncryptionKey::random().map_err(|_| SealError::NoRandomness)?;
            self.keys.own.get_or_init(|| made)
        };
        seal_under(key, header, payload.map_or(&[], SecretValue::expose))
    }

    /// Seals a value beneath `header`.
    pub fn seal_value(&self, header: &[u8], value: &SecretValue) -> Result<Vec<u8>, SealError> {
        self.seal(header, value.expose())
    }

    /// Seals `header` with an empty payload: it stays readable and can no longer be changed unseen.
    pub fn seal_metadata(&self, header: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal(header, &[])
    }

    /// Seals the payload of `envelope` anew beneath another header.
    pub fn reseal(&self, envelope: &[u8], header: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal(header, &self.open(envelope)?)
    }

    /// Opens a value. What opens and is no value (empty) is corrupt.
    pub fn open_value(&self, envelope: &[u8]) -> Result<SecretValue, SealError> {
        let mut payload = self.open(envelope)?;
        SecretValue::new(std::mem::take(&mut *payload)).map_err(|_| SealError::Corrupt)
    }

    /// Seals `payload` beneath `header` with a data-encryption key and nonces of its own.
    pub fn seal(&self, header: &[u8], payload: &[u8]) -> Result<Vec<u8>, SealError> {
        seal_under(self.keys.ring.load().key(), header, payload)
    }

    /// Opens an envelope, both of whose parts must authenticate.
    pub fn open(&self, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let envelope = Envelope::parse(envelope)?;
        let ring = self.keys.ring.load();
        let own = || self.keys.own.get().filter(|own| own.id() == envelope.key_id());
        let key = ring.find(envelope.key_id()).or_else(own);
        let key = key.ok_or(SealError::WrongKey { sealed_with: envelope.key_id(), given: ring.current() })?;
        let header = envelope.unverified_header();
        let unwrapped = decrypt(key.bytes(), envelope.wrapped_key(), &associated(WRAP_LABEL, header))?;
        let mut data_key = Zeroizing::new([0; DATA_KEY]);
        if unwrapped.len() != DATA_KEY {
            return Err(SealError::Corrupt);
        }
        data_key.copy_from_slice(&unwrapped);
        decrypt(&data_key, envelope.sealed_payload(), &associated(PAYLOAD_LABEL, header))
    }
}

fn seal_under(key: &KeyEncryptionKey, header: &[u8], payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut data_key = Zeroizing::new([0; DATA_KEY]);
    random(data_key.as_mut_slice())?;
    let wrapped = encrypt(key.bytes(), data_key.as_slice(), &associated(WRAP_LABEL, header))?;
    let sealed = encrypt(&data_key, payload, &associated(PAYLOAD_LABEL, header))?;
    envelope::write(header, key.id(), &wrapped, &sealed)
}

/// The SHA-256 of a value, for comparing without keeping it.
pub fn digest(value: &SecretValue) -> [u8; 32] {
    Sha256::digest(value.expose()).into()
}

/// Fills `bytes` from the operating system's random source.
pub fn random(bytes: &mut [u8]) -> Result<(), SealError> {
    getrandom::fill(bytes).map_err(|_| SealError::NoRandomness)
}

/// Nothing is canonicalised: what is stored is what is authenticated.
fn associated(label: &[u8], header: &[u8]) -> Vec<u8> {
    [label, header].concat()
}

/// Nonce, ciphertext and tag, in this order. The buffer never moves while it holds the plaintext.
fn encrypt(key: &[u8; DATA_KEY], plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE];
    random(&mut nonce)?;
    let mut out = Zeroizing::new(Vec::with_capacity(NONCE + plaintext.len() + TAG));
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    let cipher = XChaCha20Poly1305::new(key.into());
    let tag = cipher
        .encrypt_in_place_detached(XNonce::from_slice(&nonce), associated, &mut out[NONCE..])
        .map_err(|_| SealError::TooLong)?;
    out.extend_from_slice(&tag);
    Ok(std::mem::take(&mut *out))
}

fn decrypt(key: &[u8; DATA_KEY], sealed: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, rest) = sealed.split_at_checked(NONCE).ok_or(SealError::Corrupt)?;
    let body = rest.len().checked_sub(TAG).ok_or(SealError::Corrupt)?;
    let (ciphertext, tag) = rest.split_at(body);
    let mut out = Zeroizing::new(ciphertext.to_vec());
    XChaCha20Poly1305::new(key.into())
        .decrypt_in_place_detached(XNonce::from_slice(nonce), associated, &mut out, Tag::from_slice(tag))
        .map_err(|_| SealError::Corrupt)?;
    Ok(out)
}

#[cfg(test)]
mod vector_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(KeyEncryptionKey::from_bytes(&[byte; 32]))
    }

    #[test]
    fn what_was_sealed_opens_and_shows_only_its_header() {
        let sealed = sealer(1).seal(b"{\"name\":\"a\"}", b"hunter2").expect("seals");
        assert_eq!(sealer(1).open(&sealed).expect("opens").as_slice(), b"hunter2");
        assert_eq!(Envelope::parse(&sealed).expect("parses").unverified_header(), b"{\"name\":\"a\"}");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn sealing_twice_shares_no_byte_of_key_nonce_or_ciphertext() {
        let (one, two) = (sealer(1).seal(b"h", &[0; 64]).expect("seals"), sealer(1).seal(b"h", &[0; 64]).expect("seals"));
        let (one, two) = (Envelope::parse(&one).expect("parses"), Envelope::parse(&two).expect("parses"));
        assert_ne!(one.wrapped_key()[..NONCE], two.wrapped_key()[..NONCE]);
        assert_ne!(one.wrapped_key()[NONCE..], two.wrapped_key()[NONCE..]);
        assert_ne!(one.sealed_payload()[..NONCE], two.sealed_payload()[..NONCE]);
        assert_ne!(one.sealed_payload()[NONCE..], two.sealed_payload()[NONCE..]);
    }

    #[test]
    fn every_single_flipped_bit_is_noticed() {
        let sealed = sealer(1).seal(b"{\"a\":1}", b"v").expect("seals");
        for position in 0..sealed.len() * 8 {
            let mut bent = sealed.clone();
            bent[position / 8] ^= 1 << (position % 8);
            assert!(sealer(1).open(&bent).is_err(), "bit {position}");
        }
        for length in 0..sealed.len() {
            assert!(sealer(1).open(&sealed[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn another_key_is_named_and_not_called_damage() {
        let sealed = sealer(1).seal_metadata(b"h").expect("seals");
        let fault = sealer(2).open(&sealed).expect_err("another key");
        assert_eq!(fault, SealError::WrongKey { sealed_with: sealer(1).key_id(), given: sealer(2).key_id() });
        let said = fault.to_string();
        assert!(said.contains(&sealer(1).key_id().to_string()) && said.contains(&sealer(2).key_id().to_string()), "{said}");
    }

    #[test]
    fn a_ring_opens_what_its_former_keys_sealed_and_seals_it_anew_under_the_current_one() {
        let old = sealer(1).seal(b"h", b"hunter2").expect("seals");
        let both =
            Sealer::with(KeyRing::new(KeyEncryptionKey::from_bytes(&[2; 32])).with(KeyEncryptionKey::from_bytes(&[1; 32])));
        assert_eq!(both.open(&old).expect("opens").as_slice(), b"hunter2");
        assert!(both.is_former(&old));
        let new = both.renew(&old).expect("seals");
        assert!(!both.is_former(&new));
        let (one, two) = (Envelope::parse(&old).expect("parses"), Envelope::parse(&new).expect("parses"));
        assert_eq!(one.unverified_header(), two.unverified_header());
        assert_ne!(one.sealed_payload(), two.sealed_payload(), "whoever had the old data key has nothing of the new one");
        assert_eq!(sealer(2).open(&new).expect("opens").as_slice(), b"hunter2");
        // Once the former key is retired, what was sealed with it is nothing any more, in every clone.
        let clone = both.clone();
        both.set_ring(both.ring().alone());
        assert!(matches!(clone.open(&old), Err(SealError::WrongKey { .. })));
        assert!(clone.open(&new).is_ok());
    }

    #[test]
    fn what_is_sealed_for_memory_outlives_a_rotation_and_opens_nowhere_else() {
        let here = sealer(1);
        let value = SecretValue::new(b"hunter2".to_vec()).expect("a value");
        let sealed = here.seal_in_memory(b"h", Some(&value)).expect("seals");
        here.set_ring(KeyRing::new(KeyEncryptionKey::from_bytes(&[2; 32])));
        assert_eq!(here.open(&sealed).expect("opens").as_slice(), b"hunter2");
        assert!(sealer(1).open(&sealed).is_err() && sealer(2).open(&sealed).is_err());
    }

    #[test]
    fn a_version_of_tomorrow_is_said_to_be_one() {
        let mut sealed = sealer(1).seal_metadata(b"h").expect("seals");
        sealed[4] = 2;
        assert_eq!(sealer(1).open(&sealed).err(), Some(SealError::UnknownVersion(2)));
    }

    #[test]
    fn the_two_sealed_parts_cannot_be_exchanged_between_envelopes() {
        let (one, two) = (sealer(1).seal(b"h", b"first!").expect("seals"), sealer(1).seal(b"h", b"second").expect("seals"));
        let (one, two) = (Envelope::parse(&one).expect("parses"), Envelope::parse(&two).expect("parses"));
        let mixed = envelope::write(b"h", one.key_id(), one.wrapped_key(), two.sealed_payload()).expect("writes");
        assert_eq!(sealer(1).open(&mixed).err(), Some(SealError::Corrupt));
    }

    #[test]
    fn metadata_without_a_payload_is_no_value() {
        let sealed = sealer(1).seal_metadata(b"h").expect("seals");
        assert!(sealer(1).open(&sealed).is_ok_and(|payload| payload.is_empty()));
        assert_eq!(sealer(1).open_value(&sealed).err(), Some(SealError::Corrupt));
    }

    #[test]
    fn an_envelope_written_by_hand_from_the_document_opens() {
        // docs/security.md, followed literally, without this room's own writer.
        let (key, data_key, header) = ([7; 32], [9; 32], b"{\"kind\":\"secret\"}");
        let aead = |key: &[u8; 32], nonce: u8, plain: &[u8], label: &str| {
            use chacha20poly1305::aead::{Aead, Payload};
            let aad = [label.as_bytes(), &[0], header.as_slice()].concat();
            let cipher = XChaCha20Poly1305::new(key.into());
            cipher.encrypt(&[nonce; 24].into(), Payload { msg: plain, aad: &aad }).expect("encrypts")
        };
        let id = &Sha256::digest([b"subrosa kek id v1".as_slice(), &key].concat())[..8];
        let sealed = [
            b"SBRS\x01".as_slice(),
            &17_u32.to_be_bytes(),
            header,
            id,
            &[1; 24],
            &aead(&key, 1, &data_key, "subrosa envelope v1 data key"),
            &[2; 24],
            &aead(&data_key, 2, b"hunter2", "subrosa envelope v1 payload"),
        ]
        .concat();
        let opened = Sealer::new(KeyEncryptionKey::from_bytes(&key)).open(&sealed).expect("opens");
        assert_eq!(opened.as_slice(), b"hunter2");
    }
}
