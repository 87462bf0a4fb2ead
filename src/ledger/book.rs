//! The book: what the store holds as last known, and what every change does to those who follow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::manifest::{self, Manifest};
use super::names::Names;
use super::record::{Entry, Kind, Record, RecordKey};
use super::{Follower, LedgerError};
use crate::store::{Expect, Write};

/// Of more records than these that changed at once followers are not told one by one.
const FEW: usize = 64;

/// What the store holds, as last known.
pub(super) struct Book {
    pub(super) manifest: Manifest,
    /// Versions of the store by its keys, the manifest's included.
    pub(super) versions: HashMap<String, u64>,
    pub(super) entries: BTreeMap<RecordKey, Entry>,
    /// Envelopes of those that are listed, open, and are of a later version: faulty here, and of use to that.
    pub(super) later: BTreeMap<RecordKey, Vec<u8>>,
    pub(super) names: Names,
    pub(super) followers: Vec<(Kind, Arc<dyn Follower>)>,
    /// Everything up to this revision of the store was loaded.
    pub(super) loaded: u64,
    /// The newest revision that is in here.
    pub(super) seen: u64,
    /// Commits of this process that are in here, and that the store has not told of yet.
    pub(super) own: BTreeSet<u64>,
}

impl Book {
    /// One that nobody follows yet, as it was loaded at `revision`.
    pub(super) fn loaded(manifest: Manifest, versions: HashMap<String, u64>, revision: u64) -> Self {
        Self {
            manifest,
            versions,
            entries: BTreeMap::new(),
            later: BTreeMap::new(),
            names: Names::default(),
            followers: Vec::new(),
            loaded: revision,
            seen: revision,
            own: BTreeSet::new(),
        }
    }

    /// The version of the manifest's root, by which all writes of records are put in an order.
    pub(super) fn root(&self) -> u64 {
        self.versions.get(manifest::KEY).copied().unwrap_or_default()
    }

    /// A put over what is there now.
    pub(super) fn put(&self, key: String, bytes: Vec<u8>) -> Write {
        let expect = self.versions.get(&key).map_or(Expect::Absent, |version| Expect::Version(*version));
        Write::Put { key, expect, bytes }
    }

    pub(super) fn of_kind(&self, kind: &Kind) -> Vec<Entry> {
        self.entries.values().filter(|entry| entry.key().kind == *kind).cloned().collect()
    }

    pub(super) fn check_revision(&self, key: &RecordKey, revision: Option<u64>) -> Result<(), LedgerError> {
        let now = self.entries.get(key).and_then(Entry::revision);
        if now == revision { Ok(()) } else { Err(LedgerError::Stale) }
    }

    pub(super) fn check_name(&self, record: &Record) -> Result<(), LedgerError> {
        let taken = self.names.is_taken(&record.key, &record.header.name);
        if taken { Err(LedgerError::NameTaken) } else { Ok(()) }
    }

    /// Holds what lies at `key` now, and tells the followers first.
    pub(super) fn hold(&mut self, key: &RecordKey, now: Option<Entry>) {
        self.later.remove(key);
        for (_, follower) in self.followers.iter().filter(|(kind, _)| *kind == key.kind) {
            follower.changed(key, now.as_ref());
        }
        if let Some(before) = self.entries.remove(key) {
            self.names.free(&before);
        }
        if let Some(entry) = now {
            self.names.hold(&entry);
            self.entries.insert(key.clone(), entry);
        }
    }

    /// Notes a commit of this process at `revision`, of which the store will tell if it `is_told`.
    pub(super) fn note_own(&mut self, revision: u64, versions: impl IntoIterator<Item = (String, u64)>, is_told: bool) {
        self.versions.extend(versions);
        self.seen = self.seen.max(revision);
        if is_told {
            self.own.insert(revision);
        }
    }

    /// Takes the place of what is here with what was loaded, and tells the followers of what differs. False, and nothing
    /// is changed, where more was in here already; an error where the store says less than it did.
    pub(super) fn exchange(&mut self, fresh: Self) -> Result<bool, LedgerError> {
        if fresh.seen < self.seen {
            return Ok(false);
        }
        self.manifest.check_follows(&fresh.manifest)?;
        let Self { manifest, versions, mut entries, later, names, loaded, seen, .. } = fresh;
        let mut differ = BTreeSet::new();
        for (key, entry) in &mut entries {
            match self.entries.get(key) {
                // The very record: whoever holds it need not let go of it.
                Some(known) if is_same(known, entry) => *entry = known.clone(),
                _ => drop(differ.insert(key.clone())),
            }
        }
        differ.extend(self.entries.keys().filter(|key| !entries.contains_key(key)).cloned());
        if differ.len() <= FEW {
            for key in &differ {
                self.hold(key, entries.get(key).cloned());
            }
        } else {
            (self.entries, self.names) = (entries, names);
            for (kind, follower) in &self.followers {
                follower.reset(self.of_kind(kind));
            }
        }
        (self.manifest, self.versions, self.later) = (manifest, versions, later);
        (self.loaded, self.seen) = (loaded, seen);
        self.own.retain(|revision| *revision > loaded);
        Ok(true)
    }
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    match (one, other) {
        (Entry::Sound(one), Entry::Sound(other)) => one.envelope == other.envelope,
        (Entry::Faulty(one), Entry::Faulty(other)) => one == other,
        _ => false,
    }
}
