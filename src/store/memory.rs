//! The engine for tests and for sidecars that declare everything: a map in this process's memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use super::{Backend, Changed, Expect, Freshness, Loaded, Pending, StoreError, Stored, Told, Write};

/// How many commits a follower may lag behind.
const WATCH_CAPACITY: usize = 1024;

/// A store in memory.
pub(super) struct Memory {
    map: Mutex<Map>,
    told: broadcast::Sender<Told>,
    is_shared: bool,
}

#[derive(Default)]
struct Map {
    /// Never used twice, so that a key that came back never has a version it had before.
    revision: u64,
    keys: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Memory {
    /// `is_shared`: whether it says that others write.
    pub(super) fn new(is_shared: bool) -> Self {
        Self { map: Mutex::default(), told: broadcast::Sender::new(WATCH_CAPACITY), is_shared }
    }

    /// A panic elsewhere cannot have left the map half changed: it changes only in a commit, where
    /// nothing panics.
    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_now(&self, writes: Vec<Write>) -> Result<Vec<u64>, StoreError> {
        let mut map = self.map();
        map.check(&writes)?;
        map.revision += 1;
        let revision = map.revision;
        let puts = writes.iter().filter(|write| matches!(write, Write::Put { .. })).count();
        let changes = writes.into_iter().map(|write| map.carry_out(write, revision)).collect();
        // Nobody listening is no fault.
        let _ = self.told.send(Told::Commit { revision, changes });
        Ok(vec![revision; puts])
    }
}

fn stored((key, (version, bytes)): (&String, &(u64, Vec<u8>))) -> Stored {
    Stored { key: key.clone(), version: *version, bytes: bytes.clone() }
}

impl Map {
    fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        let version = |key: &String| self.keys.get(key).map(|(version, _)| *version);
        let failed = writes.iter().find_map(|write| match write {
            Write::Put { key, expect: Expect::Absent, .. } => version(key).is_some().then_some(key),
            Write::Put { key, expect: Expect::Version(expected), .. } | Write::Remove { key, version: expected } => {
                (version(key) != Some(*expected)).then_some(key)
            }
        });
        failed.map_or(Ok(()), |key| Err(StoreError::Conflict { key: key.clone() }))
    }

    fn carry_out(&mut self, write: Write, revision: u64) -> Changed {
        match write {
            Write::Put { key, bytes, .. } => {
                self.keys.insert(key.clone(), (revision, bytes.clone()));
                Changed { key, now: Some((revision, bytes)) }
            }
            Write::Remove { key, .. } => {
                self.keys.remove(&key);
                Changed { key, now: None }
            }
        }
    }
}

impl Backend for Memory {
    fn load(&self, prefixes: &[&str]) -> Pending<'_, Result<Loaded, StoreError>> {
        let map = self.map();
        let wanted = map.keys.iter().filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix)));
        let loaded = Loaded { revision: map.revision, stored: wanted.map(stored).collect() };
        Box::pin(std::future::ready(Ok(loaded)))
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
        let from = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let map = self.map();
        let behind = map.keys.range::<str, _>((from, Bound::Unbounded));
        let found: Vec<_> = behind.take_while(|(key, _)| key.starts_with(prefix)).take(limit).map(stored).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn read(&self, key: &str) -> Pending<'_, Result<Option<Stored>, StoreError>> {
        let found = self.map().keys.get_key_value(key).map(stored);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn commit(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(async move { self.commit_now(writes) })
    }

    fn watch(&self) -> broadcast::Receiver<Told> {
        self.told.subscribe()
    }

    fn freshness(&self) -> watch::Receiver<Freshness> {
        Freshness::always()
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }
}
