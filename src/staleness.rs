//! How far what this process knows may be behind what is stored, and from when on that is not trusted any more.
//!
//! A process that shares its store goes on from what it knows when it cannot hear of changes, for as long as it is told
//! (`store.stale_for`). Beyond that a right that was taken away could go on for ever, so whatever rests on the store is refused.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it is trusted unless somebody says otherwise.
const TRUSTED: Duration = Duration::from_mins(10);
/// In the place of a time: what is known is what is stored.
const CURRENT: u64 = u64::MAX;

/// How old what is known may be. Shared by everybody; asking costs nothing.
#[derive(Clone)]
pub struct Staleness(Arc<Inner>);

struct Inner {
    base: Instant,
    /// Milliseconds from `base` to when everything was known last.
    since: AtomicU64,
    /// In milliseconds.
    trusted_for: AtomicU64,
    why: Mutex<String>,
}

/// What is known is too old to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "What is stored is not known here any more: {why}. That has lasted for {}, longer than store.stale_for ({}), so whatever rests on \
     the store is refused until it can be reached again.",
    Shown(*.behind), Shown(*.trusted_for)
)]
pub struct Stale {
    /// How far behind.
    behind: Duration,
    trusted_for: Duration,
    why: String,
}

/// A span as people read it, without parts that change while they read.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Duration::from_secs(self.0.as_secs());
        let shown = if whole.is_zero() { self.0 } else { whole };
        humantime::format_duration(shown).fmt(f)
    }
}

impl Default for Staleness {
    fn default() -> Self {
        Self(Arc::new(Inner {
            base: Instant::now(),
            since: AtomicU64::new(CURRENT),
            trusted_for: AtomicU64::new(millis(TRUSTED)),
            why: Mutex::default(),
        }))
    }
}

impl Staleness {
    /// From now on what is known is trusted for so long.
    pub fn trust_for(&self, span: Duration) {
        self.0.trusted_for.store(millis(span), Ordering::Relaxed);
    }

    /// Everything is known up to `since`, and why no more: a clause that can follow a colon.
    pub fn behind(&self, since: Instant, why: &str) {
        why.trim_end_matches('.').clone_into(&mut self.0.why.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.since.store(millis(since.saturating_duration_since(self.0.base)), Ordering::Relaxed);
    }

    /// Everything is known.
    pub fn current(&self) {
        self.0.since.store(CURRENT, Ordering::Relaxed);
    }

    /// How far behind, if at all.
    pub fn age(&self) -> Option<Duration> {
        match self.0.since.load(Ordering::Relaxed) {
            CURRENT => None,
            since => Some(self.0.base.elapsed().saturating_sub(Duration::from_millis(since))),
        }
    }

    /// That what is known is trusted still.
    pub fn check(&self) -> Result<(), Stale> {
        let Some(behind) = self.age() else { return Ok(()) };
        let trusted_for = Duration::from_millis(self.0.trusted_for.load(Ordering::Relaxed));
        if behind <= trusted_for { Ok(()) } else { Err(Stale { behind, trusted_for, why: self.why() }) }
    }

    /// How old it is, why, and how long it is trusted still: one sentence for people. `None`: everything is known.
    pub fn notice(&self) -> Option<String> {
        let age = self.age()?;
        if let Err(stale) = self.check() {
            return Some(stale.to_string());
        }
        let (why, trusted_for) = (self.why(), Duration::from_millis(self.0.trusted_for.load(Ordering::Relaxed)));
        Some(format!(
            "What is stored was known here last {} ago: {why}. Nothing can be changed, and what was changed since then is not known; \
             requests go on for another {}.",
            Shown(age),
            Shown(trusted_for.saturating_sub(age))
        ))
    }

    fn why(&self) -> String {
        self.0.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(CURRENT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_trusted_for_a_while_and_again_once_it_is_current() {
        let staleness = Staleness::default();
        assert_eq!((staleness.check(), staleness.notice()), (Ok(()), None));
        let ago = |span| Instant::now().checked_sub(span).expect("the machine runs longer");
        staleness.trust_for(Duration::from_hours(1));
        staleness.behind(ago(Duration::from_millis(5)), "etcd does not answer.");
        assert_eq!(staleness.check(), Ok(()));
        let notice = staleness.notice().expect("it is behind");
        assert!(notice.contains("etcd does not answer. Nothing can be changed"), "{notice}");
        staleness.trust_for(Duration::ZERO);
        while staleness.check().is_ok() {}
        let stale = staleness.check().expect_err("it is not trusted").to_string();
        assert!(stale.contains("etcd does not answer. That has lasted for") && stale.contains("store.stale_for (0s)"), "{stale}");
        staleness.current();
        assert_eq!((staleness.check(), staleness.age()), (Ok(()), None));
    }
}
