//! A ring of keys: the current one seals, and former ones open what was sealed with them, until nothing
//! names them any more.
//!
//! Wherever a key is given it may be followed by former ones, a line each. A file of keys is replaced in
//! one step: at any moment it holds all keys of before or all keys of after.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::key::{self, KeyEncryptionKey, KeyError, KeyId, MAX_TEXT};

/// What stands between the current key and former ones in a file that is written here.
const FORMER: &str = "# Former keys. `subrosa key rotate` removes them once nothing needs them.\n";

/// Keys held together.
#[derive(Clone)]
pub struct KeyRing {
    current: Arc<KeyEncryptionKey>,
    former: Vec<Arc<KeyEncryptionKey>>,
}

impl KeyRing {
    /// A ring of one key.
    pub fn new(current: KeyEncryptionKey) -> Self {
        Self { current: Arc::new(current), former: Vec::new() }
    }

    /// Reads keys, one a line of base64, the current one first; empty lines and those that begin with `#`
    /// say nothing. `place` names the text in messages.
    pub fn parse(text: &[u8], place: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_TEXT {
            return Err(KeyError::TooLong { place: place.to_owned() });
        }
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
        let mut keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
        let (_, first) = keys.next().ok_or_else(|| KeyError::Empty { place: place.to_owned() })?;
        let mut ring = Self::new(KeyEncryptionKey::decode(first, place)?);
        for (index, line) in keys {
            ring = ring.with(KeyEncryptionKey::decode(line, &format!("line {} of {place}", index + 1))?);
        }
        Ok(ring)
    }

    /// Reads keys from a file, which nobody but its owner may read.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        Self::parse(&key::read_private(path)?, &format!("the key in {}", path.display()))
    }

    /// The same, which also opens what was sealed with `former`.
    #[must_use]
    pub fn with(mut self, former: KeyEncryptionKey) -> Self {
        self.add(Arc::new(former));
        self
    }

    /// The same, which also opens what the keys of `other` open.
    #[must_use]
    pub fn with_all(mut self, other: &Self) -> Self {
        other.keys().for_each(|key| self.add(Arc::clone(key)));
        self
    }

    /// A ring with a new current key, in which the keys of this one are former ones.
    pub fn renewed(&self) -> Result<Self, KeyError> {
        Ok(Self::new(KeyEncryptionKey::random()?).with_all(self))
    }

    /// The current key alone.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { current: Arc::clone(&self.current), former: Vec::new() }
    }

    /// The key that seals.
    pub fn current(&self) -> KeyId {
        self.current.id()
    }

    /// The keys that only open.
    pub fn former(&self) -> impl Iterator<Item = KeyId> {
        self.former.iter().map(|key| key.id())
    }

    /// Whether it opens what was sealed with `id`.
    pub fn holds(&self, id: KeyId) -> bool {
        self.find(id).is_some()
    }

    /// Puts the keys into a file in the place of what it holds, in one step, and reads them back: the file
    /// holds all keys of before or all of these, whatever happens.
    pub fn replace_file(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source| KeyError::Unwritable { path: path.display().to_string(), source };
        // A link is followed: what it leads to is replaced, not the link.
        let target = path.canonicalize().map_err(failed)?;
        self.put(&beside(&target), &target).map_err(failed)?;
        sync_parent(&target).map_err(|source| KeyError::Unsynced { path: path.display().to_string(), source })
    }

    /// Keeps each former key in a file of its own beside `path`, `{path}.retired-{id}`, for backups that were
    /// made before. Those that are there already stay as they are, unless they hold no key at all.
    pub fn keep_former(&self, path: &Path) -> Result<Vec<PathBuf>, KeyError> {
        let failed = |path: &Path, source| KeyError::Unwritable { path: path.display().to_string(), source };
        let target = path.canonicalize().map_err(|source| failed(path, source))?;
        let mut kept = Vec::new();
        for former in &self.former {
            let file = retired(&target, former.id());
            match Self::from_file(&file) {
                Ok(there) if there.holds(former.id()) => {}
                Ok(_) => return Err(failed(&file, io::Error::new(io::ErrorKind::AlreadyExists, "it holds another key"))),
                Err(fault) if fault.is_no_key() => {
                    let alone = Self { current: Arc::clone(former), former: Vec::new() };
                    alone.put(&beside(&target), &file).map_err(|source| failed(&file, source))?;
                }
                Err(fault) => return Err(fault),
            }
            kept.push(file);
        }
        sync_parent(&target).map_err(|source| failed(path, source))?;
        Ok(kept)
    }

    /// Writes the keys to `beside`, reads them back, and moves that to `target`. The directory is not synced. Where it
    /// fails `target` is as it was, and nothing stays beside it.
    fn put(&self, beside: &Path, target: &Path) -> io::Result<()> {
        match fs::remove_file(beside) {
            // Left by a process that ended while it wrote.
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        key::write_private(beside, &self.text())?;
        let is_whole = |written: &Self| written.keys().map(|key| key.id()).eq(self.keys().map(|key| key.id()));
        let put = match Self::from_file(beside) {
            Ok(written) if is_whole(&written) => fs::rename(beside, target),
            Ok(_) => Err(io::Error::other("what was written does not read back")),
            Err(fault) => Err(io::Error::other(fault)),
        };
        if put.is_err() {
            // A key that is used nowhere.
            let _ = fs::remove_file(beside);
        }
        put
    }

    pub(super) fn key(&self) -> &KeyEncryptionKey {
        &self.current
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&KeyEncryptionKey> {
        self.keys().map(Arc::as_ref).find(|key| key.id() == id)
    }

    fn keys(&self) -> impl Iterator<Item = &Arc<KeyEncryptionKey>> {
        std::iter::once(&self.current).chain(&self.former)
    }

    fn add(&mut self, former: Arc<KeyEncryptionKey>) {
        if !self.holds(former.id()) {
            self.former.push(former);
        }
    }

    fn text(&self) -> Zeroizing<String> {
        let length = FORMER.len() + (1 + self.former.len()) * self.current.line().len();
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(&self.current.line());
        if !self.former.is_empty() {
            text.push_str(FORMER);
        }
        self.former.iter().for_each(|former| text.push_str(&former.line()));
        text
    }
}

/// Where keys are written before they have their place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".new");
    PathBuf::from(name)
}

