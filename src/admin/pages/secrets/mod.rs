//! Organization > Secrets, as the user's guide has it: list, create, edit, remove.

pub(super) mod advice;
pub(super) mod create;
mod done;
mod draft;
pub(super) mod edit;
mod facts;
mod fields;
pub(super) mod list;
pub(super) mod remove;
mod similar;
mod usage;

use crate::admin::State;
use crate::admin::problem::Problem;
use crate::secret::{OrganizationName, SecretName};
use crate::vault::{SecretView, VaultError};

/// The secret that a path names.
fn present(state: &State, organization: &OrganizationName, called: &str) -> Result<SecretView, Problem> {
    let name = SecretName::parse(called).map_err(|fault| Problem::invalid("name", fault))?;
    let found = state.vault.get(organization, &name);
    found.ok_or_else(|| VaultError::NotFound { name }.into())
}
