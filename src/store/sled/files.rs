//! What lies in the data directory: one process at a time holds it, and nothing of it is opened that
//! lacks what was acknowledged.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::rows::{REVISION, version};
use crate::store::StoreError;
use crate::store::mark::Mark;

/// sled keeps pages in memory; records are small and read once.
const CACHE: u64 = 16 << 20;
/// How often sled may tidy its log. It makes an fsync each time, so not often.
const TIDY_MILLISECONDS: u64 = 5_000;

/// The open files.
pub(super) struct Files {
    // Dropped in this order: the lock goes last.
    pub(super) db: sled::Db,
    log: File,
    pub(super) mark: Mark,
    blobs: PathBuf,
    /// When a file was made or removed there last. sled opens files; syncing opens none.
    blobs_changed: Option<SystemTime>,
    _lock: File,
}

impl Files {
    /// Opens, and makes where absent, everything below `directory`, whose lock this process holds.
    pub(super) fn open(directory: &Path, lock: File) -> Result<Self, StoreError> {
        let failed = |what: &str, error: io::Error| failed(directory, what, &error);
        let store = directory.join("store");
        await_engine(directory, &store)?;
        super::replacing::tell_of_leftovers(directory);
        let mut mark = Mark::open(directory).map_err(|error| failed("read (store.mark)", error))?;
        if mark.marked().is_none() && !store.join("db").exists() {
            // That it is begun here stands on the disk before anything else does.
            mark.set(0).and_then(|()| File::open(directory)?.sync_all()).map_err(|error| failed("marked", error))?;
        }
        remove_half_made_snapshots(&store).map_err(|error| failed("tidied", error))?;
        let aside = Aside::of(directory, &store).map_err(|error| failed("copied before opening it", error))?;
        let db = if mark.marked() == Some(0) { begin_sled(directory, &store, &aside) } else { open_sled(directory, &store) }?;
        reaches(&mark, &db, directory, &aside)?;
        let log = File::open(store.join("db")).map_err(|error| failed("read", error))?;
        let mut files = Self { db, log, mark, blobs: store.join("blobs"), blobs_changed: None, _lock: lock };
        files.sync_all(directory, &store).map_err(|error| failed("synced", error))?;
        aside.remove().map_err(|error| failed("tidied", error))?;
        Ok(files)
    }

    /// Waits until everything committed so far is on stable storage.
    pub(super) fn sync(&mut self) -> io::Result<()> {
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

/// Takes the lock of `directory`, with everything that has to be there for that.
pub(super) fn hold(directory: &Path) -> Result<File, StoreError> {
    let store = directory.join("store");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&store);
    made.map_err(|error| failed(directory, "created", &error))?;
    lock(directory)?.map_err(|error| failed(directory, "locked", &error))
}

/// Waits until sled, here or in a process that handed the lock over, has let go of its files: what is done before it opens
/// them must not meet it.
fn await_engine(directory: &Path, store: &Path) -> Result<(), StoreError> {
    let Ok(log) = File::open(store.join("db")) else { return Ok(()) };
    for _ in 0..50 {
        match log.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::Error(error)) => return Err(failed(directory, "locked", &error)),
        }
    }
    Err(in_use(directory))
}

fn failed(directory: &Path, what: &str, error: &io::Error) -> StoreError {
    let place = directory.display();
    StoreError::Failed(match cure(error) {
        Some(cure) => {
            format!("the data directory {place} cannot be {what} ({error}); {cure} and start again, nothing was changed")
        }
        None => format!("the data directory {place} cannot be {what}: {error}"),
    })
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

    /// Gives it a name under which no opening removes it; which, if there is one.
    fn keep(&self, directory: &Path) -> io::Result<Option<PathBuf>> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let kept = directory.join(format!("store.begun-anew-{since}"));
        match fs::rename(&self.0, &kept) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(Some(kept)),
        }
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
pub(super) fn lock(directory: &Path) -> Result<io::Result<File>, StoreError> {
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

pub(super) fn open_sled(directory: &Path, store: &Path) -> Result<sled::Db, StoreError> {
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

/// Opens a store in which nothing was acknowledged yet. One whose first opening was cut off may lie there in
/// parts, which sled cannot open; then it is begun once more, and those parts are kept.
fn begin_sled(directory: &Path, store: &Path, aside: &Aside) -> Result<sled::Db, StoreError> {
    // sled panics on some damage.
    let opened = std::panic::catch_unwind(|| open_sled(directory, store));
    match opened {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(StoreError::InUse { path })) => Err(StoreError::InUse { path }),
        Ok(Err(_)) | Err(_) => {
            let unopened = |error| unopened(directory, &sled::Error::Io(error));
            if let Some(kept) = aside.keep(directory).map_err(unopened)? {
                tracing::warn!(
                    kept = %kept.display(),
                    "the store does not open and nothing was acknowledged in it, so it is begun once more; its files are kept"
                );
            }
            let again = fs::remove_dir_all(store).and_then(|()| DirBuilder::new().mode(0o700).create(store));
            again.map_err(unopened)?;
            open_sled(directory, store)
        }
    }
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

pub(super) fn damaged(directory: &str, why: &str) -> StoreError {
    StoreError::Failed(format!("the store in {directory} cannot be opened ({why}); restore it from a backup"))
}
