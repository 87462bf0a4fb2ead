//! Runners: listed, created with a token that is shown once, edited, given a new token, revoked.

pub(super) mod create;
mod draft;
pub(super) mod edit;
mod fields;
pub(super) mod list;
pub(super) mod revoke;
pub(super) mod rotate;
mod token;

use maud::{Markup, html};

use super::parts::Tone;
use super::parts::badge;
use crate::admin::State;
use crate::admin::problem::Problem;
use crate::identity::{IdentityError, RunnerView};
use crate::secret::{NamePattern, OrganizationName, RunnerName};

/// The runner that a path names.
fn present(state: &State, organization: &OrganizationName, called: &str) -> Result<RunnerView, Problem> {
    let name = RunnerName::parse(called).map_err(|fault| Problem::invalid("name", fault))?;
    state.identity.get(organization, &name).ok_or_else(|| IdentityError::NotFound { name }.into())
}

/// Patterns over the names of secrets.
fn secrets(patterns: Option<&[NamePattern]>) -> Markup {
    html! {
        @match patterns {
            None => span.any { "Every secret" },
            Some([]) => (badge(Tone::Warn, "no secret")),
            Some(patterns) => div.domains { @for pattern in patterns { span { (pattern) } } },
        }
    }
}
