//! Who acts: decided once per request by whoever mounted the routes, and asked by everything behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::problem::Problem;
use crate::members::Role;
use crate::secret::OrganizationName;

/// The organization whose administrators look after the whole instance.
fn home() -> OrganizationName {
    OrganizationName::default()
}

/// Whoever a request acts for.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    who: Who,
    /// As it stands in records and in the audit trail.
    name: Arc<str>,
}

#[derive(Clone, Debug)]
enum Who {
    /// Nobody said who they are.
    Nobody,
    /// The owner of the socket in the data directory: the server's own user, who has the files anyway.
    Local,
    /// A person or a program, with a role in each of these organizations.
    Known(Arc<BTreeMap<OrganizationName, Role>>),
}

impl Principal {
    /// Somebody who has not said who they are.
    pub(super) fn nobody() -> Self {
        Self { who: Who::Nobody, name: "nobody".into() }
    }

    /// The owner of the socket.
    pub(super) fn local() -> Self {
        Self { who: Who::Local, name: "local".into() }
    }

    /// A person or a program with roles.
    pub(super) fn known(name: impl Into<Arc<str>>, roles: Arc<BTreeMap<OrganizationName, Role>>) -> Self {
        Self { who: Who::Known(roles), name: name.into() }
    }

    /// The same, with a role that they have just been given.
    #[must_use]
    pub(super) fn with_role(self, organization: &OrganizationName, role: Role) -> Self {
        match self.who {
            Who::Known(roles) => {
                let mut roles = BTreeMap::clone(&roles);
                roles.insert(organization.clone(), role);
                Self { who: Who::Known(Arc::new(roles)), ..self }
            }
            who => Self { who, ..self },
        }
    }

    /// The name, for `updated_by` and the audit trail.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether they said who they are.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.who, Who::Nobody)
    }

    /// Their role in an organization; `None` where they have none.
    pub(super) fn role_in(&self, organization: &OrganizationName) -> Option<Role> {
        match &self.who {
            Who::Nobody => None,
            Who::Local => Some(Role::Administrator),
            Who::Known(roles) => roles.get(organization).copied(),
        }
    }

    /// Their roles by organization; `None`: they may do everything everywhere.
    pub(super) fn roles(&self) -> Option<BTreeMap<OrganizationName, Role>> {
        match &self.who {
            Who::Nobody => Some(BTreeMap::new()),
            Who::Local => None,
            Who::Known(roles) => Some(BTreeMap::clone(roles)),
        }
    }

    /// Whether they look after the instance as a whole.
    pub(super) fn operates(&self) -> bool {
        self.role_in(&home()) == Some(Role::Administrator)
    }
}

/// Whether whoever asked may still see what they see: for answers that go on for long. Asking does
/// not keep a session from becoming idle.
#[derive(Clone)]
pub(super) struct Standing(Option<Ask>);

type Ask = Arc<dyn Fn(&OrganizationName) -> bool + Send + Sync>;

impl Standing {
    /// As `ask` says, each time.
    pub(super) fn asked(ask: impl Fn(&OrganizationName) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// Whether they still have a role in `organization`.
    pub(super) fn sees(&self, organization: &OrganizationName) -> bool {
        self.0.as_ref().is_some_and(|ask| ask(organization))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Standing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let local = || parts.extensions.get::<Principal>().is_some_and(|principal| matches!(principal.who, Who::Local));
        let given = parts.extensions.get::<Self>().cloned();
        Ok(given.unwrap_or_else(|| if local() { Self::asked(|_| true) } else { Self(None) }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Without a layer that says who acts, nobody does.
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::nobody))
    }
}