/// Where a key that was retired from the file at `path` is kept.
fn retired(path: &Path, id: KeyId) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".retired-{id}"));
    PathBuf::from(name)
}

fn sync_parent(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn key(byte: u8) -> KeyEncryptionKey {
        KeyEncryptionKey::from_bytes(&[byte; 32])
    }

    fn line(byte: u8) -> String {
        key(byte).line().to_string()
    }

    #[test]
    fn the_first_line_is_the_current_key_and_the_others_are_former_ones() {
        let text = format!("# made by hand\n\n{}\r\n# former\n  {}{}{}", line(1), line(2), line(3), line(1));
        let ring = KeyRing::parse(text.as_bytes(), "it").expect("a ring");
        assert_eq!(ring.current(), key(1).id());
        assert_eq!(ring.former().collect::<Vec<_>>(), [key(2).id(), key(3).id()], "the current one is none of its former ones");
        assert!(ring.holds(key(3).id()) && !ring.holds(key(4).id()));
        assert!(!ring.alone().holds(key(2).id()));
    }

    #[test]
    fn what_holds_no_keys_is_refused_with_its_line() {
        let long = line(1).repeat(200);
        for (text, part) in [
            ("", "it holds no key"),
            ("# nothing\n\n", "it holds no key"),
            (&format!("{}hunter2!\n", line(1)), "line 2 of it is not one line of base64"),
            (&long, "longer than"),
        ] {
            let said = KeyRing::parse(text.as_bytes(), "it").expect_err("no ring").to_string();
            assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_file_is_replaced_in_one_step_and_stays_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kek");
        KeyEncryptionKey::create_file(&path).expect("made");
        // Left by a process that ended while it wrote.
        std::fs::write(dir.path().join("kek.new"), "half").expect("written");
        let before = KeyRing::from_file(&path).expect("read");
        let after = before.renewed().expect("random");
        after.replace_file(&path).expect("replaced");
        let read = KeyRing::from_file(&path).expect("read");
        assert_eq!((read.current(), read.former().collect::<Vec<_>>()), (after.current(), vec![before.current()]));
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        assert!(!dir.path().join("kek.new").exists());
        let kept = after.keep_former(&path).expect("kept");
        assert_eq!(kept, [dir.path().canonicalize().expect("there").join(format!("kek.retired-{}", before.current()))]);
        assert_eq!(after.keep_former(&path).expect("there already"), kept);
        assert_eq!(KeyRing::from_file(&kept[0]).expect("a key").current(), before.current());
        assert_eq!(std::fs::metadata(&kept[0]).expect("there").mode() & 0o7777, 0o600);
        after.alone().replace_file(&path).expect("replaced");
        assert_eq!(std::fs::read_to_string(&path).expect("text").lines().count(), 1);
    }

    #[test]
    fn half_a_retired_key_is_written_again_and_another_key_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kek");
        key::write_private(&path, &format!("{}{}", line(1), line(2))).expect("written");
        let ring = KeyRing::from_file(&path).expect("read");
        let file = retired(&path.canonicalize().expect("there"), key(2).id());
        for half in ["", &line(2)[..20]] {
            let _ = fs::remove_file(&file);
            key::write_private(&file, half).expect("written");
            assert_eq!(ring.keep_former(&path).expect("written again"), std::slice::from_ref(&file));
            assert_eq!(KeyRing::from_file(&file).expect("a key").current(), key(2).id());
        }
        fs::remove_file(&file).expect("removed");
        key::write_private(&file, &line(3)).expect("written");
        let said = ring.keep_former(&path).expect_err("it may be somebody's").to_string();
        assert!(said.contains(&file.display().to_string()) && said.contains("another key"), "{said}");
        assert_eq!(KeyRing::from_file(&file).expect("a key").current(), key(3).id());
        assert!(!dir.path().join("kek.new").exists());
    }

    #[test]
    fn where_a_file_cannot_be_moved_no_key_is_left_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kek");
        // No file can be moved to where a directory is.
        fs::create_dir(&path).expect("made");
        assert!(matches!(KeyRing::new(key(1)).replace_file(&path), Err(KeyError::Unwritable { .. })));
        assert!(!dir.path().join("kek.new").exists());
    }

    #[test]
    fn debug_shows_ids_only() {
        let shown = format!("{:?}", KeyRing::new(key(1)).with(key(2)));
        assert_eq!(shown, format!("[KeyEncryptionKey({}), KeyEncryptionKey({})]", key(1).id(), key(2).id()));
    }
}
