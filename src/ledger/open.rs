//! Opening the ledger: which records are what the manifest says, and which are refused and why.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::manifest::{self, Line, Manifest};
use super::names::Names;
use super::record::{Entry, Faulty, Header, RECORDS, Record, RecordKey};
use super::{Book, LedgerError};
use crate::seal::{Envelope, SealError, Sealer};
use crate::store::{Backend, Expect, Loaded, StoreError, Stored, Write};

/// How often a store that is empty is begun: who is not first finds what another has begun.
const BEGINNINGS: usize = 3;
/// Why a record is refused that the manifest does not list.
pub(super) const UNLISTED: &str = "it is not listed: a deleted record was brought back, or one was added";

/// Loads and judges everything that is stored. Writes only into a store that is empty.
pub(super) async fn book(backend: &dyn Backend, sealer: &Sealer) -> Result<Book, LedgerError> {
    for _ in 0..BEGINNINGS {
        match loaded(backend, sealer, |_| None).await {
            Err(LedgerError::ManifestMissing) => match backend.page("", None, 1).await?.pop() {
                None => {}
                Some(first) if Envelope::parse(&first.bytes).is_err() => return Err(LedgerError::Foreign { key: first.key }),
                // Whatever else lies there was written by somebody who had a manifest.
                Some(_) => return Err(LedgerError::ManifestMissing),
            },
            outcome => return outcome,
        }
        match begin(backend, sealer).await {
            Err(LedgerError::Store(StoreError::Conflict { .. })) => tracing::debug!("another process has begun the store"),
            outcome => return outcome,
        }
    }
    Err(LedgerError::ManifestMissing)
}

/// Loads and judges everything that is stored. `known` is what lay at a key before, if that is known.
pub(super) async fn loaded(
    backend: &dyn Backend,
    sealer: &Sealer,
    known: impl Fn(&RecordKey) -> Option<Entry> + Send + Sync,
) -> Result<Book, LedgerError> {
    let Loaded { revision, stored } = backend.load(&[manifest::KEY, RECORDS]).await?;
    let mut stored: HashMap<String, Stored> = stored.into_iter().map(|stored| (stored.key.clone(), stored)).collect();
    let manifest = match stored.get(manifest::KEY) {
        Some(root) => Manifest::open(sealer, &root.bytes, |key| Some(stored.get(key)?.bytes.as_slice()))?,
        None => return Err(missing(stored.values(), sealer)),
    };
    let versions = stored.iter().map(|(key, stored)| (key.clone(), stored.version)).collect();
    stored.remove(manifest::KEY);
    let mut judge = Judge::new(sealer, &known);
    let (mut entries, mut names) = (BTreeMap::new(), Names::default());
    for (text, line) in manifest.records() {
        // Every line was sealed by this program; one that is no key could be neither read nor removed.
        let Some(key) = RecordKey::parse(text) else {
            return Err(LedgerError::ManifestBroken { reason: format!("it lists `{text}`, which is no record") });
        };
        let entry = match stored.remove(text) {
            Some(stored) => judge.judge(key, line, stored.bytes),
            None => missing_record(key, line),
        };
        names.hold(&entry);
        entries.insert(entry.key().clone(), entry);
    }
    for (text, stored) in stored {
        let Some(key) = RecordKey::parse(&text) else { continue };
        let entry = unlisted(key, &stored.bytes);
        entries.insert(entry.key().clone(), entry);
    }
    let later = judge.later;
    Ok(Book { entries, later, names, ..Book::loaded(manifest, versions, revision) })
}

/// A store used for the first time: the manifest ties it to the key from now on.
async fn begin(backend: &dyn Backend, sealer: &Sealer) -> Result<Book, LedgerError> {
    let manifest = Manifest::empty();
    let bytes = manifest.seal_root(sealer)?;
    let key = manifest::KEY.to_owned();
    let versions = backend.commit(vec![Write::Put { key: key.clone(), expect: Expect::Absent, bytes }]).await?;
    let revision = versions.first().copied().unwrap_or_default();
    Ok(Book::loaded(manifest, std::iter::once(key).zip(versions).collect(), revision))
}

