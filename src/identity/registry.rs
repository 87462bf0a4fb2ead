//! The registry: every runner in memory, by token and by name, behind one atomic pointer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{IdentityError, Metadata, Runner, RunnerView};
use crate::ledger::{Entry, Faulty, Follower, Record, RecordKey};
use crate::secret::{AllowedDomains, OrganizationName, RunnerName};
use crate::tls::CertificateName;
use crate::token::TokenHash;

/// What a record is worth: a runner, or the fact that there was one.
#[derive(Clone)]
pub(super) enum Slot {
    Sound(Arc<Runner>),
    Faulty(Arc<Faulty>),
}

/// Everything stored, replaced as a whole.
#[derive(Clone, Default)]
struct Stored {
    by_key: BTreeMap<RecordKey, Slot>,
    by_token: HashMap<TokenHash, Arc<Runner>>,
    certified: HashMap<CertificateName, Vec<Arc<Runner>>>,
}

/// The runners of the configuration; replaced as a whole.
#[derive(Default)]
pub(super) struct Declared {
    by_token: HashMap<TokenHash, Arc<Runner>>,
    by_name: HashMap<(OrganizationName, RunnerName), Entered>,
}

/// What a declared runner was made from.
#[derive(Clone)]
pub(super) struct Entered {
    pub(super) record: Arc<Record>,
    /// Whether it has a token, which somebody could show.
    pub(super) has_token: bool,
}

/// All runners.
#[derive(Default)]
pub(super) struct Registry {
    declared: ArcSwap<Declared>,
    stored: ArcSwap<Stored>,
}

impl Declared {
    /// Adds a runner.
    pub(super) fn add(&mut self, entered: Entered) -> Result<(), IdentityError> {
        let Slot::Sound(runner) = Slot::of_record(&entered.record, true) else {
            unreachable!("the record was made of a runner a moment ago");
        };
        let (organization, name) = (runner.organization.clone(), runner.name.clone());
        if self.by_name.insert((organization.clone(), name.clone()), entered).is_some() {
            return Err(IdentityError::DeclaredTwice { organization, name });
        }
        match self.by_token.insert(runner.token, runner) {
            Some(other) => Err(IdentityError::SharedToken { one: other.name.clone(), other: name }),
            None => Ok(()),
        }
    }

    fn certified(&self, certificate: &CertificateName) -> impl Iterator<Item = &Arc<Runner>> {
        self.by_token.values().filter(move |runner| runner.certificate.as_ref() == Some(certificate))
    }
}

impl Registry {
    /// From now on these runners are the configuration's.
    pub(super) fn declare(&self, declared: Declared) {
        self.declared.store(Arc::new(declared));
    }

    /// The runner that the configuration declares under this name.
    pub(super) fn declared(&self, organization: &OrganizationName, name: &RunnerName) -> Option<Entered> {
        self.declared.load().by_name.get(&(organization.clone(), name.clone())).cloned()
    }

    /// Who is declared now and is not any more in `next`.
    pub(super) fn no_longer_in(&self, next: &Declared) -> Vec<(OrganizationName, RunnerName)> {
        self.declared.load().by_name.keys().filter(|named| !next.by_name.contains_key(*named)).cloned().collect()
    }

    /// What these runners and those that are stored cannot both have: a name, or a certificate.
    pub(super) fn contradiction(&self, declared: &Declared) -> Option<IdentityError> {
        let stored = self.stored.load();
        for runner in declared.by_token.values() {
            let holds = |(key, slot): (&RecordKey, &Slot)| {
                key.organization == runner.organization && slot.held_name() == Some(runner.name.as_str())
            };
            if stored.by_key.iter().any(holds) {
                let (organization, name) = (runner.organization.clone(), runner.name.clone());
                return Some(IdentityError::DeclaredTwice { organization, name });
            }
            let Some(certificate) = &runner.certificate else { continue };
            if declared.certified(certificate).count() > 1 || stored.certified.contains_key(certificate) {
                return Some(IdentityError::CertificateTaken { certificate: certificate.clone() });
            }
        }
        None
    }

    pub(super) fn is_declared(&self, organization: &OrganizationName, name: &RunnerName) -> bool {
        self.declared(organization, name).is_some()
    }

    /// Where the runner called `name` lies; whoever holds the name before whoever once did.
    pub(super) fn key(&self, organization: &OrganizationName, name: &RunnerName) -> Option<RecordKey> {
        let stored = self.stored.load();
        let called = || {
            let all = stored.by_key.iter().filter(|(key, _)| key.organization == *organization);
            all.filter(|(_, slot)| slot.name() == Some(name.as_str()))
        };
        let holder = called().find(|(_, slot)| slot.held_name().is_some());
        holder.or_else(|| called().next()).map(|(key, _)| key.clone())
    }

