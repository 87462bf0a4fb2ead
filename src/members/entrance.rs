//! The ways in: a password, an invitation, the first start's link, an identity provider. Each ends
//! in a session, or in one sentence that does not tell who exists.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::invitations::Invitation;
use super::people::Account;
use super::table::{Kept, Row};
use super::throttle::{Place, TooMany};
use super::{Login, Members, MembersError, Password, Person, Roles, Visitor, draft, home};
use crate::ledger::{Condition, LedgerError, Payload};
use crate::secret::SecretValue;
use crate::token::{Token, TokenHash};

/// Who somebody is at an identity provider (`OpenID` Connect Core, 2: the pair is unique and never used again).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The provider.
    pub issuer: String,
    /// The person there.
    pub subject: String,
    /// Whether the provider's groups decide the roles; otherwise they are given here.
    pub roles_from_groups: bool,
}

/// A session that has just begun: its token, to be shown this once, and whose it is.
pub type Entered = (Token, Person);

impl Members {
    /// Signs in by password. Whoever does not exist is answered like whoever mistypes, after the same work.
    pub async fn sign_in(&self, login: &str, password: Password, from: &Visitor) -> Result<Entered, MembersError> {
        let account = match Login::parse(login) {
            Ok(login) => self.verified(&login, password, from).await?,
            // What is no login is nobody's, and costs what others cost.
            Err(_) => self.passwords.verify(password, None).await.map(|_| None)?,
        };
        let account = account.ok_or(MembersError::WrongPassword)?;
        let _one = self.writing.lock().await;
        // The password may have been changed while this one was checked.
        let account = self.unchanged(&account).ok_or(MembersError::WrongPassword)?;
        self.enter(&account, from).await
    }

    /// Gives a person another password, who says the present one. Every session ends; the answer is
    /// a new one.
    pub async fn change_password(
        &self,
        person: &Person,
        present: Password,
        next: Password,
        from: &Visitor,
    ) -> Result<Entered, MembersError> {
        if !person.has_password {
            return Err(MembersError::NoPassword);
        }
        next.check_new(&person.login)?;
        let account = self.verified(&person.login, present, from).await?.ok_or(MembersError::WrongPassword)?;
        let hash = self.passwords.hash(next).await?;
        let _one = self.writing.lock().await;
        let account = self.unchanged(&account).ok_or(MembersError::Stale)?;
        let what = Account { password: account.what.password.map(|count| count + 1), ..account.what.clone() };
        let changed = draft(account.name(), &what, account.name());
        self.ledger.replace(&account.record, changed, Payload::Value(&hash)).await?;
        tracing::info!(login = account.name(), address = %from.address, "the password was changed, and every session ended");
        self.enter(&account, from).await
    }

    /// Accepts an invitation: with a new password where the login has no account yet, with the present
    /// one where it has. A link alone never opens an account that exists.
    pub async fn accept(&self, token: &[u8], password: Password, from: &Visitor) -> Result<Entered, MembersError> {
        let token = TokenHash::of(token);
        let open = || self.open_invitation(&token).ok_or(MembersError::LinkInvalid);
        let login = Login::parse(open()?.name()).map_err(|_| MembersError::LinkInvalid)?;
        if self.is_known(&login) {
            let account = self.verified(&login, password, from).await?.ok_or(MembersError::WrongPassword)?;
            let _one = self.writing.lock().await;
            let account = self.unchanged(&account).ok_or(MembersError::Stale)?;
            return self.join(&account, &*open()?, from).await;
        }
        password.check_new(&login)?;
        let hash = self.passwords.hash(password).await?;
        let _one = self.writing.lock().await;
        let invitation = open()?;
        let roles = BTreeMap::from([(invitation.organization().clone(), invitation.what.role)]);
        let (by, is_open) = (&invitation.header().created_by, Some(self.while_open(&invitation)));
        let created = self.create_account(&login, roles, Some(&hash), None, by, is_open).await;
        let account = created.map_err(link_invalid)?;
        self.ledger.remove(invitation.record.key(), None).await?;
        self.enter(&account, from).await
    }

