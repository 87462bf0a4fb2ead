//! Invitations: a link that makes one login a member of one organization, once, within 7 days.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sessions::unless_stale;
use super::table::{Kept, Row};
use super::{Login, Members, MembersError, Role, draft, home, kind, seconds};
use crate::ledger::{Kind, LedgerError};
use crate::secret::OrganizationName;
use crate::token::{Token, TokenHash};

const LIVES: Duration = Duration::from_hours(7 * 24);
/// Open ones of one organization.
const MOST: usize = 500;

/// What a record says of an invitation beside the login.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invitation {
    token_sha256: TokenHash,
    pub(super) role: Role,
    expires_at: i64,
}

impl Kept for Invitation {
    const KIND: Kind = kind("invitation");
    fn token(&self) -> Option<TokenHash> {
        Some(self.token_sha256)
    }
}

/// An invitation as every door may show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationView {
    /// Into which organization.
    pub organization: OrganizationName,
    /// Who is invited.
    pub login: Login,
    /// As what.
    pub role: Role,
    /// Until when, in unix seconds.
    pub expires_at: i64,
    /// Since when, in unix seconds.
    pub created_at: i64,
    /// By whom.
    pub created_by: String,
}

impl Members {
    /// Invites a login. The token goes into the link; it is not kept.
    pub async fn invite(
        &self,
        organization: &OrganizationName,
        login: &Login,
        role: Role,
        by: &str,
    ) -> Result<(InvitationView, Token), MembersError> {
        let _one = self.writing.lock().await;
        if !self.has_organization(organization) {
            return Err(MembersError::NoOrganization(organization.clone()));
        }
        if self.member(organization, login).is_some() {
            return Err(MembersError::AlreadyMember(login.clone()));
        }
        self.remove_late_invitations().await?;
        if self.invitations.of(organization).len() >= MOST {
            return Err(MembersError::TooManyRecords(MOST));
        }
        let token = Token::random("")?;
        let expires_at = self.unix_now() + seconds(LIVES);
        let what = Invitation { token_sha256: token.hash(), role, expires_at };
        let created = self.ledger.create(Invitation::KIND, organization, draft(login.as_str(), &what, by), None).await;
        created.map_err(|error| match error {
            LedgerError::NameTaken => MembersError::AlreadyInvited(login.clone()),
            other => other.into(),
        })?;
        tracing::info!(%login, %organization, %role, by, "somebody was invited");
        let view = self.invitation(token.show_once().as_bytes());
        Ok((view.ok_or_else(|| MembersError::NoInvitation(login.clone()))?, token))
    }

    /// The open invitations of an organization, by login.
    pub fn invitations(&self, organization: &OrganizationName) -> Vec<InvitationView> {
        let rows = self.invitations.of(organization);
        let open = rows.iter().filter(|row| !self.is_late(row));
        let mut views: Vec<_> = open.filter_map(|row| view(row)).collect();
        views.sort_by(|one, other| one.login.cmp(&other.login));
        views
    }

    /// What a link invites to, as long as it is open.
    pub fn invitation(&self, token: &[u8]) -> Option<InvitationView> {
        self.open_invitation(&TokenHash::of(token)).and_then(|row| view(&row))
    }

    /// Whether the invited person has an account already, and would sign in instead of choosing a password.
    pub fn is_known(&self, login: &Login) -> bool {
        self.accounts.key(&home(), login.as_str()).is_some()
    }

    /// Takes an invitation back.
    pub async fn revoke_invitation(&self, organization: &OrganizationName, login: &Login) -> Result<(), MembersError> {
        let _one = self.writing.lock().await;
        let gone = || MembersError::NoInvitation(login.clone());
        let key = self.invitations.key(organization, login.as_str()).ok_or_else(gone)?;
        match self.ledger.remove(&key, None).await {
            Err(LedgerError::Stale) => Err(gone()),
            other => Ok(other?),
        }
    }

    pub(super) fn open_invitation(&self, token: &TokenHash) -> Option<Arc<Row<Invitation>>> {
        self.invitations.by_token(token).filter(|row| !self.is_late(row))
    }

    pub(super) async fn remove_late_invitations(&self) -> Result<(), MembersError> {
        for row in self.invitations.all().iter().filter(|row| self.is_late(row)) {
            unless_stale(self.ledger.remove(row.record.key(), None).await.map_err(Into::into))?;
        }
        Ok(())
    }

    fn is_late(&self, row: &Row<Invitation>) -> bool {
        row.what.expires_at <= self.unix_now()
    }
}

fn view(row: &Row<Invitation>) -> Option<InvitationView> {
    Some(InvitationView {
        organization: row.organization().clone(),
        login: Login::parse(row.name()).ok()?,
        role: row.what.role,
        expires_at: row.what.expires_at,
        created_at: row.header().created_at,
        created_by: row.header().created_by.clone(),
    })
}
