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

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use sled::transaction::{ConflictableTransactionError, ConflictableTransactionResult, TransactionError, TransactionalTree};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::mark::Mark;
use super::{Backend, Changed, Expect, Pending, StoreError, Stored, Write};

/// Bytes of a value in one row. A page of sled holds 16 rows and moves to a file of its own at 128 KiB.
const CHUNK: usize = 4096;
/// The version and the count of chunks, before the bytes of the first.
const PREFIX: usize = 12;
/// The row that holds the version given last. No key begins with NUL.
const REVISION: &[u8] = b"\0revision";
/// Commits that may wait for the thread; more wait before they are handed over.
const QUEUE: usize = 64;
/// How many changes a follower may lag behind.
const WATCH_CAPACITY: usize = 1024;
/// sled keeps pages in memory; records are small and read once.
const CACHE: u64 = 16 << 20;
/// How often sled may tidy its log. It makes an fsync each time, so not often.
const TIDY_MILLISECONDS: u64 = 5_000;

/// A store of files.
pub(super) struct Sled {
    jobs: Option<mpsc::Sender<Job>>,
    changes: broadcast::Sender<Changed>,
    owner: Option<JoinHandle<()>>,
}

enum Job {
    Load(oneshot::Sender<Result<Vec<Stored>, StoreError>>),
    Commit(Vec<Write>, oneshot::Sender<Result<Vec<u64>, StoreError>>),
}

impl Sled {
    /// Opens, and makes where absent, the store below `directory`.
    pub(super) async fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let changes = broadcast::Sender::new(WATCH_CAPACITY);
        let (opened, outcome) = oneshot::channel();
        let told = changes.clone();
        let place = directory.display().to_string();
        let owner = thread::Builder::new().name("store".to_owned()).spawn(move || match Files::open(&directory) {
            Ok(files) => {
                // Whoever asked may have gone away; then the queue is closed already.
                let _ = opened.send(Ok(()));
                Owner { files, changes: told, broken: None }.run(waiting);
            }
            Err(error) => drop(opened.send(Err(error))),
        });
        let owner = owner.map_err(|error| StoreError::Failed(format!("the store's thread cannot be started: {error}")))?;
        // sled panics on some damage; then the sender is dropped.
        outcome.await.unwrap_or_else(|_| Err(damaged(&place, "its files do not make sense to sled")))?;
        Ok(Self { jobs: Some(jobs), changes, owner: Some(owner) })
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
    fn load(&self) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
        Box::pin(self.ask(Job::Load))
    }

    fn commit(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(self.ask(|answer| Job::Commit(writes, answer)))
    }

    fn watch(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
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

/// The thread that owns the files.
struct Owner {
    files: Files,
    changes: broadcast::Sender<Changed>,
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
            Job::Load(answer) => drop(answer.send(load(&self.files.db))),
            Job::Commit(writes, answer) => match self.carry_out(&writes) {
                Ok(revision) => unsynced.push(Unsynced { writes, revision, answer }),
                Err(error) => drop(answer.send(Err(error))),
            },
        }
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
        let mut versions = Vec::new();
        for write in writes {
            let changed = match write {
                Write::Put { key, bytes, .. } => {
                    versions.push(revision);
                    Changed { key, now: Some((revision, bytes)) }
                }
                Write::Remove { key, .. } => Changed { key, now: None },
            };
            // Nobody listening is no fault.
            let _ = self.changes.send(changed);
        }
        versions
    }

    fn break_with(&mut self, error: &str) -> String {
        let why = format!(
            "the store can no longer be written ({error}); see to the disk that holds it and restart subrosa, \
             until then what is stored can only be read, and whether this last change was kept shows after the restart"
        );
        self.broken.get_or_insert(why).clone()
    }
}

// What lies in sled.

/// All expectations first, then all writes, under one version that was never given before.
fn commit(view: &TransactionalTree, writes: &[Write]) -> ConflictableTransactionResult<u64, String> {
    let mut chunks = Vec::with_capacity(writes.len());
    for write in writes {
        chunks.push(check(view, write)?);
    }
    let revision = version(view.get(REVISION)?) + 1;
    view.insert(REVISION, &revision.to_be_bytes())?;
    for (write, old_chunks) in writes.iter().zip(chunks) {
        let (key, new_chunks) = match write {
            Write::Put { key, bytes, .. } => (key, put(view, key, revision, bytes)?),
            Write::Remove { key, .. } => (key, 0),
        };
        for chunk in new_chunks..old_chunks {
            view.remove(row(key, chunk))?;
        }
    }
    Ok(revision)
}