    /// Every runner of an organization, by name.
    pub(super) fn list(&self, organization: &OrganizationName) -> Vec<RunnerView> {
        let stored = self.stored.load();
        let declared = self.declared.load();
        let declared = declared.by_token.values().filter(|runner| runner.organization == *organization);
        let declared = declared.map(|runner| runner.view());
        let stored = stored.by_key.iter().filter(|(key, _)| key.organization == *organization).filter_map(|(_, slot)| {
            let name = RunnerName::parse(slot.name()?).ok()?;
            Some(slot.view(organization, &name))
        });
        let mut views: Vec<_> = declared.chain(stored).collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    /// Whose token this is.
    pub(super) fn by_token(&self, token: &TokenHash) -> Option<Arc<Runner>> {
        self.declared.load().by_token.get(token).cloned().or_else(|| self.stored.load().by_token.get(token).cloned())
    }

    /// The sound runner called `name`.
    pub(super) fn named(&self, organization: &OrganizationName, name: &RunnerName) -> Option<Arc<Runner>> {
        let stored = self.stored.load();
        let declared = self.declared.load();
        let mut runners = declared.by_token.values().chain(stored.by_token.values());
        runners.find(|runner| runner.organization == *organization && runner.name == *name).cloned()
    }

    /// Everybody who is known by this certificate; more than one only if two writers were quick.
    pub(super) fn by_certificate(&self, certificate: &CertificateName) -> Vec<Arc<Runner>> {
        let (declared, stored) = (self.declared.load(), self.stored.load());
        declared.certified(certificate).chain(stored.certified.get(certificate).into_iter().flatten()).cloned().collect()
    }

    pub(super) fn any(&self) -> bool {
        !self.declared.load().by_token.is_empty() || !self.stored.load().by_key.is_empty()
    }
}

impl Follower for Registry {
    fn reset(&self, entries: Vec<Entry>) {
        let mut stored = Stored::default();
        for entry in entries {
            stored.put(entry.key().clone(), Slot::of(&entry));
        }
        self.stored.store(Arc::new(stored));
    }

    fn changed(&self, key: &RecordKey, now: Option<&Entry>) {
        let mut stored = Stored::clone(&self.stored.load());
        if let Some(Slot::Sound(runner)) = stored.by_key.remove(key) {
            stored.by_token.remove(&runner.token);
            stored.forget_certificate(&runner);
        }
        if let Some(entry) = now {
            stored.put(key.clone(), Slot::of(entry));
        }
        self.stored.store(Arc::new(stored));
    }
}

impl Stored {
    fn put(&mut self, key: RecordKey, slot: Slot) {
        if let Slot::Sound(runner) = &slot {
            self.by_token.insert(runner.token, runner.clone());
            if let Some(certificate) = &runner.certificate {
                self.certified.entry(certificate.clone()).or_default().push(runner.clone());
            }
        }
        self.by_key.insert(key, slot);
    }

    fn forget_certificate(&mut self, runner: &Runner) {
        let Some(certificate) = &runner.certificate else { return };
        if let Some(known) = self.certified.get_mut(certificate) {
            known.retain(|other| other.id != runner.id);
            if known.is_empty() {
                self.certified.remove(certificate);
            }
        }
    }
}

impl Slot {
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Sound(record) => Self::of_record(record, false),
            Entry::Faulty(faulty) => Self::Faulty(faulty.clone()),
        }
    }

    pub(super) fn of_record(record: &Record, declared: bool) -> Self {
        Runner::read(record, declared).map_or_else(
            || {
                let (key, name) = (record.key().clone(), Some(record.header().name.clone()));
                let reason = "its metadata is of a later version of subrosa".to_owned();
                Self::Faulty(Arc::new(Faulty { key, name, listed: true, reason }))
            },
            |runner| Self::Sound(Arc::new(runner)),
        )
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Sound(runner) => Some(runner.name.as_str()),
            Self::Faulty(faulty) => faulty.name.as_deref(),
        }
    }

    fn held_name(&self) -> Option<&str> {
        match self {
            Self::Faulty(faulty) if !faulty.listed => None,
            _ => self.name(),
        }
    }

    pub(super) fn view(&self, organization: &OrganizationName, name: &RunnerName) -> RunnerView {
        match self {
            Self::Sound(runner) => runner.view(),
            Self::Faulty(faulty) => RunnerView {
                organization: organization.clone(),
                name: name.clone(),
                secrets: Some(Vec::new()),
                hosts: AllowedDomains::default(),
                certificate: None,
                revision: 0,
                created_at: 0,
                created_by: String::new(),
                updated_at: 0,
                updated_by: String::new(),
                declared: false,
                fault: Some(faulty.reason.clone()),
            },
        }
    }
}

impl Runner {
    fn read(record: &Record, declared: bool) -> Option<Self> {
        let header = record.header();
        let metadata = Metadata::read(record)?;
        Some(Self {
            id: header.id.clone(),
            name: RunnerName::parse(&header.name).ok()?,
            organization: header.organization.clone(),
            secrets: metadata.secrets.map(Arc::from),
            hosts: metadata.hosts,
            certificate: metadata.certificate,
            revision: header.revision,
            created_at: header.created_at,
            created_by: header.created_by.clone(),
            updated_at: header.updated_at,
            updated_by: header.updated_by.clone(),
            declared,
            token: metadata.token_sha256,
        })
    }

    fn view(&self) -> RunnerView {
        RunnerView {
            organization: self.organization.clone(),
            name: self.name.clone(),
            secrets: self.secrets.as_ref().map(|patterns| patterns.to_vec()),
            hosts: self.hosts.clone(),
            certificate: self.certificate.clone(),
            revision: self.revision,
            created_at: self.created_at,
            created_by: self.created_by.clone(),
            updated_at: self.updated_at,
            updated_by: self.updated_by.clone(),
            declared: self.declared,
            fault: None,
        }
    }
}
