//! Custody of the keys: which are held, what still needs them, and their rotation while everything goes on.
//!
//! A rotation seals anew, under the current key, whatever names a former one: records, manifest, batches of
//! activity, usage. It goes on wherever it was interrupted, as each envelope names its key. Only when a
//! look at everything that is stored finds nothing that needs a former key, and all that is under the current one
//! opens, are former keys retired: first where they are kept, then in this process. So whatever happens at
//! whatever moment, the keys that are given open everything.

mod fleet;
mod rotation;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::activity::{Activity, NotRenewed};
use crate::audit::Change;
use crate::ledger::{Ledger, LedgerError};
use crate::seal::{KeyId, KeyRing};
use crate::secret::OrganizationName;
use crate::store::{Backend, StoreError};
use survey::Survey;

/// Where keys come from.
pub trait Sources: Send + Sync {
    /// The keys that are given at this moment, or why they cannot be had. May wait for a program.
    fn read(&self) -> Result<KeyRing, String>;

    /// Makes a new current key where the keys are kept, with those before it as former ones. Where that is
    /// for somebody else to do, a sentence says so.
    fn renew(&self) -> Result<KeyRing, String>;

    /// Removes every key but `current` from where they are kept, as far as that is for this program to do.
    fn retire(&self, current: KeyId) -> Result<Retired, String>;
}

/// What became of former keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Files that they are kept in for backups that were made before.
    pub kept: Vec<PathBuf>,
    /// What a person has to do, in a sentence.
    pub by_hand: Option<String>,
}

/// Why no rotation was begun.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// One is under way.
    #[error("a rotation is under way already; `subrosa key status` says how far it is")]
    UnderWay,
    /// There is nothing that lasts.
    #[error("store.engine is \"memory\": nothing is kept, so there is nothing to seal anew")]
    NothingKept,
    /// The keys that are given do not hold the one in use.
    #[error(
        "the key {given} is given now, and {held} is in use and is not among the former keys; \
         give {held} as well (on a line below the new key; or in keys.previous, which takes a restart), nothing was changed"
    )]
    NotGiven {
        /// The current key of those given.
        given: KeyId,
        /// The one in use.
        held: KeyId,
    },
    /// A new key would have to be given to others first.
    #[error(
        "other nodes run over this store ({0}), so no key is made here: give each node the new key first, with the one of now on          a line below it, and then rotate on one of them; nothing was changed"
    )]
    OthersRun(String),
    /// The keys cannot be had, or no new one can be made.
    #[error("{0}")]
    Sources(String),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a rotation is under way, or how the last one ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// None since the start.
    #[default]
    Idle,
    /// Under way.
    Running,
    /// Done: nothing needs a former key.
    Done,
    /// Stopped; it goes on when it is asked for again, and at the next start.
    Failed,
}

/// How far a rotation is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether it is under way.
    pub state: State,
    /// How much was sealed anew.
    pub done: u64,
    /// How much there was to be.
    pub total: u64,
    /// What there is to say once it has ended.
    pub said: Option<String>,
}

/// What is known of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The key that seals.
    pub current: KeyId,
    /// Former ones that are held.
    pub former: Vec<KeyId>,
    /// How much of what is stored is sealed under which key, held or not.
    pub sealed: BTreeMap<KeyId, u64>,
    /// How much of it needs a former key.
    pub needed: u64,
    /// The rotation.
    pub rotation: Progress,
}

/// The keys of one store.
pub struct Custody {
    inner: Arc<Inner>,
    task: Mutex<Option<AbortHandle>>,
    /// Held by whoever decides whether a rotation begins.
    deciding: tokio::sync::Mutex<()>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    ledger: Arc<Ledger>,
    activity: Arc<Activity>,
    sources: Option<Arc<dyn Sources>>,
    progress: Mutex<Progress>,
}

impl Custody {
    /// Custody of the keys of a store. Without `sources` nothing is kept that a rotation would be about.
    pub fn new(
        backend: Arc<dyn Backend>,
        ledger: Arc<Ledger>,
        activity: Arc<Activity>,
        sources: Option<Arc<dyn Sources>>,
    ) -> Self {
        let inner = Inner { backend, ledger, activity, sources, progress: Mutex::default() };
        Self { inner: Arc::new(inner), task: Mutex::default(), deciding: tokio::sync::Mutex::default() }
    }

