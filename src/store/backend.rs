//! The contract of a store engine: sealed bytes under keys, changed only when nobody else did.
//!
//! An engine sees sealed bytes and never a plaintext. It promises three things: a commit is whole
//! or not at all; a commit that was acknowledged is on stable storage; and a write whose
//! expectation does not hold changes nothing. The words are etcd's.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use tokio::sync::{broadcast, watch};

/// What an engine's operations return: a boxed future, so that engines can be trait objects.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One key with what is stored under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The key: ASCII, parts separated by `/`.
    pub key: String,
    /// Grows with every change of this key; never 0.
    pub version: u64,
    /// The sealed bytes.
    pub bytes: Vec<u8>,
}

/// What was stored at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Every commit up to this revision is in it.
    pub revision: u64,
    /// In the order of the keys.
    pub stored: Vec<Stored>,
}

/// What one commit may hold in bytes, about: etcd takes 1.5 MiB in one request. Whoever writes many keys at once keeps to it.
pub const COMMIT_BYTES: usize = 1 << 20;

/// What must hold for a write to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists with exactly this version.
    Version(u64),
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Stores bytes under a key.
    Put {
        /// The key.
        key: String,
        /// What must hold before.
        expect: Expect,
        /// The sealed bytes.
        bytes: Vec<u8>,
    },
    /// Removes a key.
    Remove {
        /// The key.
        key: String,
        /// The version it must have.
        version: u64,
    },
}

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation of a commit did not hold; nothing was changed.
    #[error("`{key}` was changed by somebody else meanwhile")]
    Conflict {
        /// The key whose expectation failed.
        key: String,
    },
    /// Another process holds the directory.
    #[error(
        "the data directory {path} is in use by another process; if that is `subrosa serve`, the command line reaches it through {path}/admin.sock, otherwise stop it first"
    )]
    InUse {
        /// The directory.
        path: String,
    },
    /// The answer to a commit was lost. It may have been carried out: who tries again looks first.
    #[error("whether the change was made is not known ({why}); look whether it was before you make it again")]
    Unknown {
        /// What was lost, and how.
        why: String,
    },
    /// Anything else, in one sentence.
    #[error("{0}")]
    Failed(String),
}

/// A key that changed, as `watch` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: String,
    /// Its version and bytes now; `None` when it was removed.
    pub now: Option<(u64, Vec<u8>)>,
}

/// One commit, as `watch` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Everything that one commit changed, whole, in the order of its writes.
    Commit {
        /// Grows with each commit: the version of what it put.
        revision: u64,
        /// What it changed.
        changes: Vec<Changed>,
    },
    /// Changes may have been missed: whoever keeps a replica loads again.
    LoadAgain,
}

/// How far the engine is from what is true in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// What `watch` has told is everything.
    Current,
    /// There may be more.
    Behind {
        /// Everything up to then was told.
        since: Instant,
        /// In one sentence.
        why: String,
    },
}

impl Freshness {
    /// That of an engine which is the truth itself. It never changes: whoever waits for that is told so at once.
    pub(super) fn always() -> watch::Receiver<Self> {
        watch::channel(Self::Current).1
    }
}

/// A store engine.
pub trait Backend: Send + Sync + 'static {
    /// Everything whose key begins with one of `prefixes`, as it was at one moment, in the order of
    /// the keys. For what is kept in memory anyway.
    fn load(&self, prefixes: &[&str]) -> Pending<'_, Result<Loaded, StoreError>>;

    /// The first `limit` keys that begin with `prefix` and come behind `after`, in their order: for
    /// going through what nobody wants to hold at once.
    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>>;

    /// What is stored under one key.
    fn read(&self, key: &str) -> Pending<'_, Result<Option<Stored>, StoreError>>;

    /// Carries out all writes, or none of them. Resolves once they are on stable storage, with the
    /// new version of each key put, in the order of the puts.
    fn commit(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>>;

    /// Every commit from now on, whoever makes it, in order; perhaps some from before. Whoever keeps a replica subscribes first
    /// and loads then, and skips the commits that it has loaded. For a receiver that lags the same holds as for [`Told::LoadAgain`].
    fn watch(&self) -> broadcast::Receiver<Told>;

    /// How far what `watch` has told is from the truth.
    fn freshness(&self) -> watch::Receiver<Freshness>;

    /// Whether other processes may write, so that a replica has to follow.
    fn is_shared(&self) -> bool;
}