/// Without its manifest a store says through its records whether at least the key is right.
fn missing<'a>(mut records: impl Iterator<Item = &'a Stored>, sealer: &Sealer) -> LedgerError {
    let given = sealer.key_id();
    let other = records.find_map(|stored| Envelope::parse(&stored.bytes).ok().map(|envelope| envelope.key_id()));
    match other {
        Some(sealed_with) if sealed_with != given => LedgerError::WrongKey { sealed_with, given },
        _ => LedgerError::ManifestMissing,
    }
}

/// Holds records against their lines.
pub(super) struct Judge<'a> {
    sealer: &'a Sealer,
    known: &'a (dyn Fn(&RecordKey) -> Option<Entry> + Sync),
    /// Envelopes of those that open and are of a later version.
    pub(super) later: BTreeMap<RecordKey, Vec<u8>>,
}

impl<'a> Judge<'a> {
    /// `known` is what lay at a key before.
    pub(super) fn new(sealer: &'a Sealer, known: &'a (dyn Fn(&RecordKey) -> Option<Entry> + Sync)) -> Self {
        Self { sealer, known, later: BTreeMap::new() }
    }

    pub(super) fn judge(&mut self, key: RecordKey, (revision, name): &Line, envelope: Vec<u8>) -> Entry {
        let refuse = |key, reason: &str| faulty(key, Some(name.clone()), true, reason);
        let header = Envelope::parse(&envelope).ok().and_then(|envelope| Header::parse(envelope.unverified_header()));
        if let Err(error) = self.sealer.open(&envelope) {
            return match ((self.known)(&key), header) {
                // A rotation changes no header: it is what was there, under a key that is not at hand.
                (Some(Entry::Sound(known)), Some(header))
                    if matches!(error, SealError::WrongKey { .. })
                        && known.header == header
                        && (header.revision, &header.name) == (*revision, name) =>
                {
                    Entry::Sound(known)
                }
                _ => refuse(key, &error.to_string()),
            };
        }
        let Some(header) = header else {
            self.later.insert(key.clone(), envelope);
            return refuse(key, "its header is of a later version of subrosa");
        };
        if header.key() != key {
            return refuse(key, "it belongs elsewhere: another record was put in its place");
        }
        if header.revision != *revision || header.name != *name {
            let found = header.revision;
            return refuse(key, &format!("it is revision {found}, and {revision} is listed: an older one was put back"));
        }
        Entry::Sound(Arc::new(Record { key, header, envelope }))
    }
}

/// A record that is listed, and is nowhere.
pub(super) fn missing_record(key: RecordKey, (_, name): &Line) -> Entry {
    faulty(key, Some(name.clone()), true, "it is listed and missing")
}

/// A record that is there, and is not listed.
pub(super) fn unlisted(key: RecordKey, envelope: &[u8]) -> Entry {
    faulty(key, claimed_name(envelope), false, UNLISTED)
}

/// What another process has put at `key`.
pub(super) fn learned(sealer: &Sealer, key: RecordKey, envelope: Vec<u8>, known: Option<&Entry>) -> Entry {
    let header = Envelope::parse(&envelope).ok().and_then(|envelope| Header::parse(envelope.unverified_header()));
    let Some(header) = header else { return faulty(key, None, true, "its header is of a later version of subrosa") };
    let name = Some(Arc::clone(&header.name));
    if let Err(error) = sealer.open(&envelope) {
        return match known {
            // A rotation changes no header.
            Some(Entry::Sound(known)) if known.header == header => Entry::Sound(Arc::clone(known)),
            _ => faulty(key, name, true, &error.to_string()),
        };
    }
    if header.key() != key {
        return faulty(key, name, true, "it belongs elsewhere: another record was put in its place");
    }
    Entry::Sound(Arc::new(Record { key, header, envelope }))
}

fn claimed_name(envelope: &[u8]) -> Option<Arc<str>> {
    Envelope::parse(envelope).ok().and_then(|envelope| Header::parse(envelope.unverified_header())).map(|header| header.name)
}

pub(super) fn faulty(key: RecordKey, name: Option<Arc<str>>, listed: bool, reason: &str) -> Entry {
    Entry::Faulty(Arc::new(Faulty { key, name, listed, reason: reason.to_owned() }))
}
