//! The list of all batches, in memory: where each entry lies, which batches go next, and what is missing.

use std::collections::BTreeMap;

use super::batch::{self, Batch};
use super::node::NodeName;
use crate::audit::Recorded;
use crate::seal::Sealer;
use crate::store::{Backend, StoreError, Write};

/// Batches are read so many at a time when the list is made.
const PAGE: usize = 32;
/// A batch with fewer entries is small: the next one takes it in, once they make this many together.
pub(super) const SMALL: u64 = 64;
/// So many batches at most go in one commit (etcd takes 128 operations).
pub(super) const GO: usize = 64;
/// So much longer than they are kept the batches of other nodes stay, in milliseconds: who is there removes its own.
const GRACE: i64 = 3_600_000;

/// How long entries are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Older ones go, in milliseconds.
    pub(super) keep: i64,
    /// Of more than these of one node the oldest go; 0 keeps none.
    pub(super) entries: u64,
}

/// The list of all batches.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    batches: BTreeMap<NodeName, BTreeMap<u64, Batch>>,
}

impl Trail {
    /// Goes through everything that is stored.
    pub(super) async fn load(backend: &dyn Backend) -> Result<Self, StoreError> {
        let mut trail = Self::default();
        let mut after: Option<String> = None;
        loop {
            let page = backend.page(batch::PREFIX, after.as_deref(), PAGE).await?;
            page.iter().filter_map(Batch::listed).for_each(|batch| trail.put(batch));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(trail),
            }
        }
    }

    pub(super) fn put(&mut self, batch: Batch) {
        self.batches.entry(batch.node.clone()).or_default().insert(batch.first, batch);
    }

    pub(super) fn remove(&mut self, batch: &Batch) {
        if let Some(batches) = self.batches.get_mut(&batch.node) {
            batches.remove(&batch.first);
        }
    }

    /// The nodes that wrote something.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.batches.keys()
    }

    /// The batches of `node` with entries below the number `below`, the newest first.
    pub(super) fn before(&self, node: &NodeName, below: u64) -> impl Iterator<Item = &Batch> {
        let batches = self.batches.get(node).into_iter().flat_map(BTreeMap::values);
        batches.rev().filter(move |batch| batch.first < below)
    }

    /// The batches of `node` with entries above the number `above`, the oldest first.
    pub(super) fn after(&self, node: &NodeName, above: u64) -> impl Iterator<Item = &Batch> {
        let batches = self.batches.get(node);
        batches.into_iter().flat_map(BTreeMap::values).filter(move |batch| batch.last > above)
    }

    /// The number of the next entry of `node`.
    pub(super) fn next(&self, node: &NodeName) -> u64 {
        self.batches.get(node).and_then(|batches| batches.last_key_value()).map_or(1, |(_, batch)| batch.last + 1)
    }

    /// How many entries of `node` there are.
    pub(super) fn count(&self, node: &NodeName) -> u64 {
        self.batches.get(node).into_iter().flat_map(BTreeMap::values).map(Batch::count).sum()
    }

    /// Small batches at the end of `node`, which the next one may take in; the oldest first.
    pub(super) fn small(&self, node: &NodeName) -> Vec<Batch> {
        let mut small = Vec::new();
        let (mut next, mut count) = (self.next(node), 0);
        for batch in self.before(node, u64::MAX) {
            count += batch.count();
            if batch.fault.is_some() || batch.last + 1 != next || count >= SMALL {
                break;
            }
            next = batch.first;
            small.insert(0, batch.clone());
        }
        small
    }

    /// Batches of `node` that go now, at most so many as go in one commit: too old ones, and those over its number, with
    /// `coming` more entries. The last stays.
    pub(super) fn outdated(&self, node: &NodeName, bounds: Bounds, (now, coming): (i64, u64)) -> Vec<Batch> {
        let oldest = now.saturating_sub(bounds.keep);
        let Some(batches) = self.batches.get(node) else { return Vec::new() };
        let (mut count, mut doubtful, mut goes) = (self.count(node) + coming, Vec::new(), Vec::new());
        let last = usize::from(coming == 0);
        for batch in batches.values().take(batches.len().saturating_sub(last)) {
            let over = count > bounds.entries;
            if batch.fault.is_some() && !over {
                // When it was is not known; it goes with the next that goes.
                doubtful.push(batch.clone());
                continue;
            }
            if !over && batch.to >= oldest {
                break;
            }
            goes.append(&mut doubtful);
            count -= batch.count();
            goes.push(batch.clone());
        }
        goes.truncate(GO);
        goes
    }

    /// Batches of other nodes that are so old that a node which is there would have removed them; its last one too. At most
    /// so many as go in one commit.
    pub(super) fn abandoned(&self, node: &NodeName, bounds: Bounds, now: i64) -> Vec<Batch> {
        let oldest = now.saturating_sub(bounds.keep).saturating_sub(GRACE);
        let of_others = self.batches.iter().filter(|(of, _)| *of != node).flat_map(|(_, batches)| batches.values());
        of_others.filter(|batch| batch.to < oldest && batch.fault.is_none()).take(GO).cloned().collect()
    }

    /// The nodes of which nothing is left without these.
    pub(super) fn nodes_without(&self, goes: &[Batch]) -> Vec<NodeName> {
        let left = |batches: &BTreeMap<u64, Batch>| batches.values().any(|batch| !goes.contains(batch));
        let concerned = self.batches.iter().filter(|(of, _)| goes.iter().any(|batch| batch.node == **of));
        concerned.filter(|(_, batches)| !left(batches)).map(|(of, _)| of.clone()).collect()
    }

    /// Lists a batch, unless a later one is listed in its place. Whether it is.
    pub(super) fn put_newer(&mut self, batch: Batch) -> bool {
        let known = self.batches.get(&batch.node).and_then(|batches| batches.get(&batch.first));
        let is_newer = known.is_none_or(|known| known.version < batch.version);
        if is_newer {
            self.put(batch);
        }
        is_newer
    }

    /// What lay at `key` was removed at `revision`.
    pub(super) fn remove_older(&mut self, key: &str, revision: u64) {
        for batches in self.batches.values_mut() {
            batches.retain(|_, batch| batch.version > revision || batch.key() != key);
        }
        self.batches.retain(|_, batches| !batches.is_empty());
    }

    /// What is listed of other nodes is that of `fresh` from now on.
    pub(super) fn exchange_others(&mut self, node: &NodeName, mut fresh: Self) {
        fresh.batches.remove(node);
        fresh.batches.extend(self.batches.remove(node).map(|own| (node.clone(), own)));
        *self = fresh;
    }

    /// In sentences: batches that cannot be read, and entries that are missing between others.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        for (node, batches) in &self.batches {
            let mut expected = None;
            for batch in batches.values() {
                match (batch.fault, expected) {
                    (Some(fault), _) => {
                        notices.push(format!(
                            "The batch of node {node} that begins with entry {} cannot be read: {fault}.",
                            batch.first
                        ));
                        expected = None;
                        continue;
                    }
                    (None, Some(expected)) if expected != batch.first => notices.push(format!(
                        "Entries {expected} to {} of node {node} are missing: somebody took them away.",
                        batch.first - 1
                    )),
                    _ => {}
                }
                expected = Some(batch.last + 1);
            }
        }
        notices
    }
}

