//! Sealed records with their manifest, over a store: what was written is what is read, or it is
//! refused and named.
//!
//! Each record lies under `record/{kind}/{organization}/{id}`, and its authenticated header says
//! exactly that. The sealed manifest lists every record with its revision; what a write changes of it is
//! part of the write's commit. So a record that was altered, exchanged, renamed, set back, brought back or taken away
//! in the store is found when the ledger opens; it is kept as [`Faulty`] and harms nobody else.
//! (A whole store set back to an older whole is not noticed: KNOWN GAP.)
//!
//! Readers keep a replica of their own and follow the ledger: a change reaches every follower, in
//! order, before the writer hears of its success. Changes that another process makes in a shared
//! store are not followed yet; an engine says whether it is shared.

mod manifest;
mod names;
mod open;
mod record;
mod renewal;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;

pub use record::{Draft, Entry, Faulty, Header, Kind, Record, RecordKey};
pub use renewal::Renewed;

use crate::seal::{KeyId, SealError, Sealer};
use crate::secret::{OrganizationName, SecretValue};
use crate::store::{Backend, Expect, StoreError, Write};
use manifest::{Manifest, Next};
use names::Names;

/// Why the ledger cannot be opened, or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store is sealed with another key.
    #[error(
        "the store is sealed with the key {sealed_with}, and the key given is {given}; give the key {sealed_with} (`keys.file`), nothing was changed"
    )]
    WrongKey {
        /// The key it is sealed with.
        sealed_with: KeyId,
        /// The key at hand.
        given: KeyId,
    },
    /// There are records and no manifest.
    #[error("the store has records and no manifest of them; restore it from a backup, nothing was changed")]
    ManifestMissing,
    /// The manifest does not open.
    #[error("the manifest of the store does not open: {reason}; restore the store from a backup, nothing was changed")]
    ManifestBroken {
        /// Why.
        reason: String,
    },
    /// Another record of the kind and organization has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The record is not at the revision expected.
    #[error("the record was changed or removed meanwhile")]
    Stale,
    /// It cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a changed record has as its payload.
pub enum Payload<'a> {
    /// None; its metadata is authenticated.
    Nothing,
    /// This value.
    Value(&'a SecretValue),
    /// The one it has.
    Unchanged,
}

/// Keeps a replica of one kind of records. Called in the order of the changes, briefly, under a
/// lock of the ledger: it may not call the ledger back.
pub trait Follower: Send + Sync {
    /// All there is now.
    fn reset(&self, entries: Vec<Entry>);
    /// What lies at `key` now, if anything does.
    fn changed(&self, key: &RecordKey, now: Option<&Entry>);
}

/// Tells the time; the system's clock, except in tests.
pub type Clock = fn() -> SystemTime;

/// The sealed records of a store.
pub struct Ledger {
    inner: Arc<Inner>,
    clock: Clock,
}

struct Inner {
    backend: Arc<dyn Backend>,
    sealer: Sealer,
    /// Held by the one writer at work, from its look at the book to its entry there.
    writer: Mutex<()>,
    book: StdMutex<Book>,
}

/// What the store holds, as last acknowledged.
struct Book {
    manifest: Manifest,
    /// Versions of the store by its keys, the manifest's included.
    versions: HashMap<String, u64>,
    entries: BTreeMap<RecordKey, Entry>,
    /// Envelopes of those that are listed, open, and are of a later version: faulty here, and of use to that.
    later: BTreeMap<RecordKey, Vec<u8>>,
    names: Names,
    followers: Vec<(Kind, Arc<dyn Follower>)>,
}

impl Ledger {
    /// Opens what `backend` holds. Every record is authenticated; those that fail are kept as
    /// faulty. A store that is empty gets an empty manifest, which ties it to the key.
    pub async fn open(backend: Arc<dyn Backend>, sealer: Sealer) -> Result<Self, LedgerError> {
        Self::open_with_clock(backend, sealer, SystemTime::now).await
    }

    /// The same, telling the time by `clock`.
    pub async fn open_with_clock(backend: Arc<dyn Backend>, sealer: Sealer, clock: Clock) -> Result<Self, LedgerError> {
        let book = open::book(&*backend, &sealer).await?;
        let inner = Inner { backend, sealer, writer: Mutex::new(()), book: StdMutex::new(book) };
        Ok(Self { inner: Arc::new(inner), clock })
    }

    /// Which key everything here is sealed with.
    pub fn key_id(&self) -> KeyId {
        self.inner.sealer.key_id()
    }

    /// Everything of one kind, faulty records included.
    pub fn records(&self, kind: &Kind) -> Vec<Entry> {
        self.inner.book().of_kind(kind)
    }

    /// What lies at `key`.
    pub fn entry(&self, key: &RecordKey) -> Option<Entry> {
        self.inner.book().entries.get(key).cloned()
    }

