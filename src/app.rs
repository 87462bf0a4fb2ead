//! The object graph from [`Config`]: keys, store, ledger, vault, runners; and the running proxy.

mod authority;
mod client_tls;
mod copying;
mod doors;
mod engine;
mod errands;
mod followed;
mod front;
mod handover;
mod key_command;
mod keys;
mod next_proxy;
mod node;
mod prints;
mod provider;
mod reload;
mod restore;
mod signals;
mod sockets;
mod workers;

pub use copying::{Copied, copy};
pub use followed::connections_within;
pub use reload::{Phase, Roof};
pub use restore::{restore, restoring_keys};
pub use signals::Hangups;
pub use sockets::Inherited;
pub use workers::{Start, serve};

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::activity::{self, Activity};
use crate::admin;
use crate::audit::Audit;
use crate::backup::Backups;
use crate::config::{Config, ConfigError, DeclaredRunner, DeclaredSecret, Engine, Source};
use crate::custody::{Custody, Sources};
use crate::drain::Drain;
use crate::identity::{self, Identity, IdentityError, NewRunner};
use crate::ledger::{Ledger, LedgerError};
use crate::members::{Members, MembersError};
use crate::metrics::Registry;
use crate::origin::Host;
use crate::readiness::Readiness;
use crate::seal::{KeyError, Sealer};
use crate::secret::{AllowedDomains, DomainPatternError, OrganizationName, SecretValue};
use crate::serve::reachable;
use crate::staleness::Staleness;
use crate::store::{self, Backend, Lease, StoreError};
use crate::tls::{self, Authority, AuthorityError, TrustError};
use crate::vault::{NewSecret, Vault, VaultError};

/// Why the server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A value that the configuration names cannot be had.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no key to open the store with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is a store, and the key it is sealed with is nowhere.
    #[error(
        "{store} exists and the key that opens it does not: {key} is missing; put the key back there (or name it with keys.env), nothing was changed"
    )]
    KeyMissing {
        /// The store.
        store: PathBuf,
        /// Where the key should be.
        key: PathBuf,
    },
    /// There is a key that a store was made with, and the store is nowhere.
    #[error(
        "{store} is missing, and {note} says that there was one: put the data directory back (is its volume mounted?), or remove its line in {note} to begin with an empty store; nothing was changed"
    )]
    StoreMissing {
        /// The store.
        store: PathBuf,
        /// The note beside the key.
        note: PathBuf,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The declared secrets contradict each other or the store.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The declared runners contradict each other or the store.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The people cannot be read.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// The certificate authority cannot be used or made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The trusted roots cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// An address cannot be listened on.
    #[error("{key}: {address} cannot be listened on: {reason}")]
    Listen {
        /// The config key that names the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why, and what to do.
        reason: String,
    },
    /// Anything else that the system refused.
    #[error("{0}")]
    Start(String),
}

impl AppError {
    fn listen(key: &'static str, address: SocketAddr, fault: &std::io::Error) -> Self {
        let reason = match fault.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("it is in use by another process; stop that one, or choose another address with {key}")
            }
            std::io::ErrorKind::PermissionDenied => format!("permission is denied; choose a port above 1023 with {key}"),
            std::io::ErrorKind::AddrNotAvailable => {
                format!("this machine has no such address; choose one of its own, or 0.0.0.0 for all, with {key}")
            }
            _ => fault.to_string(),
        };
        Self::Listen { key, address, reason }
    }
}

/// The rooms that hold what is kept.
pub struct Rooms {
    /// The sealed records.
    pub ledger: Arc<Ledger>,
    /// The secrets.
    pub vault: Arc<Vault>,
    /// The runners.
    pub identity: Arc<Identity>,
    /// The people.
    pub members: Arc<Members>,
    /// Who writes down what happens.
    pub audit: Arc<Audit>,
    /// What is kept of it.
    pub activity: Arc<Activity>,
    /// The keys.
    pub custody: Arc<Custody>,
    /// Where all of it lies, sealed.
    store: Arc<dyn Backend>,
    /// The right to the store's files.
    pub lease: Lease,
    /// What backups are made of.
    pub backups: Backups,
    /// What is counted.
    pub registry: Arc<Registry>,
    /// What stands in the way of serving.
    pub readiness: Readiness,
    /// Variables that hold values, which no child may inherit.
    withheld: keys::Withheld,
}