fn version(row: Option<sled::IVec>) -> u64 {
    row.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// How many chunks the key has now, if what the write expects holds.
fn check(view: &TransactionalTree, write: &Write) -> ConflictableTransactionResult<u32, String> {
    let (key, expected) = match write {
        Write::Put { key, expect: Expect::Absent, .. } => (key, None),
        Write::Put { key, expect: Expect::Version(version), .. } | Write::Remove { key, version } => (key, Some(*version)),
    };
    let now = view.get(row(key, 0))?;
    let now = now.as_ref().and_then(|first| prefix(first));
    if now.map(|(version, _, _)| version) != expected {
        return Err(ConflictableTransactionError::Abort(key.clone()));
    }
    Ok(now.map_or(0, |(_, chunks, _)| chunks))
}

fn put(view: &TransactionalTree, key: &str, revision: u64, bytes: &[u8]) -> ConflictableTransactionResult<u32, String> {
    let rest = bytes.len().saturating_sub(CHUNK).div_ceil(CHUNK);
    let count = u32::try_from(rest + 1).map_err(|_| ConflictableTransactionError::Abort(key.to_owned()))?;
    let (first, rest) = bytes.split_at(bytes.len().min(CHUNK));
    view.insert(row(key, 0), [&revision.to_be_bytes()[..], &count.to_be_bytes(), first].concat())?;
    for (chunk, bytes) in (1..count).zip(rest.chunks(CHUNK)) {
        view.insert(row(key, chunk), bytes)?;
    }
    Ok(count)
}

/// Every key with its chunks joined. What is damaged beyond that is found when it is opened.
fn load(db: &sled::Db) -> Result<Vec<Stored>, StoreError> {
    let mut all: Vec<Stored> = Vec::new();
    for entry in db.iter() {
        let (row, bytes) = entry.map_err(|error| StoreError::Failed(format!("the store cannot be read: {error}")))?;
        let Some((key, chunk)) = parse_row(&row) else { continue };
        match (chunk, all.last_mut()) {
            (0, _) => {
                let Some((version, _, first)) = prefix(&bytes) else { continue };
                all.push(Stored { key: key.to_owned(), version, bytes: first.to_vec() });
            }
            (_, Some(last)) if last.key == key => last.bytes.extend_from_slice(&bytes),
            (_, _) => {}
        }
    }
    Ok(all)
}

fn row(key: &str, chunk: u32) -> Vec<u8> {
    [key.as_bytes(), &[0], &chunk.to_be_bytes()].concat()
}

fn parse_row(row: &[u8]) -> Option<(&str, u32)> {
    let (key, chunk) = row.split_last_chunk::<4>()?;
    let key = std::str::from_utf8(key.strip_suffix(&[0])?).ok().filter(|key| !key.is_empty())?;
    Some((key, u32::from_be_bytes(*chunk)))
}

fn prefix(first: &[u8]) -> Option<(u64, u32, &[u8])> {
    let (version, rest) = first.split_first_chunk::<8>()?;
    let (chunks, bytes) = rest.split_first_chunk::<{ PREFIX - 8 }>()?;
    Some((u64::from_be_bytes(*version), u32::from_be_bytes(*chunks), bytes))
}

// What lies in the directory.

struct Files {
    // Dropped in this order: the lock goes last.
    db: sled::Db,
    log: File,
    mark: Mark,
    blobs: PathBuf,
    /// When a file was made or removed there last. sled opens files; syncing opens none.
    blobs_changed: Option<SystemTime>,
    _lock: File,
}

impl Files {
    fn open(directory: &Path) -> Result<Self, StoreError> {
        let failed = |what: &str, error: io::Error| {
            let place = directory.display();
            StoreError::Failed(match cure(&error) {
                Some(cure) => {
                    format!("the data directory {place} cannot be {what} ({error}); {cure} and start again, nothing was changed")
                }
                None => format!("the data directory {place} cannot be {what}: {error}"),
            })
        };
        let store = directory.join("store");
        DirBuilder::new().recursive(true).mode(0o700).create(&store).map_err(|error| failed("created", error))?;
        let lock = lock(directory)?.map_err(|error| failed("locked", error))?;
        let mark = Mark::open(directory).map_err(|error| failed("read (store.mark)", error))?;
        remove_half_made_snapshots(&store).map_err(|error| failed("tidied", error))?;
        let aside = Aside::of(directory, &store).map_err(|error| failed("copied before opening it", error))?;
        let db = open_sled(directory, &store)?;
        reaches(&mark, &db, directory, &aside)?;
        let log = File::open(store.join("db")).map_err(|error| failed("read", error))?;
        let mut files = Self { db, log, mark, blobs: store.join("blobs"), blobs_changed: None, _lock: lock };
        files.sync_all(directory, &store).map_err(|error| failed("synced", error))?;
        aside.remove().map_err(|error| failed("tidied", error))?;
        Ok(files)
    }

    /// Waits until everything committed so far is on stable storage.
    fn sync(&mut self) -> io::Result<()> {
        self.db.flush().map_err(io::Error::other)?;
        self.log.sync_all()?;
        // There should be none, see above; should sled ever make one it must not be lost.
        let changed = fs::metadata(&self.blobs)?.modified()?;
        if self.blobs_changed != Some(changed) {
            for blob in fs::read_dir(&self.blobs)? {
                File::open(blob?.path())?.sync_all()?;
            }
            File::open(&self.blobs)?.sync_all()?;
            self.blobs_changed = Some(changed);
        }
        Ok(())
    }

    /// Once, after opening: sled makes files then (settings, a snapshot) that must not be lost either.
    fn sync_all(&mut self, directory: &Path, store: &Path) -> io::Result<()> {
        self.sync()?;
        self.mark.set(version(self.db.get(REVISION).map_err(io::Error::other)?))?;
        for entry in fs::read_dir(store)? {
            File::open(entry?.path())?.sync_all()?;
        }
        let directory = directory.canonicalize()?;
        File::open(store)?.sync_all()?;
        directory.ancestors().take(2).try_for_each(|directory| File::open(directory)?.sync_all())
    }
}

/// Refuses a store that lacks something that was acknowledged.
fn reaches(mark: &Mark, db: &sled::Db, directory: &Path, aside: &Aside) -> Result<(), StoreError> {
    let reached = db.get(REVISION).map_err(|error| unopened(directory, &error))?;
    let (reached, marked) = (version(reached), mark.marked().unwrap_or(0));
    if reached >= marked {
        return Ok(());
    }
    Err(StoreError::Failed(format!(
        "the store in {} ends at change {reached}, and change {marked} was acknowledged: its files are damaged or missing. \
         Restore the whole directory from a backup; what lay in it before this start is kept in {}. To go on with what is \
         left and lose the rest, remove {}",
        directory.display(),
        aside.0.display(),
        mark.path().display()
    )))
}

/// A copy of the engine's files from before the opening: sled repairs in place, and what it takes for
/// the end it overwrites. Kept until the store is known to be whole.
struct Aside(PathBuf);

impl Aside {
    fn of(directory: &Path, store: &Path) -> io::Result<Self> {
        let aside = Self(directory.join("store.opening"));
        // One that is there is from an opening that did not succeed, and so from before the repair.
        if aside.0.exists() || !store.join("db").exists() {
            return Ok(aside);
        }
        let half_made = directory.join("store.opening.new");
        match fs::remove_dir_all(&half_made) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Err(error) = copy_files(store, &half_made) {
            // What was copied so far would only take room. What cannot be removed is removed next time.
            let _ = fs::remove_dir_all(&half_made);
            return Err(error);
        }
        fs::rename(half_made, &aside.0)?;
        Ok(aside)
    }

    fn remove(self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// sled locks its own file too, but only after it has read and written others.
fn lock(directory: &Path) -> Result<io::Result<File>, StoreError> {
    let path = directory.join("store.lock");
    let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Ok(file)),
        Err(TryLockError::WouldBlock) => Err(in_use(directory)),
        Err(TryLockError::Error(error)) => Ok(Err(error)),
    }
}

/// A process that ended while sled wrote a snapshot leaves `snap.N.generating` behind, which sled
/// then takes for the newest snapshot and refuses to open (its issues 1527 and 1533). It is a copy
/// of what the log says; the snapshot before it is removed only after the new one has its name.
fn remove_half_made_snapshots(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn open_sled(directory: &Path, store: &Path) -> Result<sled::Db, StoreError> {
    let config = || sled::Config::new().path(store).cache_capacity(CACHE).flush_every_ms(Some(TIDY_MILLISECONDS));
    // A store closed a moment ago may still be held by one of sled's own threads.
    for _ in 0..50 {
        match config().open() {
            Ok(db) => return Ok(db),
            Err(error) if is_lock(&error) => thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(unopened(directory, &error)),
        }
    }
    Err(in_use(directory))
}

fn is_lock(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn in_use(directory: &Path) -> StoreError {
    StoreError::InUse { path: directory.display().to_string() }
}

/// Not every fault is damage: a full disk or a mode can be mended, and then everything is there.
fn unopened(directory: &Path, error: &sled::Error) -> StoreError {
    let directory = directory.display();
    let sled::Error::Io(fault) = error else { return damaged(&directory.to_string(), &error.to_string()) };
    let cure = cure(fault).unwrap_or("see to the disk that holds it");
    StoreError::Failed(format!(
        "the store in {directory} cannot be opened ({fault}); {cure} and start again, nothing was changed"
    ))
}

fn cure(fault: &io::Error) -> Option<&'static str> {
    match fault.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("free some space on its disk"),
        io::ErrorKind::PermissionDenied => Some("run this as the user whose directory it is"),
        io::ErrorKind::ReadOnlyFilesystem => Some("mount it for writing"),
        _ => None,
    }
}

fn damaged(directory: &str, why: &str) -> StoreError {
    StoreError::Failed(format!("the store in {directory} cannot be opened ({why}); restore it from a backup"))
}