    /// Everything that was refused, of any kind.
    pub fn faults(&self) -> Vec<Arc<Faulty>> {
        let book = self.inner.book();
        let faults = book.entries.values().filter_map(|entry| match entry {
            Entry::Faulty(faulty) => Some(faulty.clone()),
            Entry::Sound(_) => None,
        });
        faults.collect()
    }

    /// Resets `follower` to everything of `kind` and tells it of every change from then on.
    pub fn follow(&self, kind: Kind, follower: Arc<dyn Follower>) {
        let mut book = self.inner.book();
        follower.reset(book.of_kind(&kind));
        book.followers.push((kind, follower));
    }

    /// Seals and stores a new record.
    pub async fn create(
        &self,
        kind: Kind,
        organization: &OrganizationName,
        draft: Draft,
        value: Option<&SecretValue>,
    ) -> Result<Arc<Record>, LedgerError> {
        let (key, header) = self.begin(kind, organization, draft)?;
        let bytes = header.to_bytes();
        let envelope = match value {
            Some(value) => self.inner.sealer.seal_value(&bytes, value)?,
            None => self.inner.sealer.seal_metadata(&bytes)?,
        };
        self.put(Record { key, header, envelope }, None).await
    }

    /// Seals the next revision of `current` and stores it in its place, if it is still current.
    pub async fn replace(&self, current: &Record, draft: Draft, payload: Payload<'_>) -> Result<Arc<Record>, LedgerError> {
        let header = current.header.changed(draft, self.now());
        let bytes = header.to_bytes();
        let sealer = &self.inner.sealer;
        let envelope = match payload {
            Payload::Nothing => sealer.seal_metadata(&bytes)?,
            Payload::Value(value) => sealer.seal_value(&bytes, value)?,
            Payload::Unchanged => sealer.reseal(&current.envelope, &bytes)?,
        };
        let record = Record { key: current.key.clone(), header, envelope };
        self.put(record, Some(current.header.revision)).await
    }

    /// Removes what lies at `key`, sound or not; a sound record only at `revision`, where given.
    pub async fn remove(&self, key: &RecordKey, revision: Option<u64>) -> Result<(), LedgerError> {
        let (inner, key) = (self.inner.clone(), key.clone());
        finish(async move { inner.remove(key, revision).await }).await
    }

    /// Seals a record that is kept in memory only, under a key of this process alone.
    pub fn seal(
        &self,
        kind: Kind,
        organization: &OrganizationName,
        draft: Draft,
        value: Option<&SecretValue>,
    ) -> Result<Record, LedgerError> {
        let (key, header) = self.begin(kind, organization, draft)?;
        let envelope = self.inner.sealer.seal_in_memory(&header.to_bytes(), value)?;
        Ok(Record { key, header, envelope })
    }

    /// Follows what another process changed in the store: what lies at `key` now. What does not open is refused from now on, unless
    /// it is what was there, sealed under a key that is not at hand.
    pub fn learn(&self, key: &str, envelope: Option<Vec<u8>>) {
        let Some(key) = RecordKey::parse(key) else { return };
        let mut book = self.inner.book();
        let known = book.entries.get(&key).cloned();
        let now = envelope.map(|envelope| open::learned(&self.inner.sealer, key.clone(), envelope, known.as_ref()));
        book.hold(&key, now);
    }

    fn begin(&self, kind: Kind, organization: &OrganizationName, draft: Draft) -> Result<(RecordKey, Header), SealError> {
        let key = RecordKey { kind, organization: organization.clone(), id: random_id()? };
        let header = Header::created(&key, draft, self.now());
        Ok((key, header))
    }

    /// Seals the next revision of a record that is kept in memory only.
    pub fn seal_next(&self, previous: &Record, draft: Draft, value: Option<&SecretValue>) -> Result<Record, LedgerError> {
        let header = previous.header.changed(draft, self.now());
        let envelope = self.inner.sealer.seal_in_memory(&header.to_bytes(), value)?;
        Ok(Record { key: previous.key.clone(), header, envelope })
    }

    /// Opens the value of a record; it is authenticated each time.
    pub fn open_value(&self, record: &Record) -> Result<SecretValue, SealError> {
        self.inner.sealer.open_value(&record.envelope)
    }

    /// Opens values without the ledger at hand.
    pub fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    async fn put(&self, record: Record, revision: Option<u64>) -> Result<Arc<Record>, LedgerError> {
        let inner = self.inner.clone();
        finish(async move { inner.put(record, revision).await }).await
    }

