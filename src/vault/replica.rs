//! The replica: every secret in memory, its rules in the clear and its value sealed, behind one
//! atomic pointer, so that a request never waits for it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::{Metadata, NewSecret, SecretView};
use crate::inject::{Absence, LEAST, Resolver, Secret, Unavailable};
use crate::ledger::{Entry, Faulty, Follower, Record, RecordKey};
use crate::seal::{Resident, SealError, Sealer};
use crate::secret::{AllowedDomains, Description, Limits, NamePattern, OrganizationName, SecretName, SecretValue};
use crate::staleness::Staleness;

/// A sound secret: what its header says, parsed once, and the sealed record.
pub(super) struct Kept {
    pub(super) record: Arc<Record>,
    pub(super) name: SecretName,
    pub(super) metadata: Metadata,
    pub(super) declared: bool,
    sealer: Sealer,
    /// The value again once it was used, in a form that opens sooner.
    resident: OnceLock<Resident>,
}

/// What a name leads to.
#[derive(Clone)]
pub(super) enum Slot {
    Sound(Arc<Kept>),
    Faulty(Arc<Faulty>),
}

type Names = HashMap<SecretName, Slot>;
type Organizations = HashMap<OrganizationName, Arc<Names>>;

/// The secrets of the configuration; replaced as a whole.
#[derive(Default)]
pub(super) struct Declared(Organizations);

/// All secrets.
pub(super) struct Replica {
    sealer: Sealer,
    staleness: Staleness,
    declared: ArcSwap<Declared>,
    stored: ArcSwap<Organizations>,
}

impl Replica {
    pub(super) fn new(sealer: Sealer, staleness: Staleness) -> Self {
        Self { sealer, staleness, declared: ArcSwap::default(), stored: ArcSwap::default() }
    }

    /// Adds a secret to those of a configuration; whether its name was free.
    pub(super) fn add(&self, to: &mut Declared, record: Arc<Record>) -> bool {
        let organization = record.key().organization.clone();
        let Some((name, slot)) = self.slot_of(&Entry::Sound(record), true) else { return false };
        let names = Arc::make_mut(to.0.entry(organization).or_default());
        names.insert(name, slot).is_none()
    }

    /// From now on these secrets are the configuration's.
    pub(super) fn declare(&self, declared: Declared) {
        self.declared.store(Arc::new(declared));
    }

    /// The secret that the configuration declares under this name.
    pub(super) fn declared(&self, organization: &OrganizationName, name: &SecretName) -> Option<Arc<Kept>> {
        match self.declared.load().0.get(organization)?.get(name)? {
            Slot::Sound(kept) => Some(Arc::clone(kept)),
            Slot::Faulty(_) => None,
        }
    }

    /// What the configuration declares now and does not declare any more in `next`.
    pub(super) fn no_longer_in(&self, next: &Declared) -> Vec<(OrganizationName, SecretName)> {
        let now = self.declared.load();
        let all = now.0.iter().flat_map(|(organization, names)| names.keys().map(move |name| (organization, name)));
        let gone = all.filter(|(organization, name)| !next.0.get(*organization).is_some_and(|names| names.contains_key(*name)));
        gone.map(|(organization, name)| (organization.clone(), name.clone())).collect()
    }

    /// A name that is both declared and stored.
    pub(super) fn also_stored(&self, declared: &Declared) -> Option<(OrganizationName, SecretName)> {
        let stored = self.stored.load();
        let declared = declared.0.iter().flat_map(|(organization, names)| names.keys().map(move |name| (organization, name)));
        let mut both = declared.filter(|(organization, name)| {
            let slot = stored.get(*organization).and_then(|names| names.get(*name));
            slot.is_some_and(Slot::holds_its_name)
        });
        both.next().map(|(organization, name)| (organization.clone(), name.clone()))
    }

    pub(super) fn is_declared(&self, organization: &OrganizationName, name: &SecretName) -> bool {
        self.declared.load().0.get(organization).is_some_and(|names| names.contains_key(name))
    }

