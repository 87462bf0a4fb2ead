//! The one task that keeps what is handed over: numbered, sealed, committed, counted, told.
//!
//! It is woken once when something comes after a silence, and looks by itself as long as something
//! waits, so that recording costs no wake-up for each entry.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::batch::{self, Batch};
use super::stored::{self, Versions};
use super::trail::{self, Trail};
use super::usage::{Subject, Tracked};
use super::{Found, Heir, Inner, NotRenewed, Order};
use crate::audit::{Handover, Recorded, What};
use crate::seal::SealError;
use crate::secret::OrganizationName;
use crate::store::{Expect, StoreError, Write};

/// How long the first entry after a silence waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// The longest that an entry waits to be committed.
const LONGEST: Duration = Duration::from_secs(1);
/// With [`ENOUGH`] entries the next commit may come so soon after the last one: the store's other
/// writers must find it free most of the time.
const SOON: Duration = Duration::from_millis(250);
const ENOUGH: usize = 64;
/// With so many it comes at once.
const MANY: usize = 2_048;
/// What one batch holds at most: entries, and bytes (etcd takes 1.5 MiB in one commit).
const BATCH: usize = 1_024;
const BATCH_BYTES: usize = 512 * 1024;
/// What waits while the store cannot be written; beyond, the oldest are dropped and counted.
const WAITING: usize = 8_192;
/// The longest pause between attempts while the store cannot be written.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How often usage is stored, and old batches are looked for.
const USAGE: Duration = Duration::from_mins(1);
/// Records of usage that go in one commit.
const USAGE_RECORDS: usize = 32;

/// Keeps what is handed over, as long as it runs.
pub struct Keeper {
    pub(super) inner: Arc<Inner>,
    handover: Handover,
    orders: mpsc::Receiver<Order>,
    waiting: VecDeque<Arc<Recorded>>,
    /// The entries of the small batches at the end, which the next one may take in.
    small: Vec<Arc<Recorded>>,
    /// Of the node's own usage records.
    pub(super) versions: Versions,
    /// Usage is stored up to this entry.
    through: u64,
    /// When the first of those that wait came.
    since: Instant,
    /// When something was committed last, or that was tried.
    committed: Instant,
    looked: Instant,
    /// Between attempts that failed.
    pause: Option<Duration>,
    place: Place,
    /// When it began, by both clocks.
    pub(super) began: (SystemTime, std::time::Instant),
}

/// Where entries are kept.
enum Place {
    /// In the store.
    Store,
    /// Nowhere yet: another process is about to have the store.
    Open,
    /// With whoever has the store.
    Heir(Heir),
}

impl Keeper {
    pub(super) fn new(
        inner: Arc<Inner>,
        handover: Handover,
        orders: mpsc::Receiver<Order>,
        (versions, through): (Versions, u64),
    ) -> Self {
        let now = Instant::now();
        let long_ago = now.checked_sub(LONGEST).unwrap_or(now);
        let (waiting, small) = (VecDeque::new(), Vec::new());
        Self {
            inner,
            handover,
            orders,
            waiting,
            small,
            versions,
            through,
            since: now,
            committed: long_ago,
            looked: now,
            pause: None,
            place: Place::Store,
            began: (SystemTime::now(), std::time::Instant::now()),
        }
    }

    /// Keeps until nobody hands over any more.
    pub async fn run(mut self) {
        self.read_small().await;
        loop {
            let quiet = self.waiting.is_empty();
            // Elsewhere nothing is looked after.
            let looks = if matches!(self.place, Place::Store) { self.looked } else { Instant::now() };
            let next = if quiet { looks + USAGE } else { Instant::now() + GATHER };
            let order = tokio::select! {
                entry = self.handover.next(), if quiet => {
                    let Some(entry) = entry else { break };
                    self.take_in(entry);
                    None
                }
                Some(order) = self.orders.recv() => Some(order),
                () = sleep_until(next) => None,
            };
            self.gather();
            let flushed = match order {
                Some(order) => self.carry_out(order).await,
                None => None,
            };
            if flushed.is_some() || self.is_due() {
                self.commit_all().await;
            }
            if self.looked.elapsed() >= USAGE && matches!(self.place, Place::Store) {
                self.look_after().await;
            }
            if let Some(done) = flushed {
                // Whoever asked may have gone away.
                let _ = done.send(());
            }
        }
        self.gather();
        self.commit_all().await;
    }

