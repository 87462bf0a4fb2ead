//! The configuration: one file, overridden by the environment, checked as a whole before anything
//! starts.
//!
//! Without a file the built-in defaults hold; no file is read that nobody named. Whatever is wrong
//! (an unknown key, a wrong type, a contradiction) is an error that names file, line, key and cure.
//! Paths are relative to the directory the command is started in, which is what a fresh
//! `subrosa serve` wants; a service manager's unit sets its working directory or writes absolute paths.

mod check;
mod declared;
mod environment;
mod error;
mod etcd;
mod file;
mod key_source;
mod next_proxy;
mod restart;
mod sections;
mod words;

pub use declared::{DeclaredRunner, DeclaredSecret, Source};
pub use environment::Environment;
pub use error::{ConfigError, Place};
pub use key_source::KeySource;
pub use next_proxy::{Bypass, ProxyCredentials, ProxyNames, ProxyScheme, ProxyUrl};
pub use restart::{Held, TAKES_A_RESTART};
pub use sections::{
    Activity, Admin, AdminTls, CleartextSecrets, ClientCertificate, Egress, Engine, Etcd, HostRoots, Injection, Intercept, Keys,
    Limits, Log, LogFormat, LogLevel, Narrow, Oidc, OidcGroup, Oversize, Proxy, ProxyTls, Redaction, Shutdown, Store, Timeouts,
    TlsFiles, Transparent,
};
pub use words::{AllowedNetwork, FixedAddress, Size, Span, VariableName};

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::environment::Override;
use self::error::cure;
use self::file::ConfigFile;
use crate::activity::NodeName;

/// Everything that can be set, one section per room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the store and `admin.sock` lie; nothing in it is unsealed.
    pub data_dir: PathBuf,
    /// The name of this process among those that share a store.
    pub node: NodeName,
    /// The door for runners.
    pub proxy: Proxy,
    /// The door for people.
    pub admin: Admin,
    /// Whose TLS is ended, and by which authority.
    pub intercept: Intercept,
    /// Where requests may go.
    pub egress: Egress,
    /// Where the key-encryption key is.
    pub keys: Keys,
    /// What is searched, and within which bounds.
    pub injection: Injection,
    /// Values are taken out of answers.
    pub redaction: Redaction,
    /// What bounds the memory.
    pub limits: Limits,
    /// How long is waited.
    pub timeouts: Timeouts,
    /// Stopping in order.
    pub shutdown: Shutdown,
    /// What is said, and how.
    pub log: Log,
    /// What keeps the sealed records.
    pub store: Store,
    /// What is kept of what happened.
    pub activity: Activity,
    /// Secrets whose values come from a file or a variable.
    pub secrets: Vec<DeclaredSecret>,
    /// Runners whose tokens come from a file or a variable.
    pub runners: Vec<DeclaredRunner>,
    /// The variables that the settings above name.
    #[serde(skip)]
    pub environment: Environment,
    /// The file that was read, if one was.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// What is permitted and better known of, in whole sentences.
    #[serde(skip)]
    pub remarks: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            node: NodeName::default(),
            proxy: Proxy::default(),
            admin: Admin::default(),
            intercept: Intercept::default(),
            egress: Egress::default(),
            keys: Keys::default(),
            injection: Injection::default(),
            redaction: Redaction::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            shutdown: Shutdown::default(),
            log: Log::default(),
            store: Store::default(),
            activity: Activity::default(),
            secrets: Vec::new(),
            runners: Vec::new(),
            environment: Environment::default(),
            file: None,
            remarks: Vec::new(),
        }
    }
}

impl Config {
    /// The file at `path` (or the one that `SUBROSA_CONFIG` names, or the defaults), overridden by
    /// the variables in `env`, checked.
    pub fn load(path: Option<&Path>, env: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let environment = Environment::new(env);
        let path = path.map(Path::to_owned).or_else(|| environment.config_path());
        let file = path.as_deref().map(ConfigFile::read).transpose()?;
        Ok(Self { file: path, ..Self::assemble(file.as_ref(), environment)? })
    }

    /// What is wrong with a key, once that shows in use.
    pub fn fault(&self, key: &str, fault: impl Into<String>) -> ConfigError {
        let in_file = |path: &PathBuf| match ConfigFile::read(path) {
            Ok(file) => file.place_of(key),
            Err(_) => Place::File { path: path.clone(), line: None },
        };
        let place = self.file.as_ref().map_or(Place::Defaults, in_file);
        ConfigError { place, key: Some(key.to_owned()), fault: fault.into() }
    }

    /// The variables that a child of ours must not inherit: those that a value is read from, and whatever else is ours.
    pub fn withheld(&self) -> impl Iterator<Item = &str> {
        self.variables_read().map(VariableName::as_str).chain(self.environment.ours())
    }