    /// What `name` leads to. Never waits.
    pub(super) fn slot(&self, organization: &OrganizationName, name: &SecretName) -> Option<Slot> {
        let declared = self.declared.load().0.get(organization).and_then(|names| names.get(name)).cloned();
        declared.or_else(|| self.stored.load().get(organization)?.get(name).cloned())
    }

    /// Every secret of an organization, by name.
    pub(super) fn list(&self, organization: &OrganizationName) -> Vec<SecretView> {
        let stored = self.stored.load().get(organization).cloned();
        let declared = self.declared.load().0.get(organization).cloned();
        let all = declared.iter().chain(&stored).flat_map(|names| names.iter());
        let mut views: Vec<_> = all.map(|(name, slot)| slot.view(organization, name)).collect();
        views.sort_by(|one, other| one.name.cmp(&other.name).then(other.declared.cmp(&one.declared)));
        views.dedup_by(|later, earlier| later.name == earlier.name);
        views
    }

    /// A record that was written a moment ago, as doors show it.
    pub(super) fn view_of(&self, record: Arc<Record>) -> SecretView {
        let organization = record.key().organization.clone();
        let (name, slot) = self.slot_of(&Entry::Sound(record), false).expect("the vault wrote a name");
        slot.view(&organization, &name)
    }

    fn slot_of(&self, entry: &Entry, declared: bool) -> Option<(SecretName, Slot)> {
        match entry {
            Entry::Faulty(faulty) => {
                let name = SecretName::parse(faulty.name.as_ref()?).ok()?;
                Some((name, Slot::Faulty(faulty.clone())))
            }
            Entry::Sound(record) => {
                let name = SecretName::parse(&record.header().name).ok()?;
                let slot = Metadata::read(record).map_or_else(
                    || Slot::Faulty(Arc::new(unreadable(record))),
                    |metadata| {
                        let (record, name, sealer) = (record.clone(), name.clone(), self.sealer.clone());
                        Slot::Sound(Arc::new(Kept { record, name, metadata, declared, sealer, resident: OnceLock::new() }))
                    },
                );
                Some((name, slot))
            }
        }
    }
}

impl Follower for Replica {
    fn reset(&self, entries: Vec<Entry>) {
        let mut all: HashMap<OrganizationName, Names> = HashMap::new();
        // Leftovers of deleted secrets first, so that whoever holds the name now replaces them.
        let (holders, leftovers): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.held_name().is_some());
        for entry in leftovers.iter().chain(&holders) {
            if let Some((name, slot)) = self.slot_of(entry, false) {
                all.entry(entry.key().organization.clone()).or_default().insert(name, slot);
            }
        }
        self.stored.store(Arc::new(all.into_iter().map(|(organization, names)| (organization, Arc::new(names))).collect()));
    }

    fn changed(&self, key: &RecordKey, now: Option<&Entry>) {
        let mut all = Organizations::clone(&self.stored.load());
        let names = Arc::make_mut(all.entry(key.organization.clone()).or_default());
        names.retain(|_, slot| slot.key() != key);
        if let Some((entry, (name, slot))) = now.and_then(|entry| Some((entry, self.slot_of(entry, false)?))) {
            // What only claims a name takes it from nobody who holds it.
            let is_held = names.get(&name).is_some_and(Slot::holds_its_name);
            if entry.held_name().is_some() || !is_held {
                names.insert(name, slot);
            }
        }
        self.stored.store(Arc::new(all));
    }
}

impl Slot {
    pub(super) fn key(&self) -> &RecordKey {
        match self {
            Self::Sound(kept) => kept.record.key(),
            Self::Faulty(faulty) => &faulty.key,
        }
    }

    fn holds_its_name(&self) -> bool {
        match self {
            Self::Sound(_) => true,
            Self::Faulty(faulty) => faulty.listed,
        }
    }