    /// Accepts an invitation as somebody who is signed in with the login that was invited.
    pub async fn accept_as(&self, token: &[u8], person: &Person) -> Result<(), MembersError> {
        let _one = self.writing.lock().await;
        let invitation = self.open_invitation(&TokenHash::of(token)).ok_or(MembersError::LinkInvalid)?;
        let account = self.accounts.by_id(&home(), &person.account).ok_or(MembersError::LinkInvalid)?;
        if account.name() != invitation.name() {
            return Err(MembersError::LinkInvalid);
        }
        self.add(&account, &invitation).await
    }

    /// Signs in whom an identity provider vouches for. `roles` are those that the provider's groups
    /// give, and replace what there was; `None` where groups decide nothing. Then, and only then, an
    /// invitation lets somebody new in.
    pub async fn sign_in_with_provider(
        &self,
        subject: Subject,
        login: &Login,
        roles: Option<Roles>,
        invitation: Option<&[u8]>,
        from: &Visitor,
    ) -> Result<Entered, MembersError> {
        let _one = self.writing.lock().await;
        let invitation = invitation.and_then(|token| self.open_invitation(&TokenHash::of(token)));
        let invitation = invitation.filter(|row| row.name() == login.as_str() && roles.is_none());
        let account = if let Some(account) = self.by_subject(&subject) {
            self.refreshed(account, subject, login, roles).await?
        } else {
            let invited = invitation.as_ref().map(|row| Roles::from([(row.organization().clone(), row.what.role)]));
            let roles = roles.or(invited).filter(|roles| !roles.is_empty()).ok_or(MembersError::NoRole)?;
            self.create_account(login, roles, None, Some(subject), "identity provider", None).await?
        };
        if let Some(invitation) = invitation {
            self.add(&account, &invitation).await?;
        }
        self.enter(&account, from).await
    }

    /// The account of `login`, if `password` is its password. What went wrong is counted.
    async fn verified(
        &self,
        login: &Login,
        password: Password,
        from: &Visitor,
    ) -> Result<Option<Arc<Row<Account>>>, MembersError> {
        let place = Place::of(from.address);
        self.throttle().attempt(login, place, self.now()).map_err(|TooMany(wait)| MembersError::TooMany(wait))?;
        let account = self.accounts.named(&home(), login.as_str());
        let with_password = account.as_ref().filter(|account| account.what.password.is_some());
        let kept = with_password.map(|account| self.ledger.open_value(&account.record)).transpose()?;
        let verified = self.passwords.verify(password, kept).await;
        match &verified {
            Ok(true) => self.throttle().succeeded(login, place, self.now()),
            // What nobody's login is may be a password in the wrong place.
            Ok(false) if account.is_some() => tracing::info!(%login, address = %from.address, "a sign-in failed"),
            Ok(false) => tracing::info!(address = %from.address, "a sign-in failed: nobody has this login"),
            // It was not tried.
            Err(_) => self.throttle().withdrawn(login, place),
        }
        Ok(account.filter(|_| matches!(verified, Ok(true)))).and_then(|account| verified.map(|_| account))
    }

    /// The account as it is now, if its password is still the one that was verified.
    fn unchanged(&self, verified: &Row<Account>) -> Option<Arc<Row<Account>>> {
        let now = self.accounts.by_id(&home(), verified.id())?;
        (now.what.password == verified.what.password).then_some(now)
    }

    /// Begins a session of an account as it is now.
    pub(super) async fn enter(&self, account: &Row<Account>, from: &Visitor) -> Result<Entered, MembersError> {
        let now = self.accounts.by_id(&home(), account.id()).ok_or(MembersError::WrongPassword)?;
        let entered = self.begin_session(&now, from).await?;
        tracing::info!(login = now.name(), address = %from.address, "signed in");
        Ok(entered)
    }

