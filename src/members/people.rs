//! Accounts and their memberships: one person, one login, a role in each of some organizations.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entrance::Subject;
use super::table::{Kept, Row};
use super::{Login, Members, MembersError, Role, Roles, draft, home, kind};
use crate::ledger::{Condition, Kind, LedgerError, Payload};
use crate::secret::OrganizationName;

/// What a record says of an account beside its login. The payload is the hash of the password, if
/// there is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Account {
    pub(super) memberships: Arc<Roles>,
    /// How often the password was set; `None` where there is none. A session is of the password
    /// that it was begun under.
    pub(super) password: Option<u64>,
    /// Who it is at the identity provider.
    pub(super) provider: Option<Subject>,
}

impl Kept for Account {
    const KIND: Kind = kind("account");
}

impl Row<Account> {
    pub(super) fn login(&self) -> Login {
        // What was stored under a login is authenticated; a later version's would be faulty.
        Login::parse(self.name()).unwrap_or_else(|_| unreachable!("an account is stored under its login"))
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.header().id
    }

    /// Whether the roles come from the identity provider's groups.
    fn provider_decides(&self) -> bool {
        self.what.provider.as_ref().is_some_and(|subject| subject.roles_from_groups)
    }
}

/// A member as every door may show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The login.
    pub login: Login,
    /// The role; unknown of an account whose record is faulty.
    pub role: Option<Role>,
    /// Whether the identity provider's groups decide the role.
    pub from_provider: bool,
    /// When the account was made, in unix seconds.
    pub created_at: Option<i64>,
    /// Last seen, in unix seconds; unknown without a session.
    pub seen_at: Option<i64>,
    /// The revision of the account: a change names the one it was made from.
    pub revision: u64,
    /// Why it cannot sign in, if its record is faulty.
    pub fault: Option<String>,
}

impl Members {
    /// Whether anybody has an account, faulty ones included.
    pub fn any_account(&self) -> bool {
        self.accounts.any()
    }

    /// The members of an organization, by login.
    pub fn members(&self, organization: &OrganizationName) -> Vec<MemberView> {
        let seen = self.last_seen();
        let accounts = self.accounts.of(&home());
        let sound = accounts.iter().filter_map(|account| view(account, organization, &seen));
        // Whose member a faulty account is nobody knows; whoever looks after `default` is told.
        let faults = if *organization == home() { self.accounts.faults(&home()) } else { Vec::new() };
        let faulty = faults.into_iter().filter_map(|faulty| {
            let login = Login::parse(faulty.name.as_deref()?).ok()?;
            let fault = Some(faulty.reason.clone());
            Some(MemberView { login, role: None, from_provider: false, created_at: None, seen_at: None, revision: 0, fault })
        });
        let mut members: Vec<_> = sound.chain(faulty).collect();
        members.sort_by(|one, other| one.login.cmp(&other.login));
        members
    }

    /// One member.
    pub fn member(&self, organization: &OrganizationName, login: &Login) -> Option<MemberView> {
        self.members(organization).into_iter().find(|member| member.login == *login)
    }

    /// Gives a member another role. The last administrator stays one.
    pub async fn set_role(
        &self,
        organization: &OrganizationName,
        login: &Login,
        role: Role,
        if_revision: Option<u64>,
        by: &str,
    ) -> Result<MemberView, MembersError> {
        let _one = self.writing.lock().await;
        let account = self.account_of(organization, login, if_revision)?;
        if account.provider_decides() {
            return Err(MembersError::RoleFromProvider(login.clone()));
        }
        let another = if role < Role::Administrator { self.refuse_last_administrator(organization, &account)? } else { None };
        let put = self.put_role(&account, organization, Some(role), by, another).await;
        put.map_err(|fault| last_administrator(fault, login))?;
        self.member(organization, login).ok_or_else(|| MembersError::NoMember(login.clone()))
    }

