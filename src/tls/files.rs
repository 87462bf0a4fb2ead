//! The two files of the authority on disk: the key for nobody else's eyes, the certificate for all.
//!
//! A private key is created exclusively, mode 0600, in a directory of mode 0700, and both files
//! are on stable storage (file and directory synced) before anybody is told that they exist.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Above any PEM file in use: a bound, so that a wrong path (a device, a log) is not read whole.
const MAX_FILE: u64 = 1024 * 1024;

/// What of a key file's mode gives others access: all of "others", and the group's write.
const OTHERS: u32 = 0o037;
/// The group's read. Kubernetes and systemd hand secrets over as root's files, readable by the
/// service's group: there, and only there, it is the way in.
const GROUP_READ: u32 = 0o040;

/// A file's content, up to [`MAX_FILE`]; `None` when there is no such file.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => read_open(file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same for a private key: `Err` inside when others have access to it.
pub(super) fn read_key(path: &Path) -> io::Result<Option<Result<Zeroizing<Vec<u8>>, Exposed>>> {
    let Some((bytes, exposed)) = read_key_and_mode(path)? else { return Ok(None) };
    Ok(Some(exposed.map_or(Ok(bytes), Err)))
}

/// A private key, and whether others have access to it.
pub(super) type KeyAndMode = (Zeroizing<Vec<u8>>, Option<Exposed>);

/// A private key's file, whoever may read it.
pub(super) fn read_key_and_mode(path: &Path) -> io::Result<Option<KeyAndMode>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The open file is asked, not the path: it cannot be exchanged in between.
    let metadata = file.metadata()?;
    let forbidden = if metadata.uid() == 0 { OTHERS } else { OTHERS | GROUP_READ };
    let exposed = (metadata.mode() & forbidden != 0).then(|| Exposed { mode: metadata.mode() & 0o777 });
    read_open(file).map(|bytes| Some((Zeroizing::new(bytes), exposed)))
}

/// A private key that others have access to.
pub(super) struct Exposed {
    pub(super) mode: u32,
}

impl Exposed {
    /// Whether they may put another in its place, too.
    pub(super) fn may_be_changed(&self) -> bool {
        self.mode & 0o022 != 0
    }
}

fn read_open(file: File) -> io::Result<Vec<u8>> {
    // Sized beforehand, so that no half-filled copy of a key is left behind by growing.
    let length = usize::try_from(file.metadata()?.len().min(MAX_FILE)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// Creates a private key: the directory 0700 where it is missing, the file 0600 and exclusively.
pub(super) fn create_key(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path, bytes, 0o700, 0o600)
}

/// Creates a file that everybody may read, exclusively.
pub(super) fn create_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path, bytes, 0o755, 0o644)
}

fn create(path: &Path, bytes: &[u8], directory_mode: u32, mode: u32) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !directory.exists() {
        DirBuilder::new().recursive(true).mode(directory_mode).create(directory)?;
        std::fs::set_permissions(directory, Permissions::from_mode(directory_mode))?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask may have taken what everybody is to read, never what nobody is.
    file.set_permissions(Permissions::from_mode(mode))?;
    if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        // Half a file would be taken for one at the next start. What cannot be removed says so then.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}
