//! Secrets: kept sealed, changed by people through the vault, used by runners through the
//! [`Resolver`] that it makes.
//!
//! Reads are answered from a replica in memory and never wait; the replica holds sealed values
//! too. A value is opened at the moment of its use, and never by anything a person asks.
//! Secrets declared in the configuration are sealed in memory, follow the same rules and are
//! read-only here.

mod error;
mod replica;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{RwLock, RwLockWriteGuard};

pub use error::VaultError;

use crate::audit::{Audit, Change};
use crate::inject::{Resolver, Secrets};
use crate::ledger::{Draft, Kind, Ledger, LedgerError, Payload, Record};
use crate::secret::{AllowedDomains, Description, Limits, NamePattern, OrganizationName, SecretName, SecretValue};
use replica::{Declared, Kept, Replica, Slot, View};

const KIND: Kind = Kind::new("secret");
/// Who a declared secret was created by.
const CONFIGURATION: &str = "configuration";

/// A secret to be created.
pub struct NewSecret {
    /// Its name.
    pub name: SecretName,
    /// Its value.
    pub value: SecretValue,
    /// Notes for the team.
    pub description: Description,
    /// Where it may be sent; empty means anywhere.
    pub allowed_domains: AllowedDomains,
    /// What else limits its use.
    pub limits: Limits,
}

/// What to change about a secret; what is `None` stays.
#[derive(Default)]
pub struct Edit {
    /// A new name.
    pub name: Option<SecretName>,
    /// A new description.
    pub description: Option<Description>,
    /// A new value.
    pub value: Option<SecretValue>,
    /// New allowed domains; only together with a new value.
    pub allowed_domains: Option<AllowedDomains>,
    /// New limits; only together with a new value.
    pub limits: Option<Limits>,
}

/// A secret as every door may show it: everything but its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretView {
    /// Whose it is.
    pub organization: OrganizationName,
    /// Its name.
    pub name: SecretName,
    /// Notes for the team.
    pub description: Description,
    /// Where it may be sent; empty means anywhere.
    pub allowed_domains: AllowedDomains,
    /// What else limits its use.
    pub limits: Limits,
    /// 1 when created, one more with each change; 0 of a faulty one.
    pub revision: u64,
    /// When it was created, in unix seconds.
    pub created_at: i64,
    /// When it was changed last, in unix seconds.
    pub updated_at: i64,
    /// Who changed it last.
    pub updated_by: String,
    /// It comes from the configuration and is read-only at every other door.
    pub declared: bool,
    /// Whether answers are looked through for its value: not if that is shorter than [`inject::LEAST`].
    ///
    /// [`inject::LEAST`]: crate::inject::LEAST
    pub redacted: bool,
    /// Why it cannot be used, if it cannot; then only name and organization are known.
    pub fault: Option<String>,
}

/// What a record says of a secret beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    description: Description,
    allowed_domains: AllowedDomains,
    limits: Limits,
}

/// All secrets of all organizations.
pub struct Vault {
    ledger: Arc<Ledger>,
    replica: Arc<Replica>,
    audit: Arc<Audit>,
    /// Shared by those who take a name, so that none of them does while other secrets are declared.
    names: RwLock<()>,
}

/// A secret, by its organization and name.
pub type Named = (OrganizationName, SecretName);

/// Secrets of a configuration that is not in force yet; given up when dropped.
pub struct Redeclared<'a> {
    replica: &'a Replica,
    declared: Declared,
    changed: Vec<Named>,
    _names: RwLockWriteGuard<'a, ()>,
}

impl Redeclared<'_> {
    /// Those that are new, other than they were, or gone.
    pub fn changed(&self) -> &[Named] {
        &self.changed
    }

    /// From now on they are the configuration's, for the next look at any of them.
    pub fn put_in_force(self) {
        self.replica.declare(self.declared);
    }
}

impl Vault {
    /// A vault over `ledger`, with the secrets that the configuration declares.
    pub fn new(ledger: Arc<Ledger>, declared: Vec<(OrganizationName, NewSecret)>) -> Result<Self, VaultError> {
        let replica = Arc::new(Replica::new(ledger.sealer().clone(), ledger.staleness().clone()));
        ledger.follow(KIND, replica.clone());
        let vault = Self { ledger, replica, audit: Arc::default(), names: RwLock::default() };
        let (declared, _) = vault.consistent(declared)?;
        vault.replica.declare(declared);
        Ok(vault)
    }

