//! People: who may sign in, what they may do in which organization, and how they are known again.
//!
//! Accounts, sessions, invitations, API tokens and organizations are records of the ledger, sealed
//! and authenticated as secrets are, and read from memory without waiting. Of whatever somebody
//! shows to be known (a session, a token, a link) only the SHA-256 is kept; of a password an
//! Argon2id hash that lies sealed. A role that was taken away is gone with the next request.
//!
//! What belongs to no single organization (accounts, sessions, the organizations themselves) lies
//! under `default`.

mod entrance;
mod error;
mod invitations;
mod login;
mod organizations;
mod password;
mod people;
mod role;
mod sessions;
mod setup;
mod table;
mod throttle;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
pub use entrance::{Entered, Subject};
pub use error::MembersError;
pub use invitations::InvitationView;
pub use login::{Login, LoginError};
pub use organizations::OrganizationView;
pub use password::{Password, PasswordError};
pub use people::MemberView;
pub use role::{NoRole, Role};
pub use sessions::{Person, SessionView};
pub use tokens::{NewToken, Program, TokenView};

use crate::ledger::{Draft, Kind, Ledger};
use crate::secret::OrganizationName;
use crate::staleness::Stale;
pub use crate::token::Token;
use crate::token::TokenHash;
use invitations::Invitation;
use organizations::Organization;
use password::Passwords;
use people::Account;
use sessions::Session;
use setup::Setup;
use table::Table;
use throttle::Throttle;
use tokens::ApiToken;

/// Tells the time; the system's clock, except in tests.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Roles by organization.
pub type Roles = BTreeMap<OrganizationName, Role>;

/// Where somebody visits from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The address.
    pub address: IpAddr,
    /// What the browser calls itself, so that people tell their sessions apart.
    pub agent: String,
}

/// All people, and what is theirs.
pub struct Members {
    ledger: Arc<Ledger>,
    organizations: Arc<Table<Organization>>,
    accounts: Arc<Table<Account>>,
    sessions: Arc<Table<Session>>,
    tokens: Arc<Table<ApiToken>>,
    invitations: Arc<Table<Invitation>>,
    setups: Arc<Table<Setup>>,
    /// `default`, and those that the configuration names.
    always: ArcSwap<BTreeSet<OrganizationName>>,
    passwords: Passwords,
    throttle: Mutex<Throttle>,
    /// When sessions and tokens were used last, by the id of their record: written only now and then.
    seen: Mutex<HashMap<Arc<str>, i64>>,
    setup: Mutex<Option<(TokenHash, SystemTime)>>,
    /// Held by whoever changes something that depends on more than one record.
    writing: tokio::sync::Mutex<()>,
    clock: Clock,
}

impl Members {
    /// The people of `ledger`. `always` are organizations that the configuration names.
    pub fn new(
        ledger: Arc<Ledger>,
        always: impl IntoIterator<Item = OrganizationName>,
        clock: Clock,
    ) -> Result<Self, MembersError> {
        Ok(Self {
            organizations: Table::following(&ledger),
            accounts: Table::following(&ledger),
            sessions: Table::following(&ledger),
            tokens: Table::following(&ledger),
            invitations: Table::following(&ledger),
            setups: Table::following(&ledger),
            always: ArcSwap::from_pointee(with_home(always)),
            passwords: Passwords::new()?,
            throttle: Mutex::default(),
            seen: Mutex::default(),
            setup: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            clock,
            ledger,
        })
    }

    /// From now on the configuration names these organizations.
    pub fn set_always(&self, always: impl IntoIterator<Item = OrganizationName>) {
        self.always.store(Arc::new(with_home(always)));
    }

    /// That what is known of people is trusted still: whose right was taken away since is not known.
    pub fn check_trusted(&self) -> Result<(), Stale> {
        self.ledger.staleness().check()
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    fn unix_now(&self) -> i64 {
        unix(self.now())
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Arc<str>, i64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_home(always: impl IntoIterator<Item = OrganizationName>) -> BTreeSet<OrganizationName> {
    always.into_iter().chain([home()]).collect()
}

/// Where records lie that belong to no single organization.
fn home() -> OrganizationName {
    OrganizationName::default()
}

fn unix(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A span in seconds, as records count.
fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

fn draft(name: &str, what: &impl serde::Serialize, by: &str) -> Draft {
    let metadata = serde_json::to_value(what).expect("metadata has text keys only");
    Draft { name: name.to_owned(), metadata, by: by.to_owned() }
}

const fn kind(word: &'static str) -> Kind {
    Kind::new(word)
}

#[cfg(test)]
mod tests;
