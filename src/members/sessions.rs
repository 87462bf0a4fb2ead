//! Sessions: how a person who signed in is known with each request, until they sign out, stay away
//! for 8 hours, or 7 days are over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::people::Account;
use super::table::{Kept, Row};
use super::{Login, Members, MembersError, Roles, Visitor, draft, home, kind, seconds};
use crate::ledger::{Kind, Payload};
use crate::token::{Token, TokenHash};

/// After so long without a request it is over.
const IDLE: Duration = Duration::from_hours(8);
/// And after so long altogether.
const LONGEST: Duration = Duration::from_hours(7 * 24);
/// One that began so much later than now began by a clock that was wrong: it would live until that time.
const SKEW: Duration = Duration::from_mins(5);
/// How far the record may lag behind when it was used last: after a restart it can be idle so much earlier.
const WRITTEN_EVERY: Duration = Duration::from_mins(30);
/// For one account; the one used longest ago makes room.
const PER_ACCOUNT: usize = 20;
/// What is kept of a browser's own description.
const LONGEST_AGENT: usize = 200;

/// What a record says of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    token_sha256: TokenHash,
    /// The id of the account's record.
    account: Arc<str>,
    /// Of the password it was begun under: changing that ends it.
    password: Option<u64>,
    began_at: i64,
    seen_at: i64,
    address: String,
    agent: String,
}

impl Kept for Session {
    const KIND: Kind = kind("session");
    fn token(&self) -> Option<TokenHash> {
        Some(self.token_sha256)
    }
}

/// A person who is signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// The id of the account; never used twice.
    pub account: Arc<str>,
    /// Which session this is.
    pub session: Arc<str>,
    /// The login.
    pub login: Login,
    /// What they may do.
    pub roles: Arc<Roles>,
    /// Whether they have a password here.
    pub has_password: bool,
}

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Names it; no secret.
    pub name: Arc<str>,
    /// When it began, in unix seconds.
    pub began_at: i64,
    /// When it was used last, in unix seconds.
    pub seen_at: i64,
    /// From where it was begun.
    pub address: String,
    /// By which browser.
    pub agent: String,
}

impl Members {
    /// Whose session this is, as things are now; being asked keeps it from becoming idle. Never waits.
    pub fn by_session(&self, token: &[u8]) -> Option<Person> {
        let session = self.sessions.by_token(&TokenHash::of(token))?;
        let account = self.owner(&session)?;
        self.seen().insert(session.header().id.clone(), self.unix_now());
        Some(person(&account, &session))
    }

    /// The roles of whoever's session this is, as things are now. Being asked does not keep it from
    /// becoming idle. Never waits.
    pub fn roles_in_session(&self, token: &[u8]) -> Option<Arc<Roles>> {
        let session = self.sessions.by_token(&TokenHash::of(token))?;
        let account = self.owner(&session)?;
        Some(person(&account, &session).roles)
    }

    /// The sessions of an account, the one used last first.
    pub fn sessions(&self, account: &Arc<str>) -> Vec<SessionView> {
        let mut views: Vec<_> = self.live_sessions(account).iter().map(|session| self.session_view(session)).collect();
        views.sort_by_key(|view| std::cmp::Reverse((view.seen_at, view.began_at)));
        views
    }

    /// Ends one session of an account.
    pub async fn end_session(&self, account: &Arc<str>, name: &str) -> Result<(), MembersError> {
        let session = self.sessions.named(&home(), name).filter(|session| session.what.account == *account);
        self.remove_session(&*session.ok_or(MembersError::NoSession)?).await
    }

    /// Removes what is over, and writes down when the rest was used last. To be called now and then.
    pub async fn tidy(&self) -> Result<(), MembersError> {
        let _one = self.writing.lock().await;
        for session in self.sessions.all() {
            if self.owner(&session).is_none() {
                unless_stale(self.remove_session(&session).await)?;
                continue;
            }
            let seen_at = self.seen_at(&session);
            if seen_at - session.what.seen_at >= seconds(WRITTEN_EVERY) {
                let what = Session { seen_at, ..session.what.clone() };
                let by = session.header().updated_by.clone();
                let next = draft(session.name(), &what, &by);
                unless_stale(self.ledger.replace(&session.record, next, Payload::Nothing).await.map_err(Into::into))?;
            }
        }
        // A session that is damaged is nobody's.
        for faulty in self.sessions.faults(&home()) {
            unless_stale(self.ledger.remove(&faulty.key, None).await.map_err(Into::into))?;
        }
        self.remove_late_setups().await?;
        self.remove_late_invitations().await
    }