/// The removal of a batch.
pub(super) fn removal(batch: &Batch) -> Write {
    Write::Remove { key: batch.key(), version: batch.version }
}

/// Reads the entries of a batch. `None` if it is gone: taken in by another, or too old.
pub(super) async fn read(
    backend: &dyn Backend,
    sealer: &Sealer,
    batch: &Batch,
) -> Result<Option<Result<Vec<Recorded>, String>>, StoreError> {
    let stored = backend.read(&batch.key()).await?;
    Ok(stored.map(|stored| batch.open(sealer, &stored)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("a name")
    }

    fn trail(batches: &[(u64, u64)]) -> Trail {
        let mut trail = Trail::default();
        for (first, last) in batches {
            let (from, to) = (i64::try_from(*first).expect("small"), i64::try_from(*last).expect("small"));
            trail.put(Batch { node: node("a"), first: *first, last: *last, from, to, version: 1, fault: None });
        }
        trail
    }

    fn lasts(batches: &[Batch]) -> Vec<u64> {
        batches.iter().map(|batch| batch.last).collect()
    }

    #[test]
    fn small_batches_at_the_end_are_taken_in() {
        let small = |batches: &[(u64, u64)]| lasts(&trail(batches).small(&node("a")));
        assert_eq!(small(&[]), [0; 0]);
        assert_eq!(small(&[(1, 100), (101, 101), (102, 110)]), [101, 110]);
        assert_eq!(small(&[(1, 60), (61, 70)]), [70], "together they are not small");
        assert_eq!(small(&[(1, 1), (3, 3)]), [3], "one between them is missing");
    }

    #[test]
    fn the_oldest_go_by_age_and_by_number_and_the_last_stays() {
        let trail = trail(&[(1, 10), (11, 20), (21, 30)]);
        let goes = |keep, entries, now| lasts(&trail.outdated(&node("a"), Bounds { keep, entries }, (now, 0)));
        assert_eq!(goes(100, 100, 30), [0; 0]);
        assert_eq!(goes(15, 100, 30), [10]);
        assert_eq!(goes(1, 100, 99), [10, 20]);
        assert_eq!(goes(100, 30, 30), [0; 0]);
        assert_eq!(goes(100, 29, 30), [10]);
        assert_eq!(goes(100, 0, 30), [10, 20]);
        let coming = |coming| lasts(&trail.outdated(&node("a"), Bounds { keep: 100, entries: 30 }, (30, coming)));
        assert_eq!((coming(10), coming(11), coming(99)), (vec![10], vec![10, 20], vec![10, 20, 30]));
        let of_another = |keep, now| lasts(&trail.abandoned(&node("b"), Bounds { keep, entries: 0 }, now));
        assert_eq!(of_another(15, GRACE + 25), [0; 0], "whoever is there removes its own");
        assert_eq!(of_another(15, GRACE + 26), [10], "only by age");
        assert_eq!(of_another(15, GRACE + 46), [10, 20, 30], "the last goes too");
        assert!(trail.abandoned(&node("a"), Bounds { keep: 15, entries: 0 }, GRACE + 99).is_empty());
        assert_eq!(trail.nodes_without(&trail.abandoned(&node("b"), Bounds { keep: 15, entries: 0 }, GRACE + 46)), [node("a")]);
    }

    #[test]
    fn what_is_missing_between_others_is_told() {
        assert_eq!(trail(&[(5, 9), (10, 12)]).notices(), [""; 0]);
        let told = trail(&[(5, 9), (12, 12)]).notices();
        assert_eq!(told, ["Entries 10 to 11 of node a are missing: somebody took them away."]);
    }
}
