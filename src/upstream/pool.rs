//! Idle connections, kept per tenant and origin: few, not for long, and never shared further.
//!
//! A connection that was authenticated as a connection (NTLM, Negotiate) belongs to one client
//! connection alone: it rests in that client's [`Pinned`] slot and never in the pool.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connection::Connection;
use super::settings::Settings;
use crate::origin::Origin;

/// Who may share connections: an organization and a runner, as one text that tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(pub Arc<str>);

/// What two requests must have in common to go over one connection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tenant: Tenant,
    pub(super) origin: Origin,
}

/// The place of one client connection for an upstream connection that is its own.
pub struct Pinned<B>(Arc<Mutex<Option<(Key, Connection<B>)>>>);

impl<B> Pinned<B> {
    /// An empty slot.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Takes the connection, if it is for `key`.
    pub(super) fn take(&self, key: &Key) -> Option<Connection<B>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|(held, _)| held == key).map(|(_, connection)| connection)
    }

    pub(super) fn put(&self, key: Key, connection: Connection<B>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, connection));
    }
}

impl<B> Clone for Pinned<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Default for Pinned<B> {
    fn default() -> Self {
        Self::new()
    }
}

/// The idle connections of one worker.
pub(super) struct Pool<B>(Arc<Mutex<Idle<B>>>);

struct Idle<B> {
    /// The oldest first; no queue is empty.
    connections: HashMap<Key, VecDeque<Resting<B>>>,
    count: usize,
    limits: Limits,
    sweeper: Option<AbortHandle>,
}

struct Resting<B> {
    connection: Connection<B>,
    since: Instant,
}

#[derive(Clone, Copy)]
struct Limits {
    idle: Duration,
    per_key: usize,
    altogether: usize,
}

impl<B> Pool<B> {
    pub(super) fn new(settings: &Settings) -> Self {
        let limits = Limits { idle: settings.idle, per_key: settings.max_idle_per_key, altogether: settings.max_idle };
        Self(Arc::new(Mutex::new(Idle { connections: HashMap::new(), count: 0, limits, sweeper: None })))
    }

    /// The connection that rested the shortest, and for how long it did.
    pub(super) fn take(&self, key: &Key) -> Option<(Connection<B>, Duration)> {
        let now = Instant::now();
        let mut idle = self.idle();
        loop {
            let Resting { connection, since } = idle.pop(key)?;
            let rested = now - since;
            if !connection.is_closed() && rested < idle.limits.idle {
                return Some((connection, rested));
            }
        }
    }

    /// Keeps a connection, and lets the oldest go where there are too many.
    pub(super) fn put(&self, key: Key, connection: Connection<B>) {
        if connection.is_closed() {
            return;
        }
        self.idle().push(key, Resting { connection, since: Instant::now() });
    }

    fn idle(&self) -> MutexGuard<'_, Idle<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Send + 'static> Pool<B> {
    /// Sees to it that somebody lets go of connections that rested too long. That task ends with
    /// the pool.
    pub(super) fn sweep(&self) {
        let mut idle = self.idle();
        if idle.sweeper.is_none() {
            let every = (idle.limits.idle / 4).clamp(Duration::from_millis(10), Duration::from_secs(5));
            let swept = tokio::spawn(sweep(Arc::downgrade(&self.0), every));
            idle.sweeper = Some(swept.abort_handle());
        }
    }
}

async fn sweep<B>(pool: Weak<Mutex<Idle<B>>>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.lock().unwrap_or_else(PoisonError::into_inner).drop_stale(Instant::now());
    }
}

impl<B> Idle<B> {
    fn pop(&mut self, key: &Key) -> Option<Resting<B>> {
        let queue = self.connections.get_mut(key)?;
        let popped = queue.pop_back();
        if queue.is_empty() {
            self.connections.remove(key);
        }
        self.count -= usize::from(popped.is_some());
        popped
    }

    fn push(&mut self, key: Key, resting: Resting<B>) {
        let queue = self.connections.entry(key).or_default();
        queue.push_back(resting);
        self.count += 1;
        if queue.len() > self.limits.per_key {
            queue.pop_front();
            self.count -= 1;
        }
        if self.count > self.limits.altogether {
            self.drop_oldest();
        }
        self.connections.retain(|_, queue| !queue.is_empty());
    }

    /// Looks at every key, which are no more than the limit: rarer and cheaper than a second order
    /// kept beside the first.
    fn drop_oldest(&mut self) {
        let oldest = self.connections.values_mut().min_by_key(|queue| queue.front().map(|resting| resting.since));
        if oldest.and_then(VecDeque::pop_front).is_some() {
            self.count -= 1;
        }
    }

    fn drop_stale(&mut self, now: Instant) {
        let idle = self.limits.idle;
        self.connections.retain(|_, queue| {
            queue.retain(|resting| !resting.connection.is_closed() && now - resting.since < idle);
            !queue.is_empty()
        });
        self.count = self.connections.values().map(VecDeque::len).sum();
    }
}

impl<B> Drop for Idle<B> {
    fn drop(&mut self) {
        if let Some(sweeper) = &self.sweeper {
            sweeper.abort();
        }
    }
}

impl<B> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