/// The shortest token that a config may declare: what is random and this long cannot be guessed.
const LEAST_TOKEN: usize = 16;

/// Where a running server answers the command line.
pub fn admin_socket(config: &Config) -> PathBuf {
    config.data_dir.join("admin.sock")
}

/// Opens the store and what lies in it, and adds what the configuration declares.
pub async fn open_vaults(config: &Config) -> Result<Rooms, AppError> {
    open_handed(config, None, false).await
}

/// The same with the lock of the data directory from the process that had it. Nothing is written before the lease says so.
/// `is_patient`: whether a shared store is waited for that does not answer yet.
async fn open_handed(config: &Config, handed: Option<File>, is_patient: bool) -> Result<Rooms, AppError> {
    // Values first: a configuration that cannot be carried out must not make keys or files.
    let (secrets, runners) = declared(config)?;
    let ring = keys::ring(config)?;
    let (registry, readiness) = (Arc::new(Registry::new()), Readiness::new());
    let (store, lease) = store::lease(engine::engine(config, is_patient), handed).await?;
    let store = store::measured(store, &registry, &readiness);
    let ledger = Arc::new(Ledger::open(Arc::clone(&store), Sealer::with(ring)).await?);
    keys::note_store(config);
    observe(&registry, ledger.staleness(), config);
    for fault in ledger.faults() {
        tracing::error!(record = %fault.key, reason = %fault.reason, "a stored record cannot be used");
    }
    let (audit, activity) = open_activity(config, Arc::clone(&store), &ledger, (&registry, &readiness)).await?;
    let vault = Vault::new(Arc::clone(&ledger), secrets).map_err(|fault| placed_secret(config, fault))?;
    let vault = Arc::new(vault.recording_to(Arc::clone(&audit)));
    let identity = Identity::new(Arc::clone(&ledger), runners).map_err(|fault| placed_runner(config, fault))?;
    let identity = Arc::new(identity.recording_to(Arc::clone(&audit)));
    let named = organizations(config);
    let members = Arc::new(Members::new(Arc::clone(&ledger), named, Arc::new(SystemTime::now))?);
    let withheld = keys::Withheld::default();
    let configured = || Arc::new(keys::Configured { config: config.clone(), withheld: Arc::clone(&withheld) });
    let sources = (config.store.engine != Engine::Memory).then(|| configured() as Arc<dyn Sources>);
    let backups = Backups::new(Arc::clone(&store), ledger.sealer().clone());
    let custody = Arc::new(Custody::new(Arc::clone(&store), Arc::clone(&ledger), Arc::clone(&activity), sources));
    Ok(Rooms { ledger, vault, identity, members, audit, activity, custody, store, lease, backups, registry, readiness, withheld })
}

/// How far what is known is behind, and how long that is trusted.
fn observe(registry: &Registry, staleness: &Staleness, config: &Config) {
    staleness.trust_for(config.store.stale_for.0);
    let behind = staleness.clone();
    registry.observe(
        "subrosa_store_behind_seconds",
        "How far what this process knows is behind what is stored; 0 while it follows every change",
        move || behind.age().unwrap_or_default().as_secs_f64(),
    );
}

/// What the configuration declares, with its values.
type DeclaredValues = (Vec<(OrganizationName, NewSecret)>, Vec<identity::DeclaredRunner>);

fn declared(config: &Config) -> Result<DeclaredValues, AppError> {
    let secrets = config.secrets.iter().enumerate().map(|(index, declared)| secret(config, index, declared));
    let secrets = secrets.collect::<Result<_, _>>()?;
    let runners = config.runners.iter().enumerate().map(|(index, declared)| runner(config, index, declared));
    Ok((secrets, runners.collect::<Result<_, _>>()?))
}

