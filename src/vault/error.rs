//! Why the vault did not do what a person asked, with the code every door answers.

use crate::ledger::LedgerError;
use crate::secret::{OrganizationName, SecretName};
use crate::store::StoreError;

use super::SecretView;

/// Why the vault did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Another secret of the organization has the name.
    #[error("a secret called `{name}` exists already; edit it, or choose another name")]
    NameTaken {
        /// The name.
        name: SecretName,
    },
    /// There is no such secret.
    #[error("there is no secret called `{name}`")]
    NotFound {
        /// The name.
        name: SecretName,
    },
    /// Somebody else changed it since the caller saw it.
    #[error(
        "the secret `{}` was changed meanwhile, by {} (it is at revision {} now); look at it again and repeat the change",
        current.name, current.updated_by, current.revision
    )]
    RevisionStale {
        /// What it is now.
        current: Box<SecretView>,
    },
    /// Domains or limits were to change without a new value.
    #[error("allowed domains and limits change only together with a new value; give the value as well")]
    AllowedDomainsNeedValue,
    /// It comes from the configuration.
    #[error("the secret `{name}` is declared in the configuration; change it there")]
    Declared {
        /// The name.
        name: SecretName,
    },
    /// Its record is faulty.
    #[error("the secret `{name}` cannot be used: {reason}; delete it and create it again, or restore the store from a backup")]
    Unavailable {
        /// The name.
        name: SecretName,
        /// Why.
        reason: String,
    },
    /// The configuration declares a name twice.
    #[error("the configuration declares the secret `{name}` of the organization `{organization}` twice; remove one of the two")]
    DeclaredTwice {
        /// Whose it is.
        organization: OrganizationName,
        /// The name.
        name: SecretName,
    },
    /// The configuration declares a name that is stored too.
    #[error(
        "the secret `{name}` of the organization `{organization}` is declared in the configuration and stored as well; \
         rename or remove the declared one, or delete the stored one"
    )]
    DeclaredAndStored {
        /// Whose it is.
        organization: OrganizationName,
        /// The name.
        name: SecretName,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger did not do it.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl VaultError {
    /// The word for it, fixed for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NameTaken { .. } | Self::DeclaredTwice { .. } | Self::DeclaredAndStored { .. } => "name_taken",
            Self::NotFound { .. } => "secret_not_found",
            Self::RevisionStale { .. } => "revision_stale",
            Self::AllowedDomainsNeedValue => "allowed_domains_need_value",
            Self::Declared { .. } => "declared_read_only",
            Self::Unavailable { .. } | Self::Store(_) | Self::Ledger(_) => "store_unavailable",
        }
    }
}

impl From<LedgerError> for VaultError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error),
            other => Self::Ledger(other),
        }
    }
}