    fn now(&self) -> i64 {
        // A clock before 1970 is wrong in any case.
        (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}

impl Record {
    /// Opens the value under `sealer`; it is authenticated each time.
    pub fn open_value(&self, sealer: &Sealer) -> Result<SecretValue, SealError> {
        sealer.open_value(&self.envelope)
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics between two changes that belong together.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put(&self, mut record: Record, revision: Option<u64>) -> Result<Arc<Record>, LedgerError> {
        let _one = self.writer.lock().await;
        if self.sealer.is_former(&record.envelope) {
            // The key was changed while this waited.
            record.envelope = self.sealer.renew(&record.envelope)?;
        }
        let key = record.key.to_string();
        let (manifest, writes) = {
            let book = self.book();
            book.check_revision(&record.key, revision)?;
            book.check_name(&record)?;
            let line = (record.header.revision, record.header.name.clone());
            let next = book.manifest.with(&self.sealer, &record.key, Some(line))?;
            book.writes(next, Some(book.put(key, record.envelope.clone())))
        };
        let put: Vec<String> = writes.iter().filter_map(put_key).collect();
        let versions = self.backend.commit(writes).await?;
        let record = Arc::new(record);
        let mut book = self.book();
        book.versions.extend(put.into_iter().zip(versions));
        book.enter(manifest, &record.key, Some(Entry::Sound(record.clone())));
        Ok(record)
    }

    async fn remove(&self, key: RecordKey, revision: Option<u64>) -> Result<(), LedgerError> {
        let _one = self.writer.lock().await;
        let text = key.to_string();
        let (manifest, writes) = {
            let book = self.book();
            let entry = book.entries.get(&key).ok_or(LedgerError::Stale)?;
            if revision.is_some() && entry.revision().is_some() && entry.revision() != revision {
                return Err(LedgerError::Stale);
            }
            // A record that is listed and missing has nothing to remove but its line.
            let version = book.versions.get(&text);
            let removal = version.map(|version| Write::Remove { key: text.clone(), version: *version });
            book.writes(book.manifest.with(&self.sealer, &key, None)?, removal)
        };
        let put: Vec<String> = writes.iter().filter_map(put_key).collect();
        let versions = self.backend.commit(writes).await?;
        let mut book = self.book();
        book.versions.remove(&text);
        book.versions.extend(put.into_iter().zip(versions));
        book.enter(manifest, &key, None);
        Ok(())
    }
}

/// Whether a record lies at `key` of the store, rather than what belongs to it.
pub fn is_record(key: &str) -> bool {
    RecordKey::parse(key).is_some()
}

/// The key of a put.
fn put_key(write: &Write) -> Option<String> {
    match write {
        Write::Put { key, .. } => Some(key.clone()),
        Write::Remove { .. } => None,
    }
}

impl Book {
    /// A put over what is there now.
    fn put(&self, key: String, bytes: Vec<u8>) -> Write {
        let expect = self.versions.get(&key).map_or(Expect::Absent, |version| Expect::Version(*version));
        Write::Put { key, expect, bytes }
    }

    /// A change of a record with what it changes of the manifest.
    fn writes(&self, next: Next, change: Option<Write>) -> (Manifest, Vec<Write>) {
        let of_manifest = next.envelopes.into_iter().map(|(key, bytes)| self.put(key, bytes));
        (next.manifest, change.into_iter().chain(of_manifest).collect())
    }

    fn of_kind(&self, kind: &Kind) -> Vec<Entry> {
        self.entries.values().filter(|entry| entry.key().kind == *kind).cloned().collect()
    }

    fn check_revision(&self, key: &RecordKey, revision: Option<u64>) -> Result<(), LedgerError> {
        let now = self.entries.get(key).and_then(Entry::revision);
        if now == revision { Ok(()) } else { Err(LedgerError::Stale) }
    }

    fn check_name(&self, record: &Record) -> Result<(), LedgerError> {
        let taken = self.names.is_taken(&record.key, &record.header.name);
        if taken { Err(LedgerError::NameTaken) } else { Ok(()) }
    }

    fn enter(&mut self, manifest: Manifest, key: &RecordKey, now: Option<Entry>) {
        self.manifest = manifest;
        self.hold(key, now);
    }

    /// Holds what lies at `key` now, and tells the followers first.
    fn hold(&mut self, key: &RecordKey, now: Option<Entry>) {
        self.later.remove(key);
        for (_, follower) in self.followers.iter().filter(|(kind, _)| *kind == key.kind) {
            follower.changed(key, now.as_ref());
        }
        if let Some(before) = self.entries.remove(key) {
            self.names.free(&before);
        }
        if let Some(entry) = now {
            self.names.hold(&entry);
            self.entries.insert(key.clone(), entry);
        }
    }
}

/// Carries a write to its end even if whoever asked goes away: otherwise the store would hold
/// what the book does not.
async fn finish<T: Send + 'static>(
    write: impl Future<Output = Result<T, LedgerError>> + Send + 'static,
) -> Result<T, LedgerError> {
    let stopped = |_| LedgerError::Store(StoreError::Failed("the write did not end: subrosa is stopping".to_owned()));
    tokio::spawn(write).await.map_err(stopped)?
}

fn random_id() -> Result<Arc<str>, SealError> {
    let mut bytes = [0; 16];
    crate::seal::random(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)).into())
}
