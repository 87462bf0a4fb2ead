//! Making a backup: the store as it was at one moment, piece by piece.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{End, FORMAT, KIND, MAGIC, hex};
use crate::seal::{Envelope, SealError, Sealer};
use crate::store::{Backend, StoreError, Stored};

/// Records and their manifest.
const RECORDS: &[&str] = &["record/", "manifest"];

/// What goes into a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything that is stored.
    Everything,
    /// Secrets, runners, people and whatever else is a record; nothing of activity.
    RecordsOnly,
}

/// Whatever backups are made of.
#[derive(Clone)]
pub struct Backups {
    store: Arc<dyn Backend>,
    sealer: Sealer,
    /// Each needs memory for all that is stored.
    one: Arc<Semaphore>,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// Another one is under way.
    #[error("another backup is being made, and one at a time is; try again when it has ended")]
    UnderWay,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Backups {
    /// Backups of what is in `store`; `sealer` seals their ends.
    pub fn new(store: Arc<dyn Backend>, sealer: Sealer) -> Self {
        Self { store, sealer, one: Arc::new(Semaphore::new(1)) }
    }

    /// Takes one, unless another is still being written. `now` is unix seconds.
    pub async fn take(&self, wanted: Wanted, now: i64) -> Result<Snapshot, NotTaken> {
        let alone = Arc::clone(&self.one).try_acquire_owned().map_err(|_| NotTaken::UnderWay)?;
        Ok(Snapshot::take(&*self.store, (self.sealer.clone(), alone), wanted, now).await?)
    }
}

/// The store as it was at one moment; as an iterator, the pieces of the backup.
pub struct Snapshot {
    sealer: Sealer,
    stored: std::vec::IntoIter<Stored>,
    hash: Sha256,
    end: End,
    part: Part,
    _alone: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Beginning,
    Entries,
    Nothing,
}

impl Snapshot {
    /// Takes it. `now` is unix seconds. What is stored is in memory until the last piece is written.
    async fn take(
        store: &dyn Backend,
        (sealer, alone): (Sealer, OwnedSemaphorePermit),
        wanted: Wanted,
        now: i64,
    ) -> Result<Self, StoreError> {
        let prefixes = match wanted {
            Wanted::Everything => &[""],
            Wanted::RecordsOnly => RECORDS,
        };
        let stored = store.load(prefixes).await?.stored;
        let mut keys = BTreeMap::new();
        for envelope in stored.iter().filter_map(|stored| Envelope::parse(&stored.bytes).ok()) {
            *keys.entry(envelope.key_id().to_string()).or_insert(0) += 1;
        }
        let end = End {
            format: FORMAT,
            kind: KIND.to_owned(),
            made_at: now,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            entries: stored.len() as u64,
            activity: wanted == Wanted::Everything,
            keys,
            sha256: String::new(),
        };
        Ok(Self { sealer, stored: stored.into_iter(), hash: Sha256::new(), end, part: Part::Beginning, _alone: alone })
    }

    fn hashed(&mut self, piece: Vec<u8>) -> Vec<u8> {
        self.hash.update(&piece);
        piece
    }

    fn finish(&mut self) -> Result<Vec<u8>, SealError> {
        self.part = Part::Nothing;
        self.hash.update(0_u16.to_be_bytes());
        self.end.sha256 = hex(&self.hash.finalize_reset());
        let header = serde_json::to_vec(&self.end).expect("the end has text keys only");
        let envelope = self.sealer.seal_metadata(&header)?;
        Ok([&0_u16.to_be_bytes()[..], &length(&envelope)?, &envelope].concat())
    }
}

impl Iterator for Snapshot {
    type Item = Result<Vec<u8>, SealError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.part {
            Part::Beginning => {
                self.part = Part::Entries;
                Some(Ok(self.hashed(MAGIC.to_vec())))
            }
            Part::Entries => Some(match self.stored.next() {
                Some(stored) => entry(&stored).map(|piece| self.hashed(piece)),
                None => self.finish(),
            }),
            Part::Nothing => None,
        }
    }
}

fn entry(stored: &Stored) -> Result<Vec<u8>, SealError> {
    let key = u16::try_from(stored.key.len()).map_err(|_| SealError::TooLong)?;
    Ok([&key.to_be_bytes()[..], stored.key.as_bytes(), &length(&stored.bytes)?, &stored.bytes].concat())
}

fn length(bytes: &[u8]) -> Result<[u8; 4], SealError> {
    u32::try_from(bytes.len()).map(u32::to_be_bytes).map_err(|_| SealError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::KeyEncryptionKey;
    use crate::store::{self, Engine};

    #[tokio::test]
    async fn one_is_made_at_a_time() {
        let store = store::open(Engine::Memory).await.expect("memory opens");
        let backups = Backups::new(store, Sealer::new(KeyEncryptionKey::from_bytes(&[1; 32])));
        let first = backups.take(Wanted::Everything, 0).await.expect("takes");
        let another = backups.clone();
        assert!(matches!(another.take(Wanted::Everything, 0).await, Err(NotTaken::UnderWay)));
        // Written to its end, or given up.
        drop(first);
        assert!(another.take(Wanted::RecordsOnly, 0).await.is_ok());
    }
}
