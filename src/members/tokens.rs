//! API tokens: how automation is known, with a role in one organization and an end.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table::{Kept, Row};
use super::{Members, MembersError, Role, draft, kind, seconds};
use crate::ledger::{Kind, LedgerError};
use crate::secret::{OrganizationName, TokenName};
use crate::token::{Token, TokenHash};

/// How every token for automation starts.
const BEGINNING: &str = "sat_";
const LONGEST: Duration = Duration::from_hours(366 * 24);
const SHORTEST: Duration = Duration::from_hours(1);
/// For one organization.
const MOST: usize = 500;

/// What a record says of a token beside its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiToken {
    token_sha256: TokenHash,
    role: Role,
    expires_at: i64,
}

impl Kept for ApiToken {
    const KIND: Kind = kind("token");
    fn token(&self) -> Option<TokenHash> {
        Some(self.token_sha256)
    }
}

/// A token to be created.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its name.
    pub name: TokenName,
    /// What it may do.
    pub role: Role,
    /// When it ends, in unix seconds; between an hour and a year from now.
    pub expires_at: i64,
}

/// A program that showed its token.
#[derive(Clone, Debug)]
pub struct Program {
    /// The token's name.
    pub name: TokenName,
    /// Whose it is.
    pub organization: OrganizationName,
    /// What it may do.
    pub role: Role,
}

/// A token as every door may show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// Its name.
    pub name: TokenName,
    /// What it may do; unknown of one whose record is faulty.
    pub role: Option<Role>,
    /// When it ends, in unix seconds.
    pub expires_at: Option<i64>,
    /// Whether it has ended.
    pub expired: bool,
    /// When it was created, in unix seconds.
    pub created_at: Option<i64>,
    /// Who created it.
    pub created_by: Option<String>,
    /// When it was used last, in unix seconds, since the server started.
    pub seen_at: Option<i64>,
    /// Why it authenticates nobody, if its record is faulty.
    pub fault: Option<String>,
}

impl Members {
    /// Whose token this is. Never waits.
    pub fn by_token(&self, token: &[u8]) -> Option<Program> {
        let row = self.tokens.by_token(&TokenHash::of(token))?;
        let now = self.unix_now();
        if row.what.expires_at <= now {
            return None;
        }
        self.seen().insert(row.header().id.clone(), now);
        let name = TokenName::parse(row.name()).ok()?;
        Some(Program { name, organization: row.organization().clone(), role: row.what.role })
    }

    /// The tokens of an organization, by name.
    pub fn tokens(&self, organization: &OrganizationName) -> Vec<TokenView> {
        let rows = self.tokens.of(organization);
        let sound = rows.iter().filter_map(|row| self.token_view(row));
        let faulty = self.tokens.faults(organization).into_iter().filter_map(|faulty| {
            Some(TokenView {
                name: TokenName::parse(faulty.name.as_deref()?).ok()?,
                role: None,
                expires_at: None,
                expired: true,
                created_at: None,
                created_by: None,
                seen_at: None,
                fault: Some(faulty.reason.clone()),
            })
        });
        let mut views: Vec<_> = sound.chain(faulty).collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    /// Creates a token. It is not kept; this is the only time it can be seen.
    pub async fn create_token(
        &self,
        organization: &OrganizationName,
        new: NewToken,
        by: &str,
    ) -> Result<(TokenView, Token), MembersError> {
        let _one = self.writing.lock().await;
        let lives = new.expires_at - self.unix_now();
        if !(seconds(SHORTEST)..=seconds(LONGEST)).contains(&lives) {
            return Err(MembersError::Lifetime);
        }
        if !self.has_organization(organization) {
            return Err(MembersError::NoOrganization(organization.clone()));
        }
        if self.tokens.of(organization).len() >= MOST {
            return Err(MembersError::TooManyRecords(MOST));
        }
        let token = Token::random(BEGINNING)?;
        let what = ApiToken { token_sha256: token.hash(), role: new.role, expires_at: new.expires_at };
        let created = self.ledger.create(ApiToken::KIND, organization, draft(new.name.as_str(), &what, by), None).await;
        created.map_err(|error| match error {
            LedgerError::NameTaken => MembersError::TokenTaken(new.name.to_string()),
            other => other.into(),
        })?;
        tracing::info!(token = %new.name, %organization, role = %new.role, by, "an API token was made");
        let view = self.tokens.by_token(&token.hash()).and_then(|row| self.token_view(&row));
        Ok((view.ok_or_else(|| MembersError::NoToken(new.name.to_string()))?, token))
    }

    /// Revokes a token, also one that is faulty: from the next request on it is nobody's.
    pub async fn revoke_token(&self, organization: &OrganizationName, name: &TokenName) -> Result<(), MembersError> {
        let gone = || MembersError::NoToken(name.to_string());
        let key = self.tokens.key(organization, name.as_str()).ok_or_else(gone)?;
        let removed = self.ledger.remove(&key, None).await;
        self.seen().remove(&key.id);
        match removed {
            Err(LedgerError::Stale) => Err(gone()),
            other => Ok(other?),
        }
    }

    fn token_view(&self, row: &Arc<Row<ApiToken>>) -> Option<TokenView> {
        Some(TokenView {
            name: TokenName::parse(row.name()).ok()?,
            role: Some(row.what.role),
            expires_at: Some(row.what.expires_at),
            expired: row.what.expires_at <= self.unix_now(),
            created_at: Some(row.header().created_at),
            created_by: Some(row.header().created_by.clone()),
            seen_at: self.seen().get(&row.header().id).copied(),
            fault: None,
        })
    }
}
