//! Reading a backup: every entry is opened, and what was cut off, changed, or is sealed under a key that is
//! not at hand is told with its place.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::{End, FORMAT, KIND, MAGIC, hex, listed};
use crate::seal::{Envelope, KeyId, SealError, Sealer};
use crate::store::Stored;

/// No envelope of ours is nearly as long.
const LONGEST: u32 = 256 << 20;

/// Why a backup is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("the backup cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is something else.
    #[error("this is no backup of subrosa, or one of a later version")]
    NoBackup,
    /// It ends before its end.
    #[error("the backup breaks off at byte {at}, after {entries} entries: it was cut short, or not written to its end")]
    CutShort {
        /// Where.
        at: u64,
        /// How many came before.
        entries: u64,
    },
    /// A part of it is not what was written.
    #[error("the backup was damaged or changed {place}")]
    Changed {
        /// Where.
        place: String,
    },
    /// Its keys are not at hand.
    #[error(
        "the backup is sealed under the key {needed}, and at hand is {given}; give the key file that it was made with (--key-file)"
    )]
    Key {
        /// The ids of those that are missing.
        needed: String,
        /// The current one of those at hand.
        given: KeyId,
    },
}

/// What a backup holds.
#[derive(Debug)]
pub struct Contents {
    /// Everything that was stored.
    pub stored: Vec<Stored>,
    /// What its end says.
    pub end: End,
    /// Keys of entries that did not open when the backup was made.
    pub damaged: Vec<String>,
}

/// Reads a backup to its end. Every envelope must open with `sealer`, or not have opened when the backup was
/// made; its end vouches for that.
pub fn read(input: impl Read, sealer: &Sealer) -> Result<Contents, BackupError> {
    let mut reader = Reader { input, hash: Sha256::new(), at: 0, entries: 0 };
    if reader.exactly(MAGIC.len()).map_err(no_backup)? != MAGIC {
        return Err(BackupError::NoBackup);
    }
    let mut found = Found::default();
    while let Some((key, at)) = reader.key()? {
        let bytes = reader.envelope()?;
        found.look_at(sealer, &key, at, &bytes);
        reader.entries += 1;
        found.stored.push(Stored { key, version: 0, bytes });
    }
    let hash = hex(&reader.hash.clone().finalize());
    let at = reader.at;
    let envelope = reader.envelope()?;
    if reader.input.read(&mut [0])? != 0 {
        return Err(BackupError::Changed { place: format!("at byte {}: something follows its end", reader.at) });
    }
    let end = end(sealer, &envelope, at, &mut found)?;
    if !found.missing.is_empty() {
        return Err(BackupError::Key { needed: listed(&found.missing), given: sealer.key_id() });
    }
    if end.sha256 != hash || end.entries != reader.entries {
        let place = found.damaged.first().map_or_else(
            || "between its entries: one was taken out, put in or moved".to_owned(),
            |(key, at)| format!("in the entry `{key}` that begins at byte {at}"),
        );
        return Err(BackupError::Changed { place });
    }
    Ok(Contents { stored: found.stored, end, damaged: found.damaged.into_iter().map(|(key, _)| key).collect() })
}

/// What the end of a backup says, once everything before it has the hash that stands there: without any key, so
/// that nothing of it is proved.
pub fn inspect(input: impl Read) -> Result<End, BackupError> {
    let mut reader = Reader { input, hash: Sha256::new(), at: 0, entries: 0 };
    if reader.exactly(MAGIC.len()).map_err(no_backup)? != MAGIC {
        return Err(BackupError::NoBackup);
    }
    while reader.key()?.is_some() {
        reader.envelope()?;
        reader.entries += 1;
    }
    let hash = hex(&reader.hash.clone().finalize());
    let envelope = reader.envelope()?;
    let header = Envelope::parse(&envelope).map_err(|_| BackupError::NoBackup)?.unverified_header();
    let end: End = serde_json::from_slice(header).map_err(|_| BackupError::NoBackup)?;
    let whole = end.sha256 == hash && end.entries == reader.entries;
    if whole { Ok(end) } else { Err(BackupError::Changed { place: "on its way here".to_owned() }) }
}

/// The end, once it has authenticated.
fn end(sealer: &Sealer, envelope: &[u8], at: u64, found: &mut Found) -> Result<End, BackupError> {
    let changed = || BackupError::Changed { place: format!("in its end, which begins at byte {at}") };
    match sealer.open(envelope) {
        Ok(_) => {}
        Err(SealError::WrongKey { sealed_with, .. }) => {
            found.miss(sealed_with);
            return Err(BackupError::Key { needed: listed(&found.missing), given: sealer.key_id() });
        }
        Err(_) => return Err(changed()),
    }
    let header = Envelope::parse(envelope).map_err(|_| changed())?.unverified_header();
    let end: End = serde_json::from_slice(header).map_err(|_| BackupError::NoBackup)?;
    if end.format == FORMAT && end.kind == KIND { Ok(end) } else { Err(BackupError::NoBackup) }
}

#[derive(Default)]
struct Found {
    stored: Vec<Stored>,
    /// What does not open, and where it begins.
    damaged: Vec<(String, u64)>,
    /// Keys that are not at hand.
    missing: Vec<KeyId>,
}

impl Found {
    fn look_at(&mut self, sealer: &Sealer, key: &str, at: u64, bytes: &[u8]) {
        match sealer.open(bytes) {
            Ok(_) => {}
            Err(SealError::WrongKey { sealed_with, .. }) => self.miss(sealed_with),
            Err(_) => self.damaged.push((key.to_owned(), at)),
        }
    }

    fn miss(&mut self, id: KeyId) {
        if !self.missing.contains(&id) {
            self.missing.push(id);
        }
    }
}

struct Reader<R> {
    input: R,
    hash: Sha256,
    at: u64,
    entries: u64,
}

impl<R: Read> Reader<R> {
    /// The next key and where its entry begins; `None` at the end.
    fn key(&mut self) -> Result<Option<(String, u64)>, BackupError> {
        let at = self.at;
        let length = self.exactly(2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length == 0 {
            return Ok(None);
        }
        let key = String::from_utf8(self.exactly(length)?);
        let key = key.map_err(|_| BackupError::Changed { place: format!("at byte {at}: this is no key of an entry") })?;
        Ok(Some((key, at)))
    }

    fn envelope(&mut self) -> Result<Vec<u8>, BackupError> {
        let at = self.at;
        let length = self.exactly(4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        if length > LONGEST {
            return Err(BackupError::Changed { place: format!("at byte {at}: this is no length of an entry") });
        }
        self.exactly(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        (&mut self.input).take(length as u64).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        if bytes.len() < length {
            return Err(BackupError::CutShort { at: self.at, entries: self.entries });
        }
        self.hash.update(&bytes);
        Ok(bytes)
    }
}

/// What is shorter than the beginning is none.
fn no_backup(error: BackupError) -> BackupError {
    match error {
        BackupError::CutShort { .. } => BackupError::NoBackup,
        other => other,
    }
}
