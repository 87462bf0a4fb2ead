//! Where the keys are that the configuration names, and what a rotation may do there.
//!
//! A key in a file is this program's to renew; one that comes from a variable, a program or the service
//! manager is renewed by whoever gave it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{AppError, key_command};
use crate::config::{Config, Engine, KeySource, VariableName};
use crate::custody::{Retired, Sources};
use crate::seal::{KeyEncryptionKey, KeyError, KeyId, KeyRing};

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
    if let Some((ring, _)) = present(config, &[])? {
        check_store(config)?;
        return Ok(ring);
    }
    if config.store.engine == Engine::Memory {
        // Nothing outlives this process, so neither need the key.
        return Ok(KeyRing::new(KeyEncryptionKey::random()?));
    }
    let file = &config.keys.file;
    if config.store.engine == Engine::Etcd {
        return Err(AppError::Start(format!(
            "there is no key at {}: all nodes of a fleet have the same one, so none of them makes it; make it once \
             (`openssl rand -base64 32`, mode 0600), keep a copy apart, and give it to each node (keys.file, keys.command, keys.credential)",
            file.display()
        )));
    }
    let store = config.data_dir.join("store");
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
    Ok(present(config, &[])?.map(|(ring, _)| ring))
}

/// That the keys can be had, if there are any yet.
pub(super) fn check(config: &Config) -> Result<(), AppError> {
    present(config, &[]).map(drop)
}

/// Programs inherit neither the variables that the configuration names nor those in `withheld`.
fn present(config: &Config, withheld: &[String]) -> Result<Option<(KeyRing, Home)>, AppError> {
    let Some((mut ring, home)) = current(config, withheld)? else { return Ok(None) };
    for (index, source) in config.keys.previous.iter().enumerate() {
        let key = format!("keys.previous[{index}]");
        ring = ring.with_all(&match source {
            KeySource::File(path) => KeyRing::from_file(path)?,
            KeySource::Env(variable) => in_variable(config, &key, variable)?,
            KeySource::Command(command) => printed(config, withheld, &key, command)?,
            KeySource::Credential(name) => {
                let missing =
                    || config.fault(&key, "there is no $CREDENTIALS_DIRECTORY here; start this with systemd, or remove it");
                KeyRing::from_file(&config.environment.credentials_directory().ok_or_else(missing)?.join(name))?
            }
        });
    }
    Ok(Some((ring, home)))
}

