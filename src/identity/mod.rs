//! Runners: who may use the proxy, known by a token.
//!
//! A token is shown once, when it is made. What is kept is its SHA-256, in a header that is
//! authenticated. Whoever presents a token is looked up in memory, without waiting; a runner that
//! was revoked is nobody from the next look on. A runner whose record is faulty authenticates
//! nobody and still counts as existing, so that damage never opens a door that runners had closed.

mod registry;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::{Draft, Kind, Ledger, LedgerError};
use crate::seal::SealError;
use crate::secret::{AllowedDomains, NamePattern, OrganizationName, RunnerName, SecretValue};
use crate::store::StoreError;
pub use crate::token::Token;
use crate::token::TokenHash;
use registry::{Registry, Slot};

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
}

/// A runner that the configuration declares, with its token.
pub struct DeclaredRunner {
    /// Whose it is.
    pub organization: OrganizationName,
    /// The runner.
    pub runner: NewRunner,
    /// Its token, from a file or the environment.
    pub token: SecretValue,
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
    created_at: i64,
    created_by: String,
    declared: bool,
    token: TokenHash,
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
    /// When it was created, in unix seconds.
    pub created_at: i64,
    /// Who created it.
    pub created_by: String,
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
            Self::NotFound { .. } => "runner_not_found",
            Self::Declared { .. } => "declared_read_only",
            Self::Store(_) | Self::Ledger(_) => "store_unavailable",
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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    token_sha256: TokenHash,
    secrets: Option<Vec<NamePattern>>,
    hosts: AllowedDomains,
}

/// All runners of all organizations.
pub struct Identity {
    ledger: Arc<Ledger>,
    registry: Arc<Registry>,
}

impl Identity {
    /// The runners of `ledger`, with those that the configuration declares.
    pub fn new(ledger: Arc<Ledger>, declared: Vec<DeclaredRunner>) -> Result<Self, IdentityError> {
        let mut registry = Registry::default();
        for DeclaredRunner { organization, runner, token } in declared {
            let draft = draft(&runner, TokenHash::of_value(&token), CONFIGURATION);
            let record = ledger.seal(KIND, &organization, draft, None)?;
            registry.declare(&record)?;
        }
        let registry = Arc::new(registry);
        ledger.follow(KIND, registry.clone());
        match registry.declared_and_stored() {
            Some((organization, name)) => Err(IdentityError::DeclaredTwice { organization, name }),
            None => Ok(Self { ledger, registry }),
        }
    }

    /// Creates a runner. The token is not kept; this is the only time it can be seen.
    pub async fn create(
        &self,
        organization: &OrganizationName,
        new: NewRunner,
        by: &str,
    ) -> Result<(RunnerView, Token), IdentityError> {
        let name = new.name.clone();
        if self.registry.is_declared(organization, &name) {
            return Err(IdentityError::NameTaken { name });
        }
        let token = Token::random(BEGINNING)?;
        let draft = draft(&new, token.hash(), by);
        match self.ledger.create(KIND, organization, draft, None).await {
            Ok(record) => Ok((Slot::of_record(&record, false).view(organization, &name), token)),
            Err(LedgerError::NameTaken) => Err(IdentityError::NameTaken { name }),
            Err(error) => Err(error.into()),
        }
    }

    /// Revokes a runner, also one that is faulty: from the next request on its token is nobody's.
    pub async fn revoke(&self, organization: &OrganizationName, name: &RunnerName) -> Result<(), IdentityError> {
        if self.registry.is_declared(organization, name) {
            return Err(IdentityError::Declared { name: name.clone() });
        }
        let not_found = || IdentityError::NotFound { name: name.clone() };
        let key = self.registry.key(organization, name).ok_or_else(not_found)?;
        match self.ledger.remove(&key, None).await {
            Err(LedgerError::Stale) => Err(not_found()),
            other => Ok(other?),
        }
    }

    /// Every runner of an organization, by name.
    pub fn list(&self, organization: &OrganizationName) -> Vec<RunnerView> {
        self.registry.list(organization)
    }

    /// Whose token this is. Never waits.
    pub fn authenticate(&self, token: &[u8]) -> Option<Arc<Runner>> {
        self.registry.by_token(&TokenHash::of(token))
    }

    /// Whether `runner` is still exactly this runner: neither revoked nor replaced. Never waits.
    pub fn is_current(&self, runner: &Runner) -> bool {
        self.registry.by_token(&runner.token).is_some_and(|current| current.id == runner.id)
    }

    /// Whether there is any runner, faulty ones included.
    pub fn has_runners(&self) -> bool {
        self.registry.any()
    }
}

fn draft(new: &NewRunner, token_sha256: TokenHash, by: &str) -> Draft {
    let metadata = Metadata { token_sha256, secrets: new.secrets.clone(), hosts: new.hosts.clone() };
    let metadata = serde_json::to_value(metadata).expect("metadata has text keys only");
    Draft { name: new.name.to_string(), metadata, by: by.to_owned() }
}

#[cfg(test)]
mod tests;