    /// What is known of the keys. Goes through everything that is stored.
    pub async fn status(&self) -> Result<Status, StoreError> {
        let survey = Survey::of(&self.inner).await?;
        let ring = self.inner.ledger.sealer().ring();
        Ok(Status {
            current: ring.current(),
            former: ring.former().collect(),
            sealed: survey.sealed,
            needed: survey.needed,
            rotation: self.inner.progress().clone(),
        })
    }

    /// Begins a rotation, or goes on with one. What is given anew is taken up; where everything is under the
    /// current key already, a new key is made. Whether one was.
    ///
    /// In a task of its own: who no longer waits has not left it half done.
    pub async fn rotate(self: &Arc<Self>, by: &str) -> Result<bool, CustodyError> {
        let stopped = |_| CustodyError::Sources("the rotation was not begun: subrosa is stopping".to_owned());
        tokio::spawn(Arc::clone(self).decide(by.to_owned())).await.map_err(stopped)?
    }

    async fn decide(self: Arc<Self>, by: String) -> Result<bool, CustodyError> {
        let _one = self.deciding.lock().await;
        if self.inner.progress().state == State::Running {
            return Err(CustodyError::UnderWay);
        }
        let sources = self.inner.sources.clone().ok_or(CustodyError::NothingKept)?;
        let held = self.inner.ledger.sealer().ring();
        let asked = Arc::clone(&sources);
        let given = blocking(move || asked.read()).await?;
        // One may have stopped when only the retirement was left.
        let is_unfinished = held.former().next().is_some() || Survey::of(&self.inner).await?.needed > 0;
        let made = given.current() == held.current() && !is_unfinished;
        let ring = if made {
            self.refuse_where_others_run().await?;
            blocking(move || sources.renew()).await?
        } else if given.holds(held.current()) {
            given
        } else {
            return Err(CustodyError::NotGiven { given: given.current(), held: held.current() });
        };
        self.record(Change::new(&by, "rotated", "key", &ring.current().to_string()));
        // What the process holds still may be needed by what is stored.
        self.inner.ledger.sealer().set_ring(ring.with_all(&held));
        self.begin();
        Ok(made)
    }

    /// Goes on with a rotation that a start found unfinished, if there is one. Whoever was first with one has begun it.
    pub fn resume(&self) {
        let Ok(_one) = self.deciding.try_lock() else { return };
        if self.inner.progress().state == State::Running {
            return;
        }
        if self.inner.sources.is_some() && self.inner.ledger.sealer().ring().former().next().is_some() {
            tracing::info!("former keys are given; what needs them still is sealed anew under the current one");
            self.begin();
        }
    }

    fn begin(&self) {
        *self.inner.progress() = Progress { state: State::Running, ..Progress::default() };
        let task = tokio::spawn(rotation::run(Arc::clone(&self.inner))).abort_handle();
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    fn record(&self, change: Change) {
        self.inner.activity.record_change(&OrganizationName::default(), change);
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl Inner {
    /// Nothing panics while it is held.
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reading keys may take a file, or a program that asks somebody else.
async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, CustodyError> {
    let stopped = |_| CustodyError::Sources("the keys could not be read: subrosa is stopping".to_owned());
    tokio::task::spawn_blocking(ask).await.map_err(stopped)?.map_err(CustodyError::Sources)
}

/// Why a rotation stopped.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Activity(#[from] NotRenewed),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Custody(#[from] CustodyError),
    #[error("`{0}` was sealed anew and does not open; former keys are kept, look at the disk that holds the store")]
    DoesNotOpen(String),
    #[error("the key {0} was to take over, and another one has meanwhile; ask for the rotation again")]
    Overtaken(KeyId),
    #[error(
        "everything is sealed under the new key, and former keys are kept: other nodes seal with another key ({0}); give them the          new one, and ask for the rotation again"
    )]
    OthersSeal(String),
    #[error("{0} of what is stored still need a former key, as others keep writing with it; ask for the rotation again")]
    StillNeeded(u64),
}