/// The same fault with its place in the configuration, where it is one of that.
fn placed_secret(config: &Config, fault: VaultError) -> AppError {
    let (VaultError::DeclaredTwice { organization, name } | VaultError::DeclaredAndStored { organization, name }) = &fault else {
        return fault.into();
    };
    let is_meant = |secret: &DeclaredSecret| secret.organization == *organization && secret.name == *name;
    match config.secrets.iter().rposition(is_meant) {
        Some(index) => config.fault(&format!("secrets[{index}].name"), fault.to_string()).into(),
        None => fault.into(),
    }
}

/// The same of a runner.
fn placed_runner(config: &Config, fault: IdentityError) -> AppError {
    let is_meant = |runner: &DeclaredRunner| match &fault {
        IdentityError::DeclaredTwice { organization, name } => runner.organization == *organization && runner.name == *name,
        IdentityError::SharedToken { other, .. } => runner.name == *other,
        IdentityError::CertificateTaken { certificate } => runner.certificate.as_ref() == Some(certificate),
        _ => false,
    };
    match config.runners.iter().rposition(is_meant) {
        Some(index) => config.fault(&format!("runners[{index}].name"), fault.to_string()).into(),
        None => fault.into(),
    }
}

/// Opens what is kept of what happened, and goes on keeping it as long as anybody writes down.
async fn open_activity(
    config: &Config,
    store: Arc<dyn Backend>,
    ledger: &Ledger,
    (registry, readiness): (&Registry, &Readiness),
) -> Result<(Arc<Audit>, Arc<Activity>), AppError> {
    let (audit, handover) = Audit::handing_over(registry);
    let audit = Arc::new(audit);
    let settings =
        activity::Settings { node: node::name(config)?, keep: config.activity.keep.0, entries: config.activity.entries };
    let handed = (Arc::clone(&audit), handover);
    let (activity, keeper) = Activity::open(store, ledger.sealer().clone(), settings, handed).await?;
    let alive = readiness.alive("activity");
    tokio::spawn(async move {
        let _alive = alive;
        keeper.run().await;
    });
    Ok((audit, Arc::new(activity)))
}

impl Rooms {
    /// Has this process's name for itself, among those that share the store.
    async fn claim_node(&self, config: &Config) -> Result<(), AppError> {
        let node = self.activity.node().clone();
        node::claim(config, node, &self.store, self.ledger.sealer(), &self.readiness).await
    }

    /// What the door for people asks; `ca` is the CA's certificate, PEM, and `drain` says when to stop.
    pub fn admin_state(&self, config: &Config, ca: &str, drain: &Drain) -> admin::State {
        let settings = doors::settings(config, None, None);
        admin::State {
            vault: Arc::clone(&self.vault),
            identity: Arc::clone(&self.identity),
            members: Arc::clone(&self.members),
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            activity: Arc::clone(&self.activity),
            custody: Arc::clone(&self.custody),
            backups: self.backups.clone(),
            ca: ca.to_owned().into(),
            road: None,
            reload: None,
            drafts: Arc::default(),
            reach: reach(config, config.proxy.listen.first().copied()),
            operations: admin::Operations {
                registry: Arc::clone(&self.registry),
                readiness: self.readiness.clone(),
                drain: drain.clone(),
                staleness: self.ledger.staleness().clone(),
            },
        }
    }
}

/// The organizations that the configuration names: they exist without having been created.
fn organizations(config: &Config) -> Vec<OrganizationName> {
    let secrets = config.secrets.iter().map(|secret| &secret.organization);
    let runners = config.runners.iter().map(|runner| &runner.organization);
    secrets.chain(runners).chain(&config.proxy.anonymous).cloned().collect()
}