    /// Does what was asked; who waits for everything to be committed is answered later.
    async fn carry_out(&mut self, order: Order) -> Option<oneshot::Sender<()>> {
        let done = match order {
            Order::Flush(done) => return Some(done),
            Order::Renew(after, done) => {
                let renewed = match self.place {
                    Place::Store => self.renew(after).await,
                    Place::Open | Place::Heir(_) => Err(NotRenewed::NoKeeper),
                };
                // Whoever asked may have gone away.
                let _ = done.send(renewed);
                return None;
            }
            Order::Hold(done) => {
                self.commit_all().await;
                if let Err(fault) = self.store_usage().await {
                    tracing::warn!(%fault, "usage cannot be stored at the moment");
                }
                self.place = Place::Open;
                done
            }
            Order::Resume(done) => {
                self.place = Place::Store;
                done
            }
            Order::Bequeath(heir, done) => {
                self.place = Place::Heir(heir);
                done
            }
        };
        let _ = done.send(());
        None
    }

    /// Takes in everything that was handed over.
    fn gather(&mut self) {
        while let Some(entry) = self.handover.take() {
            self.take_in(entry);
        }
    }

    fn take_in(&mut self, entry: Recorded) {
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        self.waiting.push_back(Arc::new(entry));
        if self.waiting.len() > WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.handover.count_dropped(1);
            self.settle(None, vec![oldest]);
        }
    }

    fn is_due(&self) -> bool {
        match self.place {
            Place::Store => {}
            Place::Open => return false,
            Place::Heir(_) => return !self.waiting.is_empty(),
        }
        if let Some(pause) = self.pause {
            return self.committed.elapsed() >= pause;
        }
        let (count, pause) = (self.waiting.len(), self.committed.elapsed());
        let gathered = count > 0 && self.since.elapsed() >= GATHER;
        gathered && (pause >= LONGEST || count >= MANY || (count >= ENOUGH && pause >= SOON))
    }

    /// Commits everything that waits, batch by batch; what fails goes on waiting.
    async fn commit_all(&mut self) {
        match &self.place {
            Place::Store => {}
            Place::Open => return,
            Place::Heir(heir) => {
                while let Some(entry) = self.waiting.pop_front() {
                    if !heir(entry).await {
                        self.handover.count_dropped(1);
                    }
                }
                return;
            }
        }
        if self.inner.bounds().entries == 0 {
            let entries = self.waiting.drain(..).collect();
            return self.settle(None, entries);
        }
        while !self.waiting.is_empty() {
            self.committed = Instant::now();
            let outcome = self.commit_batch().await;
            self.committed = Instant::now();
            match outcome {
                Ok(()) => self.pause = None,
                Err(fault) => return self.failed(&fault).await,
            }
        }
    }

    async fn failed(&mut self, fault: &KeepError) {
        if self.pause.is_none() {
            tracing::error!(%fault, "activity cannot be kept at the moment");
        }
        self.pause = Some((self.pause.unwrap_or(LONGEST / 2) * 2).min(LONGEST_PAUSE));
        if matches!(fault, KeepError::Store(StoreError::Conflict { .. })) {
            tracing::warn!(node = %self.inner.node, "another process writes activity under the name of this node; give each its own (`node`)");
            self.load_again().await;
        }
    }

    /// One batch of those that wait, with the small ones before it taken in where they make a whole
    /// one together; and the removal of what is over the bounds.
    async fn commit_batch(&mut self) -> Result<(), KeepError> {
        let new = self.next_batch();
        let (node, now) = (&self.inner.node, self.age_counts_until());
        let (first, small, outdated) = {
            let trail = self.inner.trail();
            let small = trail.small(node);
            // A batch at the end that cannot be read may have held more than it shows.
            let first = trail.next(node).max(self.through + 1);
            (first, small, trail.outdated(node, self.inner.bounds(), (now, new.len() as u64)))
        };
        // Those that could not be read are left as they are.
        let known = self.small.len() as u64 == small.iter().map(Batch::count).sum::<u64>() && !small.is_empty();
        let taken_in = known && (self.small.len() + new.len()) as u64 >= trail::SMALL;
        let before = if taken_in { small } else { Vec::new() };
        let begins = before.first().map_or(first, |batch| batch.first);
        let entries: Vec<Arc<Recorded>> = if taken_in { self.small.iter().chain(&new).cloned().collect() } else { new.clone() };
        let (mut batch, sealed) = batch::seal(&self.inner.sealer, node, begins, &entries)?;
        let expect = before.first().map_or(Expect::Absent, |batch| Expect::Version(batch.version));
        let rest = before.iter().skip(1);
        let goes: Vec<&Batch> = rest.chain(outdated.iter().filter(|old| !before.contains(old))).collect();
        self.store_usage_before(&goes).await?;
        let mut writes = vec![Write::Put { key: batch.key(), expect, bytes: sealed }];
        writes.extend(goes.iter().map(|batch| trail::removal(batch)));
        let versions = self.inner.backend.commit(writes).await?;
        batch.version = versions.first().copied().unwrap_or_default();
        {
            let mut trail = self.inner.trail();
            for batch in &goes {
                trail.remove(batch);
            }
            trail.put(batch);
        }
        self.waiting.drain(..new.len());
        self.remember_small(taken_in, &new);
        self.settle(Some(first), new);
        Ok(())
    }

    fn next_batch(&self) -> Vec<Arc<Recorded>> {
        let mut bytes = 0;
        let fits = |entry: &&Arc<Recorded>| {
            bytes += size(entry);
            bytes <= BATCH_BYTES
        };
        let mut new: Vec<Arc<Recorded>> = self.waiting.iter().take(BATCH).take_while(fits).cloned().collect();
        if new.is_empty() {
            new.extend(self.waiting.front().cloned());
        }
        new
    }

    fn remember_small(&mut self, taken_in: bool, new: &[Arc<Recorded>]) {
        if taken_in || new.len() as u64 >= trail::SMALL {
            self.small.clear();
        } else {
            self.small.extend_from_slice(new);
        }
    }

    /// Counts and tells entries; `first` is the number of the first, if they were kept.
    fn settle(&self, first: Option<u64>, entries: Vec<Arc<Recorded>>) {
        let mut own = self.inner.own();
        for (index, entry) in (0..).zip(entries) {
            let number = first.map(|first| first + index);
            own.apply(number, &entry);
            if matches!(entry.what, What::Change(_)) {
                let mut others = self.inner.others();
                others.book.follow(&entry);
                others.book.forget_gone();
            }
            if self.inner.followers.receiver_count() == 0 {
                continue;
            }
            // Whoever followed may be gone by now.
            let _ = self.inner.followers.send(Found { node: self.inner.node.clone(), number, entry });
        }
    }

    /// What is done now and then: usage is stored, and what is too old goes.
    async fn look_after(&mut self) {
        self.looked = Instant::now();
        let outcome = match self.store_usage().await {
            Ok(()) => self.let_the_old_go().await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = outcome {
            tracing::warn!(%fault, "usage cannot be stored at the moment");
            if matches!(fault, KeepError::Store(StoreError::Conflict { .. })) {
                self.read_versions().await;
            }
        }
    }

    /// Another node took this one for gone, and sealed anew what it had stored.
    async fn read_versions(&mut self) {
        match stored::versions(&*self.inner.backend, &self.inner.node).await {
            Ok(versions) => self.versions = versions,
            Err(fault) => tracing::warn!(%fault, "usage cannot be read at the moment"),
        }
    }

    /// Entries whose usage is not stored may not go.
    async fn store_usage_before(&mut self, goes: &[&Batch]) -> Result<(), KeepError> {
        let mut outdated = goes.iter().filter(|batch| batch.node == self.inner.node && batch.count() >= trail::SMALL);
        if outdated.any(|batch| batch.last > self.through) { self.store_usage().await } else { Ok(()) }
    }

    /// Stores what changed, some at a time, and at last up to which entry everything is stored.
    async fn store_usage(&mut self) -> Result<(), KeepError> {
        let through = self.inner.trail().next(&self.inner.node) - 1;
        let mut changes = self.inner.own().changes();
        if changes.is_empty() && through == self.through {
            return Ok(());
        }
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(USAGE_RECORDS));
            if let Err(fault) = self.store_records(&changes).await {
                changes.extend(rest);
                self.inner.own().unchanged(changes);
                return Err(fault);
            }
            changes = rest;
        }
        let write = stored::write_through(&self.inner.sealer, &self.inner.node, through, &self.versions)?;
        self.commit_usage(vec![write]).await?;
        self.through = through;
        Ok(())
    }

    async fn store_records(&mut self, changes: &[(OrganizationName, Subject, Option<Tracked>)]) -> Result<(), KeepError> {
        let write = |change| stored::write(&self.inner.sealer, &self.inner.node, change, &self.versions).transpose();
        let writes: Vec<Write> = changes.iter().filter_map(write).collect::<Result<_, _>>()?;
        self.commit_usage(writes).await
    }

    async fn commit_usage(&mut self, writes: Vec<Write>) -> Result<(), KeepError> {
        if writes.is_empty() {
            return Ok(());
        }
        let puts = writes.iter().filter(|write| matches!(write, Write::Put { .. }));
        let keys: Vec<String> = puts.map(|write| key_of(write).to_owned()).collect();
        let removed: Vec<String> =
            writes.iter().filter(|write| matches!(write, Write::Remove { .. })).map(|write| key_of(write).to_owned()).collect();
        let versions = self.inner.backend.commit(writes).await?;
        for key in &removed {
            self.versions.remove(key);
        }
        self.versions.extend(keys.into_iter().zip(versions));
        Ok(())
    }

    /// The list as it is in the store now.
    async fn load_again(&mut self) {
        match Trail::load(&*self.inner.backend).await {
            Ok(trail) => *self.inner.trail() = trail,
            Err(fault) => return tracing::warn!(%fault, "activity cannot be listed at the moment"),
        }
        self.read_small().await;
    }

    /// The entries of the small batches at the end. Those that cannot be read are not taken in.
    async fn read_small(&mut self) {
        self.small.clear();
        let batches = self.inner.trail().small(&self.inner.node);
        for batch in &batches {
            match trail::read(&*self.inner.backend, &self.inner.sealer, batch).await {
                Ok(Some(Ok(entries))) => self.small.extend(entries.into_iter().map(Arc::new)),
                _ => return self.small.clear(),
            }
        }
    }
}

/// Why something is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

fn key_of(write: &Write) -> &str {
    match write {
        Write::Put { key, .. } | Write::Remove { key, .. } => key,
    }
}

/// About how many bytes an entry takes.
fn size(entry: &Recorded) -> usize {
    match &entry.what {
        What::Exchange(exchange) => 400 + exchange.url.len() + exchange.detail.as_ref().map_or(0, String::len),
        What::Change(change) => 300 + change.detail.as_ref().map_or(0, String::len),
    }
}
