//! Another store in the place of the one there, in one step: built beside it, synced, read back, exchanged.
//!
//! ```text
//! directory/store.building             what is not done; whatever is found there is removed
//! directory/store.restoring-TIME       done; for the moment of the exchange
//! directory/store.before-restore-TIME  what was there: store, store.mark, store.opening
//! ```
//! The mark says how far the store must reach, so the new one reaches one further: both the old and the
//! new open beside it, whichever is in place after a crash. Once the new one is in place the mark says that it is no store
//! that was only begun.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::files::{lock, open_sled};
use super::rows::{fill, page};
use crate::store::mark::Mark;
use crate::store::{StoreError, Stored};

/// What the place of a restore under way is called, with a time behind it.
const RESTORING: &str = "store.restoring-";
/// The store that was there, where it could not be exchanged in one step.
const ASIDE: &str = "store.old";

/// Does it; where what was there is kept, if something was.
pub(super) fn replace(directory: &Path, stored: &[Stored]) -> Result<Option<PathBuf>, StoreError> {
    let failed = |what: &str, fault: &dyn std::fmt::Display| {
        let place = directory.display();
        StoreError::Failed(format!(
            "the store in {place} cannot be replaced: it cannot be {what} ({fault}); what was there is as it was"
        ))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|fault| failed("made", &fault))?;
    let _lock = lock(directory)?.map_err(|fault| failed("locked", &fault))?;
    tell_of_leftovers(directory);
    let mark = Mark::open(directory);
    let marked = mark.as_ref().ok().and_then(Mark::marked).unwrap_or(0);
    let building = directory.join("store.building");
    remove(&building).map_err(|fault| failed("tidied", &fault))?;
    DirBuilder::new().mode(0o700).create(&building).map_err(|fault| failed("built", &fault))?;
    build(&building.join("store"), stored, marked + 1)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let restoring = put_in_place(directory, &building, since).map_err(|fault| failed("put in place", &fault))?;
    let settled = settle(directory, &building, restoring.as_deref(), since).and_then(|kept| {
        let mut mark = mark.or_else(|_| {
            // One that is damaged says nothing of the new store; a copy is kept with the one it belonged to.
            fs::remove_file(directory.join("store.mark"))?;
            Mark::open(directory)
        })?;
        mark.set(marked + 1)?;
        Ok(kept)
    });
    settled.map_err(|fault| unsettled(directory, restoring.as_deref(), since, &fault))
}

/// The new store is in place, and something after that failed.
fn unsettled(directory: &Path, restoring: Option<&Path>, since: u64, fault: &io::Error) -> StoreError {
    let place = directory.display();
    let kept = match restoring {
        None => "there was none before".to_owned(),
        Some(restoring) if restoring.exists() => format!("what was there is kept in {}", restoring.display()),
        Some(_) => format!("what was there is kept in {}", before(directory, since).display()),
    };
    StoreError::Failed(format!(
        "the store in {place} was replaced by the one that is restored, which a start opens, and what was left to do failed \
         ({fault}): {kept}. See to the disk that holds it"
    ))
}

/// Says what restores left that were cut off: it may be all there is of what was there before.
pub(super) fn tell_of_leftovers(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(RESTORING) {
            let place = entry.path();
            tracing::warn!(
                place = %place.display(),
                "left by a restore that was cut off: the store of before it, or the one that it was to put in place; remove it \
                 once you need neither"
            );
        }
    }
}

/// Builds a store at `place`, whose last change has the number `revision`, and reads it back.
fn build(place: &Path, stored: &[Stored], revision: u64) -> Result<(), StoreError> {
    let unwritten = |fault: &dyn std::fmt::Display| {
        StoreError::Failed(format!("the store cannot be built in {} ({fault}); what was there is as it was", place.display()))
    };
    let db = open_sled(place, place)?;
    fill(&db, stored, revision).map_err(|fault| unwritten(&fault))?;
    db.flush().map_err(|fault| unwritten(&fault))?;
    drop(db);
    let db = open_sled(place, place)?;
    let read = page(&db, "", None, usize::MAX)?;
    let mut wanted: Vec<&Stored> = stored.iter().collect();
    wanted.sort_by(|one, other| one.key.cmp(&other.key));
    let same = |read: &Stored, wanted: &&Stored| read.key == wanted.key && read.bytes == wanted.bytes;
    if read.len() != wanted.len() || !read.iter().zip(&wanted).all(|(read, wanted)| same(read, wanted)) {
        return Err(unwritten(&"what was written does not read back"));
    }
    drop(db);
    sync_all(place).map_err(|fault| unwritten(&fault))
}

fn before(directory: &Path, since: u64) -> PathBuf {
    directory.join(format!("store.before-restore-{since}"))
}

/// The exchange itself: where it fails, what was there is there. Where what was there lies then, if something was.
fn put_in_place(directory: &Path, building: &Path, since: u64) -> io::Result<Option<PathBuf>> {
    let store = directory.join("store");
    if !store.exists() {
        fs::rename(building.join("store"), &store)?;
        return Ok(None);
    }
    let restoring = directory.join(format!("{RESTORING}{since}"));
    let mark = directory.join("store.mark");
    if mark.exists() {
        fs::copy(mark, building.join("store.mark"))?;
    }
    sync_all(building)?;
    fs::rename(building, &restoring)?;
    swap(&restoring.join("store"), &store)?;
    Ok(Some(restoring))
}

/// What is left to do once the new store is in place.
fn settle(directory: &Path, building: &Path, restoring: Option<&Path>, since: u64) -> io::Result<Option<PathBuf>> {
    File::open(directory)?.sync_all()?;
    let Some(restoring) = restoring else {
        remove(building)?;
        return Ok(None);
    };
    let aside = restoring.join(ASIDE);
    if aside.exists() {
        fs::rename(aside, restoring.join("store"))?;
    }
    // From an opening that did not succeed; the next that does would remove it.
    let opening = directory.join("store.opening");
    if opening.exists() {
        fs::rename(opening, restoring.join("store.opening"))?;
    }
    let before = before(directory, since);
    fs::rename(restoring, &before)?;
    File::open(directory)?.sync_all()?;
    Ok(Some(before))
}

/// In one step where the file system can do that. Where not, a crash between two steps leaves no store, which
/// the next start refuses by its mark, and both are there.
fn swap(new: &Path, old: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let aside = new.with_file_name(ASIDE);
            fs::rename(old, &aside)?;
            fs::rename(new, old).inspect_err(|_| {
                // As it was; where not even that can be done, both are there.
                let _ = fs::rename(&aside, old);
            })
        }
        outcome => Ok(outcome?),
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}

/// Files first, then the directories that name them.
fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(&path)?.sync_all()? }
    }
    File::open(directory)?.sync_all()
}
