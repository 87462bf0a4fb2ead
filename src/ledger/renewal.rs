//! A rotation, as far as the ledger goes: what lies sealed under a former key is sealed anew under the
//! current one, some at a time and among other writers, and at last the former keys are let go.
//!
//! Headers stay as they are, so neither a record's revision nor a line of the manifest changes. Each
//! envelope names its key: wherever this is interrupted, it goes on with those that name a former one.

use std::ops::Bound;
use std::sync::Arc;

use super::record::{Entry, Record, RecordKey};
use super::{Book, Inner, Ledger, LedgerError, manifest};
use crate::seal::KeyId;
use crate::store::{Expect, Write};

/// Pages of the manifest in one commit (etcd takes 128 operations).
const PAGES: usize = 64;

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
        let (former, next) = self.former_records(after, limit);
        let mut renewed = Vec::with_capacity(former.len());
        for (key, envelope) in former {
            renewed.push((key, self.sealer.renew(&envelope)?));
        }
        if renewed.is_empty() {
            return Ok(Renewed { count: 0, next });
        }
        let writes = {
            let book = self.book();
            renewed.iter().map(|(key, envelope)| book.put(key.to_string(), envelope.clone())).collect()
        };
        let versions = self.backend.commit(writes).await?;
        let (mut book, count) = (self.book(), renewed.len() as u64);
        for ((key, envelope), version) in renewed.into_iter().zip(versions) {
            book.versions.insert(key.to_string(), version);
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
        Ok(Renewed { count, next })
    }

    /// The next records under a former key with their envelopes, and where to go on.
    fn former_records(&self, after: Option<RecordKey>, limit: usize) -> (Vec<(RecordKey, Vec<u8>)>, Option<RecordKey>) {
        let book = self.book();
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut former = Vec::new();
        for (key, _) in book.entries.range((behind, Bound::Unbounded)) {
            if let Some(envelope) = book.envelope(key).filter(|envelope| self.sealer.is_former(envelope)) {
                former.push((key.clone(), envelope.clone()));
            }
            if former.len() == limit {
                return (former, Some(key.clone()));
            }
        }
        (former, None)
    }

    async fn renew_manifest(&self) -> Result<u64, LedgerError> {
        let _one = self.writer.lock().await;
        let mut parts = self.backend.load(&[manifest::KEY]).await?.stored;
        parts.retain(|part| self.sealer.is_former(&part.bytes));
        for some in parts.chunks(PAGES) {
            let mut writes = Vec::with_capacity(some.len());
            for part in some {
                let bytes = self.sealer.renew(&part.bytes)?;
                writes.push(Write::Put { key: part.key.clone(), expect: Expect::Version(part.version), bytes });
            }
            let versions = self.backend.commit(writes).await?;
            self.book().versions.extend(some.iter().map(|part| part.key.clone()).zip(versions));
        }
        Ok(parts.len() as u64)
    }
}
