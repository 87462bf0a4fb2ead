//! Where the keys are that the configuration names, and what a rotation may do there.
//!
//! A key in a file is this program's to renew; one that comes from a variable, a program or the service
//! manager is renewed by whoever gave it.

use std::path::{Path, PathBuf};

use super::{AppError, key_command};
use crate::config::{Config, Engine, KeySource, VariableName};
use crate::custody::{Retired, Sources};
use crate::seal::{KeyEncryptionKey, KeyId, KeyRing};

/// Where the current key is.
enum Home {
    /// In a file of ours.
    File(PathBuf),
    /// Elsewhere; the config key that says so.
    Elsewhere(&'static str),
}

/// The keys: from the variable, the program, the credentials directory or the file, in this order, and
/// former ones; made on first start when they are nowhere.
pub(super) fn ring(config: &Config) -> Result<KeyRing, AppError> {
    if let Some((ring, _)) = present(config)? {
        check_store(config)?;
        return Ok(ring);
    }
    if config.store.engine == Engine::Memory {
        // Nothing outlives this process, so neither need the key.
        return Ok(KeyRing::new(KeyEncryptionKey::random()?));
    }
    let store = config.data_dir.join("store");
    let file = &config.keys.file;
    if store.exists() {
        return Err(AppError::KeyMissing { store, key: file.clone() });
    }
    let key = KeyEncryptionKey::create_file(file)?;
    tracing::warn!(
        file = %file.display(), id = %key.id(),
        "made a new key-encryption key; keep a copy of this file apart from the data, without it no secret can be read"
    );
    Ok(KeyRing::new(key))
}

/// The keys that are given, if there are any.
pub(super) fn given(config: &Config) -> Result<Option<KeyRing>, AppError> {
    Ok(present(config)?.map(|(ring, _)| ring))
}

/// That the keys can be had, if there are any yet.
pub(super) fn check(config: &Config) -> Result<(), AppError> {
    present(config).map(drop)
}

fn present(config: &Config) -> Result<Option<(KeyRing, Home)>, AppError> {
    let Some((mut ring, home)) = current(config)? else { return Ok(None) };
    for (index, source) in config.keys.previous.iter().enumerate() {
        let key = format!("keys.previous[{index}]");
        ring = ring.with_all(&match source {
            KeySource::File(path) => KeyRing::from_file(path)?,
            KeySource::Env(variable) => in_variable(config, &key, variable)?,
            KeySource::Command(command) => printed(config, &key, command)?,
            KeySource::Credential(name) => {
                let missing =
                    || config.fault(&key, "there is no $CREDENTIALS_DIRECTORY here; start this with systemd, or remove it");
                KeyRing::from_file(&config.environment.credentials_directory().ok_or_else(missing)?.join(name))?
            }
        });
    }
    Ok(Some((ring, home)))
}

fn current(config: &Config) -> Result<Option<(KeyRing, Home)>, AppError> {
    let keys = &config.keys;
    if let Some(variable) = &keys.env {
        return Ok(Some((in_variable(config, "keys.env", variable)?, Home::Elsewhere("keys.env"))));
    }
    if !keys.command.is_empty() {
        return Ok(Some((printed(config, "keys.command", &keys.command)?, Home::Elsewhere("keys.command"))));
    }
    let credential = config.environment.credentials_directory().map(|directory| directory.join(&keys.credential));
    if let Some(path) = credential.filter(|path| path.exists()) {
        return Ok(Some((KeyRing::from_file(&path)?, Home::Elsewhere("keys.credential"))));
    }
    if keys.file.exists() {
        return Ok(Some((KeyRing::from_file(&keys.file)?, Home::File(keys.file.clone()))));
    }
    Ok(None)
}

fn in_variable(config: &Config, key: &str, variable: &VariableName) -> Result<KeyRing, AppError> {
    let missing = || config.fault(key, format!("the variable {variable} is not set; set it, or remove {key}"));
    let bytes = config.environment.value(variable).ok_or_else(missing)?;
    Ok(KeyRing::parse(&bytes, &format!("the key in {variable}"))?)
}

fn printed(config: &Config, key: &str, command: &[String]) -> Result<KeyRing, AppError> {
    let variables: Vec<&str> = config.variables_read().map(VariableName::as_str).collect();
    let text = key_command::output(command, &variables, config.keys.command_timeout.0);
    let text = text.map_err(|fault| config.fault(key, fault.to_string()))?;
    let ring = KeyRing::parse(&text, "what it printed").map_err(|fault| config.fault(key, fault.to_string()))?;
    Ok(ring)
}

/// The sources that a configuration names, asked again for a rotation.
pub(super) struct Configured(pub(super) Config);

impl Configured {
    fn read_all(&self) -> Result<(KeyRing, Home), String> {
        let missing = || format!("{} is missing: put the key back", self.0.keys.file.display());
        present(&self.0).map_err(|fault| fault.to_string())?.ok_or_else(missing)
    }
}

impl Sources for Configured {
    fn read(&self) -> Result<KeyRing, String> {
        self.read_all().map(|(ring, _)| ring)
    }

