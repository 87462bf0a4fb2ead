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
//! order, before the writer hears of its success. In a shared store the ledger follows what other processes write
//! (`following`), held against the manifest in the same way; and a write depends on nothing having been written that the
//! ledger does not know, so all writes of all processes are as if they came one after the other.

mod book;
mod following;
mod manifest;
mod names;
mod open;
mod others;
mod record;
mod renewal;
#[cfg(test)]
mod tests;
mod writing;

use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, Notify, watch};
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

pub use following::Standing;
pub use record::{Draft, Entry, Faulty, Header, Kind, Record, RecordKey};
pub use renewal::Renewed;

use crate::seal::{KeyId, SealError, Sealer};
use crate::secret::{OrganizationName, SecretValue};
use crate::staleness::Staleness;
use crate::store::{Backend, Freshness, StoreError};
use book::Book;

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
    /// Somebody else's keys lie there.
    #[error(
        "what lies in the store was not written by subrosa (its first key is `{key}`); give it a place of its own (store.etcd.prefix), nothing was changed"
    )]
    Foreign {
        /// The first of them.
        key: String,
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
    /// What the change was to depend on does not hold any more.
    #[error("what this depends on was changed meanwhile")]
    Unmet,
    /// What other processes write cannot be followed, so nothing is written.
    #[error("nothing can be changed, as what is stored cannot be followed: {why}")]
    Astray {
        /// Why.
        why: String,
    },
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

/// What a change depends on beside its own record. It is asked when nothing can change any more that followers of the ledger
/// know; it may not call the ledger.
pub type Condition = Arc<dyn Fn() -> bool + Send + Sync>;

/// The sealed records of a store.
pub struct Ledger {
    inner: Arc<Inner>,
    clock: Clock,
    staleness: Staleness,
    /// In a shared store: what follows what others write, and what tells how far behind that is.
    following: Vec<AbortHandle>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    sealer: Sealer,
    /// Held by the one writer at work, from its look at the book to its entry there.
    writer: Mutex<()>,
    book: StdMutex<Book>,
    /// Whether others write too.
    is_shared: bool,
    freshness: watch::Receiver<Freshness>,
    standing: watch::Sender<Standing>,
    /// The newest revision in the book.
    seen: watch::Sender<u64>,
    /// Has everything loaded again.
    load: Arc<Notify>,
}

impl Ledger {
    /// Opens what `backend` holds. Every record is authenticated; those that fail are kept as
    /// faulty. A store that is empty gets an empty manifest, which ties it to the key.
    pub async fn open(backend: Arc<dyn Backend>, sealer: Sealer) -> Result<Self, LedgerError> {
        Self::open_with_clock(backend, sealer, SystemTime::now).await
    }

    /// The same, telling the time by `clock`.
    pub async fn open_with_clock(backend: Arc<dyn Backend>, sealer: Sealer, clock: Clock) -> Result<Self, LedgerError> {
        // Before anything is loaded, so that nothing is missed in between.
        let told = backend.is_shared().then(|| backend.watch());
        let book = open::book(&*backend, &sealer).await?;
        let inner = Arc::new(Inner {
            is_shared: told.is_some(),
            freshness: backend.freshness(),
            standing: watch::Sender::new(Standing::Sound),
            seen: watch::Sender::new(book.seen),
            load: Arc::default(),
            backend,
            sealer,
            writer: Mutex::new(()),
            book: StdMutex::new(book),
        });
        let (staleness, mut following) = (Staleness::default(), Vec::new());
        if let Some(told) = told {
            let (freshness, standing) = (inner.freshness.clone(), inner.standing.subscribe());
            following.push(tokio::spawn(following::follow(Arc::downgrade(&inner), told)).abort_handle());
            following.push(tokio::spawn(following::tell(staleness.clone(), freshness, standing)).abort_handle());
        }
        Ok(Self { inner, clock, staleness, following })
    }

    /// Whether other processes write too.
    pub fn is_shared(&self) -> bool {
        self.inner.is_shared
    }

    /// Whether what others write is followed; whoever waits is told when that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.subscribe()
    }

    /// How far what is known here may be behind what is stored.
    pub fn staleness(&self) -> &Staleness {
        &self.staleness
    }

    /// Has everything loaded and authenticated again, soon: a key was given that was missing.
    pub fn load_again(&self) {
        self.inner.load_soon();
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
        self.create_if(kind, organization, draft, value, None).await
    }

    /// The same, if `condition` holds at that moment.
    pub async fn create_if(
        &self,
        kind: Kind,
        organization: &OrganizationName,
        draft: Draft,
        value: Option<&SecretValue>,
        condition: Option<Condition>,
    ) -> Result<Arc<Record>, LedgerError> {
        let (key, header) = self.begin(kind, organization, draft)?;
        let bytes = header.to_bytes();
        let envelope = match value {
            Some(value) => self.inner.sealer.seal_value(&bytes, value)?,
            None => self.inner.sealer.seal_metadata(&bytes)?,
        };
        self.put(Record { key, header, envelope }, None, condition).await
    }

    /// Seals the next revision of `current` and stores it in its place, if it is still current.
    pub async fn replace(&self, current: &Record, draft: Draft, payload: Payload<'_>) -> Result<Arc<Record>, LedgerError> {
        self.replace_if(current, draft, payload, None).await
    }

    /// The same, if `condition` holds at that moment.
    pub async fn replace_if(
        &self,
        current: &Record,
        draft: Draft,
        payload: Payload<'_>,
        condition: Option<Condition>,
    ) -> Result<Arc<Record>, LedgerError> {
        let header = current.header.changed(draft, self.now());
        let bytes = header.to_bytes();
        let sealer = &self.inner.sealer;
        let envelope = match payload {
            Payload::Nothing => sealer.seal_metadata(&bytes)?,
            Payload::Value(value) => sealer.seal_value(&bytes, value)?,
            Payload::Unchanged => sealer.reseal(&current.envelope, &bytes)?,
        };
        let record = Record { key: current.key.clone(), header, envelope };
        self.put(record, Some(current.header.revision), condition).await
    }

    /// Removes what lies at `key`, sound or not; a sound record only at `revision`, where given.
    pub async fn remove(&self, key: &RecordKey, revision: Option<u64>) -> Result<(), LedgerError> {
        self.remove_if(key, revision, None).await
    }

    /// The same, if `condition` holds at that moment.
    pub async fn remove_if(
        &self,
        key: &RecordKey,
        revision: Option<u64>,
        condition: Option<Condition>,
    ) -> Result<(), LedgerError> {
        let (inner, key) = (self.inner.clone(), key.clone());
        finish(async move { inner.remove(key, revision, condition).await }).await
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

    async fn put(&self, record: Record, revision: Option<u64>, condition: Option<Condition>) -> Result<Arc<Record>, LedgerError> {
        let inner = self.inner.clone();
        finish(async move { inner.put(record, revision, condition).await }).await
    }

    fn now(&self) -> i64 {
        // A clock before 1970 is wrong in any case.
        (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.following.iter().for_each(AbortHandle::abort);
    }
}

impl Record {
    /// Opens the value under `sealer`; it is authenticated each time.
    pub fn open_value(&self, sealer: &Sealer) -> Result<SecretValue, SealError> {
        sealer.open_value(&self.envelope)
    }

    /// Opens whatever is sealed in it under `sealer`.
    pub fn open(&self, sealer: &Sealer) -> Result<Zeroizing<Vec<u8>>, SealError> {
        sealer.open(&self.envelope)
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics between two changes that belong together.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of the store's manifest: without it there is no store.
pub const ROOT: &str = manifest::KEY;

/// Whether a record lies at `key` of the store, rather than what belongs to it.
pub fn is_record(key: &str) -> bool {
    RecordKey::parse(key).is_some()
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
