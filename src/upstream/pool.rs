//! Idle connections, kept per tenant and origin: few, not for long, and never shared further.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connection::Connection;
use super::home::Key;
use super::settings::Settings;
use crate::metrics::{Gauge, Held};

/// The idle connections of one worker.
pub(super) struct Pool<B>(Arc<Mutex<Idle<B>>>);

struct Idle<B> {
    /// The oldest first.
    connections: HashMap<Key, VecDeque<Resting<B>>>,
    count: usize,
    limits: Limits,
    resting: Gauge,
    sweeper: Option<AbortHandle>,
}

struct Resting<B> {
    connection: Connection<B>,
    since: Instant,
    _counted: Held,
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
        let resting = settings.measures.resting.clone();
        Self(Arc::new(Mutex::new(Idle { connections: HashMap::new(), count: 0, limits, resting, sweeper: None })))
    }

    /// The connection that rested the shortest, and for how long it did.
    pub(super) fn take(&self, key: &Key) -> Option<(Connection<B>, Duration)> {
        let now = Instant::now();
        let mut idle = self.idle();
        loop {
            let Resting { connection, since, .. } = idle.pop(key)?;
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
        let mut idle = self.idle();
        let counted = idle.resting.hold();
        idle.push(key, Resting { connection, since: Instant::now(), _counted: counted });
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
    }

    /// Looks at every key, which are no more than the limit: rarer and cheaper than a second order
    /// kept beside the first.
    fn drop_oldest(&mut self) {
        let age = |(_, queue): &(&Key, &VecDeque<Resting<B>>)| queue.front().map(|resting| resting.since);
        let oldest = self.connections.iter().min_by_key(age).map(|(key, _)| key.clone());
        let Some(queue) = oldest.as_ref().and_then(|key| self.connections.get_mut(key)) else { return };
        self.count -= usize::from(queue.pop_front().is_some());
        if queue.is_empty()
            && let Some(key) = oldest
        {
            self.connections.remove(&key);
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::super::lane::Speech;
    use super::super::test_server::{SOON, Server, fetch, fetch_as, request, settings, tenant, upstream};
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    /// Answers with [`OK`], and tells the number of each connection that its client closed.
    async fn telling_of_closure() -> (Server, mpsc::UnboundedReceiver<usize>) {
        let (tell, told) = mpsc::unbounded_channel();
        let server = Server::start(move |mut visit| {
            let tell = tell.clone();
            async move {
                while visit.head().await.is_some() {
                    visit.say(OK).await;
                }
                let _ = tell.send(visit.number);
            }
        })
        .await;
        (server, told)
    }

    #[tokio::test]
    async fn tenants_share_nothing() {
        let server = Server::answering(OK).await;
        let upstream = upstream(settings());
        for (name, expected) in [("a", 1), ("b", 2), ("a", 2), ("b", 2), ("c", 3)] {
            fetch_as(&upstream, &server.origin(), "GET", (name, None)).await.expect("an answer");
            assert_eq!(server.accepted(), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_lane_that_is_not_used_gives_its_connection_back() {
        let server = Server::answering(OK).await;
        let upstream = upstream(settings());
        fetch(&upstream, &server.origin(), "GET").await.expect("an answer");
        for _ in 0..3 {
            drop(upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane"));
        }
        fetch(&upstream, &server.origin(), "GET").await.expect("an answer");
        assert_eq!(server.accepted(), 1);
    }

    #[tokio::test]
    async fn connections_that_rested_too_long_are_closed() {
        let (server, mut closed) = telling_of_closure().await;
        let upstream = upstream(Settings { idle: Duration::from_millis(50), ..settings() });
        fetch(&upstream, &server.origin(), "GET").await.expect("an answer");
        assert_eq!(timeout(SOON, closed.recv()).await, Ok(Some(1)));
        assert_eq!(upstream.pool.idle().count, 0);
        assert!(upstream.pool.idle().connections.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_go_where_there_are_too_many() {
        for (per_key, altogether) in [(2, 64), (8, 2), (0, 64), (8, 0)] {
            let (server, mut closed) = telling_of_closure().await;
            let upstream = upstream(Settings { max_idle_per_key: per_key, max_idle: altogether, ..settings() });
            let mut responses = Vec::new();
            for _ in 0..3 {
                let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
                responses.push(lane.send(request("GET", "")).await.expect("a head"));
            }
            for response in responses {
                use http_body_util::BodyExt as _;
                drop(response.into_body().collect().await.expect("content"));
            }
            let kept = per_key.min(altogether);
            for _ in kept..3 {
                timeout(SOON, closed.recv()).await.expect("in time");
            }
            assert!(closed.try_recv().is_err(), "no more than that");
            let idle = upstream.pool.idle();
            let queued: usize = idle.connections.values().map(VecDeque::len).sum();
            assert_eq!((idle.count, queued), (kept, kept));
        }
    }

    #[tokio::test]
    async fn connections_that_the_upstream_closed_do_not_linger() {
        let server = Server::start(|mut visit| async move {
            visit.head().await;
            visit.say(OK).await;
        })
        .await;
        let upstream = upstream(Settings { idle: Duration::from_secs(2), ..settings() });
        fetch(&upstream, &server.origin(), "GET").await.expect("an answer");
        let gone = async {
            while upstream.pool.idle().count > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_millis(1500), gone).await.expect("before its time to rest was over");
    }
}