    fn renew(&self) -> Result<KeyRing, String> {
        match self.read_all()? {
            (all, Home::File(file)) => {
                let renewed = KeyRing::from_file(&file).and_then(|ring| ring.renewed()).map_err(|fault| fault.to_string())?;
                renewed.replace_file(&file).map_err(|fault| fault.to_string())?;
                Ok(renewed.with_all(&all))
            }
            (_, Home::Elsewhere(key)) => Err(format!(
                "everything is sealed under the current key, and the next one is not made here, as {key} says where it comes \
                 from: give a new key there with the one of now on a line below it (or in keys.previous), {}, and \
                 `subrosa key rotate` again",
                if key == "keys.env" { "restart" } else { "restart if need be" }
            )),
        }
    }

    fn retire(&self, current: KeyId) -> Result<Retired, String> {
        let (ring, home) = self.read_all()?;
        if ring.current() != current {
            return Err(format!(
                "the key {} is given now, and everything is sealed under {current}: ask for the rotation again",
                ring.current()
            ));
        }
        let mut retired = Retired::default();
        if ring.former().next().is_none() {
            return Ok(retired);
        }
        let by_hand = |place: &str| {
            let former: Vec<String> = ring.former().map(|id| id.to_string()).collect();
            format!("remove {} from {place}: nothing needs it any more", former.join(", "))
        };
        match home {
            Home::File(file) => {
                let own = KeyRing::from_file(&file).map_err(|fault| fault.to_string())?;
                if own.former().next().is_some() {
                    retired.kept = own.keep_former(&file).map_err(|fault| fault.to_string())?;
                    own.alone().replace_file(&file).map_err(|fault| fault.to_string())?;
                }
                if !self.0.keys.previous.is_empty() {
                    retired.by_hand = Some(by_hand("keys.previous"));
                }
            }
            Home::Elsewhere(key) if self.0.keys.previous.is_empty() => retired.by_hand = Some(by_hand(key)),
            Home::Elsewhere(key) => retired.by_hand = Some(by_hand(&format!("{key} or keys.previous"))),
        }
        Ok(retired)
    }
}

/// Beside the key's file: that a store was made with it, and where.
fn store_note(config: &Config) -> PathBuf {
    let mut name = config.keys.file.clone().into_os_string();
    name.push(".store");
    PathBuf::from(name)
}

/// A store that was there and is not is lost or not mounted. To begin a new one without a word would
/// forget every runner, and with them that a token is needed.
fn check_store(config: &Config) -> Result<(), AppError> {
    let (store, note) = (config.data_dir.join("store"), store_note(config));
    if config.store.engine == Engine::Sled && !store.exists() && notes(&note).lines().any(|line| line == place(config)) {
        return Err(AppError::StoreMissing { store, note });
    }
    Ok(())
}

/// The data directory, as it stands in the note.
fn place(config: &Config) -> String {
    std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone()).display().to_string()
}