    pub(super) fn view(&self, organization: &OrganizationName, name: &SecretName) -> SecretView {
        match self {
            Self::Sound(kept) => kept.view(),
            Self::Faulty(faulty) => SecretView {
                organization: organization.clone(),
                name: name.clone(),
                description: Description::default(),
                allowed_domains: AllowedDomains::default(),
                limits: Limits::default(),
                revision: 0,
                created_at: 0,
                updated_at: 0,
                updated_by: String::new(),
                declared: false,
                redacted: false,
                fault: Some(faulty.reason.clone()),
            },
        }
    }
}

impl Kept {
    /// Whether it is what the configuration says, value included.
    pub(super) fn is(&self, new: &NewSecret) -> bool {
        self.metadata == Metadata::of(new) && self.open().is_ok_and(|value| value.is(&new.value))
    }

    pub(super) fn view(&self) -> SecretView {
        let header = self.record.header();
        SecretView {
            organization: header.organization.clone(),
            name: self.name.clone(),
            description: self.metadata.description.clone(),
            allowed_domains: self.metadata.allowed_domains.clone(),
            limits: self.metadata.limits.clone(),
            revision: header.revision,
            created_at: header.created_at,
            updated_at: header.updated_at,
            updated_by: header.updated_by.clone(),
            declared: self.declared,
            redacted: self.record.payload_len() >= LEAST,
            fault: None,
        }
    }
}

impl Secret for Kept {
    fn allowed_domains(&self) -> &AllowedDomains {
        &self.metadata.allowed_domains
    }

    fn limits(&self) -> &Limits {
        &self.metadata.limits
    }

    fn open(&self) -> Result<SecretValue, Unavailable> {
        let failed = |error: SealError| cannot_be_opened(&self.name, &error.to_string());
        if let Some(resident) = self.resident.get() {
            return resident.open().map_err(failed);
        }
        let value = self.record.open_value(&self.sealer).map_err(|error| cannot_be_opened(&self.name, &error.to_string()))?;
        let resident = Resident::seal(&value).map_err(failed)?;
        // Whoever came first at the same time made the same.
        let _ = self.resident.set(resident);
        Ok(value)
    }
}

/// What one runner may use.
pub(super) struct View {
    replica: Arc<Replica>,
    organization: OrganizationName,
    names: Option<Arc<[NamePattern]>>,
}

impl View {
    pub(super) fn new(replica: Arc<Replica>, organization: OrganizationName, names: Option<Arc<[NamePattern]>>) -> Self {
        Self { replica, organization, names }
    }
}

impl Resolver for View {
    fn find(&self, name: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
        // First, so that a runner learns nothing about names outside its patterns.
        if self.names.as_ref().is_some_and(|patterns| !patterns.iter().any(|pattern| pattern.matches(name))) {
            return Err(Absence::NotPermitted);
        }
        // Whether a stored one is what it was, or was deleted, is not known then.
        if let Err(stale) = self.replica.staleness.check()
            && !self.replica.is_declared(&self.organization, name)
        {
            return Err(Absence::Unavailable(Unavailable(stale.to_string())));
        }
        match self.replica.slot(&self.organization, name) {
            None => Err(Absence::NotFound),
            Some(Slot::Sound(kept)) => Ok(kept),
            Some(Slot::Faulty(faulty)) => Err(Absence::Unavailable(cannot_be_opened(name, &faulty.reason))),
        }
    }
}

fn cannot_be_opened(name: &SecretName, reason: &str) -> Unavailable {
    Unavailable(format!(
        "The record of the secret `{name}` cannot be used: {reason}. \
         Have an administrator delete the secret and create it again, or restore the store from a backup."
    ))
}

fn unreadable(record: &Record) -> Faulty {
    Faulty {
        key: record.key().clone(),
        name: Some(record.header().name.clone()),
        listed: true,
        reason: "its metadata is of a later version of subrosa".to_owned(),
    }
}
