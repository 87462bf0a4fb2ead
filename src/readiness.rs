//! Whether the server can do its work, and if not, why: each part says so for itself.
//!
//! A part is ready until it says otherwise. Reasons are sentences for whoever operates the server;
//! they hold no name of a secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What stands in the way of readiness, by part. Shared by everybody.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, String>>>);

impl Readiness {
    /// Nothing stands in the way.
    pub fn new() -> Self {
        Self::default()
    }

    /// `part` is not ready, and why: a clause that can follow a colon.
    pub fn fault(&self, part: &str, reason: impl Into<String>) {
        self.faults_by_part().insert(part.to_owned(), reason.into());
    }

    /// `part` is ready again.
    pub fn clear(&self, part: &str) {
        self.faults_by_part().remove(part);
    }

    /// What stands in the way now, by part; empty when everything is ready.
    pub fn faults(&self) -> Vec<(String, String)> {
        self.faults_by_part().iter().map(|(part, reason)| (part.clone(), reason.clone())).collect()
    }

    /// Says that `part` has died, should what this answers be dropped by a panic.
    pub fn alive(&self, part: impl Into<String>) -> Alive {
        Alive { readiness: self.clone(), part: part.into() }
    }

    fn faults_by_part(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part that must live as long as the server does.
#[derive(Debug)]
pub struct Alive {
    readiness: Readiness,
    part: String,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(part = self.part, "a part of the server has died; restart subrosa");
            self.readiness.fault(&self.part, "it has died; restart subrosa");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_in_the_way_until_it_is_ready_again() {
        let readiness = Readiness::new();
        readiness.fault("store", "it cannot be written");
        readiness.fault("store", "the disk is full");
        assert_eq!(readiness.faults(), [("store".to_owned(), "the disk is full".to_owned())]);
        readiness.clear("store");
        assert_eq!(readiness.faults(), []);
    }

    #[test]
    fn a_part_that_dies_is_told_and_one_that_ends_is_not() {
        let readiness = Readiness::new();
        drop(readiness.alive("worker-0"));
        assert_eq!(readiness.faults(), []);
        let died = readiness.alive("worker-1");
        let outcome = std::thread::spawn(move || {
            let _alive = died;
            panic!("as a test");
        });
        assert!(outcome.join().is_err());
        assert_eq!(readiness.faults()[0].0, "worker-1");
    }
}