    async fn join(&self, account: &Row<Account>, invitation: &Row<Invitation>, from: &Visitor) -> Result<Entered, MembersError> {
        self.add(account, invitation).await?;
        self.enter(account, from).await
    }

    async fn add(&self, account: &Row<Account>, invitation: &Row<Invitation>) -> Result<(), MembersError> {
        let organization = invitation.organization();
        // Whoever has a role there already keeps it, if it is the higher one.
        let present = account.what.memberships.get(organization).copied();
        if present.is_none_or(|present| present < invitation.what.role) {
            let by = invitation.header().created_by.clone();
            let is_open = Some(self.while_open(invitation));
            self.put_role(account, organization, Some(invitation.what.role), &by, is_open).await.map_err(link_invalid)?;
        }
        Ok(self.ledger.remove(invitation.record.key(), None).await?)
    }

    /// That nobody has taken the invitation back, or accepted it.
    fn while_open(&self, invitation: &Row<Invitation>) -> Condition {
        let (invitations, key) = (Arc::clone(&self.invitations), invitation.record.key().clone());
        Arc::new(move || invitations.by_id(&key.organization, &key.id).is_some())
    }

    fn by_subject(&self, subject: &Subject) -> Option<Arc<Row<Account>>> {
        let is_meant = |known: &Subject| known.issuer == subject.issuer && known.subject == subject.subject;
        self.accounts.of(&home()).into_iter().find(|account| account.what.provider.as_ref().is_some_and(is_meant))
    }

    /// An account as the provider describes it today.
    async fn refreshed(
        &self,
        account: Arc<Row<Account>>,
        subject: Subject,
        login: &Login,
        roles: Option<Roles>,
    ) -> Result<Arc<Row<Account>>, MembersError> {
        if roles.as_ref().is_some_and(BTreeMap::is_empty) {
            self.put_roles(&account, Roles::new(), "identity provider", None).await?;
            return Err(MembersError::NoRole);
        }
        let memberships = roles.map_or_else(|| account.what.memberships.clone(), Arc::new);
        let what = Account { memberships, provider: Some(subject), ..account.what.clone() };
        // A login that somebody else has by now stays what it was here.
        let free = self.accounts.key(&home(), login.as_str()).is_none();
        let name = if free { login.as_str() } else { account.name() };
        let same =
            name == account.name() && what.memberships == account.what.memberships && what.provider == account.what.provider;
        if same {
            return Ok(account);
        }
        self.ledger.replace(&account.record, draft(name, &what, "identity provider"), Payload::Unchanged).await?;
        self.accounts.by_id(&home(), account.id()).ok_or(MembersError::NoRole)
    }

    pub(super) async fn create_account(
        &self,
        login: &Login,
        roles: Roles,
        hash: Option<&SecretValue>,
        provider: Option<Subject>,
        by: &str,
        condition: Option<Condition>,
    ) -> Result<Arc<Row<Account>>, MembersError> {
        let what = Account { memberships: Arc::new(roles), password: hash.map(|_| 1), provider };
        let created = self.ledger.create_if(Account::KIND, &home(), draft(login.as_str(), &what, by), hash, condition).await;
        let record = created.map_err(|error| match error {
            LedgerError::NameTaken => MembersError::LoginTaken(login.clone()),
            other => other.into(),
        })?;
        tracing::info!(%login, by, "an account was made");
        self.accounts.by_id(&home(), &record.key().id).ok_or(MembersError::LinkInvalid)
    }
}

/// What the link stood for went meanwhile.
pub(super) fn link_invalid(fault: MembersError) -> MembersError {
    match fault {
        MembersError::Ledger(LedgerError::Unmet) => MembersError::LinkInvalid,
        other => other,
    }
}
