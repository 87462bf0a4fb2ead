//! Restoring: a backup is opened as the store that it would be, and only then takes the place of the one there.

use std::path::{Path, PathBuf};

use super::{BackupError, Contents, End};
use crate::ledger::{Ledger, LedgerError};
use crate::seal::{KeyRing, SealError, Sealer};
use crate::store::{self, Engine, Expect, StoreError, Stored, Write};

/// Entries in one commit to memory.
const SOME: usize = 256;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is none to restore.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// What it holds is no store that opens.
    #[error("what the backup holds does not open: {0}")]
    Ledger(#[from] LedgerError),
    /// Something in it cannot be used.
    #[error("{} in the backup cannot be used, and could not when it was made, the first is {}; \
             restore it all the same with --accept-damaged", .0.len(), .0.first().map_or("", String::as_str))]
    Damaged(Vec<String>),
    /// It could not be put in place.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// A backup that opens as a store, sealed under the current key alone.
#[derive(Debug)]
pub struct Checked {
    /// What is to be stored.
    pub stored: Vec<Stored>,
    /// What the backup says of itself.
    pub end: End,
    /// How many of what is stored are records.
    pub records: usize,
    /// What cannot be used, with the reason.
    pub damaged: Vec<String>,
}

/// Opens what a backup holds, all of it: with the keys of `ring`, the way a start does. What is sealed under
/// a former key is sealed anew under the current one.
pub async fn check(contents: Contents, ring: KeyRing) -> Result<Checked, RestoreError> {
    let Contents { mut stored, end, damaged } = contents;
    let alone = Sealer::with(ring.alone());
    let sealer = Sealer::with(ring);
    for entry in &mut stored {
        if sealer.is_former(&entry.bytes) && !damaged.contains(&entry.key) {
            entry.bytes = sealer.renew(&entry.bytes)?;
        }
    }
    let memory = store::open(Engine::Memory).await?;
    for some in stored.chunks(SOME) {
        let put = |entry: &Stored| Write::Put { key: entry.key.clone(), expect: Expect::Absent, bytes: entry.bytes.clone() };
        memory.commit(some.iter().map(put).collect()).await?;
    }
    let ledger = Ledger::open(memory, alone).await?;
    let mut cannot: Vec<String> = ledger.faults().iter().map(|fault| format!("`{}` ({})", fault.key, fault.reason)).collect();
    let others = damaged.iter().filter(|key| !key.starts_with("record/"));
    cannot.extend(others.map(|key| format!("`{key}` (it does not authenticate)")));
    let records = stored.iter().filter(|entry| entry.key.starts_with("record/")).count();
    Ok(Checked { stored, end, records, damaged: cannot })
}

/// Puts a checked backup in the place of the store below `directory`, which nobody may hold. What was there is
/// kept; where, if something was.
pub async fn replace(directory: &Path, checked: Checked) -> Result<Option<PathBuf>, StoreError> {
    store::replace(directory.to_owned(), checked.stored).await
}
