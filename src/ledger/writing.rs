//! Writes: each is a commit with what it changes of the manifest, under the condition that nothing was written since the
//! book was looked at. Where somebody else was faster, it waits until that is in the book, and looks again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::book::Book;
use super::manifest::{self, Manifest, Next};
use super::record::{Entry, Record, RecordKey};
use super::{Condition, Inner, LedgerError, Standing};
use crate::store::{Freshness, StoreError, Write};

/// How long a write goes on looking for its turn among those of others.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what was told last may take to be in the book.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A change, ready to be committed.
struct Prepared {
    manifest: Manifest,
    writes: Vec<Write>,
    /// What the book had seen, and the version of its root.
    seen: u64,
    root: u64,
}

/// What became of an attempt.
enum Attempt {
    /// It is in the store and in the book.
    Done,
    /// Somebody else was faster.
    Again,
    /// It may have been made.
    Unknown(StoreError),
}

impl Inner {
    pub(super) async fn put(
        &self,
        mut record: Record,
        revision: Option<u64>,
        condition: Option<Condition>,
    ) -> Result<Arc<Record>, LedgerError> {
        let _one = self.writer.lock().await;
        let (key, began) = (record.key.to_string(), Instant::now());
        loop {
            if self.sealer.is_former(&record.envelope) {
                // The key was changed while this waited.
                record.envelope = self.sealer.renew(&record.envelope)?;
            }
            let prepared = self.prepare(condition.as_ref(), |book| {
                book.check_revision(&record.key, revision)?;
                book.check_name(&record)?;
                let line = (record.header.revision, record.header.name.clone());
                let next = book.manifest.with(&self.sealer, &record.key, Some(line))?;
                Ok((next, Some(book.put(key.clone(), record.envelope.clone()))))
            })?;
            let held = Arc::new(record);
            match self.attempt(prepared, &held.key, Some(&held), began).await? {
                Attempt::Done => return Ok(held),
                Attempt::Unknown(_) if self.holds(&held) => return Ok(held),
                Attempt::Unknown(fault) => return Err(fault.into()),
                Attempt::Again => record = Arc::into_inner(held).ok_or(LedgerError::Stale)?,
            }
        }
    }

    pub(super) async fn remove(
        &self,
        key: RecordKey,
        revision: Option<u64>,
        condition: Option<Condition>,
    ) -> Result<(), LedgerError> {
        let _one = self.writer.lock().await;
        let (text, began) = (key.to_string(), Instant::now());
        loop {
            let prepared = self.prepare(condition.as_ref(), |book| {
                let entry = book.entries.get(&key).ok_or(LedgerError::Stale)?;
                if revision.is_some() && entry.revision().is_some() && entry.revision() != revision {
                    return Err(LedgerError::Stale);
                }
                // A record that is listed and missing has nothing to remove but its line.
                let version = book.versions.get(&text);
                let removal = version.map(|version| Write::Remove { key: text.clone(), version: *version });
                Ok((book.manifest.with(&self.sealer, &key, None)?, removal))
            })?;
            match self.attempt(prepared, &key, None, began).await? {
                Attempt::Done => return Ok(()),
                Attempt::Unknown(_) if !self.book().entries.contains_key(&key) => return Ok(()),
                Attempt::Unknown(fault) => return Err(fault.into()),
                Attempt::Again => {}
            }
        }
    }

    /// What the book, as it is now, makes of a change.
    fn prepare(
        &self,
        condition: Option<&Condition>,
        change: impl FnOnce(&Book) -> Result<(Next, Option<Write>), LedgerError>,
    ) -> Result<Prepared, LedgerError> {
        self.refuse_while_behind()?;
        let book = self.book();
        if condition.is_some_and(|holds| !holds()) {
            return Err(LedgerError::Unmet);
        }
        let (next, change) = change(&book)?;
        let of_manifest = next.envelopes.into_iter().map(|(key, bytes)| book.put(key, bytes));
        let writes = change.into_iter().chain(of_manifest).collect();
        Ok(Prepared { manifest: next.manifest, writes, seen: book.seen, root: book.root() })
    }

    /// Whoever does not know what is in the store changes nothing there.
    pub(super) fn refuse_while_behind(&self) -> Result<(), LedgerError> {
        if let Freshness::Behind { why, .. } = &*self.freshness.borrow() {
            return Err(StoreError::Failed(format!("nothing can be changed at the moment: {why}")).into());
        }
        match &*self.standing.borrow() {
            Standing::Sound => Ok(()),
            Standing::Astray { why, .. } => Err(LedgerError::Astray { why: why.clone() }),
        }
    }

    async fn attempt(
        &self,
        prepared: Prepared,
        key: &RecordKey,
        now: Option<&Arc<Record>>,
        began: Instant,
    ) -> Result<Attempt, LedgerError> {
        let Prepared { manifest, writes, seen, root } = prepared;
        let put: Vec<String> = writes.iter().filter_map(put_key).collect();
        match self.backend.commit(writes).await {
            Ok(versions) => {
                let revision = versions.iter().copied().max().unwrap_or_default();
                let mut book = self.book();
                // Whoever follows may have been faster.
                if book.root() < revision {
                    book.versions.remove(&key.to_string());
                    book.note_own(revision, put.into_iter().zip(versions), self.is_shared);
                    book.manifest = manifest;
                    book.hold(key, now.map(|record| Entry::Sound(Arc::clone(record))));
                    self.tell_seen(&book);
                }
                Ok(Attempt::Done)
            }
            Err(StoreError::Conflict { key }) if self.is_shared => {
                if began.elapsed() >= PATIENCE || !self.catch_up(|book| book.seen > seen).await {
                    self.load_soon();
                    return Err(StoreError::Conflict { key }.into());
                }
                Ok(Attempt::Again)
            }
            Err(fault @ StoreError::Unknown { .. }) if self.is_shared => {
                // It depends on the root being what it was: once that is another, it was made or never will be.
                self.catch_up(|book| book.root() > root).await;
                Ok(Attempt::Unknown(fault))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Whether the book holds exactly this record.
    fn holds(&self, record: &Record) -> bool {
        let book = self.book();
        matches!(book.entries.get(&record.key), Some(Entry::Sound(now)) if now.envelope == record.envelope)
    }

    /// Waits until the book is as wanted; whether it is.
    pub(super) async fn catch_up(&self, wanted: impl Fn(&Book) -> bool + Send + Sync) -> bool {
        let mut seen = self.seen.subscribe();
        let caught_up = async {
            loop {
                seen.borrow_and_update();
                if wanted(&self.book()) {
                    return true;
                }
                if seen.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(CATCH_UP, caught_up).await.unwrap_or(false)
    }

    /// Tells who waits for it how far the book is.
    pub(super) fn tell_seen(&self, book: &Book) {
        self.seen.send_replace(book.seen);
    }
}

/// The key of a put.
pub(super) fn put_key(write: &Write) -> Option<String> {
    match write {
        Write::Put { key, .. } => Some(key.clone()),
        Write::Remove { .. } => None,
    }
}

/// What a manifest's keys and those of records begin with.
pub(super) fn is_of_the_ledger(key: &str) -> bool {
    key == manifest::KEY || key.starts_with(manifest::PAGES) || key.starts_with(super::record::RECORDS)
}