    /// Prepares to have `declared` for the secrets of the configuration, instead of those that are. Nobody takes a name
    /// until that is done or given up.
    pub async fn redeclare(&self, declared: Vec<(OrganizationName, NewSecret)>) -> Result<Redeclared<'_>, VaultError> {
        let names = self.names.write().await;
        let (declared, changed) = self.consistent(declared)?;
        Ok(Redeclared { replica: &self.replica, declared, changed, _names: names })
    }

    /// These secrets as they are kept, if they contradict neither each other nor the store; and which of them differ from
    /// those that are declared now. One that does not differ stays the very record that it is.
    fn consistent(&self, secrets: Vec<(OrganizationName, NewSecret)>) -> Result<(Declared, Vec<Named>), VaultError> {
        let (mut declared, mut changed) = (Declared::default(), Vec::new());
        for (organization, new) in secrets {
            let before = self.replica.declared(&organization, &new.name);
            let record = match before {
                Some(kept) if kept.is(&new) => Arc::clone(&kept.record),
                before => {
                    changed.push((organization.clone(), new.name.clone()));
                    let draft = draft(&new.name, &Metadata::of(&new), CONFIGURATION);
                    Arc::new(match before {
                        Some(kept) => self.ledger.seal_next(&kept.record, draft, Some(&new.value))?,
                        None => self.ledger.seal(KIND, &organization, draft, Some(&new.value))?,
                    })
                }
            };
            if !self.replica.add(&mut declared, record) {
                return Err(VaultError::DeclaredTwice { organization, name: new.name });
            }
        }
        if let Some((organization, name)) = self.replica.also_stored(&declared) {
            return Err(VaultError::DeclaredAndStored { organization, name });
        }
        changed.extend(self.replica.no_longer_in(&declared));
        Ok((declared, changed))
    }

    /// The same, writing down in `audit` who changed what.
    #[must_use]
    pub fn recording_to(self, audit: Arc<Audit>) -> Self {
        Self { audit, ..self }
    }

    /// Stores a new secret under a name that is free.
    pub async fn create(&self, organization: &OrganizationName, new: NewSecret, by: &str) -> Result<SecretView, VaultError> {
        let _names = self.names.read().await;
        self.refuse_declared_name(organization, &new.name)?;
        let draft = draft(&new.name, &Metadata::of(&new), by);
        match self.ledger.create(KIND, organization, draft, Some(&new.value)).await {
            Ok(record) => {
                self.audit.record_change(organization, change(by, "created", &new.name));
                Ok(self.replica.view_of(record))
            }
            Err(error) => Err(self.explain(organization, &new.name, &new.name, error)),
        }
    }

    /// Changes a secret. `if_revision` is the revision the caller saw; without it, only a change
    /// that happens at the same time is refused.
    pub async fn edit(
        &self,
        organization: &OrganizationName,
        name: &SecretName,
        edit: Edit,
        if_revision: Option<u64>,
        by: &str,
    ) -> Result<SecretView, VaultError> {
        let _names = self.names.read().await;
        let current = self.editable(organization, name, if_revision)?;
        let next_name = edit.name.as_ref().unwrap_or(name);
        if next_name != name {
            self.refuse_declared_name(organization, next_name)?;
        }
        let metadata = current.metadata.with(&edit)?;
        if edit.value.is_none() && next_name == name && metadata == current.metadata {
            return Ok(current.view());
        }
        let payload = edit.value.as_ref().map_or(Payload::Unchanged, Payload::Value);
        match self.ledger.replace(&current.record, draft(next_name, &metadata, by), payload).await {
            Ok(record) => {
                self.audit.record_change(organization, edited(by, name, next_name).saying(&edit.members()));
                Ok(self.replica.view_of(record))
            }
            Err(error) => Err(self.explain(organization, name, next_name, error)),
        }
    }

    /// Deletes a secret, also one that is faulty.
    pub async fn delete(
        &self,
        organization: &OrganizationName,
        name: &SecretName,
        if_revision: Option<u64>,
        by: &str,
    ) -> Result<(), VaultError> {
        let key = match self.replica.slot(organization, name) {
            None => return Err(VaultError::NotFound { name: name.clone() }),
            Some(Slot::Faulty(faulty)) => faulty.key.clone(),
            Some(Slot::Sound(_)) => self.editable(organization, name, if_revision)?.record.key().clone(),
        };
        let removed = self.ledger.remove(&key, if_revision).await;
        removed.map_err(|error| self.explain(organization, name, name, error))?;
        self.audit.record_change(organization, change(by, "deleted", name));
        Ok(())
    }

    /// Every secret of an organization, by name.
    pub fn list(&self, organization: &OrganizationName) -> Vec<SecretView> {
        self.replica.list(organization)
    }

    /// One secret.
    pub fn get(&self, organization: &OrganizationName, name: &SecretName) -> Option<SecretView> {
        self.replica.slot(organization, name).map(|slot| slot.view(organization, name))
    }

    /// The secret as it may be changed now.
    fn editable(
        &self,
        organization: &OrganizationName,
        name: &SecretName,
        if_revision: Option<u64>,
    ) -> Result<Arc<Kept>, VaultError> {
        match self.replica.slot(organization, name) {
            None => Err(VaultError::NotFound { name: name.clone() }),
            Some(Slot::Faulty(faulty)) => Err(VaultError::Unavailable { name: name.clone(), reason: faulty.reason.clone() }),
            Some(Slot::Sound(kept)) if kept.declared => Err(VaultError::Declared { name: name.clone() }),
            Some(Slot::Sound(kept)) if if_revision.is_some_and(|seen| seen != kept.record.header().revision) => {
                Err(VaultError::RevisionStale { current: Box::new(kept.view()) })
            }
            Some(Slot::Sound(kept)) => Ok(kept),
        }
    }

    fn refuse_declared_name(&self, organization: &OrganizationName, name: &SecretName) -> Result<(), VaultError> {
        let taken = self.replica.is_declared(organization, name);
        if taken { Err(VaultError::NameTaken { name: name.clone() }) } else { Ok(()) }
    }

    /// What the ledger's refusal means for somebody who wanted to write `name`, as `next_name`.
    fn explain(
        &self,
        organization: &OrganizationName,
        name: &SecretName,
        next_name: &SecretName,
        error: LedgerError,
    ) -> VaultError {
        match error {
            LedgerError::NameTaken => VaultError::NameTaken { name: next_name.clone() },
            LedgerError::Stale => match self.get(organization, name) {
                Some(current) => VaultError::RevisionStale { current: Box::new(current) },
                None => VaultError::NotFound { name: name.clone() },
            },
            other => other.into(),
        }
    }
}

