//! Every byte: whichever byte of a small store is changed, what opens gives the right values or says which records are
//! damaged, or nothing opens and that is said; never a wrong value, never a store that is silently empty.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use subrosa::identity::Identity;
use subrosa::inject::{Absence, Secrets};
use subrosa::ledger::Ledger;
use subrosa::store::{Backend, Expect, Stored, Write};
use subrosa::vault::Vault;

use super::{Chance, name, new_secret, open_memory, open_sled, organization, rounds, sealer};

/// Bytes that are tried in a short run; a long one tries every byte that was ever written.
const BYTES: usize = 120;

fn values() -> BTreeMap<&'static str, String> {
    [("a", "value-a".to_owned()), ("b", "value-b".repeat(200)), ("c", "value-c".to_owned())].into()
}

async fn small_store(data: &Path) {
    let backend = open_sled(data).await.expect("opens");
    let ledger = Arc::new(Ledger::open(backend, sealer()).await.expect("opens"));
    let vault = Vault::new(ledger.clone(), Vec::new()).expect("opens");
    for (called, value) in values() {
        vault.create(&organization("default"), new_secret(called, &value, &["a.example"]), "t").await.expect("creates");
    }
    vault.delete(&organization("default"), &name("c"), None, "t").await.expect("deletes");
    vault.create(&organization("default"), new_secret("c", "value-c", &[]), "t").await.expect("creates");
    let runners = Identity::new(ledger, Vec::new()).expect("opens");
    let runner = subrosa::identity::NewRunner {
        name: subrosa::secret::RunnerName::parse("r").expect("a name"),
        secrets: None,
        hosts: subrosa::secret::AllowedDomains::default(),
        certificate: None,
    };
    runners.create(&organization("default"), runner, "t").await.expect("creates");
}

/// Every file below, with what it holds, by its place.
fn files(data: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(below).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(data, &path, found);
        } else {
            found.insert(path.strip_prefix(data).expect("below").to_owned(), fs::read(&path).expect("readable"));
        }
    }
}

#[tokio::test]
async fn whichever_byte_is_changed_nothing_wrong_comes_out_and_nothing_is_silently_lost() {
    let place = tempfile::tempdir().expect("a directory");
    let data = place.path().join("data");
    small_store(&data).await;
    let mut sound = BTreeMap::new();
    files(&data, &data, &mut sound);
    let bytes: Vec<(&PathBuf, usize)> =
        sound.iter().flat_map(|(file, bytes)| written(bytes).map(move |offset| (file, offset))).collect();
    assert!(bytes.len() > 2_000, "{}", bytes.len());
    let chance = &mut Chance::new();
    let tried = rounds(BYTES, usize::MAX);
    let (mut refused, mut told, mut same) = (0, 0, 0);
    for round in 0..tried.min(bytes.len()) {
        let index = if tried >= bytes.len() { round } else { chance.below(bytes.len()) };
        let (file, offset) = bytes[index];
        let bent = place.path().join("bent");
        for (name, bytes) in &sound {
            let target = bent.join(name);
            fs::create_dir_all(target.parent().expect("it has one")).expect("made");
            let mut bytes = bytes.clone();
            if name == file {
                bytes[offset] ^= 1 << chance.below(8);
            }
            fs::write(target, bytes).expect("written");
        }
        match opened(&bent).await {
            Outcome::Refused(why) => {
                assert!(!why.is_empty());
                refused += 1;
            }
            Outcome::Open { faults: 0 } => same += 1,
            Outcome::Open { .. } => told += 1,
            Outcome::Wrong(what) => panic!("byte {offset} of {}: {what}", file.display()),
        }
        fs::remove_dir_all(bent).expect("removed");
    }
    // A byte of the log that was written anew elsewhere means nothing; most do.
    assert!(refused + told > 0, "{refused} refused, {told} told, {same} the same");
    super::tried(&format!("{} of {} bytes: {refused} refused, {told} told, {same} the same", refused + told + same, bytes.len()));
}

/// The files of an engine have checksums of their own; this is what lies beneath: every byte of what is sealed.
#[tokio::test]
async fn whichever_byte_of_what_is_sealed_is_changed_it_is_told_or_nothing_opens() {
    let place = tempfile::tempdir().expect("a directory");
    small_store(place.path()).await;
    let sound = open_sled(place.path()).await.expect("opens").load(&[""]).await.expect("loads").stored;
    let bytes: Vec<(usize, usize)> =
        sound.iter().enumerate().flat_map(|(entry, stored)| (0..stored.bytes.len()).map(move |offset| (entry, offset))).collect();
    let chance = &mut Chance::new();
    let all = rounds(BYTES, usize::MAX).min(bytes.len());
    let (mut refused, mut told) = (0, 0);
    for round in 0..all {
        let (entry, offset) = if all == bytes.len() { bytes[round] } else { bytes[chance.below(bytes.len())] };
        let bent = open_memory().await;
        let put = |(index, stored): (usize, &Stored)| {
            let mut bytes = stored.bytes.clone();
            if index == entry {
                bytes[offset] ^= 1;
            }
            Write::Put { key: stored.key.clone(), expect: Expect::Absent, bytes }
        };
        bent.commit(sound.iter().enumerate().map(put).collect()).await.expect("commits");
        match judged(bent).await {
            Outcome::Refused(_) => refused += 1,
            Outcome::Open { faults: 1 } => told += 1,
            Outcome::Open { faults } => panic!("byte {offset} of {}: {faults} faults", sound[entry].key),
            Outcome::Wrong(what) => panic!("byte {offset} of {}: {what}", sound[entry].key),
        }
    }
    assert!(refused > 0 && told > 0, "{refused} refused, {told} told");
    super::tried(&format!("{all} of {} bytes of what is sealed: {refused} refused, {told} told", bytes.len()));
}

/// The bytes of a file that mean something: sled fills up its log with zeros.
fn written(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let filled: Vec<usize> =
        (0..end).filter(|offset| bytes[offset.saturating_sub(32)..end.min(offset + 32)].iter().any(|byte| *byte != 0)).collect();
    filled.into_iter()
}

enum Outcome {
    Refused(String),
    Open { faults: usize },
    Wrong(String),
}

async fn opened(data: &Path) -> Outcome {
    let backend = match open_sled(data).await {
        Ok(backend) => backend,
        Err(fault) => return Outcome::Refused(fault.to_string()),
    };
    judged(backend).await
}

async fn judged(backend: Arc<dyn Backend>) -> Outcome {
    let ledger = match Ledger::open(backend, sealer()).await {
        Ok(ledger) => Arc::new(ledger),
        Err(fault) => return Outcome::Refused(fault.to_string()),
    };
    let vault = Vault::new(ledger.clone(), Vec::new()).expect("opens");
    let runners = Identity::new(ledger.clone(), Vec::new()).expect("opens");
    if !runners.has_runners() {
        return Outcome::Wrong("the runner is gone, and anonymous clients are let in".to_owned());
    }
    for (called, value) in values() {
        match vault.resolver(&organization("default"), None).find(&name(called)) {
            Ok(secret) => match secret.open() {
                Ok(found) if found.expose() != value.as_bytes() => return Outcome::Wrong(format!("another value of {called}")),
                _ => {}
            },
            Err(Absence::Unavailable(_)) => {}
            Err(absence) => return Outcome::Wrong(format!("{called}: {absence:?}")),
        }
    }
    Outcome::Open { faults: ledger.faults().len() }
}
