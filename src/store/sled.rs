//! The default engine: sled, below a data directory that one process holds at a time.
//!
//! sled gives atomic batches and no durability: its flush writes and never waits for the disk
//! (its issue 1452). So one thread owns it, carries out commits as transactions, flushes, syncs
//! the files with fsync, and only then acknowledges; commits that wait together share one fsync.
//!
//! ```text
//! directory/store.lock    held as long as the store is open
//! directory/store.mark    how far the store must reach (`mark`)
//! directory/store.opening what lay in store/ before the last opening that did not succeed
//! directory/store.begun-anew-TIME  what was there when a store in which nothing was acknowledged did not open
//! directory/store/        sled's files
//!   key \0 chunk number   -> version (8 bytes) and count of chunks (4), before the first; then bytes
//!   \0revision            -> the version given last
//! ```
//!
//! Values are cut into chunks so small that sled keeps none of them in files of their own
//! (`blobs/`), which it writes without syncing and removes as soon as it thinks they moved.
//!
//! KNOWN GAP: sled reuses a part of its log once what lay there was written elsewhere. Between two
//! of our fsyncs it takes the kernel's word for that, not the disk's.

mod files;
mod replacing;
mod rows;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use sled::transaction::TransactionError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use self::files::{Files, damaged};
use self::rows::{REVISION, commit, page, read, version};
use super::{Backend, Changed, Freshness, Loaded, Pending, StoreError, Stored, Told, Write};

/// Commits that may wait for the thread; more wait before they are handed over.
const QUEUE: usize = 64;
/// How many commits a follower may lag behind.
pub(super) const WATCH_CAPACITY: usize = 1024;

/// A store of files.
pub(super) struct Sled {
    jobs: Option<mpsc::Sender<Job>>,
    told: broadcast::Sender<Told>,
    owner: Option<JoinHandle<()>>,
}

enum Job {
    Load(Vec<String>, oneshot::Sender<Result<Loaded, StoreError>>),
    Page(String, Option<String>, usize, oneshot::Sender<Result<Vec<Stored>, StoreError>>),
    Read(String, oneshot::Sender<Result<Option<Stored>, StoreError>>),
    Commit(Vec<Write>, oneshot::Sender<Result<Vec<u64>, StoreError>>),
}

impl Sled {
    /// Opens, and makes where absent, the store below `directory`.
    pub(super) async fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let lock = hold(&directory)?;
        Self::open_held(directory, lock, broadcast::Sender::new(WATCH_CAPACITY)).await
    }

    /// The same by whoever holds its lock, and has those who follow.
    pub(super) async fn open_held(directory: PathBuf, lock: File, told: broadcast::Sender<Told>) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let (opened, outcome) = oneshot::channel();
        let telling = told.clone();
        let place = directory.display().to_string();
        let owner = thread::Builder::new().name("store".to_owned()).spawn(move || match Files::open(&directory, lock) {
            Ok(files) => {
                // Whoever asked may have gone away; then the queue is closed already.
                let _ = opened.send(Ok(()));
                Owner { files, told: telling, broken: None }.run(waiting);
            }
            Err(error) => drop(opened.send(Err(error))),
        });
        let owner = owner.map_err(|error| StoreError::Failed(format!("the store's thread cannot be started: {error}")))?;
        // sled panics on some damage; then the sender is dropped.
        outcome.await.unwrap_or_else(|_| Err(damaged(&place, "its files do not make sense to sled")))?;
        Ok(Self { jobs: Some(jobs), told, owner: Some(owner) })
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job) -> Result<T, StoreError> {
        let stopped = || StoreError::Failed("the store has stopped after a fault; restart subrosa".to_owned());
        let (answer, outcome) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(job(answer)).await.map_err(|_| stopped())?;
        outcome.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Backend for Sled {
    fn load(&self, prefixes: &[&str]) -> Pending<'_, Result<Loaded, StoreError>> {
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Box::pin(self.ask(|answer| Job::Load(prefixes, answer)))
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        Box::pin(self.ask(move |answer| Job::Page(prefix, after, limit, answer)))
    }

    fn read(&self, key: &str) -> Pending<'_, Result<Option<Stored>, StoreError>> {
        let key = key.to_owned();
        Box::pin(self.ask(|answer| Job::Read(key, answer)))
    }

    fn commit(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(self.ask(|answer| Job::Commit(writes, answer)))
    }

    fn watch(&self) -> broadcast::Receiver<Told> {
        self.told.subscribe()
    }

    fn freshness(&self) -> watch::Receiver<Freshness> {
        Freshness::always()
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl Drop for Sled {
    /// Whoever drops the store may open it again at once: the thread has let go of the files.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(owner) = self.owner.take() {
            // A panic of it was told to whoever waited for its answer.
            let _ = owner.join();
        }
    }
}