fn notes(note: &Path) -> String {
    std::fs::read_to_string(note).unwrap_or_default()
}

/// Keys may be mounted read-only; then there is no note, and a store that is lost is not missed.
pub(super) fn note_store(config: &Config) {
    let (note, place) = (store_note(config), place(config));
    let before = notes(&note);
    if config.store.engine != Engine::Sled || !config.keys.file.exists() || before.lines().any(|line| line == place) {
        return;
    }
    let explained = "# Where stores were made with this key. Without its line a lost store is begun anew.\n";
    let before = if before.is_empty() { explained } else { &before };
    if let Err(fault) = std::fs::write(&note, format!("{before}{place}\n")) {
        tracing::debug!(%fault, file = %note.display(), "no note of the store could be left beside its key");
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::config::{Environment, Keys};

    fn line(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    fn id(byte: u8) -> KeyId {
        KeyEncryptionKey::from_bytes(&[byte; 32]).id()
    }

    /// A configuration in which every source but the variable holds a key: the program 2, the credential 3, the file 4.
    fn config(place: &Path, keys: Keys) -> Config {
        for (name, byte) in [("credential", 3), ("kek", 4), ("old-credential", 6), ("old-file", 8)] {
            std::fs::write(place.join(name), line(byte)).expect("written");
            std::fs::set_permissions(place.join(name), std::fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let variables = [("KEK", line(1)), ("OLD", line(5)), ("CREDENTIALS_DIRECTORY", place.display().to_string())];
        let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config { keys, environment: Environment::new(variables), ..Config::default() }
    }

    fn printing(byte: u8) -> Vec<String> {
        vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("echo {}", line(byte))]
    }

    #[test]
    fn the_variable_goes_before_the_program_before_the_credential_before_the_file() {
        let place = tempfile::tempdir().expect("a directory");
        let all = Keys {
            file: place.path().join("kek"),
            env: VariableName::parse("KEK").ok(),
            command: printing(2),
            credential: "credential".to_owned(),
            ..Keys::default()
        };
        let without = |keys: &Keys, what: &str| match what {
            "env" => Keys { env: None, ..keys.clone() },
            "command" => Keys { command: Vec::new(), ..keys.clone() },
            _ => Keys { credential: "nowhere".to_owned(), ..keys.clone() },
        };
        let mut keys = all;
        for (byte, next) in [(1, "env"), (2, "command"), (3, "credential")] {
            assert_eq!(ring(&config(place.path(), keys.clone())).expect("there is one").current(), id(byte));
            keys = without(&keys, next);
        }
        assert_eq!(ring(&config(place.path(), keys.clone())).expect("there is one").current(), id(4));
        // A variable that is named and not set is no reason to look elsewhere.
        let said = ring(&config(place.path(), Keys { env: VariableName::parse("NONE").ok(), ..keys })).expect_err("not set");
        assert!(said.to_string().contains("the variable NONE is not set"), "{said}");
    }

    #[test]
    fn former_keys_come_from_wherever_the_config_says() {
        let place = tempfile::tempdir().expect("a directory");
        let previous = vec![
            KeySource::Env(VariableName::parse("OLD").expect("a name")),
            KeySource::Credential("old-credential".to_owned()),
            KeySource::Command(printing(7)),
            KeySource::File(place.path().join("old-file")),
        ];
        let keys = Keys { file: place.path().join("kek"), credential: "nowhere".to_owned(), previous, ..Keys::default() };
        let ring = ring(&config(place.path(), keys.clone())).expect("all are there");
        assert_eq!(ring.current(), id(4));
        assert_eq!(ring.former().collect::<Vec<_>>(), [5, 6, 7, 8].map(id));
        let gone = Keys { previous: vec![KeySource::File(place.path().join("gone"))], ..keys };
        assert!(super::ring(&config(place.path(), gone)).is_err(), "a former key that is missing stops the start");
    }
}
