//! A visit: who looks at which organization's pages, and from where.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use maud::{Markup, html};

use crate::admin::State;
use crate::admin::access::no_organization;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::admin::session::Csrf;
use crate::members::Role;
use crate::secret::OrganizationName;

/// One person at one page.
pub(in crate::admin) struct Visit {
    /// Who.
    pub(in crate::admin) principal: Principal,
    /// The organization that the path names; without one, the first they belong to.
    pub(in crate::admin) organization: Option<OrganizationName>,
    /// Those they may switch to.
    pub(in crate::admin) organizations: Vec<OrganizationName>,
    /// What their forms carry along.
    csrf: Csrf,
    /// What stands above every page: that what is stored is not known at the moment.
    pub(in crate::admin) notice: Option<String>,
}

/// One person at one page of an organization.
pub(in crate::admin) struct OrganizationVisit {
    /// Who, for the frame around the page.
    pub(in crate::admin) visit: Visit,
    /// The organization that the path names.
    pub(in crate::admin) organization: OrganizationName,
}

impl Visit {
    /// Whoever asks, without an organization in the path.
    pub(in crate::admin) fn new(principal: Principal) -> Self {
        let mut organizations: Vec<_> = match principal.roles() {
            Some(roles) => roles.into_keys().collect(),
            None => vec![OrganizationName::default()],
        };
        organizations.sort();
        Self { principal, organization: organizations.first().cloned(), organizations, csrf: Csrf::none(), notice: None }
    }

    /// What a form of theirs has to carry along.
    pub(in crate::admin) fn csrf(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.csrf.as_str()); }
    }

    /// The same, in `organization`.
    fn in_organization(mut self, organization: &OrganizationName) -> Self {
        if !self.organizations.contains(organization) {
            self.organizations.push(organization.clone());
        }
        self.organization = Some(organization.clone());
        self
    }

    /// Whether they may do what takes `role` in the organization of the page.
    pub(in crate::admin) fn may(&self, role: Role) -> bool {
        let held = self.organization.as_ref().and_then(|organization| self.principal.role_in(organization));
        held.is_some_and(|held| held >= role)
    }
}

impl FromRequestParts<State> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let csrf = Csrf::from_request_parts(parts, state).await?;
        let notice = state.operations.staleness.notice();
        let visit = Self { csrf, notice, ..Self::new(Principal::from_request_parts(parts, state).await?) };
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let named = parameters.ok().and_then(|parameters| {
            let named = parameters.iter().find(|(name, _)| *name == "organization");
            named.and_then(|(_, text)| OrganizationName::parse(text).ok())
        });
        Ok(match named {
            // The table of rights let them in, or they see no more than the name they typed.
            Some(named) => visit.in_organization(&named),
            None => visit,
        })
    }
}

impl FromRequestParts<State> for OrganizationVisit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let visit = Visit::from_request_parts(parts, state).await?;
        let organization = visit.organization.clone().ok_or_else(no_organization)?;
        Ok(Self { visit, organization })
    }
}