/// Takes the lock of the data directory, which is made when absent. Whoever has it may open the store.
pub(super) fn hold(directory: &Path) -> Result<File, StoreError> {
    files::hold(directory)
}

/// Puts a store of `stored` in the place of the one below `directory`; where what was there is kept.
pub(super) async fn replace(directory: PathBuf, stored: Vec<Stored>) -> Result<Option<PathBuf>, StoreError> {
    let place = directory.display().to_string();
    let replaced = tokio::task::spawn_blocking(move || replacing::replace(&directory, &stored));
    replaced.await.unwrap_or_else(|_| Err(damaged(&place, "what was built does not make sense to sled")))
}

/// The thread that owns the files.
struct Owner {
    files: Files,
    told: broadcast::Sender<Told>,
    /// Why nothing can be written any more. After a failed fsync nobody knows what the disk holds.
    broken: Option<String>,
}

/// A commit that was carried out and is not on stable storage yet.
struct Unsynced {
    writes: Vec<Write>,
    revision: u64,
    answer: oneshot::Sender<Result<Vec<u64>, StoreError>>,
}

impl Owner {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            let mut unsynced = Vec::new();
            self.start(job, &mut unsynced);
            while let Ok(job) = jobs.try_recv() {
                self.start(job, &mut unsynced);
                if unsynced.len() >= QUEUE {
                    break;
                }
            }
            self.finish(unsynced);
        }
    }

    fn start(&mut self, job: Job, unsynced: &mut Vec<Unsynced>) {
        match job {
            Job::Load(prefixes, answer) => drop(answer.send(self.load(prefixes))),
            Job::Page(prefix, after, limit, answer) => {
                drop(answer.send(page(&self.files.db, &prefix, after.as_deref(), limit)));
            }
            Job::Read(key, answer) => drop(answer.send(read(&self.files.db, &key))),
            Job::Commit(writes, answer) => match self.carry_out(&writes) {
                Ok(revision) => unsynced.push(Unsynced { writes, revision, answer }),
                Err(error) => drop(answer.send(Err(error))),
            },
        }
    }

    /// Nothing is written meanwhile: this thread alone does that.
    fn load(&self, mut prefixes: Vec<String>) -> Result<Loaded, StoreError> {
        prefixes.sort();
        // One that begins with another adds nothing.
        prefixes.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        let found: Result<Vec<_>, _> = prefixes.iter().map(|prefix| page(&self.files.db, prefix, None, usize::MAX)).collect();
        let revision =
            self.files.db.get(REVISION).map_err(|error| StoreError::Failed(format!("the store cannot be read: {error}")))?;
        Ok(Loaded { revision: version(revision), stored: found?.into_iter().flatten().collect() })
    }

    fn carry_out(&mut self, writes: &[Write]) -> Result<u64, StoreError> {
        if let Some(why) = &self.broken {
            return Err(StoreError::Failed(why.clone()));
        }
        let outcome = self.files.db.transaction(|view| commit(view, writes));
        outcome.map_err(|error| match error {
            TransactionError::Abort(key) => StoreError::Conflict { key },
            TransactionError::Storage(error) => StoreError::Failed(self.break_with(&error.to_string())),
        })
    }

    fn finish(&mut self, unsynced: Vec<Unsynced>) {
        let synced = match unsynced.last() {
            None => Ok(()),
            Some(last) => self.files.sync().and_then(|()| self.files.mark.set(last.revision)),
        };
        let failed = synced.err().map(|error| self.break_with(&error.to_string()));
        for Unsynced { writes, revision, answer } in unsynced {
            let outcome = failed.clone().map_or_else(|| Ok(self.tell(writes, revision)), |why| Err(StoreError::Failed(why)));
            // Whoever asked may have gone away; the commit stands.
            let _ = answer.send(outcome);
        }
    }

    fn tell(&self, writes: Vec<Write>, revision: u64) -> Vec<u64> {
        let changed = |write| match write {
            Write::Put { key, bytes, .. } => Changed { key, now: Some((revision, bytes)) },
            Write::Remove { key, .. } => Changed { key, now: None },
        };
        let changes: Vec<Changed> = writes.into_iter().map(changed).collect();
        let puts = changes.iter().filter(|changed| changed.now.is_some()).count();
        // Nobody listening is no fault.
        let _ = self.told.send(Told::Commit { revision, changes });
        vec![revision; puts]
    }

    fn break_with(&mut self, error: &str) -> String {
        let why = format!(
            "the store can no longer be written ({error}); see to the disk that holds it and restart subrosa, \
             until then what is stored can only be read, and whether this last change was kept shows after the restart"
        );
        self.broken.get_or_insert(why).clone()
    }
}
