//! Organizations: what secrets, runners and members belong to. `default` always exists.

use serde::{Deserialize, Serialize};

use super::table::{Kept, Row};
use super::{Members, MembersError, Role, draft, home, kind};
use crate::ledger::{Kind, LedgerError};
use crate::secret::{Description, OrganizationName};

/// How many may be created, so that no list of them grows without bound.
const MOST: usize = 1_000;

/// What a record says of an organization beside its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Organization {
    description: Description,
}

impl Kept for Organization {
    const KIND: Kind = kind("organization");
}

/// An organization as every door may show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationView {
    /// Its name.
    pub name: OrganizationName,
    /// Notes for the team.
    pub description: Description,
    /// When it was created, in unix seconds; unknown of one that always exists.
    pub created_at: Option<i64>,
    /// Who created it.
    pub created_by: Option<String>,
    /// It always exists, by itself or by the configuration, and cannot be deleted.
    pub permanent: bool,
}

impl Members {
    /// Every organization, by name.
    pub fn organizations(&self) -> Vec<OrganizationView> {
        let stored = self.organizations.of(&home());
        let created = stored.iter().filter_map(|row| view(row));
        let permanent = self.always.load();
        let always = permanent.iter().map(|name| OrganizationView {
            name: name.clone(),
            description: Description::default(),
            created_at: None,
            created_by: None,
            permanent: true,
        });
        let mut all: Vec<_> = always.chain(created.filter(|view| !permanent.contains(&view.name))).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Whether there is such an organization. Never waits.
    pub fn has_organization(&self, name: &OrganizationName) -> bool {
        self.always.load().contains(name) || self.organizations.named(&home(), name.as_str()).is_some()
    }

    /// Creates an organization; whoever creates it with an account becomes its administrator, so
    /// that somebody can invite others.
    pub async fn create_organization(
        &self,
        name: &OrganizationName,
        description: Description,
        by: &str,
        administrator: Option<&str>,
    ) -> Result<OrganizationView, MembersError> {
        let _one = self.writing.lock().await;
        if self.always.load().contains(name) {
            return Err(MembersError::OrganizationTaken(name.clone()));
        }
        if self.organizations.of(&home()).len() >= MOST {
            return Err(MembersError::TooManyRecords(MOST));
        }
        let record = self
            .ledger
            .create(Organization::KIND, &home(), draft(name.as_str(), &Organization { description }, by), None)
            .await
            .map_err(|error| match error {
                LedgerError::NameTaken => MembersError::OrganizationTaken(name.clone()),
                other => other.into(),
            })?;
        tracing::info!(organization = %name, by, "an organization was made");
        if let Some(account) = administrator.and_then(|id| self.accounts.by_id(&home(), &id.into())) {
            self.put_role(&account, name, Some(Role::Administrator), by, None).await?;
        }
        let row = self.organizations.by_id(&home(), &record.key().id);
        row.and_then(|row| view(&row)).ok_or_else(|| MembersError::NoOrganization(name.clone()))
    }

    /// Deletes an organization with its members, invitations and tokens, once `is_empty` says that it
    /// holds nothing else. The record goes last: a deletion that was interrupted can be repeated.
    pub async fn delete_organization(
        &self,
        name: &OrganizationName,
        is_empty: impl Fn() -> bool,
        by: &str,
    ) -> Result<(), MembersError> {
        let _one = self.writing.lock().await;
        if self.always.load().contains(name) {
            return Err(MembersError::OrganizationStays(name.clone()));
        }
        let key = self.organizations.key(&home(), name.as_str());
        let key = key.ok_or_else(|| MembersError::NoOrganization(name.clone()))?;
        if !is_empty() {
            return Err(MembersError::OrganizationHolds(name.clone()));
        }
        for token in self.tokens.of(name) {
            self.ledger.remove(token.record.key(), None).await?;
        }
        for invitation in self.invitations.of(name) {
            self.ledger.remove(invitation.record.key(), None).await?;
        }
        for account in self.accounts.of(&home()).iter().filter(|account| account.what.memberships.contains_key(name)) {
            self.put_role(account, name, None, by, None).await?;
        }
        self.ledger.remove(&key, None).await?;
        tracing::info!(organization = %name, by, "an organization was deleted");
        Ok(())
    }
}

fn view(row: &Row<Organization>) -> Option<OrganizationView> {
    Some(OrganizationView {
        name: OrganizationName::parse(row.name()).ok()?,
        description: row.what.description.clone(),
        created_at: Some(row.header().created_at),
        created_by: Some(row.header().created_by.clone()),
        permanent: false,
    })
}
