//! Activity: the audit trail, kept, and what follows from it: last use, usage by day, hosts seen.
//!
//! Recording never waits: the road hands an entry over and goes on (`audit`). One task, the
//! [`Keeper`], seals what came into batches and commits them: at once when it is quiet, every second
//! or sooner under load. A committed batch survives whatever happens; kill -9 costs the last second.
//! Entries are bounded by age and by number, and whole batches go. Everything is kept by node, so
//! that many nodes may share a store without ever writing to the same key.
//!
//! Readers go through the trail newest first, one batch in memory at a time ([`Walk`]), follow it
//! as it grows ([`Activity::follow`]), and ask for the [`Usage`] of a secret, which is in memory.

mod batch;
mod claim;
mod filter;
mod keeper;
mod letting_go;
mod node;
mod others;
mod renewal;
mod stored;
#[cfg(test)]
mod tests;
mod trail;
mod usage;
mod walk;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::AbortHandle;

pub use claim::{Claim, NotClaimed, RENEWED, Running, prune, running};
pub use filter::Filter;
pub use keeper::Keeper;
pub use node::{NoNode, NodeName};
pub use renewal::{NotRenewed, Renewed};
pub use usage::{DAYS, Day, HOSTS, HostSeen, LAST_USES, LastRefusal, LastUse, Usage};
pub use walk::{Cursor, NoCursor, Page, Walk};

use self::others::Others;
use self::trail::{Bounds, Trail};
use self::usage::{Book, Subject, merged};
use crate::audit::{Audit, Change, Handover, Recorded};
use crate::seal::Sealer;
use crate::secret::{OrganizationName, RunnerName, SecretName};
use crate::store::{Backend, StoreError};

/// How many may follow at a time.
const FOLLOWERS: usize = 64;
/// How many entries a follower may lag behind.
const FOLLOWERS_LAG: usize = 1_024;

/// What is kept, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of this process among those that share the store.
    pub node: NodeName,
    /// How long entries are kept.
    pub keep: Duration,
    /// How many; 0 keeps none.
    pub entries: u64,
}

/// One entry, with its place in the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The node that wrote it.
    pub node: NodeName,
    /// Its number there; `None` of one that could not be kept.
    pub number: Option<u64>,
    /// The entry.
    pub entry: Arc<Recorded>,
}

impl Found {
    /// Names the entry among all.
    pub fn id(&self) -> Option<String> {
        self.number.map(|number| format!("{}-{number}", self.node))
    }
}

/// What is kept of what happened. Shared by everybody.
pub struct Activity {
    inner: Arc<Inner>,
    audit: Arc<Audit>,
    orders: mpsc::Sender<Order>,
    /// What follows what other nodes write, in a shared store.
    following: Option<AbortHandle>,
}

/// Who keeps entries instead of this process; answers whether it got one.
pub type Heir = Box<dyn Fn(Arc<Recorded>) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// What the keeper is asked for.
enum Order {
    /// Commit everything, and from then on nothing until told otherwise.
    Hold(oneshot::Sender<()>),
    /// Commit again.
    Resume(oneshot::Sender<()>),
    /// Give everything to another from now on.
    Bequeath(Heir, oneshot::Sender<()>),
    /// Commit everything that was recorded before.
    Flush(oneshot::Sender<()>),
    /// Seal anew what lies behind this key.
    Renew(Option<String>, oneshot::Sender<Result<Renewed, NotRenewed>>),
}

struct Inner {
    backend: Arc<dyn Backend>,
    sealer: Sealer,
    node: NodeName,
    /// Milliseconds.
    keep: AtomicI64,
    entries: AtomicU64,
    trail: Mutex<Trail>,
    own: Mutex<Book>,
    others: Mutex<Others>,
    followers: broadcast::Sender<Found>,
}

impl Activity {
    /// Opens what is kept. The keeper must [run](Keeper::run) for anything to be kept from now on.
    pub async fn open(
        backend: Arc<dyn Backend>,
        sealer: Sealer,
        settings: Settings,
        (audit, handover): (Arc<Audit>, Handover),
    ) -> Result<(Self, Keeper), StoreError> {
        // Before anything is loaded, so that nothing is missed in between.
        let told = backend.is_shared().then(|| backend.watch());
        let trail = Trail::load(&*backend).await?;
        trail.notices().iter().for_each(|notice| tracing::warn!("activity: {notice}"));
        let loaded = stored::load(&*backend, &sealer, &settings.node, &trail).await?;
        let seen = trail.nodes().map(|of| (of.clone(), trail.next(of) - 1)).collect();
        let inner = Arc::new(Inner {
            backend,
            sealer,
            node: settings.node,
            keep: AtomicI64::new(millis(settings.keep)),
            entries: AtomicU64::new(settings.entries),
            trail: Mutex::new(trail),
            own: Mutex::new(loaded.own),
            others: Mutex::new(Others { book: loaded.others, seen }),
            followers: broadcast::Sender::new(FOLLOWERS_LAG),
        });
        let (orders, asked) = mpsc::channel(1);
        let keeper = Keeper::new(Arc::clone(&inner), handover, asked, (loaded.versions, loaded.through));
        let following = told.map(|told| tokio::spawn(others::follow(Arc::downgrade(&inner), told)).abort_handle());
        Ok((Self { inner, audit, orders, following }, keeper))
    }

