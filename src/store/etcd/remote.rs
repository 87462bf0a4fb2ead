//! The engine as the house knows it, with the thread that runs it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{broadcast, oneshot, watch};

use super::cluster::{Cluster, Trouble};
use super::following::{Followers, follow};
use super::{EtcdSettings, committing, reading};
use crate::store::{Backend, Freshness, Loaded, Pending, StoreError, Stored, Told, Write};

/// How many commits a follower may lag behind.
const WATCH_CAPACITY: usize = 1024;
/// Between two attempts to find a cluster at the start.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is said that it is waited for.
const SAY: Duration = Duration::from_secs(5);

/// A cluster that is followed.
pub(super) struct Remote {
    cluster: Arc<Cluster>,
    followers: Followers,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Remote {
    /// Finds the cluster, waiting for it if the settings say so, and follows it.
    pub(super) async fn open(settings: EtcdSettings) -> Result<Self, StoreError> {
        let failed = |fault: std::io::Error| StoreError::Failed(format!("the store's thread cannot be started: {fault}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        // Whoever drops the engine ends it.
        let run = move || drop(runtime.block_on(stopped));
        let thread = thread::Builder::new().name("store".to_owned()).spawn(run).map_err(failed)?;
        let (told, freshness) = (broadcast::Sender::new(WATCH_CAPACITY), watch::Sender::new(Freshness::Current));
        let cluster = Arc::new(Cluster::new(settings));
        let followers = Followers { told, freshness };
        let remote = Self { cluster, followers, handle, stop: Some(stop), thread: Some(thread) };
        let cluster = Arc::clone(&remote.cluster);
        let (revision, since) = remote.run(async move { find(&cluster).await }).await?;
        remote.handle.spawn(follow(Arc::clone(&remote.cluster), remote.followers.clone(), revision, since));
        Ok(remote)
    }

    /// Does it on the engine's thread, to its end, whether or not somebody waits for that.
    async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = |_| StoreError::Failed("the store has stopped after a fault; restart subrosa".to_owned());
        self.handle.spawn(task).await.map_err(stopped)?
    }
}

/// How far the store is, once it can be asked.
async fn find(cluster: &Cluster) -> Result<(u64, Instant), StoreError> {
    let mut said: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        let why = match cluster.revision().await {
            Ok(revision) => {
                if said.is_some() {
                    tracing::info!("etcd answers");
                }
                return Ok((revision, asked));
            }
            Err(Trouble::Unanswered(why)) if cluster.settings.is_patient => why,
            Err(trouble) => return Err(trouble.into()),
        };
        if said.is_none_or(|said| said.elapsed() >= SAY) {
            tracing::warn!(
                why,
                "waiting for etcd: nothing is served before a majority of its members answers; see to them, or to store.etcd.endpoints"
            );
            said = Some(Instant::now());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

impl Backend for Remote {
    fn load(&self, prefixes: &[&str]) -> Pending<'_, Result<Loaded, StoreError>> {
        let (cluster, prefixes) =
            (Arc::clone(&self.cluster), prefixes.iter().map(|prefix| (*prefix).to_owned()).collect::<Vec<_>>());
        Box::pin(self.run(async move { Ok(reading::load(&cluster, &prefixes).await?) }))
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
        let (cluster, prefix, after) = (Arc::clone(&self.cluster), prefix.to_owned(), after.map(str::to_owned));
        Box::pin(self.run(async move { Ok(reading::page(&cluster, &prefix, after.as_deref(), limit).await?) }))
    }

    fn read(&self, key: &str) -> Pending<'_, Result<Option<Stored>, StoreError>> {
        let (cluster, key) = (Arc::clone(&self.cluster), key.to_owned());
        Box::pin(self.run(async move { Ok(reading::read(&cluster, &key).await?) }))
    }

    fn commit(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
        let cluster = Arc::clone(&self.cluster);
        // Where it is known already that nobody answers, nobody is kept waiting for that.
        let is_behind = *self.followers.freshness.borrow() != Freshness::Current;
        let wait = if is_behind { cluster.patience() } else { cluster.settings.timeout };
        Box::pin(self.run(async move { committing::commit(&cluster, writes, wait).await }))
    }

    fn watch(&self) -> broadcast::Receiver<Told> {
        self.followers.told.subscribe()
    }

    fn freshness(&self) -> watch::Receiver<Freshness> {
        self.followers.freshness.subscribe()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was told to whoever waited for its answer.
            let _ = thread.join();
        }
    }
}
