//! A rotation, as far as the ledger goes: what lies sealed under a former key is sealed anew under the
//! current one, some at a time and among other writers, and at last the former keys are let go.
//!
//! Headers stay as they are, so neither a record's revision nor a line of the manifest changes. Each
//! envelope names its key: wherever this is interrupted, it goes on with those that name a former one.

use std::ops::Bound;
use std::sync::Arc;

use super::record::{Entry, Record, RecordKey};
use super::{Inner, Ledger, LedgerError, manifest};
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
    /// Those that cannot be used stay as they are.
    pub async fn renew_records(&self, after: Option<RecordKey>, limit: usize) -> Result<Renewed, LedgerError> {
        let inner = Arc::clone(&self.inner);
        super::finish(async move { inner.renew_records(after, limit).await }).await
    }

    /// Seals the manifest anew as far as it is sealed under a former key. How many parts that were.
    pub async fn renew_manifest(&self) -> Result<u64, LedgerError> {
        let inner = Arc::clone(&self.inner);
        super::finish(async move { inner.renew_manifest().await }).await
    }

    /// Lets go of the former keys: what is sealed under one does not open from now on. No write is under way
    /// meanwhile.
    pub async fn retire_former_keys(&self) {
        let _none = self.inner.writer.lock().await;
        let sealer = &self.inner.sealer;
        sealer.set_ring(sealer.ring().alone());
    }

    /// Whether a record that can be used lies under this key of the store.
    pub fn is_sound(&self, key: &str) -> bool {
        let Some(key) = RecordKey::parse(key) else { return false };
        matches!(self.inner.book().entries.get(&key), Some(Entry::Sound(_)))
    }
}

impl Inner {
    async fn renew_records(&self, after: Option<RecordKey>, limit: usize) -> Result<Renewed, LedgerError> {
        let _one = self.writer.lock().await;
        let (former, next) = self.former_records(after, limit);
        let mut renewed = Vec::with_capacity(former.len());
        for record in former {
            let envelope = self.sealer.renew(&record.envelope)?;
            renewed.push(Arc::new(Record { key: record.key.clone(), header: record.header.clone(), envelope }));
        }
        if renewed.is_empty() {
            return Ok(Renewed { count: 0, next });
        }
        let writes = {
            let book = self.book();
            renewed.iter().map(|record| book.put(record.key.to_string(), record.envelope.clone())).collect()
        };
        let versions = self.backend.commit(writes).await?;
        let mut book = self.book();
        for (record, version) in renewed.iter().zip(versions) {
            book.versions.insert(record.key.to_string(), version);
            book.hold(&record.key, Some(Entry::Sound(Arc::clone(record))));
        }
        Ok(Renewed { count: renewed.len() as u64, next })
    }

    /// The next records under a former key, and where to go on.
    fn former_records(&self, after: Option<RecordKey>, limit: usize) -> (Vec<Arc<Record>>, Option<RecordKey>) {
        let book = self.book();
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut former = Vec::new();
        for (key, entry) in book.entries.range((behind, Bound::Unbounded)) {
            match entry {
                Entry::Sound(record) if self.sealer.is_former(&record.envelope) => former.push(Arc::clone(record)),
                _ => {}
            }
            if former.len() == limit {
                return (former, Some(key.clone()));
            }
        }
        (former, None)
    }

    async fn renew_manifest(&self) -> Result<u64, LedgerError> {
        let _one = self.writer.lock().await;
        let mut parts = self.backend.load(&[manifest::KEY]).await?;
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