impl Edit {
    /// The members that are changed, for the audit trail; never what is in them.
    fn members(&self) -> String {
        let members = [
            ("name", self.name.is_some()),
            ("description", self.description.is_some()),
            ("value", self.value.is_some()),
            ("allowed domains", self.allowed_domains.is_some()),
            ("limits", self.limits.is_some()),
        ];
        members.iter().filter(|(_, is_changed)| *is_changed).map(|(member, _)| *member).collect::<Vec<_>>().join(", ")
    }
}

fn change(by: &str, action: &'static str, name: &SecretName) -> Change {
    Change::new(by, action, "secret", name.as_str())
}

/// A secret that is renamed is told as such, and takes its usage along.
fn edited(by: &str, name: &SecretName, next_name: &SecretName) -> Change {
    if next_name == name { change(by, "edited", name) } else { change(by, "renamed", name).renaming_to(next_name.as_str()) }
}

impl Secrets for Vault {
    fn resolver(&self, organization: &OrganizationName, names: Option<Arc<[NamePattern]>>) -> Box<dyn Resolver> {
        Box::new(View::new(self.replica.clone(), organization.clone(), names))
    }
}

impl Metadata {
    fn of(new: &NewSecret) -> Self {
        let NewSecret { description, allowed_domains, limits, .. } = new;
        Self { description: description.clone(), allowed_domains: allowed_domains.clone(), limits: limits.clone() }
    }

    /// These metadata after `edit`. Domains and limits say where a value may go, so whoever changes
    /// them must know the value.
    fn with(&self, edit: &Edit) -> Result<Self, VaultError> {
        let next = Self {
            description: edit.description.as_ref().unwrap_or(&self.description).clone(),
            allowed_domains: edit.allowed_domains.as_ref().unwrap_or(&self.allowed_domains).clone(),
            limits: edit.limits.as_ref().unwrap_or(&self.limits).clone(),
        };
        let moved = next.allowed_domains != self.allowed_domains || next.limits != self.limits;
        if moved && edit.value.is_none() { Err(VaultError::AllowedDomainsNeedValue) } else { Ok(next) }
    }

    fn read(record: &Record) -> Option<Self> {
        serde_json::from_value(record.header().metadata.clone()).ok()
    }
}

fn draft(name: &SecretName, metadata: &Metadata, by: &str) -> Draft {
    let metadata = serde_json::to_value(metadata).expect("metadata has text keys only");
    Draft { name: name.to_string(), metadata, by: by.to_owned() }
}

#[cfg(test)]
mod tests;