    /// Begins a session of `account`. Called by whoever holds the right to write.
    pub(super) async fn begin_session(&self, account: &Row<Account>, from: &Visitor) -> Result<(Token, Person), MembersError> {
        let mut own = self.live_sessions(account.id());
        own.sort_by_key(|session| self.seen_at(session));
        let surplus = (own.len() + 1).saturating_sub(PER_ACCOUNT);
        for session in &own[..surplus] {
            unless_stale(self.remove_session(session).await)?;
        }
        let (token, now) = (Token::random("")?, self.unix_now());
        let what = Session {
            token_sha256: token.hash(),
            account: account.id().clone(),
            password: account.what.password,
            began_at: now,
            seen_at: now,
            address: from.address.to_string(),
            agent: from.agent.chars().filter(|char| !char.is_control()).take(LONGEST_AGENT).collect(),
        };
        // Of the hash and not of the token: it may be shown.
        let name = &String::from(TokenHash::of(String::from(token.hash()).as_bytes()))[..16];
        self.ledger.create(Session::KIND, &home(), draft(name, &what, account.name()), None).await?;
        let session = self.sessions.by_token(&token.hash()).ok_or(MembersError::NoSession)?;
        Ok((token, person(account, &session)))
    }

    /// When each account was last seen.
    pub(super) fn last_seen(&self) -> BTreeMap<Arc<str>, i64> {
        let mut seen = BTreeMap::new();
        for session in self.sessions.all() {
            let latest = seen.entry(session.what.account.clone()).or_insert(0);
            *latest = self.seen_at(&session).max(*latest);
        }
        seen
    }

    async fn remove_session(&self, session: &Row<Session>) -> Result<(), MembersError> {
        self.ledger.remove(session.record.key(), None).await?;
        self.seen().remove(&session.header().id);
        Ok(())
    }

    fn live_sessions(&self, account: &Arc<str>) -> Vec<Arc<Row<Session>>> {
        let mut own = self.sessions.all();
        own.retain(|session| session.what.account == *account && self.owner(session).is_some());
        own
    }

    /// The account of a session that is not over.
    fn owner(&self, session: &Row<Session>) -> Option<Arc<Row<Account>>> {
        let now = self.unix_now();
        let age = now - session.what.began_at;
        let lives = (-seconds(SKEW)..seconds(LONGEST)).contains(&age) && now - self.seen_at(session) < seconds(IDLE);
        let account = lives.then(|| self.accounts.by_id(&home(), &session.what.account))??;
        (account.what.password == session.what.password).then_some(account)
    }

    fn seen_at(&self, session: &Row<Session>) -> i64 {
        self.seen().get(&session.header().id).copied().unwrap_or(0).max(session.what.seen_at)
    }

    fn session_view(&self, session: &Row<Session>) -> SessionView {
        let Session { began_at, address, agent, .. } = &session.what;
        SessionView {
            name: session.header().name.clone(),
            began_at: *began_at,
            seen_at: self.seen_at(session),
            address: address.clone(),
            agent: agent.clone(),
        }
    }
}

/// What another node has done already, or done otherwise, is done.
pub(super) fn unless_stale<T>(done: Result<T, MembersError>) -> Result<(), MembersError> {
    match done {
        Ok(_) | Err(MembersError::Stale) => Ok(()),
        Err(fault) => Err(fault),
    }
}

fn person(account: &Row<Account>, session: &Row<Session>) -> Person {
    Person {
        account: account.id().clone(),
        session: session.header().name.clone(),
        login: account.login(),
        roles: account.what.memberships.clone(),
        has_password: account.what.password.is_some(),
    }
}
