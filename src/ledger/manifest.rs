//! The manifest: which records there are, at which revision and under which name.
//!
//! It lies in pages, one for each beginning of ids, and a root that lists the pages with their
//! revisions; each is the header of an envelope without a payload. A record's page and the root are
//! written in the same commit as the record, so that one that is missing, old or brought back is
//! noticed, and a write costs a 256th of what a list in one piece would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record::RecordKey;
use super::{LedgerError, SealError, Sealer};
use crate::seal::Envelope;

/// Where the root lies.
pub(super) const KEY: &str = "manifest";
/// What the keys of the pages begin with.
pub(super) const PAGES: &str = "manifest/";
const FORMAT: u32 = 1;
const ROOT: &str = "manifest";
const PAGE: &str = "manifest page";
/// Hexadecimal digits of an id that say on which page it stands.
const DIGITS: usize = 2;

/// The revision and the name of one record.
pub(super) type Line = (u64, Arc<str>);

/// The list of live records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    revision: u64,
    pages: BTreeMap<String, Arc<Page>>,
}

/// The records whose ids begin alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Page {
    revision: u64,
    records: BTreeMap<String, Line>,
}

/// The root as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRoot {
    format: u32,
    kind: String,
    revision: u64,
    pages: BTreeMap<String, u64>,
}

/// A page as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPage {
    format: u32,
    kind: String,
    page: String,
    revision: u64,
    records: BTreeMap<String, Line>,
}

/// A manifest after a change, with what has to be stored for it: keys and envelopes.
pub(super) struct Next {
    pub(super) manifest: Manifest,
    pub(super) envelopes: [(String, Vec<u8>); 2],
}

impl Manifest {
    pub(super) fn empty() -> Self {
        Self { revision: 0, pages: BTreeMap::new() }
    }

    /// Opens the manifest, or says in one sentence why the store as a whole cannot be used. `stored` has
    /// what lies under a key.
    pub(super) fn open<'a>(sealer: &Sealer, root: &[u8], stored: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, LedgerError> {
        let root = StoredRoot::open(sealer, root)?;
        let pages = root.pages.into_iter().map(|(name, revision)| {
            let bytes = stored(&page_key(&name)).ok_or_else(|| broken(format!("its page {name} is missing")))?;
            Page::open(sealer, bytes, &name, revision).map(|page| (name, Arc::new(page)))
        });
        Ok(Self { revision: root.revision, pages: pages.collect::<Result<_, _>>()? })
    }

    /// The manifest that follows this one, by a root that was written and what was written with it. What was not written is
    /// as it was.
    pub(super) fn followed_by<'a>(
        &self,
        sealer: &Sealer,
        root: &[u8],
        put: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Self, LedgerError> {
        let root = StoredRoot::open(sealer, root)?;
        let pages = root.pages.into_iter().map(|(name, revision)| {
            let known = self.pages.get(&name).filter(|known| known.revision == revision);
            let page = match (put(&page_key(&name)), known) {
                (Some(bytes), _) => Arc::new(Page::open(sealer, bytes, &name, revision)?),
                (None, Some(known)) => Arc::clone(known),
                (None, None) => return Err(broken(format!("its page {name} was not written with it"))),
            };
            Ok((name, page))
        });
        let next = Self { revision: root.revision, pages: pages.collect::<Result<_, _>>()? };
        self.check_follows(&next)?;
        Ok(next)
    }

    /// That `next` is this one, or a later one.
    pub(super) fn check_follows(&self, next: &Self) -> Result<(), LedgerError> {
        if next.revision > self.revision || next == self {
            return Ok(());
        }
        let (known, found) = (self.revision, next.revision);
        Err(broken(format!(
            "it is revision {found}, and revision {known} was there: it was set back. If a backup was restored, restart subrosa"
        )))
    }

    /// That what was written in the place of a page is the page, sealed anew.
    pub(super) fn check_renewal(&self, sealer: &Sealer, name: &str, envelope: &[u8]) -> Result<(), LedgerError> {
        let known = self.pages.get(name).ok_or_else(|| broken(format!("its page {name} is not listed")))?;
        let page = Page::open(sealer, envelope, name, known.revision)?;
        if page == **known { Ok(()) } else { Err(broken(format!("its page {name} was changed without it"))) }
    }

    /// The line of a record.
    pub(super) fn line(&self, key: &str) -> Option<&Line> {
        let id = key.rsplit('/').next().unwrap_or_default();
        self.pages.get(page_of(id))?.records.get(key)
    }

    /// The keys of records that are listed otherwise in `next`.
    pub(super) fn lines_that_differ(&self, next: &Self) -> BTreeSet<String> {
        let none = Arc::default();
        let mut differ = BTreeSet::new();
        for name in self.pages.keys().chain(next.pages.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (self.pages.get(name).unwrap_or(&none), next.pages.get(name).unwrap_or(&none));
            if !Arc::ptr_eq(before, after) {
                let keys = before.records.keys().chain(after.records.keys());
                differ.extend(keys.filter(|key| before.records.get(*key) != after.records.get(*key)).cloned());
            }
        }
        differ
    }

    /// The envelope of the root.
    pub(super) fn seal_root(&self, sealer: &Sealer) -> Result<Vec<u8>, SealError> {
        let pages = self.pages.iter().map(|(name, page)| (name.clone(), page.revision)).collect();
        let root = StoredRoot { format: FORMAT, kind: ROOT.to_owned(), revision: self.revision, pages };
        sealer.seal_metadata(&serde_json::to_vec(&root).expect("a manifest has text keys only"))
    }

    /// The manifest after one record was put at a revision, or removed.
    pub(super) fn with(&self, sealer: &Sealer, key: &RecordKey, line: Option<Line>) -> Result<Next, SealError> {
        let mut manifest = Self { revision: self.revision + 1, ..self.clone() };
        let name = page_of(&key.id).to_owned();
        let page = Arc::make_mut(manifest.pages.entry(name.clone()).or_default());
        page.revision += 1;
        match line {
            Some(line) => page.records.insert(key.to_string(), line),
            None => page.records.remove(&key.to_string()),
        };
        let page = (page_key(&name), page.seal(&name, sealer)?);
        let root = (KEY.to_owned(), manifest.seal_root(sealer)?);
        Ok(Next { manifest, envelopes: [page, root] })
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&String, &Line)> {
        self.pages.values().flat_map(|page| page.records.iter())
    }
}

