//! Opening the ledger: which records are what the manifest says, and which are refused and why.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::manifest::{self, Line, Manifest};
use super::names::Names;
use super::record::{Entry, Faulty, Header, RECORDS, Record, RecordKey};
use super::{Book, LedgerError};
use crate::seal::{Envelope, Sealer};
use crate::store::{Backend, Expect, Stored, Write};

/// Loads and judges everything that is stored. Writes only into a store that is empty.
pub(super) async fn book(backend: &dyn Backend, sealer: &Sealer) -> Result<Book, LedgerError> {
    let loaded = backend.load(&[manifest::KEY, RECORDS]).await?.stored;
    let mut stored: HashMap<String, Stored> = loaded.into_iter().map(|stored| (stored.key.clone(), stored)).collect();
    let manifest = match stored.get(manifest::KEY) {
        Some(root) => Manifest::open(sealer, &root.bytes, |key| Some(stored.get(key)?.bytes.as_slice()))?,
        // Whatever else lies there was written by somebody who had a manifest.
        None if backend.page("", None, 1).await?.is_empty() => return begin(backend, sealer).await,
        None => return Err(missing(stored.values(), sealer)),
    };
    let versions = stored.iter().map(|(key, stored)| (key.clone(), stored.version)).collect();
    stored.remove(manifest::KEY);
    let (mut entries, mut later, mut names) = (BTreeMap::new(), BTreeMap::new(), Names::default());
    for (text, line) in manifest.records() {
        // Every line was sealed by this program; one that is no key could be neither read nor removed.
        let Some(key) = RecordKey::parse(text) else {
            return Err(LedgerError::ManifestBroken { reason: format!("it lists `{text}`, which is no record") });
        };
        let entry = match stored.remove(text) {
            Some(stored) => judge(sealer, key, line, stored.bytes, &mut later),
            None => faulty(key, Some(line.1.clone()), true, "it is listed and missing"),
        };
        names.hold(&entry);
        entries.insert(entry.key().clone(), entry);
    }
    for (text, stored) in stored {
        let Some(key) = RecordKey::parse(&text) else { continue };
        let reason = "it is not listed: a deleted record was brought back, or one was added";
        let entry = faulty(key, claimed_name(&stored.bytes), false, reason);
        entries.insert(entry.key().clone(), entry);
    }
    Ok(Book { manifest, versions, entries, later, names, followers: Vec::new() })
}

/// A store used for the first time: the manifest ties it to the key from now on.
async fn begin(backend: &dyn Backend, sealer: &Sealer) -> Result<Book, LedgerError> {
    let manifest = Manifest::empty();
    let bytes = manifest.seal_root(sealer)?;
    let key = manifest::KEY.to_owned();
    let versions = backend.commit(vec![Write::Put { key: key.clone(), expect: Expect::Absent, bytes }]).await?;
    let versions = std::iter::once(key).zip(versions).collect();
    let (entries, later, names) = (BTreeMap::new(), BTreeMap::new(), Names::default());
    Ok(Book { manifest, versions, entries, later, names, followers: Vec::new() })
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

fn judge(
    sealer: &Sealer,
    key: RecordKey,
    (revision, name): &Line,
    envelope: Vec<u8>,
    later: &mut BTreeMap<RecordKey, Vec<u8>>,
) -> Entry {
    let refuse = |key, reason: &str| faulty(key, Some(name.clone()), true, reason);
    if let Err(error) = sealer.open(&envelope) {
        return refuse(key, &error.to_string());
    }
    let header = Envelope::parse(&envelope).ok().and_then(|envelope| Header::parse(envelope.unverified_header()));
    let Some(header) = header else {
        later.insert(key.clone(), envelope);
        return refuse(key, "its header is of a later version of subrosa");
    };
    if header.key() != key {
        return refuse(key, "it belongs elsewhere: another record was put in its place");
    }
    if header.revision != *revision || header.name != *name {
        return refuse(key, &format!("it is revision {}, and {revision} is listed: an older one was put back", header.revision));
    }
    Entry::Sound(Arc::new(Record { key, header, envelope }))
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

fn faulty(key: RecordKey, name: Option<Arc<str>>, listed: bool, reason: &str) -> Entry {
    Entry::Faulty(Arc::new(Faulty { key, name, listed, reason: reason.to_owned() }))
}
