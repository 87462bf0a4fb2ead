//! The key-encryption key: where it comes from, who may read its file, and how it is named
//! without being shown.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::random;

const LENGTH: usize = 32;
/// A key is 44 characters; whatever is longer than this holds no keys.
pub(super) const MAX_TEXT: usize = 4096;
const ID_LABEL: &[u8] = b"subrosa kek id v1";
/// People lose the `=` when they copy a key; it says nothing that the length does not.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Names a key-encryption key: 8 bytes of a hash of it, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the key file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be made.
    #[error("the key file {path} cannot be created: {source}")]
    Uncreatable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Group or others have access to the file.
    #[error(
        "the key file {path} is open to others (mode {mode:04o}); run `chmod 600 {path}`, or mount the secret with mode 0400"
    )]
    TooOpen {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not base64.
    #[error("{place} is not one line of base64; a key is 32 random bytes in base64, as `openssl rand -base64 32` prints them")]
    NotBase64 {
        /// Which file or text.
        place: String,
    },
    /// It has the wrong length.
    #[error("{place} is {length} bytes long; a key is 32 random bytes in base64, as `openssl rand -base64 32` prints them")]
    Length {
        /// Which file or text.
        place: String,
        /// Its length once decoded.
        length: usize,
    },
    /// It is longer than any ring of keys.
    #[error("{place} is longer than {max} bytes; a key is one line of base64, as `openssl rand -base64 32` prints it", max = MAX_TEXT)]
    TooLong {
        /// Which file or text.
        place: String,
    },
    /// It holds no key at all.
    #[error("{place} holds no key; a key is 32 random bytes in base64, as `openssl rand -base64 32` prints them")]
    Empty {
        /// Which file or text.
        place: String,
    },
    /// The file cannot be replaced.
    #[error(
        "the key file {path} cannot be replaced: {source}; a new key is written beside it and moved there, so its directory must be \
         writable for the user that subrosa runs as"
    )]
    Unwritable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file was replaced, and it is not certain that this outlasts lost power.
    #[error(
        "the key file {path} was replaced and its directory cannot be synced: {source}; see to its disk, and ask for the rotation again"
    )]
    Unsynced {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("no key can be made: the operating system gave no randomness")]
    NoRandomness,
}

impl KeyError {
    /// Whether nothing is there, or less than a key.
    pub(super) fn is_no_key(&self) -> bool {
        match self {
            Self::Unreadable { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::NotBase64 { .. } | Self::Length { .. } | Self::Empty { .. } => true,
            _ => false,
        }
    }
}

/// The key that wraps data-encryption keys. Wiped when dropped; shown only as its id.
pub struct KeyEncryptionKey {
    bytes: Zeroizing<[u8; LENGTH]>,
    id: KeyId,
}

impl KeyEncryptionKey {
    /// Makes a key and a file for it: 0600 from its first moment, never over an existing one, on
    /// stable storage before anything is sealed with it.
    pub fn create_file(path: &Path) -> Result<Self, KeyError> {
        let key = Self::random()?;
        key.write_new(path).map_err(|source| KeyError::Uncreatable { path: path.display().to_string(), source })?;
        Ok(key)
    }

    /// A new key.
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        random(bytes.as_mut_slice()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Reads a key from a text of base64; surrounding blanks do not matter.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        Self::decode(text.as_bytes(), "the key")
    }

    /// A key from its bytes.
    pub fn from_bytes(bytes: &[u8; LENGTH]) -> Self {
        let hash = Sha256::new_with_prefix(ID_LABEL).chain_update(bytes).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self { bytes: Zeroizing::new(*bytes), id: KeyId(id) }
    }

    /// Names the key without showing it.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn bytes(&self) -> &[u8; LENGTH] {
        &self.bytes
    }

    /// The key as one line of base64, in memory that is wiped. The buffer never moves.
    pub(super) fn line(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(LENGTH * 2));
        BASE64.encode_string(self.bytes.as_slice(), &mut line);
        line.push('\n');
        line
    }

    pub(super) fn decode(text: &[u8], place: &str) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
        BASE64.decode_vec(text.trim_ascii(), &mut bytes).map_err(|_| KeyError::NotBase64 { place: place.to_owned() })?;
        let bytes = <&[u8; LENGTH]>::try_from(bytes.as_slice())
            .map_err(|_| KeyError::Length { place: place.to_owned(), length: bytes.len() })?;
        Ok(Self::from_bytes(bytes))
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        write_private(path, &self.line())?;
        // The directory may be new as well: a key that power loss took is a store that never opens.
        parent.canonicalize()?.ancestors().take(2).try_for_each(|dir| File::open(dir)?.sync_all())
    }
}

