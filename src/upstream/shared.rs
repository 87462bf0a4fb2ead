//! The HTTP/2 connections of one worker: which of them has room for an exchange, and who makes another.
//!
//! Connections are shared by the exchanges of one tenant to one origin and by nobody else. Who finds none
//! waits for whoever makes one already, unless the origin is known to speak HTTP/1.1: otherwise a hundred
//! requests that come first would make a hundred connections.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lru::LruCache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::home::Key;
use super::multiplexed::{Multiplexed, Place};
use super::settings::Settings;
use crate::origin::Origin;

/// Connections of one tenant to one origin, if each has as many streams as it may: 800 exchanges at once.
/// Further ones wait.
const MAX_PER_KEY: usize = 8;
/// Origins of which it is remembered what they speak.
const REMEMBERED: usize = 1024;

/// The HTTP/2 connections of one worker.
pub(super) struct Shared<B>(Arc<Mutex<Inner<B>>>);

struct Inner<B> {
    connections: HashMap<Key, Vec<Kept<B>>>,
    count: usize,
    max: usize,
    dialling: HashMap<Key, Weak<Semaphore>>,
    http1: LruCache<Origin, ()>,
}

struct Kept<B> {
    connection: Multiplexed<B>,
    /// Ends the connection once its streams have ended.
    task: AbortHandle,
}

impl<B> Shared<B> {
    pub(super) fn new(settings: &Settings) -> Self {
        let http1 = LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN));
        let (connections, dialling) = (HashMap::new(), HashMap::new());
        Self(Arc::new(Mutex::new(Inner { connections, count: 0, max: settings.max_idle, dialling, http1 })))
    }

    /// A place on a connection that is there: one with room, or, where there may be no more connections,
    /// the one with the fewest streams.
    pub(super) fn find(&self, key: &Key) -> Option<Place<B>> {
        let inner = self.inner();
        let connections = inner.connections.get(key)?;
        let free = connections.iter().find_map(|kept| kept.connection.place(false));
        if free.is_some() || connections.len() < MAX_PER_KEY {
            return free;
        }
        connections.iter().min_by_key(|kept| kept.connection.streams())?.connection.place(true)
    }

    /// Whether `origin` spoke HTTP/1.1 when it was last asked.
    pub(super) fn speaks_http1(&self, origin: &Origin) -> bool {
        self.inner().http1.get(origin).is_some()
    }

    /// Remembers that `origin` speaks HTTP/1.1.
    pub(super) fn remember_http1(&self, origin: &Origin) {
        self.inner().http1.put(origin.clone(), ());
    }

    /// The turn to make a connection; others who want one wait.
    pub(super) async fn turn(&self, key: &Key) -> Option<OwnedSemaphorePermit> {
        let gate = self.inner().gate(key);
        gate.acquire_owned().await.ok()
    }

    fn inner(&self) -> MutexGuard<'_, Inner<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Send + 'static> Shared<B> {
    /// Keeps a connection for as long as it `lives`.
    pub(super) fn adopt(&self, key: &Key, connection: Multiplexed<B>, lives: impl Future<Output = ()> + Send + 'static)
    where
        Multiplexed<B>: Send,
    {
        let (kept_in, of, ended) = (Arc::downgrade(&self.0), key.clone(), connection.clone());
        let task = tokio::spawn(async move {
            lives.await;
            if let Some(inner) = kept_in.upgrade() {
                inner.lock().unwrap_or_else(PoisonError::into_inner).remove(&of, &ended);
            }
        });
        self.inner().put(key, Kept { connection, task: task.abort_handle() });
    }
}

impl<B> Inner<B> {
    fn gate(&mut self, key: &Key) -> Arc<Semaphore> {
        if let Some(gate) = self.dialling.get(key).and_then(Weak::upgrade) {
            return gate;
        }
        self.dialling.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Semaphore::new(1));
        self.dialling.insert(key.clone(), Arc::downgrade(&gate));
        gate
    }

    fn put(&mut self, key: &Key, connection: Kept<B>) {
        self.http1.pop(&key.origin);
        if self.count >= self.max {
            self.drop_rested_longest();
        }
        self.connections.entry(key.clone()).or_default().push(connection);
        self.count += 1;
    }

    fn remove(&mut self, key: &Key, connection: &Multiplexed<B>) {
        let Some(connections) = self.connections.get_mut(key) else { return };
        let before = connections.len();
        connections.retain(|kept| !kept.connection.is(connection));
        self.count -= before - connections.len();
        if connections.is_empty() {
            self.connections.remove(key);
        }
    }

    /// Those in use are bounded by what uses them.
    fn drop_rested_longest(&mut self) {
        let all = self.connections.iter().flat_map(|(key, kept)| kept.iter().map(move |kept| (key, kept)));
        let resting = all.filter_map(|(key, kept)| Some((kept.connection.rests_since()?, key, kept)));
        if let Some((_, key, oldest)) = resting.min_by_key(|(since, ..)| *since) {
            oldest.task.abort();
            let (key, oldest) = (key.clone(), oldest.connection.clone());
            self.remove(&key, &oldest);
        }
    }
}

impl<B> Drop for Inner<B> {
    /// Nobody finds these any more. One with open streams ends when it has rested.
    fn drop(&mut self) {
        let all = self.connections.values().flatten();
        all.filter(|kept| kept.connection.rests_since().is_some()).for_each(|kept| kept.task.abort());
    }
}

impl<B> Clone for Shared<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
