//! Runners: who may use the proxy, known by a token or by a certificate.
//!
//! A token is shown once, when it is made. What is kept is its SHA-256, in a header that is
//! authenticated. Whoever presents a token is looked up in memory, without waiting; a runner that
//! was revoked is nobody from the next look on. A runner whose record is faulty authenticates
//! nobody and still counts as existing, so that damage never opens a door that runners had closed.

mod registry;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{RwLock, RwLockWriteGuard};

use crate::audit::{Audit, Change};
use crate::ledger::{Condition, Draft, Entry, Kind, Ledger, LedgerError, Payload, Record};
use crate::seal::SealError;
use crate::secret::{AllowedDomains, NamePattern, OrganizationName, RunnerName, SecretValue};
use crate::staleness::Stale;
use crate::store::StoreError;
use crate::tls::CertificateName;
pub use crate::token::Token;
use crate::token::TokenHash;
use registry::{Declared, Entered, Registry, Slot};

const KIND: Kind = Kind::new("runner");
/// How every token of a runner starts.
const BEGINNING: &str = "srt_";
/// Who a declared runner was created by.
const CONFIGURATION: &str = "configuration";

/// A runner to be created.
pub struct NewRunner {
    /// Its name.
    pub name: RunnerName,
    /// The secrets it may use; `None`: all of its organization.
    pub secrets: Option<Vec<NamePattern>>,
    /// The hosts it may reach; empty means any.
    pub hosts: AllowedDomains,
    /// The name of the certificate it may show instead of its token.
    pub certificate: Option<CertificateName>,
}

/// A runner that the configuration declares, with its token.
pub struct DeclaredRunner {
    /// Whose it is.
    pub organization: OrganizationName,
    /// The runner.
    pub runner: NewRunner,
    /// Its token, from a file or the environment; without one it is known by its certificate alone.
    pub token: Option<SecretValue>,
}

/// A runner that authenticated.
#[derive(Debug)]
pub struct Runner {
    /// Random, and never used twice: what belongs to this very runner is kept under it.
    pub id: Arc<str>,
    /// Its name.
    pub name: RunnerName,
    /// Whose it is.
    pub organization: OrganizationName,
    /// The secrets it may use; `None`: all of its organization.
    pub secrets: Option<Arc<[NamePattern]>>,
    /// The hosts it may reach; empty means any.
    pub hosts: AllowedDomains,
    /// The name of the certificate it may show instead of its token.
    pub certificate: Option<CertificateName>,
    /// 1 when created, one more with each change.
    revision: u64,
    created_at: i64,
    created_by: String,
    updated_at: i64,
    updated_by: String,
    declared: bool,
    token: TokenHash,
}

/// What to change about a runner; what is `None` stays.
#[derive(Default)]
pub struct Edit {
    /// The secrets it may use; `Some(None)`: all of its organization.
    pub secrets: Option<Option<Vec<NamePattern>>>,
    /// The hosts it may reach; empty means any.
    pub hosts: Option<AllowedDomains>,
    /// The name of the certificate it may show instead of its token; `Some(None)`: none.
    pub certificate: Option<Option<CertificateName>>,
}

/// A runner as every door may show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunnerView {
    /// Whose it is.
    pub organization: OrganizationName,
    /// Its name.
    pub name: RunnerName,
    /// The secrets it may use; `None`: all of its organization.
    pub secrets: Option<Vec<NamePattern>>,
    /// The hosts it may reach; empty means any.
    pub hosts: AllowedDomains,
    /// The name of the certificate it may show instead of its token.
    pub certificate: Option<CertificateName>,
    /// 1 when created, one more with each change; 0 of a faulty one.
    pub revision: u64,
    /// When it was created, in unix seconds.
    pub created_at: i64,
    /// Who created it.
    pub created_by: String,
    /// When it was changed last, in unix seconds.
    pub updated_at: i64,
    /// Who changed it last.
    pub updated_by: String,
    /// It comes from the configuration and is read-only at every other door.
    pub declared: bool,
    /// Why it authenticates nobody, if it does not; then only name and organization are known.
    pub fault: Option<String>,
}

