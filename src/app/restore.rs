//! What a restore needs of the configuration: every key that is at hand, and the place of the store.

use std::path::{Path, PathBuf};

use super::{AppError, keys};
use crate::backup::{self, Checked, RestoreError};
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
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beginning = format!("{}.retired-", file.file_name().unwrap_or_default().to_string_lossy());
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&beginning)).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Puts a checked backup in the place of the store. Where the one before is kept, if there was one.
pub async fn restore(config: &Config, checked: Checked) -> Result<Option<PathBuf>, RestoreError> {
    let kept = backup::replace(&config.data_dir, checked).await?;
    keys::note_store(config);
    Ok(kept)
}
