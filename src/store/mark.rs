//! How far the store must reach: the version given last, in a file beside the engine's own, on stable
//! storage before the commit is acknowledged.
//!
//! After a crash sled takes the first part of its log that does not check out for the end of it, and
//! begins to write there. Nothing in it says that more was acknowledged; this does.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Its name in the data directory.
const NAME: &str = "store.mark";
/// `subrosa store mark 1 `, twenty digits and a line end: always the same length, within one sector.
const PREFIX: &str = "subrosa store mark 1 ";
/// The length of the number.
const DIGITS: usize = 20;

/// The open mark.
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    marked: Option<u64>,
}

impl Mark {
    /// Opens the mark in `directory`; a new one marks nothing yet.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let mut bytes = vec![0; PREFIX.len() + DIGITS];
        let marked = if file.metadata()?.len() == 0 {
            None
        } else {
            file.read_exact_at(&mut bytes, 0)?;
            let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_prefix(PREFIX));
            Some(text.and_then(|digits| digits.parse().ok()).ok_or(io::ErrorKind::InvalidData)?)
        };
        Ok(Self { file, path, marked })
    }

    /// The version that was acknowledged last; `None` in a new mark.
    pub(super) fn marked(&self) -> Option<u64> {
        self.marked
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Marks `version`, on stable storage. Opens nothing: this must work when nothing can be opened.
    pub(super) fn set(&mut self, version: u64) -> io::Result<()> {
        if self.marked == Some(version) {
            return Ok(());
        }
        self.file.write_all_at(format!("{PREFIX}{version:0DIGITS$}\n").as_bytes(), 0)?;
        self.file.sync_all()?;
        self.marked = Some(version);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_again_what_was_marked_and_refuses_what_is_no_mark() {
        let place = tempfile::tempdir().expect("a directory");
        let mut mark = Mark::open(place.path()).expect("made");
        assert_eq!(mark.marked(), None);
        for version in [1, 7, u64::MAX] {
            mark.set(version).expect("written");
            assert_eq!(Mark::open(place.path()).expect("there").marked(), Some(version));
        }
        std::fs::write(mark.path(), "subrosa store mark 1 what").expect("written");
        assert!(Mark::open(place.path()).is_err());
    }
}
