//! Any engine, with its commits counted and its health told.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{broadcast, watch};

use super::{Backend, Freshness, Loaded, Pending, StoreError, Stored, Told, Write};
use crate::metrics::{Counter, Durations, Registry};
use crate::readiness::Readiness;

/// The part of the readiness that this is about.
const PART: &str = "store";

/// An engine that is watched.
pub(super) struct Measured {
    engine: Arc<dyn Backend>,
    commits: Counter,
    failures: Counter,
    latency: Durations,
    readiness: Readiness,
}

impl Measured {
    pub(super) fn new(engine: Arc<dyn Backend>, registry: &Registry, readiness: &Readiness) -> Self {
        Self {
            engine,
            commits: registry.counter("subrosa_store_commits", "Commits that are on stable storage"),
            failures: registry.counter("subrosa_store_failures", "Commits that failed; conflicts are none"),
            latency: registry.durations("subrosa_store_commit", "From a commit to its being on stable storage"),
            readiness: readiness.clone(),
        }
    }

    fn note(&self, outcome: &Result<Vec<u64>, StoreError>) {
        match outcome {
            Ok(_) => {
                self.commits.add(1);
                self.readiness.clear(PART);
            }
            Err(StoreError::Failed(why) | StoreError::Unknown { why }) => {
                self.failures.add(1);
                // How far a shared one is behind is told elsewhere; every process would be taken for unfit at once.
                if !self.engine.is_shared() {
                    self.readiness.fault(PART, why);
                }
            }
            // Somebody else was faster: nothing is wrong with the engine.
            Err(StoreError::Conflict { .. } | StoreError::InUse { .. }) => {}
        }
    }
}

impl Backend for Measured {
    fn load(&self, prefixes: &[&str]) -> Pending<'_, Result<Loaded, StoreError>> {
        self.engine.load(prefixes)
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
        self.engine.page(prefix, after, limit)
    }

    fn read(&self, key: &str) -> Pending<'_, Result<Option<Stored>, StoreError>> {
        self.engine.read(key)
    }

    fn commit(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(async move {
            let began = Instant::now();
            let outcome = self.engine.commit(writes).await;
            self.latency.record(began.elapsed());
            self.note(&outcome);
            outcome
        })
    }

    fn watch(&self) -> broadcast::Receiver<Told> {
        self.engine.watch()
    }

    fn freshness(&self) -> watch::Receiver<Freshness> {
        self.engine.freshness()
    }

    fn is_shared(&self) -> bool {
        self.engine.is_shared()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Engine, Expect, open};
    use super::*;

    /// Fails as told.
    struct Failing(StoreError);

    impl Backend for Failing {
        fn load(&self, _: &[&str]) -> Pending<'_, Result<Loaded, StoreError>> {
            Box::pin(std::future::ready(Ok(Loaded::default())))
        }

        fn page(&self, _: &str, _: Option<&str>, _: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn read(&self, _: &str) -> Pending<'_, Result<Option<Stored>, StoreError>> {
            Box::pin(std::future::ready(Ok(None)))
        }

        fn commit(&self, _: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
            let failure = match &self.0 {
                StoreError::Failed(why) => StoreError::Failed(why.clone()),
                StoreError::Unknown { why } => StoreError::Unknown { why: why.clone() },
                _ => StoreError::Conflict { key: "a".to_owned() },
            };
            Box::pin(std::future::ready(Err(failure)))
        }

        fn watch(&self) -> broadcast::Receiver<Told> {
            broadcast::channel(1).1
        }

        fn freshness(&self) -> watch::Receiver<Freshness> {
            Freshness::always()
        }

        fn is_shared(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_failure_is_told_until_a_commit_succeeds_and_a_conflict_is_none() {
        let (registry, readiness) = (Registry::new(), Readiness::new());
        let put = || vec![Write::Put { key: "a".to_owned(), expect: Expect::Absent, bytes: Vec::new() }];
        let broken = Measured::new(Arc::new(Failing(StoreError::Failed("no disk".to_owned()))), &registry, &readiness);
        assert!(broken.commit(put()).await.is_err());
        assert_eq!(readiness.faults(), [("store".to_owned(), "no disk".to_owned())]);
        assert_eq!((broken.commits.value(), broken.failures.value()), (0, 1));
        let lost = Measured::new(Arc::new(Failing(StoreError::Unknown { why: "no answer".to_owned() })), &registry, &readiness);
        assert!(lost.commit(put()).await.is_err());
        assert_eq!(readiness.faults(), [("store".to_owned(), "no answer".to_owned())]);
        let sound = Measured::new(open(Engine::Memory).await.expect("opens"), &Registry::new(), &readiness);
        sound.commit(put()).await.expect("it is absent");
        assert_eq!(readiness.faults(), []);
        assert!(sound.commit(put()).await.is_err(), "it is there already");
        assert_eq!((sound.commits.value(), sound.failures.value(), readiness.faults().len()), (1, 0, 0));
    }
}
