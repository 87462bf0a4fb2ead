//! The link of a first start, which makes the first administrator. It lies in memory: a restart makes another. Where nodes
//! share a store it is a record, so that it works on each of them, whichever made it.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::entrance::{Entered, link_invalid};
use super::sessions::unless_stale;
use super::table::Kept;
use super::{Login, Members, MembersError, Password, Role, Visitor, draft, home, kind, seconds};
use crate::ledger::{Condition, Kind};
use crate::token::{Token, TokenHash};

/// How long it works.
const LIVES: Duration = Duration::from_mins(15);

/// What a record says of a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    token_sha256: TokenHash,
    /// In unix seconds.
    expires_at: i64,
}

impl Kept for Setup {
    const KIND: Kind = kind("setup");
    fn token(&self) -> Option<TokenHash> {
        Some(self.token_sha256)
    }
}

impl Members {
    /// A link for the first administrator, as long as nobody has an account.
    pub async fn offer_setup(&self) -> Result<Option<Token>, MembersError> {
        if self.any_account() {
            return Ok(None);
        }
        let token = Token::random("")?;
        if self.ledger.is_shared() {
            let what = Setup { token_sha256: token.hash(), expires_at: self.unix_now() + seconds(LIVES) };
            // Of the hash and not of the token: names are shown.
            let name = &String::from(TokenHash::of(String::from(token.hash()).as_bytes()))[..16];
            self.ledger.create(Setup::KIND, &home(), draft(name, &what, "setup"), None).await?;
        } else {
            *self.setup() = Some((token.hash(), self.now() + LIVES));
        }
        Ok(Some(token))
    }

    /// Whether the link of a first start still works.
    pub fn may_set_up(&self, token: &[u8]) -> bool {
        let (offered, hash) = (*self.setup(), TokenHash::of(token));
        let here = offered.is_some_and(|(offered, until)| offered == hash && self.now() < until);
        let stored = || self.setups.by_token(&hash).is_some_and(|row| self.unix_now() < row.what.expires_at);
        !self.any_account() && (here || stored())
    }

    /// Makes the first administrator of `default`.
    pub async fn set_up(&self, token: &[u8], login: &Login, password: Password, from: &Visitor) -> Result<Entered, MembersError> {
        if !self.may_set_up(token) {
            return Err(MembersError::LinkInvalid);
        }
        password.check_new(login)?;
        let hash = self.passwords.hash(password).await?;
        let _one = self.writing.lock().await;
        if !self.may_set_up(token) {
            return Err(MembersError::LinkInvalid);
        }
        let roles = BTreeMap::from([(home(), Role::Administrator)]);
        let accounts = Arc::clone(&self.accounts);
        // Somebody else may be the first at this moment, on another node.
        let is_first: Condition = Arc::new(move || !accounts.any());
        let created = self.create_account(login, roles, Some(&hash), None, "setup", Some(is_first)).await;
        let account = created.map_err(link_invalid)?;
        *self.setup() = None;
        self.enter(&account, from).await
    }

    /// Removes links that are over.
    pub(super) async fn remove_late_setups(&self) -> Result<(), MembersError> {
        for row in self.setups.all() {
            if self.any_account() || self.unix_now() >= row.what.expires_at {
                unless_stale(self.ledger.remove(row.record.key(), None).await.map_err(Into::into))?;
            }
        }
        Ok(())
    }

    fn setup(&self) -> MutexGuard<'_, Option<(TokenHash, SystemTime)>> {
        // Nothing panics while it is held.
        self.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