/// What a file of keys holds, which nobody but its owner may read.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let place = path.display().to_string();
    let unreadable = |source| KeyError::Unreadable { path: place.clone(), source };
    let file = File::open(path).map_err(unreadable)?;
    // The open file is asked, not the path, which could lead elsewhere by now.
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    // Kubernetes and systemd hand secrets over as root's files, readable by the service's group.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(KeyError::TooOpen { path: place, mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_TEXT + 1));
    file.take(MAX_TEXT as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Writes a file that is 0600 from its first moment, never over an existing one, onto stable storage.
/// Its directory is not synced.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
        // Half a key would be taken for one at the next start. What cannot be removed says so then.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(())
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyEncryptionKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn read(path: &Path) -> Result<KeyEncryptionKey, KeyError> {
        KeyEncryptionKey::decode(&read_private(path)?, "the key")
    }

    #[test]
    fn a_created_file_is_private_and_reads_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("keys/kek");
        let made = KeyEncryptionKey::create_file(&path).expect("creates");
        assert_eq!(fs::metadata(&path).expect("is there").mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("keys")).expect("is there").mode() & 0o7777, 0o700);
        let read = read(&path).expect("reads");
        assert_eq!(read.bytes(), made.bytes());
        assert_eq!(read.id(), made.id());
        assert_eq!(fs::read_to_string(&path).expect("text").len(), 45);
    }

    #[test]
    fn creating_never_overwrites() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kek");
        KeyEncryptionKey::create_file(&path).expect("creates");
        let before = fs::read(&path).expect("reads");
        assert!(matches!(KeyEncryptionKey::create_file(&path), Err(KeyError::Uncreatable { .. })));
        assert_eq!(fs::read(&path).expect("reads"), before);
    }

    #[test]
    fn refuses_a_file_that_others_can_read_with_its_mode_and_the_cure() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kek");
        KeyEncryptionKey::create_file(&path).expect("creates");
        for mode in [0o604, 0o644, 0o660, 0o610] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("changes the mode");
            let said = read(&path).expect_err("too open").to_string();
            assert!(said.contains(&format!("{mode:04o}")) && said.contains("chmod 600"), "{said}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).expect("changes the mode");
        assert!(read(&path).is_ok());
        // As the service managers hand it over: root's, and the group's to read.
        fs::set_permissions(&path, Permissions::from_mode(0o440)).expect("changes the mode");
        assert_eq!(read(&path).is_ok(), fs::metadata(&path).expect("is there").uid() == 0);
    }

    #[test]
    fn refuses_what_is_no_key_without_repeating_it() {
        for (text, part) in [("", "0 bytes"), ("AAAA", "3 bytes"), ("!hunter2", "base64"), (&"A".repeat(44), "33 bytes")] {
            let said = KeyEncryptionKey::from_base64(text).expect_err("no key").to_string();
            assert!(said.contains(part) && !said.contains("hunter2"), "{text}: {said}");
        }
        let good = BASE64.encode([5; 32]);
        let id = KeyEncryptionKey::from_bytes(&[5; 32]).id();
        for text in [&good, &format!(" {good}\r\n"), good.trim_end_matches('=')] {
            assert_eq!(KeyEncryptionKey::from_base64(text).expect("a key").id(), id);
        }
    }

    #[test]
    fn the_id_is_the_documented_hash_and_debug_shows_nothing_more() {
        let key = KeyEncryptionKey::from_bytes(&[0; 32]);
        let hash = Sha256::digest([b"subrosa kek id v1".as_slice(), &[0; 32]].concat());
        let hex = format!("{:016x}", u64::from_be_bytes(hash[..8].try_into().expect("8 bytes")));
        assert_eq!(key.id().to_string(), hex);
        assert_eq!(format!("{key:?}"), format!("KeyEncryptionKey({hex})"));
    }
}