impl Page {
    fn open(sealer: &Sealer, envelope: &[u8], name: &str, revision: u64) -> Result<Self, LedgerError> {
        let page: StoredPage = opened(sealer, envelope)?;
        if page.format != FORMAT || page.kind != PAGE || page.page != name {
            return Err(misplaced());
        }
        if page.revision != revision {
            let found = page.revision;
            return Err(broken(format!(
                "its page {name} is revision {found}, and {revision} is listed: one of the two was put back"
            )));
        }
        Ok(Self { revision, records: page.records })
    }

    fn seal(&self, name: &str, sealer: &Sealer) -> Result<Vec<u8>, SealError> {
        let Self { revision, records } = self.clone();
        let page = StoredPage { format: FORMAT, kind: PAGE.to_owned(), page: name.to_owned(), revision, records };
        sealer.seal_metadata(&serde_json::to_vec(&page).expect("a page has text keys only"))
    }
}

impl StoredRoot {
    fn open(sealer: &Sealer, envelope: &[u8]) -> Result<Self, LedgerError> {
        let root: Self = opened(sealer, envelope)?;
        if root.format == FORMAT && root.kind == ROOT { Ok(root) } else { Err(misplaced()) }
    }
}

/// The page on which a record stands.
fn page_of(id: &str) -> &str {
    id.get(..DIGITS).unwrap_or(id)
}

fn page_key(name: &str) -> String {
    format!("{PAGES}{name}")
}

/// What an envelope's header says, once it has authenticated.
fn opened<T: DeserializeOwned>(sealer: &Sealer, envelope: &[u8]) -> Result<T, LedgerError> {
    sealer.open(envelope).map_err(|error| match error {
        SealError::WrongKey { sealed_with, given } => LedgerError::WrongKey { sealed_with, given },
        other => broken(other.to_string()),
    })?;
    let header = Envelope::parse(envelope).map_err(|error| broken(error.to_string()))?.unverified_header();
    serde_json::from_slice(header).map_err(|_| misplaced())
}

fn misplaced() -> LedgerError {
    broken("another record lies in the place of a part of it, or one of a later version of subrosa".to_owned())
}

fn broken(reason: String) -> LedgerError {
    LedgerError::ManifestBroken { reason }
}
