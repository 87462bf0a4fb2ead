//! A rotation, as far as the ledger goes: what lies sealed under a former key is sealed anew under the
//! current one, some at a time and among other writers, and at last the former keys are let go.
//!
//! Headers stay as they are, so neither a record's revision nor a line of the manifest changes. Each
//! envelope names its key: wherever this is interrupted, it goes on with those that name a former one.

use std::ops::Bound;
use std::sync::Arc;

use super::book::Book;
use super::record::{Entry, Record, RecordKey};
use super::{Inner, Ledger, LedgerError, manifest};
use crate::seal::KeyId;
use crate::store::{COMMIT_BYTES, Expect, StoreError, Stored, Write};

/// How often what somebody else was faster with is tried again.
const TURNS: usize = 64;
/// Pages of the manifest in one commit; with a hundred thousand records one has 32 KiB.
const PAGES: usize = 16;

/// How far it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// How many were sealed anew.
    pub count: u64,
    /// Go on behind this; `None`: all were looked at.
    pub next: Option<RecordKey>,
}

impl Ledger {
    /// Seals anew the records behind `after` that are sealed under a former key, at most `limit` of them.
    /// Those that cannot be used by any version stay as they are.
    pub async fn renew_records(&self, after: Option<RecordKey>, limit: usize) -> Result<Renewed, LedgerError> {
        let inner = Arc::clone(&self.inner);
        super::finish(async move { inner.renew_records(after, limit).await }).await
    }

    /// Seals the manifest anew as far as it is sealed under a former key. How many parts that were.
    pub async fn renew_manifest(&self) -> Result<u64, LedgerError> {
        let inner = Arc::clone(&self.inner);
        super::finish(async move { inner.renew_manifest().await }).await
    }

    /// Lets go of every key but `current`: what is sealed under another does not open from now on. No write is under
    /// way meanwhile. False, and nothing let go of, if another key is current by now.
    pub async fn retire_former_keys(&self, current: KeyId) -> bool {
        let _none = self.inner.writer.lock().await;
        let ring = self.inner.sealer.ring();
        let is_current = ring.current() == current;
        if is_current {
            self.inner.sealer.set_ring(ring.alone());
        }
        is_current
    }

    /// Whether a record that can be used, by this version or a later one, lies under this key of the store.
    pub fn is_of_use(&self, key: &str) -> bool {
        RecordKey::parse(key).is_some_and(|key| self.inner.book().envelope(&key).is_some())
    }
}

impl Book {
    /// The envelope of a record that can be used, by this version or a later one.
    fn envelope(&self, key: &RecordKey) -> Option<&Vec<u8>> {
        match self.entries.get(key)? {
            Entry::Sound(record) => Some(&record.envelope),
            Entry::Faulty(_) => self.later.get(key),
        }
    }
}

impl Inner {
    async fn renew_records(&self, after: Option<RecordKey>, limit: usize) -> Result<Renewed, LedgerError> {
        let _one = self.writer.lock().await;
        for _ in 0..TURNS {
            let (former, next) = self.former_records(after.clone(), limit);
            let mut renewed = Vec::with_capacity(former.len());
            for (key, envelope) in former {
                renewed.push((key, self.sealer.renew(&envelope)?));
            }
            if renewed.is_empty() {
                return Ok(Renewed { count: 0, next });
            }
            let (writes, seen) = {
                let book = self.book();
                let writes = renewed.iter().map(|(key, envelope)| book.put(key.to_string(), envelope.clone()));
                (writes.collect(), book.seen)
            };
            match self.backend.commit(writes).await {
                Ok(versions) => {
                    let count = renewed.len() as u64;
                    self.take_in_renewed(renewed, &versions);
                    return Ok(Renewed { count, next });
                }
                // Somebody wrote one of them meanwhile; what they wrote is sealed under their key.
                Err(StoreError::Conflict { .. }) if self.is_shared => {
                    self.catch_up(|book| book.seen > seen).await;
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(busy())
    }

    fn take_in_renewed(&self, renewed: Vec<(RecordKey, Vec<u8>)>, versions: &[u64]) {
        let (mut book, revision) = (self.book(), versions.iter().copied().max().unwrap_or_default());
        for ((key, envelope), version) in renewed.into_iter().zip(versions) {
            let text = key.to_string();
            // Whoever follows may have been faster.
            if book.versions.get(&text).is_some_and(|known| known >= version) {
                continue;
            }
            book.note_own(revision, [(text, *version)], self.is_shared);
            let header = match book.entries.get(&key) {
                Some(Entry::Sound(record)) => Some(record.header.clone()),
                _ => None,
            };
            if let Some(header) = header {
                book.hold(&key, Some(Entry::Sound(Arc::new(Record { key: key.clone(), header, envelope }))));
            } else {
                book.later.insert(key, envelope);
            }
        }
        self.tell_seen(&book);
    }

    /// The next records under a former key with their envelopes, and where to go on.
    fn former_records(&self, after: Option<RecordKey>, limit: usize) -> (Vec<(RecordKey, Vec<u8>)>, Option<RecordKey>) {
        let book = self.book();
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut former, mut bytes) = (Vec::new(), 0);
        for (key, _) in book.entries.range((behind, Bound::Unbounded)) {
            if let Some(envelope) = book.envelope(key).filter(|envelope| self.sealer.is_former(envelope)) {
                bytes += envelope.len();
                former.push((key.clone(), envelope.clone()));
            }
            if former.len() == limit || bytes >= COMMIT_BYTES {
                return (former, Some(key.clone()));
            }
        }
        (former, None)
    }

    async fn renew_manifest(&self) -> Result<u64, LedgerError> {
        let _one = self.writer.lock().await;
        for _ in 0..TURNS {
            let mut parts = self.backend.load(&[manifest::KEY]).await?.stored;
            // What is not in the book must not look as if it were.
            let is_known = |part: &Stored| self.book().versions.get(&part.key) == Some(&part.version);
            let is_behind = !parts.iter().all(is_known);
            let seen = self.book().seen;
            parts.retain(|part| self.sealer.is_former(&part.bytes));
            if !is_behind && self.put_back(&parts).await? {
                return Ok(parts.len() as u64);
            }
            if !self.is_shared {
                break;
            }
            self.catch_up(|book| book.seen > seen).await;
        }
        Err(busy())
    }

    /// Seals these parts of the manifest anew. False: somebody wrote one of them meanwhile.
    async fn put_back(&self, parts: &[Stored]) -> Result<bool, LedgerError> {
        for some in parts.chunks(PAGES) {
            let mut writes = Vec::with_capacity(some.len());
            for part in some {
                let bytes = self.sealer.renew(&part.bytes)?;
                writes.push(Write::Put { key: part.key.clone(), expect: Expect::Version(part.version), bytes });
            }
            let versions = match self.backend.commit(writes).await {
                Err(StoreError::Conflict { .. }) if self.is_shared => return Ok(false),
                outcome => outcome?,
            };
            let (mut book, revision) = (self.book(), versions.iter().copied().max().unwrap_or_default());
            let newer: Vec<(String, u64)> = some
                .iter()
                .zip(versions)
                .filter(|(part, version)| book.versions.get(&part.key).is_none_or(|known| known < version))
                .map(|(part, version)| (part.key.clone(), version))
                .collect();
            // What was told of it already is not told again.
            if !newer.is_empty() {
                book.note_own(revision, newer, self.is_shared);
                self.tell_seen(&book);
            }
        }
        Ok(true)
    }
}

fn busy() -> LedgerError {
    StoreError::Failed("other processes write all the time; the rotation goes on when it is asked for again".to_owned()).into()
}