fn current(config: &Config, withheld: &[String]) -> Result<Option<(KeyRing, Home)>, AppError> {
    let keys = &config.keys;
    if let Some(variable) = &keys.env {
        return Ok(Some((in_variable(config, "keys.env", variable)?, Home::Elsewhere("keys.env"))));
    }
    if !keys.command.is_empty() {
        return Ok(Some((printed(config, withheld, "keys.command", &keys.command)?, Home::Elsewhere("keys.command"))));
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

fn printed(config: &Config, withheld: &[String], key: &str, command: &[String]) -> Result<KeyRing, AppError> {
    let variables: Vec<&str> = config.withheld().chain(withheld.iter().map(String::as_str)).collect();
    let text = key_command::output(command, &variables, config.keys.command_timeout.0);
    let text = text.map_err(|fault| config.fault(key, fault.to_string()))?;
    let ring = KeyRing::parse(&text, "what it printed").map_err(|fault| config.fault(key, fault.to_string()))?;
    Ok(ring)
}

/// The names of variables that have held values since the start, whichever configuration named them.
pub(super) type Withheld = Arc<ArcSwap<Vec<String>>>;

/// A configuration is in force that names these variables too.
pub(super) fn withhold(withheld: &Withheld, config: &Config) {
    let mut names: Vec<String> = withheld.load().to_vec();
    names.extend(config.withheld().map(str::to_owned));
    names.sort();
    names.dedup();
    withheld.store(Arc::new(names));
}

/// The sources that the configuration of the start names, asked again for a rotation.
pub(super) struct Configured {
    pub(super) config: Config,
    pub(super) withheld: Withheld,
}

impl Configured {
    fn read_all(&self) -> Result<(KeyRing, Home), String> {
        let missing = || format!("{} is missing: put the key back", self.config.keys.file.display());
        present(&self.config, &self.withheld.load()).map_err(|fault| fault.to_string())?.ok_or_else(missing)
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
                renewed.replace_file(&file).map_err(|fault| match fault {
                    KeyError::Unwritable { .. } => format!("{fault}; nothing was changed"),
                    fault => fault.to_string(),
                })?;
                Ok(renewed.with_all(&all))
            }
            (_, Home::Elsewhere(key)) => Err(format!(
                "everything is sealed under the current key, and the next one is not made here, as {key} says where it comes \
                 from: give a new key there with the one of now on a line below it (or in keys.previous), {}",
                if key == "keys.command" {
                    "and `subrosa key rotate` again (after a restart, if in keys.previous)"
                } else {
                    "and restart: then everything is sealed anew"
                }
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
        let listed = |ring: &KeyRing| ring.former().map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
        let by_hand = |place: &str| format!("remove {} from {place}: nothing needs it any more", listed(&ring));
        // A rotation asks what the config named at the start, until a restart.
        let previous = "keys.previous and restart, and only then delete it where it lay";
        let has_previous = !self.config.keys.previous.is_empty();
        match home {
            Home::File(file) => {
                let own = KeyRing::from_file(&file).map_err(|fault| fault.to_string())?;
                let others = others(&self.config);
                let mut said = Vec::new();
                if own.former().next().is_some() && !others.is_empty() {
                    said.push(shared(&self.config, &listed(&own), &others));
                } else if own.former().next().is_some() {
                    let not_retired =
                        |fault: KeyError| format!("everything is sealed under the key {current}, and former keys stay: {fault}");
                    retired.kept = own.keep_former(&file).map_err(not_retired)?;
                    own.alone().replace_file(&file).map_err(not_retired)?;
                }
                if has_previous {
                    said.push(by_hand(previous));
                }
                retired.by_hand = Some(said.join("; ")).filter(|said| !said.is_empty());
            }
            Home::Elsewhere(key) if has_previous => retired.by_hand = Some(by_hand(&format!("{key}, or from {previous}"))),
            Home::Elsewhere(key) => retired.by_hand = Some(by_hand(key)),
        }
        Ok(retired)
    }
}

/// That former keys stay in the file, and what a person does about it.
fn shared(config: &Config, former: &str, others: &[String]) -> String {
    let (file, note) = (config.keys.file.display(), store_note(config));
    format!(
        "{former} stays in {file}, as stores in other places were made with that file: {}. Rotate for each of them too (a \
         restart does it), then remove {former} from {file} by hand. If one of them is no more, remove its line in {} and \
         rotate again",
        others.join(", "),
        note.display()
    )
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

/// The other data directories whose stores were made with the key file.
fn others(config: &Config) -> Vec<String> {
    let own = place(config);
    let notes = notes(&store_note(config));
    let places = notes.lines().filter(|line| !line.is_empty() && !line.starts_with('#') && *line != own);
    places.map(str::to_owned).collect()
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

    fn configured(config: Config) -> Configured {
        Configured { config, withheld: Withheld::default() }
    }

    #[test]
    fn a_key_that_another_store_may_need_stays_in_the_file() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("kek");
        let keys = Keys { file: file.clone(), credential: "nowhere".to_owned(), ..Keys::default() };
        let mut config = config(place.path(), keys);
        let data = |name: &str| place.path().join(name);
        for name in ["one", "two"] {
            config.data_dir = data(name);
            note_store(&config);
        }
        let two = configured(config.clone());
        config.data_dir = data("one");
        let one = configured(config);
        let current = one.renew().expect("a new key").current();
        let both = std::fs::read(&file).expect("there");
        let retired = one.retire(current).expect("nothing fails");
        assert_eq!(std::fs::read(&file).expect("there"), both, "the other store needs both");
        assert!(retired.kept.is_empty(), "{retired:?}");
        let said = retired.by_hand.expect("somebody has to");
        let named = [data("two").display().to_string(), id(4).to_string(), file.display().to_string()];
        assert!(named.iter().all(|part| said.contains(part)) && !said.contains(&data("one").display().to_string()), "{said}");
        assert!(two.retire(current).expect("nothing fails").by_hand.is_some_and(|said| said.contains("/one")));

        // Once the other is no more.
        let note = store_note(&one.config);
        let text = std::fs::read_to_string(&note).expect("there").replace(&format!("{}\n", data("two").display()), "");
        std::fs::write(&note, text).expect("written");
        let retired = one.retire(current).expect("nothing fails");
        assert_eq!((retired.kept.len(), retired.by_hand), (1, None));
        assert_eq!(KeyRing::from_file(&file).expect("read").former().count(), 0);
    }

    #[test]
    fn a_program_inherits_no_variable_of_ours_and_none_that_a_configuration_has_named_since() {
        let place = tempfile::tempdir().expect("a directory");
        // cargo sets it for a test.
        let inherited = "CARGO_MANIFEST_DIR";
        let script = format!("test -z \"${inherited}\" && echo {}", line(2));
        let keys = Keys { command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script], ..Keys::default() };
        let configured = configured(config(place.path(), keys));
        assert!(configured.read().is_err(), "{inherited} is inherited");
        let since = format!("[[secrets]]\nname = \"a\"\nvalue = {{ env = \"{inherited}\" }}\n");
        withhold(&configured.withheld, &toml::from_str(&since).expect("it is right"));
        // Named once, it holds a value whatever the configuration says afterwards.
        withhold(&configured.withheld, &Config::default());
        assert_eq!(configured.read().expect("not inherited").current(), id(2));

        let ours = Environment::new([("SUBROSA_TOKEN", "t"), ("MINE", "m")].map(|(name, value)| (name.into(), value.into())));
        let config = Config { environment: ours, ..Config::default() };
        assert_eq!(config.withheld().collect::<Vec<_>>(), ["SUBROSA_TOKEN"]);
    }
}