/// Why identity did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another runner of the organization has the name.
    #[error("a runner called `{name}` exists already; revoke it, or choose another name")]
    NameTaken {
        /// The name.
        name: RunnerName,
    },
    /// Another runner, of any organization, is known by the certificate.
    #[error("the certificate `{certificate}` is another runner's already; revoke that one, or use another certificate")]
    CertificateTaken {
        /// The certificate's name.
        certificate: CertificateName,
    },
    /// There is no such runner.
    #[error("there is no runner called `{name}`")]
    NotFound {
        /// The name.
        name: RunnerName,
    },
    /// It comes from the configuration.
    #[error("the runner `{name}` is declared in the configuration; change it there")]
    Declared {
        /// The name.
        name: RunnerName,
    },
    /// Somebody else changed it since the caller saw it.
    #[error(
        "the runner `{}` was changed meanwhile, by {} (it is at revision {} now); look at it again and repeat the change",
        current.name, current.updated_by, current.revision
    )]
    RevisionStale {
        /// What it is now.
        current: Box<RunnerView>,
    },
    /// Its record is faulty.
    #[error("the runner `{name}` cannot be used: {reason}; revoke it and create it again")]
    Faulty {
        /// The name.
        name: RunnerName,
        /// Why.
        reason: String,
    },
    /// The configuration declares a name twice, or one that is stored too.
    #[error(
        "the runner `{name}` of the organization `{organization}` is declared in the configuration and exists already; \
         rename or remove one of the two"
    )]
    DeclaredTwice {
        /// Whose it is.
        organization: OrganizationName,
        /// The name.
        name: RunnerName,
    },
    /// Two declared runners have one token.
    #[error("the runners `{one}` and `{other}` are declared with the same token; give each a token of its own")]
    SharedToken {
        /// One of them.
        one: RunnerName,
        /// The other.
        other: RunnerName,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger did not do it.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl IdentityError {
    /// The word for it, fixed for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NameTaken { .. } | Self::DeclaredTwice { .. } | Self::SharedToken { .. } => "name_taken",
            Self::CertificateTaken { .. } => "certificate_taken",
            Self::NotFound { .. } => "runner_not_found",
            Self::Declared { .. } => "declared_read_only",
            Self::RevisionStale { .. } => "revision_stale",
            Self::Faulty { .. } | Self::Store(_) | Self::Ledger(_) => "store_unavailable",
        }
    }
}

impl From<LedgerError> for IdentityError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error),
            other => Self::Ledger(other),
        }
    }
}

impl From<SealError> for IdentityError {
    fn from(error: SealError) -> Self {
        Self::Ledger(error.into())
    }
}

/// What a record says of a runner beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    token_sha256: TokenHash,
    secrets: Option<Vec<NamePattern>>,
    hosts: AllowedDomains,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateName>,
}

/// All runners of all organizations.
pub struct Identity {
    ledger: Arc<Ledger>,
    registry: Arc<Registry>,
    audit: Arc<Audit>,
    /// Shared by those who take a name or a certificate, so that none of them does while other runners are declared.
    names: RwLock<()>,
}

/// A runner, by its organization and name.
pub type Named = (OrganizationName, RunnerName);

/// Runners of a configuration that is not in force yet; given up when dropped.
pub struct Redeclared<'a> {
    registry: &'a Registry,
    declared: Declared,
    changed: Vec<Named>,
    _names: RwLockWriteGuard<'a, ()>,
}

impl Redeclared<'_> {
    /// Those that are new, other than they were, or gone.
    pub fn changed(&self) -> &[Named] {
        &self.changed
    }

    /// From now on they are the configuration's: who is gone is nobody, on open connections too.
    pub fn put_in_force(self) {
        self.registry.declare(self.declared);
    }
}

impl Identity {
    /// The runners of `ledger`, with those that the configuration declares.
    pub fn new(ledger: Arc<Ledger>, declared: Vec<DeclaredRunner>) -> Result<Self, IdentityError> {
        let registry = Arc::new(Registry::default());
        ledger.follow(KIND, registry.clone());
        let identity = Self { ledger, registry, audit: Arc::default(), names: RwLock::default() };
        let (declared, _) = identity.consistent(declared)?;
        identity.registry.declare(declared);
        Ok(identity)
    }