/// How runners on this machine reach the proxy that listens on `address`.
fn reach(config: &Config, address: Option<SocketAddr>) -> admin::Reach {
    let address = address.map(reachable);
    let proxy = address.map(|address| (Host::Ip(address.ip()).to_string(), address.port())).unwrap_or_default();
    let directory = config.intercept.ca_certificate.parent().unwrap_or(Path::new("."));
    admin::Reach { proxy, certificates: std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()) }
}

/// That every value which the configuration names can be had. Nothing is started or made.
pub fn check_sources(config: &Config) -> Result<(), AppError> {
    declared(config)?;
    next_proxy::check(config)?;
    client_tls::client_tls(config).map(drop)?;
    front::listener_tls(config).map(drop)?;
    keys::check(config)?;
    tls::client_config(&config.egress.extra_roots)?;
    let (certificate, key) = (&config.intercept.ca_certificate, &config.intercept.ca_key);
    // Where nodes share a store the certificate alone is what the last start wrote.
    let is_shared = !matches!(config.store.engine, Engine::Sled | Engine::Memory);
    if (certificate.exists() && !is_shared) || key.exists() {
        // One that is there is loaded; none is made where the other is missing.
        Authority::load_or_create(certificate, key, SystemTime::now())?;
    }
    Ok(())
}

fn secret(config: &Config, index: usize, declared: &DeclaredSecret) -> Result<(OrganizationName, NewSecret), AppError> {
    let new = NewSecret {
        name: declared.name.clone(),
        value: source(config, &format!("secrets[{index}].value"), &declared.value)?,
        description: declared.description.clone(),
        allowed_domains: declared.allowed_domains.clone(),
        limits: declared.limits.clone(),
    };
    Ok((declared.organization.clone(), new))
}

fn runner(config: &Config, index: usize, declared: &DeclaredRunner) -> Result<identity::DeclaredRunner, AppError> {
    let too_many = |fault: DomainPatternError| config.fault(&format!("runners[{index}].hosts"), fault.to_string());
    let runner = NewRunner {
        name: declared.name.clone(),
        secrets: declared.secrets.clone(),
        hosts: AllowedDomains::new(declared.hosts.clone()).map_err(too_many)?,
        certificate: declared.certificate.clone(),
    };
    let token = declared.token.as_ref().map(|source| token(config, index, source)).transpose()?;
    Ok(identity::DeclaredRunner { organization: declared.organization.clone(), runner, token })
}

fn token(config: &Config, index: usize, source: &Source) -> Result<SecretValue, ConfigError> {
    let key = format!("runners[{index}].token");
    let token = bytes_of(config, &key, source)?;
    if token.len() < LEAST_TOKEN || !token.iter().all(u8::is_ascii_graphic) {
        let text = format!(
            "a token has at least {LEAST_TOKEN} visible ASCII characters, so that nobody guesses it and every client can send it; `openssl rand -hex 32` makes one"
        );
        return Err(config.fault(&key, text));
    }
    value(config, &key, token)
}

/// The value that lies where the configuration says it is.
fn source(config: &Config, key: &str, source: &Source) -> Result<SecretValue, ConfigError> {
    value(config, key, bytes_of(config, key, source)?)
}

fn value(config: &Config, key: &str, mut bytes: Zeroizing<Vec<u8>>) -> Result<SecretValue, ConfigError> {
    SecretValue::new(std::mem::take(&mut *bytes)).map_err(|fault| config.fault(key, fault.to_string()))
}

/// What lies there, without one trailing line end.
fn bytes_of(config: &Config, key: &str, source: &Source) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let mut bytes = match source {
        Source::Env(variable) => {
            let missing = || config.fault(key, format!("the variable {variable} is not set; set it, or name another source"));
            config.environment.value(variable).ok_or_else(missing)?
        }
        Source::File(path) => {
            let unreadable = |fault| config.fault(key, format!("{} cannot be read: {fault}", path.display()));
            Zeroizing::new(std::fs::read(path).map_err(unreadable)?)
        }
    };
    let cut = crate::secret::line_end(&bytes);
    let kept = bytes.len() - cut;
    bytes.truncate(kept);
    Ok(bytes)
}