    /// Removes a member; an account that is a member of nothing else goes, and its sessions with it.
    pub async fn remove_member(
        &self,
        organization: &OrganizationName,
        login: &Login,
        if_revision: Option<u64>,
        by: &str,
    ) -> Result<(), MembersError> {
        let _one = self.writing.lock().await;
        let faulty = self.accounts.named(&home(), login.as_str()).is_none() && *organization == home();
        if let Some(key) = self.accounts.key(&home(), login.as_str()).filter(|_| faulty) {
            return Ok(self.ledger.remove(&key, None).await?);
        }
        let account = self.account_of(organization, login, if_revision)?;
        let another = self.refuse_last_administrator(organization, &account)?;
        let put = self.put_role(&account, organization, None, by, another).await;
        put.map_err(|fault| last_administrator(fault, login))
    }

    fn account_of(
        &self,
        organization: &OrganizationName,
        login: &Login,
        if_revision: Option<u64>,
    ) -> Result<Arc<Row<Account>>, MembersError> {
        let account = self.accounts.named(&home(), login.as_str());
        let account = account.filter(|account| account.what.memberships.contains_key(organization));
        let account = account.ok_or_else(|| MembersError::NoMember(login.clone()))?;
        if if_revision.is_some_and(|seen| seen != account.header().revision) {
            return Err(MembersError::Stale);
        }
        Ok(account)
    }

    /// What has to hold still when the role of an administrator is taken away: that there is another one. On another node
    /// somebody may be taking that one's.
    fn refuse_last_administrator(
        &self,
        organization: &OrganizationName,
        account: &Row<Account>,
    ) -> Result<Option<Condition>, MembersError> {
        if !administers(account, organization) {
            return Ok(None);
        }
        let (accounts, organization, id) = (Arc::clone(&self.accounts), organization.clone(), Arc::clone(account.id()));
        let another = move || {
            let others = accounts.of(&home());
            others.iter().any(|other| *other.id() != id && administers(other, &organization))
        };
        if another() { Ok(Some(Arc::new(another))) } else { Err(MembersError::LastAdministrator(account.login())) }
    }

    /// Writes the role of an account in an organization; without any membership it goes.
    pub(super) async fn put_role(
        &self,
        account: &Row<Account>,
        organization: &OrganizationName,
        role: Option<Role>,
        by: &str,
        condition: Option<Condition>,
    ) -> Result<(), MembersError> {
        let mut memberships = BTreeMap::clone(&account.what.memberships);
        match role {
            Some(role) => memberships.insert(organization.clone(), role),
            None => memberships.remove(organization),
        };
        self.put_roles(account, memberships, by, condition).await?;
        let role = role.map_or("none", Role::as_str);
        tracing::info!(login = account.name(), %organization, role, by, "a member was given a role, or none");
        Ok(())
    }

    /// Writes all roles of an account; without any it goes.
    pub(super) async fn put_roles(
        &self,
        account: &Row<Account>,
        roles: Roles,
        by: &str,
        condition: Option<Condition>,
    ) -> Result<(), MembersError> {
        if roles.is_empty() {
            let (key, revision) = (account.record.key(), account.header().revision);
            return Ok(self.ledger.remove_if(key, Some(revision), condition).await?);
        }
        let what = Account { memberships: Arc::new(roles), ..account.what.clone() };
        self.ledger.replace_if(&account.record, draft(account.name(), &what, by), Payload::Unchanged, condition).await?;
        Ok(())
    }
}

fn administers(account: &Row<Account>, organization: &OrganizationName) -> bool {
    account.what.memberships.get(organization) == Some(&Role::Administrator)
}

/// The other administrator went meanwhile.
fn last_administrator(fault: MembersError, login: &Login) -> MembersError {
    match fault {
        MembersError::Ledger(LedgerError::Unmet) => MembersError::LastAdministrator(login.clone()),
        other => other,
    }
}

fn view(account: &Row<Account>, organization: &OrganizationName, seen: &BTreeMap<Arc<str>, i64>) -> Option<MemberView> {
    Some(MemberView {
        login: account.login(),
        role: Some(*account.what.memberships.get(organization)?),
        from_provider: account.provider_decides(),
        created_at: Some(account.header().created_at),
        seen_at: seen.get(account.id()).copied(),
        revision: account.header().revision,
        fault: None,
    })
}
