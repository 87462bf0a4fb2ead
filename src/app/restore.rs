//! What a restore needs of the configuration: every key that is at hand, and the place of the store.

use std::path::{Path, PathBuf};

use super::{AppError, copying, keys};
use crate::backup::{self, Checked};
use crate::config::{Config, Engine};
use crate::seal::KeyRing;

/// The keys that the configuration names, those retired beside the key file, and those in `files`.
pub fn restoring_keys(config: &Config, files: &[PathBuf]) -> Result<KeyRing, AppError> {
    if config.store.engine == Engine::Memory {
        return Err(AppError::Start("store.engine is \"memory\": nothing is kept, so nothing can be restored".to_owned()));
    }
    let missing = || {
        AppError::Start(format!(
            "there is no key at {}: put a copy of it back first, what is restored is sealed under it",
            config.keys.file.display()
        ))
    };
    let mut ring = keys::given(config)?.ok_or_else(missing)?;
    for file in retired(&config.keys.file).iter().chain(files) {
        ring = ring.with_all(&KeyRing::from_file(file)?);
    }
    Ok(ring)
}

/// Files beside the key file that hold keys retired from it.
fn retired(file: &Path) -> Vec<PathBuf> {
    // Beside the file itself, where a link leads to it.
    let file = &file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beginning = format!("{}.retired-", file.file_name().unwrap_or_default().to_string_lossy());
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&beginning)).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Puts a checked backup in the place of the store. Where the one before is kept, if there was one. Into etcd only where nothing is.
pub async fn restore(config: &Config, checked: Checked) -> Result<Option<PathBuf>, AppError> {
    if config.store.engine == Engine::Etcd {
        copying::fill(config, &checked.stored).await?;
        return Ok(None);
    }
    let kept = backup::replace(&config.data_dir, checked).await?;
    keys::note_store(config);
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::KeyEncryptionKey;

    #[test]
    fn retired_keys_lie_beside_the_file_that_a_link_leads_to() {
        let (place, links) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (file, link) = (place.path().join("kek"), links.path().join("key"));
        KeyEncryptionKey::create_file(&file).expect("made");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        let before = KeyRing::from_file(&link).expect("read");
        let kept = before.renewed().expect("random").keep_former(&link).expect("kept");
        assert_eq!(retired(&link), kept);
        let config = Config { keys: crate::config::Keys { file: link, ..Default::default() }, ..Config::default() };
        assert!(restoring_keys(&config, &[]).expect("all are at hand").holds(before.current()));
    }
}
