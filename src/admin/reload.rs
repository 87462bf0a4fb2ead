//! The configuration, read anew while the server runs.
//!
//! The door for people knows neither the file nor what follows it; whoever puts the server together hands in somebody
//! who does. What comes back names keys and never a value.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

/// What a reload comes to.
pub type Reloading = Pin<Box<dyn Future<Output = Result<Report, NotReloaded>> + Send>>;

/// Reads the configuration anew and puts it in force: whole, or not at all.
pub trait Reload: Send + Sync {
    /// Does so once others that were asked for before are done. `by` is who asks. It is done even if nobody waits for it.
    fn reload(&self, by: &str) -> Reloading;
}

/// What became of a configuration that was read anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What differs from before and is in force now, by key: `egress.allow`, `secrets[crm.apiKey]`.
    pub changed: Vec<String>,
    /// What differs from what is in force and takes a restart.
    pub needs_restart: Vec<NeedsRestart>,
    /// 1 at the start, one more with each reload that changed something.
    pub revision: u64,
    /// When that revision came in force, in unix seconds.
    pub in_force_since: i64,
}

/// A setting that takes a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedsRestart {
    /// The key.
    pub key: String,
    /// What is in force.
    pub in_force: Value,
    /// What the configuration says.
    pub configured: Value,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReloaded {
    /// What was read cannot be put in force: where, what, and what to do.
    #[error("{0}")]
    Faulty(String),
    /// The server is stopping.
    #[error("the server is stopping; what it is started with next is read then")]
    Stopping,
}