    /// The name of this process among those that share the store.
    pub fn node(&self) -> &NodeName {
        &self.inner.node
    }

    /// Whether more than one node has recorded something.
    pub fn has_others(&self) -> bool {
        self.inner.trail().nodes().nth(1).is_some()
    }

    /// Records that somebody changed something of `organization`. Never waits.
    pub fn record_change(&self, organization: &OrganizationName, change: Change) {
        self.audit.record_change(organization, change);
    }

    /// New bounds, from now on.
    pub fn set_bounds(&self, keep: Duration, entries: u64) {
        self.inner.keep.store(millis(keep), Ordering::Relaxed);
        self.inner.entries.store(entries, Ordering::Relaxed);
    }

    /// One page of the wanted entries of an organization, newest first. Looks at a bounded number of
    /// entries and says so when it stopped for that.
    pub async fn page(
        &self,
        organization: &OrganizationName,
        filter: Filter,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        Walk::new(Arc::clone(&self.inner), organization.clone(), filter, from).page(limit).await
    }

    /// A way through all wanted entries of an organization, newest first.
    pub fn walk(&self, organization: &OrganizationName, filter: Filter) -> Walk {
        Walk::new(Arc::clone(&self.inner), organization.clone(), filter, None)
    }

    /// Every entry from now on, of all organizations; `None` while too many follow. A receiver that lags
    /// is told how much it missed.
    pub fn follow(&self) -> Option<broadcast::Receiver<Found>> {
        (self.inner.followers.receiver_count() < FOLLOWERS).then(|| self.inner.followers.subscribe())
    }

    /// What came of a secret lately; `None` when nothing did.
    pub fn usage(&self, organization: &OrganizationName, name: &SecretName) -> Option<Usage> {
        self.inner.usage(organization, &Subject::Secret(name.clone()))
    }

    /// What came of a runner's requests lately, of those with references and of refused ones.
    pub fn runner_usage(&self, organization: &OrganizationName, name: &RunnerName) -> Option<Usage> {
        self.inner.usage(organization, &Subject::Runner(name.clone()))
    }

    /// When and how a secret was used last.
    pub fn last_use(&self, organization: &OrganizationName, name: &SecretName) -> Option<LastUse> {
        let subject = Subject::Secret(name.clone());
        let last = |book: &Book| book.get(organization, &subject)?.usage.last_uses.first().cloned();
        let (own, others) = (last(&self.inner.own()), last(&self.inner.others().book));
        own.into_iter().chain(others).max_by_key(|last| last.at)
    }

    /// The last use of a secret, and when its use was refused last, in unix milliseconds. For lists.
    pub fn last_times(&self, organization: &OrganizationName, name: &SecretName) -> (Option<LastUse>, Option<i64>) {
        let subject = Subject::Secret(name.clone());
        let refused = |book: &Book| book.get(organization, &subject)?.usage.last_refusal.as_ref().map(|refusal| refusal.at);
        let refused = refused(&self.inner.own()).max(refused(&self.inner.others().book));
        (self.last_use(organization, name), refused)
    }

    /// Commits everything that was recorded before, and what follows from it; from then on the store is left alone.
    pub async fn hold(&self) {
        self.ask(Order::Hold).await;
    }

    /// Goes on after [`hold`](Self::hold).
    pub async fn resume(&self) {
        self.ask(Order::Resume).await;
    }

    /// Has `heir` keep everything from now on, what waits first.
    pub async fn bequeath(&self, heir: Heir) {
        self.ask(|done| Order::Bequeath(heir, done)).await;
    }

    /// Resolves once everything that was recorded before is committed, or could not be.
    pub async fn flush(&self) {
        self.ask(Order::Flush).await;
    }

    async fn ask(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, told) = oneshot::channel();
        if self.orders.send(order(done)).await.is_ok() {
            // Without a keeper there is nothing to wait for.
            let _ = told.await;
        }
    }
}

impl Inner {
    fn bounds(&self) -> Bounds {
        Bounds { keep: self.keep.load(Ordering::Relaxed), entries: self.entries.load(Ordering::Relaxed) }
    }

    /// Nothing panics while it holds one of these.
    fn trail(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, Book> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never while own is asked for, or the other way round: always own first.
    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usage(&self, organization: &OrganizationName, subject: &Subject) -> Option<Usage> {
        let own = self.own();
        let usage = |book: &Book| book.get(organization, subject).map(|tracked| tracked.usage.clone());
        merged(usage(&own).as_ref(), usage(&self.others().book).as_ref())
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