    /// Prepares to have `declared` for the runners of the configuration, instead of those that are. Nobody takes a name or
    /// a certificate until that is done or given up.
    pub async fn redeclare(&self, declared: Vec<DeclaredRunner>) -> Result<Redeclared<'_>, IdentityError> {
        let names = self.names.write().await;
        let (declared, changed) = self.consistent(declared)?;
        Ok(Redeclared { registry: &self.registry, declared, changed, _names: names })
    }

    /// These runners as they are kept, if they contradict neither each other nor the store; and which of them differ from
    /// those that are declared now. One that keeps its name stays the same runner, with its connections.
    fn consistent(&self, runners: Vec<DeclaredRunner>) -> Result<(Declared, Vec<Named>), IdentityError> {
        let (mut declared, mut changed) = (Declared::default(), Vec::new());
        for DeclaredRunner { organization, runner, token } in runners {
            let before = self.registry.declared(&organization, &runner.name);
            let old = before.as_ref().and_then(|entered| Some((Metadata::read(&entered.record)?, entered.has_token)));
            let hash = match (&token, &old) {
                (Some(token), _) => TokenHash::of_value(token),
                (None, Some((metadata, false))) => metadata.token_sha256,
                // Nobody's.
                (None, _) => Token::random(BEGINNING)?.hash(),
            };
            let has_token = token.is_some();
            let metadata = Metadata::of(&runner, hash);
            let record = match before {
                Some(entered) if old.as_ref() == Some(&(metadata.clone(), has_token)) => entered.record,
                before => {
                    changed.push((organization.clone(), runner.name.clone()));
                    let draft = metadata.draft(&runner.name, CONFIGURATION);
                    Arc::new(match before {
                        Some(entered) => self.ledger.seal_next(&entered.record, draft, None)?,
                        None => self.ledger.seal(KIND, &organization, draft, None)?,
                    })
                }
            };
            declared.add(Entered { record, has_token })?;
        }
        if let Some(contradiction) = self.registry.contradiction(&declared) {
            return Err(contradiction);
        }
        changed.extend(self.registry.no_longer_in(&declared));
        Ok((declared, changed))
    }

    /// The same, writing down in `audit` who changed what.
    #[must_use]
    pub fn recording_to(self, audit: Arc<Audit>) -> Self {
        Self { audit, ..self }
    }

    fn record(&self, organization: &OrganizationName, by: &str, action: &'static str, name: &RunnerName) {
        self.audit.record_change(organization, Change::new(by, action, "runner", name.as_str()));
    }

    /// Creates a runner. The token is not kept; this is the only time it can be seen.
    pub async fn create(
        &self,
        organization: &OrganizationName,
        new: NewRunner,
        by: &str,
    ) -> Result<(RunnerView, Token), IdentityError> {
        let _names = self.names.read().await;
        let name = new.name.clone();
        if self.registry.is_declared(organization, &name) {
            return Err(IdentityError::NameTaken { name });
        }
        let is_free = self.refuse_taken(new.certificate.as_ref(), None)?;
        let token = Token::random(BEGINNING)?;
        let draft = draft(&new, token.hash(), by);
        match self.ledger.create_if(KIND, organization, draft, None, is_free).await {
            Ok(record) => {
                self.record(organization, by, "created", &name);
                Ok((Slot::of_record(&record, false).view(organization, &name), token))
            }
            Err(LedgerError::NameTaken) => Err(IdentityError::NameTaken { name }),
            Err(error) => Err(taken(error, new.certificate.as_ref())),
        }
    }

    /// Changes what a runner may use. `if_revision` is the revision the caller saw; without it, only
    /// a change that happens at the same time is refused. Connections that are open feel it too.
    pub async fn edit(
        &self,
        organization: &OrganizationName,
        name: &RunnerName,
        edit: Edit,
        if_revision: Option<u64>,
        by: &str,
    ) -> Result<RunnerView, IdentityError> {
        let _names = self.names.read().await;
        let record = self.editable(organization, name, if_revision)?;
        let mut metadata = Metadata::read(&record).ok_or_else(|| IdentityError::NotFound { name: name.clone() })?;
        metadata.secrets = edit.secrets.unwrap_or(metadata.secrets);
        metadata.hosts = edit.hosts.unwrap_or(metadata.hosts);
        metadata.certificate = edit.certificate.unwrap_or(metadata.certificate);
        let is_free = self.refuse_taken(metadata.certificate.as_ref(), Some(&record.header().id))?;
        let certificate = metadata.certificate.clone();
        let replaced = self.replace(organization, name, &record, (metadata.draft(name, by), is_free)).await;
        let view = replaced.map_err(|fault| match fault {
            IdentityError::Ledger(fault) => taken(fault, certificate.as_ref()),
            other => other,
        })?;
        self.record(organization, by, "edited", name);
        Ok(view)
    }

    /// Gives a runner a new token: the old one is nobody's from the next request on. The token is not
    /// kept; this is the only time it can be seen.
    pub async fn rotate_token(
        &self,
        organization: &OrganizationName,
        name: &RunnerName,
        if_revision: Option<u64>,
        by: &str,
    ) -> Result<(RunnerView, Token), IdentityError> {
        let record = self.editable(organization, name, if_revision)?;
        let mut metadata = Metadata::read(&record).ok_or_else(|| IdentityError::NotFound { name: name.clone() })?;
        let token = Token::random(BEGINNING)?;
        metadata.token_sha256 = token.hash();
        let view = self.replace(organization, name, &record, (metadata.draft(name, by), None)).await?;
        self.record(organization, by, "gave a new token to", name);
        Ok((view, token))
    }

    /// Revokes a runner, also one that is faulty: from the next request on its token is nobody's.
    pub async fn revoke(
        &self,
        organization: &OrganizationName,
        name: &RunnerName,
        if_revision: Option<u64>,
        by: &str,
    ) -> Result<(), IdentityError> {
        if self.registry.is_declared(organization, name) {
            return Err(IdentityError::Declared { name: name.clone() });
        }
        let key = self.registry.key(organization, name).ok_or_else(|| IdentityError::NotFound { name: name.clone() })?;
        match self.ledger.remove(&key, if_revision).await {
            Err(LedgerError::Stale) => Err(self.stale(organization, name)),
            other => {
                other?;
                self.record(organization, by, "revoked", name);
                Ok(())
            }
        }
    }

    /// The runner's record as it may be changed now.
    fn editable(
        &self,
        organization: &OrganizationName,
        name: &RunnerName,
        if_revision: Option<u64>,
    ) -> Result<Arc<Record>, IdentityError> {
        if self.registry.is_declared(organization, name) {
            return Err(IdentityError::Declared { name: name.clone() });
        }
        let entry = self.registry.key(organization, name).and_then(|key| self.ledger.entry(&key));
        match entry.ok_or_else(|| IdentityError::NotFound { name: name.clone() })? {
            Entry::Faulty(faulty) => Err(IdentityError::Faulty { name: name.clone(), reason: faulty.reason.clone() }),
            Entry::Sound(record) if if_revision.is_some_and(|seen| seen != record.header().revision) => {
                Err(self.stale(organization, name))
            }
            Entry::Sound(record) => Ok(record),
        }
    }

    async fn replace(
        &self,
        organization: &OrganizationName,
        name: &RunnerName,
        current: &Record,
        (draft, condition): (Draft, Option<Condition>),
    ) -> Result<RunnerView, IdentityError> {
        match self.ledger.replace_if(current, draft, Payload::Nothing, condition).await {
            Ok(record) => Ok(Slot::of_record(&record, false).view(organization, name)),
            Err(LedgerError::Stale) => Err(self.stale(organization, name)),
            Err(error) => Err(error.into()),
        }
    }

    fn stale(&self, organization: &OrganizationName, name: &RunnerName) -> IdentityError {
        match self.get(organization, name) {
            Some(current) => IdentityError::RevisionStale { current: Box::new(current) },
            None => IdentityError::NotFound { name: name.clone() },
        }
    }

    /// One runner.
    pub fn get(&self, organization: &OrganizationName, name: &RunnerName) -> Option<RunnerView> {
        self.list(organization).into_iter().find(|view| view.name == *name)
    }

    /// Every runner of an organization, by name.
    pub fn list(&self, organization: &OrganizationName) -> Vec<RunnerView> {
        self.registry.list(organization)
    }

    /// Whose token this is. Never waits.
    pub fn authenticate(&self, token: &[u8]) -> Option<Arc<Runner>> {
        self.registry.by_token(&TokenHash::of(token))
    }

    /// The runner called `name`, if it is sound.
    pub fn named(&self, organization: &OrganizationName, name: &RunnerName) -> Option<Arc<Runner>> {
        self.registry.named(organization, name)
    }

    /// Whose certificate this is, by any of its `names`. Nobody's if two runners are meant. Never waits.
    pub fn by_certificate(&self, names: &[CertificateName]) -> Option<Arc<Runner>> {
        let mut found = names.iter().flat_map(|name| self.registry.by_certificate(name));
        let first = found.next()?;
        found.all(|other| other.id == first.id).then_some(first)
    }

    /// What has to hold still when a runner gets its certificate: that it is nobody else's.
    fn refuse_taken(
        &self,
        certificate: Option<&CertificateName>,
        own: Option<&Arc<str>>,
    ) -> Result<Option<Condition>, IdentityError> {
        let Some(certificate) = certificate.cloned() else { return Ok(None) };
        let (registry, own, wanted) = (Arc::clone(&self.registry), own.cloned(), certificate.clone());
        let is_free = move || registry.by_certificate(&wanted).iter().all(|other| own.as_ref() == Some(&other.id));
        if is_free() { Ok(Some(Arc::new(is_free))) } else { Err(IdentityError::CertificateTaken { certificate }) }
    }

    /// What has become of `runner`: itself with its limits as they are now, or nothing if it was
    /// revoked, replaced or given another token. Never waits.
    pub fn current(&self, runner: &Runner) -> Option<Arc<Runner>> {
        self.registry.by_token(&runner.token).filter(|current| current.id == runner.id)
    }

    /// That what is known of stored runners is trusted still: one that was revoked since could be anybody.
    pub fn check_trusted(&self) -> Result<(), Stale> {
        self.ledger.staleness().check()
    }

    /// The same of this runner; what the configuration declares rests on no store.
    pub fn check_trust_in(&self, runner: &Runner) -> Result<(), Stale> {
        if runner.declared { Ok(()) } else { self.check_trusted() }
    }

    /// Whether there is any runner, faulty ones included.
    pub fn has_runners(&self) -> bool {
        self.registry.any()
    }
}

/// Somebody else got the certificate meanwhile.
fn taken(fault: LedgerError, certificate: Option<&CertificateName>) -> IdentityError {
    match (fault, certificate) {
        (LedgerError::Unmet, Some(certificate)) => IdentityError::CertificateTaken { certificate: certificate.clone() },
        (fault, _) => fault.into(),
    }
}

fn draft(new: &NewRunner, token_sha256: TokenHash, by: &str) -> Draft {
    Metadata::of(new, token_sha256).draft(&new.name, by)
}

impl Metadata {
    fn of(new: &NewRunner, token_sha256: TokenHash) -> Self {
        let NewRunner { secrets, hosts, certificate, .. } = new;
        Self { token_sha256, secrets: secrets.clone(), hosts: hosts.clone(), certificate: certificate.clone() }
    }

    fn read(record: &Record) -> Option<Self> {
        serde_json::from_value(record.header().metadata.clone()).ok()
    }

    fn draft(self, name: &RunnerName, by: &str) -> Draft {
        let metadata = serde_json::to_value(self).expect("metadata has text keys only");
        Draft { name: name.to_string(), metadata, by: by.to_owned() }
    }
}

#[cfg(test)]
mod tests;
