//! One kind of record in memory: by key, by name and by token, behind one atomic pointer that
//! follows the ledger.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;

use crate::ledger::{Entry, Faulty, Follower, Header, Kind, Ledger, Record, RecordKey};
use crate::secret::OrganizationName;
use crate::token::TokenHash;

/// What a kind of record says beside its name.
pub(super) trait Kept: DeserializeOwned + Send + Sync + 'static {
    /// The word for it.
    const KIND: Kind;
    /// The token that stands for it, if one does.
    fn token(&self) -> Option<TokenHash> {
        None
    }
}

/// A sound record with what it says.
pub(super) struct Row<T> {
    pub(super) record: Arc<Record>,
    pub(super) what: T,
}

impl<T> Row<T> {
    pub(super) fn header(&self) -> &Header {
        self.record.header()
    }

    pub(super) fn name(&self) -> &str {
        &self.record.header().name
    }

    pub(super) fn organization(&self) -> &OrganizationName {
        &self.record.header().organization
    }
}

enum Slot<T> {
    Sound(Arc<Row<T>>),
    Faulty(Arc<Faulty>),
}

// Derived, it would ask the same of `T`.
impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Sound(row) => Self::Sound(Arc::clone(row)),
            Self::Faulty(faulty) => Self::Faulty(Arc::clone(faulty)),
        }
    }
}

struct Stored<T> {
    records: BTreeMap<RecordKey, Slot<T>>,
    names: HashMap<(OrganizationName, Arc<str>), RecordKey>,
    tokens: HashMap<TokenHash, Arc<Row<T>>>,
}

impl<T> Default for Stored<T> {
    fn default() -> Self {
        Self { records: BTreeMap::new(), names: HashMap::new(), tokens: HashMap::new() }
    }
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self { records: self.records.clone(), names: self.names.clone(), tokens: self.tokens.clone() }
    }
}

/// Everything of one kind.
pub(super) struct Table<T>(ArcSwap<Stored<T>>);

impl<T: Kept> Table<T> {
    /// The table of `ledger`'s records of this kind, from now on.
    pub(super) fn following(ledger: &Ledger) -> Arc<Self> {
        let table = Arc::new(Self(ArcSwap::from_pointee(Stored::default())));
        ledger.follow(T::KIND, table.clone());
        table
    }

    /// Every sound record.
    pub(super) fn all(&self) -> Vec<Arc<Row<T>>> {
        self.0.load().records.values().filter_map(Slot::sound).collect()
    }

    /// Every sound record of an organization.
    pub(super) fn of(&self, organization: &OrganizationName) -> Vec<Arc<Row<T>>> {
        let stored = self.0.load();
        let own = stored.records.iter().filter(|(key, _)| key.organization == *organization);
        own.filter_map(|(_, slot)| slot.sound()).collect()
    }

    pub(super) fn by_id(&self, organization: &OrganizationName, id: &Arc<str>) -> Option<Arc<Row<T>>> {
        let key = RecordKey { kind: T::KIND, organization: organization.clone(), id: Arc::clone(id) };
        self.0.load().records.get(&key).and_then(Slot::sound)
    }

    pub(super) fn named(&self, organization: &OrganizationName, name: &str) -> Option<Arc<Row<T>>> {
        let stored = self.0.load();
        let key = stored.names.get(&(organization.clone(), name.into()))?;
        stored.records.get(key).and_then(Slot::sound)
    }

    /// Where whatever is called `name` lies, sound or not.
    pub(super) fn key(&self, organization: &OrganizationName, name: &str) -> Option<RecordKey> {
        self.0.load().names.get(&(organization.clone(), name.into())).cloned()
    }

    pub(super) fn by_token(&self, token: &TokenHash) -> Option<Arc<Row<T>>> {
        self.0.load().tokens.get(token).cloned()
    }

    /// Whether there is any record, faulty ones included: damage never opens a door.
    pub(super) fn any(&self) -> bool {
        !self.0.load().records.is_empty()
    }

    /// The names of an organization's faulty records, with what is wrong.
    pub(super) fn faults(&self, organization: &OrganizationName) -> Vec<Arc<Faulty>> {
        let stored = self.0.load();
        let faulty = stored.records.iter().filter(|(key, _)| key.organization == *organization);
        let faulty = faulty.filter_map(|(_, slot)| match slot {
            Slot::Faulty(faulty) => Some(Arc::clone(faulty)),
            Slot::Sound(_) => None,
        });
        faulty.collect()
    }
}

impl<T: Kept> Follower for Table<T> {
    fn reset(&self, entries: Vec<Entry>) {
        let mut stored = Stored::default();
        for entry in entries {
            stored.put(&entry);
        }
        self.0.store(Arc::new(stored));
    }

    fn changed(&self, key: &RecordKey, now: Option<&Entry>) {
        let mut stored = Stored::clone(&self.0.load());
        stored.take(key);
        if let Some(entry) = now {
            stored.put(entry);
        }
        self.0.store(Arc::new(stored));
    }
}

impl<T: Kept> Stored<T> {
    fn put(&mut self, entry: &Entry) {
        let slot: Slot<T> = Slot::of(entry);
        if let Slot::Sound(row) = &slot
            && let Some(token) = row.what.token()
        {
            self.tokens.insert(token, Arc::clone(row));
        }
        // Whoever holds the name goes before whoever once did.
        match (entry.held_name(), slot.name()) {
            (Some(name), _) => drop(self.names.insert((entry.key().organization.clone(), name.clone()), entry.key().clone())),
            (None, Some(name)) => {
                self.names.entry((entry.key().organization.clone(), name)).or_insert_with(|| entry.key().clone());
            }
            (None, None) => {}
        }
        self.records.insert(entry.key().clone(), slot);
    }

    fn take(&mut self, key: &RecordKey) {
        let Some(slot) = self.records.remove(key) else { return };
        if let Slot::Sound(row) = &slot
            && let Some(token) = row.what.token()
        {
            self.tokens.remove(&token);
        }
        if let Some(name) = slot.name() {
            let name = (key.organization.clone(), name);
            if self.names.get(&name) == Some(key) {
                self.names.remove(&name);
            }
        }
    }
}

impl<T: Kept> Slot<T> {
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Faulty(faulty) => Self::Faulty(faulty.clone()),
            Entry::Sound(record) => {
                let read = serde_json::from_value(record.header().metadata.clone());
                let sound = read.map(|what| Self::Sound(Arc::new(Row { record: record.clone(), what })));
                sound.unwrap_or_else(|_| Self::unknown(record))
            }
        }
    }
}

impl<T> Slot<T> {
    fn unknown(record: &Record) -> Self {
        let (key, name) = (record.key().clone(), Some(record.header().name.clone()));
        let reason = "its metadata is of a later version of subrosa".to_owned();
        Self::Faulty(Arc::new(Faulty { key, name, listed: true, reason }))
    }

    fn sound(&self) -> Option<Arc<Row<T>>> {
        match self {
            Self::Sound(row) => Some(Arc::clone(row)),
            Self::Faulty(_) => None,
        }
    }

    fn name(&self) -> Option<Arc<str>> {
        match self {
            Self::Sound(row) => Some(Arc::clone(&row.record.header().name)),
            Self::Faulty(faulty) => faulty.name.clone(),
        }
    }
}