    /// The variables that a value is read from. A child of ours must not inherit them.
    pub fn variables_read(&self) -> impl Iterator<Item = &VariableName> {
        let secrets = self.secrets.iter().map(|secret| &secret.value);
        let sources = secrets.chain(self.runners.iter().filter_map(|runner| runner.token.as_ref()));
        let named = sources.filter_map(|source| match source {
            Source::Env(variable) => Some(variable),
            Source::File(_) => None,
        });
        let for_proxy = self.egress.upstream_proxy_credentials.as_ref().and_then(|credentials| match credentials {
            ProxyCredentials::Env { env } => Some(env),
            ProxyCredentials::Secret { .. } | ProxyCredentials::File { .. } => None,
        });
        let for_people = self.admin.oidc.as_ref().and_then(|oidc| match &oidc.client_secret {
            Some(Source::Env(variable)) => Some(variable),
            _ => None,
        });
        let former = self.keys.previous.iter().filter_map(|source| match source {
            KeySource::Env(variable) => Some(variable),
            KeySource::File(_) | KeySource::Credential(_) | KeySource::Command(_) => None,
        });
        named.chain(&self.keys.env).chain(former).chain(for_proxy).chain(for_people)
    }

    fn assemble(file: Option<&ConfigFile>, environment: Environment) -> Result<Self, ConfigError> {
        let from_file = file.map_or_else(|| Ok(Self::default()), ConfigFile::parse::<Self>)?;
        let table = file.map_or_else(|| Ok(toml::Table::new()), ConfigFile::parse::<toml::Table>)?;
        if let Some((key, place)) = sections().find(|key| table.get(key).is_some_and(|value| !value.is_table())).zip(file) {
            return Err(ConfigError { place: place.place_of(&key), fault: no_section(&key), key: Some(key) });
        }
        // A variable that a value is read from is no setting, whatever it is called.
        let mut overrides = environment.overrides();
        let key_variable = overrides.iter().find(|over| over.key == "keys.env").map(|over| over.text().to_owned());
        overrides.retain(|over| {
            from_file.variables_read().all(|variable| variable.as_str() != over.variable)
                && key_variable.as_ref() != Some(&over.variable)
        });
        let mut config = overrides.iter().try_fold((from_file, table), apply)?.0;
        check::check(&config).map_err(|(key, fault)| {
            let place = match overrides.iter().find(|over| key.starts_with(&over.key)) {
                Some(over) => Place::Variable(over.variable.clone()),
                None => file.map_or(Place::Defaults, |file| file.place_of(&key)),
            };
            ConfigError { place, key: Some(key), fault }
        })?;
        let left_alone = environment.left_alone().filter(|name| config.variables_read().all(|read| read.as_str() != *name));
        let left_alone = left_alone.map(|name| format!("the environment variable {name} is no setting and is left alone"));
        let remarks = left_alone.chain(check::remarks(&config)).collect();
        config.remarks = remarks;
        config.environment = environment.only(&config.variables_read().collect::<Vec<_>>());
        Ok(config)
    }
}

/// The names of the sections.
fn sections() -> impl Iterator<Item = String> {
    let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
    defaults.into_iter().filter(|(_, value)| value.is_table()).map(|(name, _)| name)
}

fn no_section(name: &str) -> String {
    format!("this is a section and holds no value itself; write [{name}] and its keys below it")
}

/// The configuration with one variable more, by the first reading of it that fits.
fn apply((_, table): (Config, toml::Table), over: &Override) -> Result<(Config, toml::Table), ConfigError> {
    if let Some(section) = sections().find(|section| *section == over.key) {
        let variable = &over.variable;
        let fault = format!("this is a section and holds no value itself; name a key of it, as in {variable}__KEY");
        return Err(ConfigError { place: Place::Variable(variable.clone()), key: Some(section), fault });
    }
    let in_section = sections().find_map(|section| over.key.strip_prefix(&section)?.strip_prefix('_').map(|key| (section, key)));
    if let Some((section, key)) = in_section {
        let meant = format!("SUBROSA_{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase());
        let fault = format!("two underscores stand between section and key; did you mean `{meant}`?");
        return Err(ConfigError { place: Place::Variable(over.variable.clone()), key: Some(over.key.clone()), fault });
    }
    let mut faults = Vec::new();
    for reading in over.readings() {
        let mut changed = table.clone();
        if over.put(&mut changed, reading).is_none() {
            faults.push("a key on the way is no section".to_owned());
            continue;
        }
        match Config::deserialize(changed.clone()) {
            Ok(config) => return Ok((config, changed)),
            Err(fault) => faults.push(fault.message().to_owned()),
        }
    }
    // What the text could not mean at all says less than what is wrong with what it could mean.
    let telling = faults.iter().find(|fault| !fault.starts_with("invalid type")).or(faults.first());
    Err(ConfigError {
        place: Place::Variable(over.variable.clone()),
        key: Some(over.key.clone()),
        fault: cure(telling.map_or("this has no meaning here", String::as_str)),
    })
}

#[cfg(test)]
mod tests;
