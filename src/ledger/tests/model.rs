//! Some ledgers over one store against one model: whatever is done by whom, at once or after one another, each does what
//! the model says of what is stored at that moment, and all are equal at the end, to each other and to one opened anew.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Deed {
    Create(usize, usize),
    /// A new value for whatever has the name, over the record as this ledger knows it.
    Replace(usize, usize),
    Rename(usize, usize),
    Remove(usize),
    /// Everything is sealed anew under a key that all have.
    Rotate(u8),
    /// This process misses what it is told, and loads.
    Miss,
    /// This process ends, and another begins.
    BeginAnew,
}

/// Revision and text, by name; and what a deed may have made of it.
type Model = BTreeMap<String, (u64, usize)>;

fn deeds() -> impl Strategy<Value = Vec<(usize, Deed)>> {
    let (name, text) = (0..NAMES.len(), 0..TEXTS.len());
    let deed = prop_oneof![
        4 => (name.clone(), text.clone()).prop_map(|(name, text)| Deed::Create(name, text)),
        4 => (name.clone(), text).prop_map(|(name, text)| Deed::Replace(name, text)),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Deed::Rename(from, to)),
        2 => name.prop_map(Deed::Remove),
        1 => (2..5_u8).prop_map(Deed::Rotate),
        1 => Just(Deed::Miss),
        1 => Just(Deed::BeginAnew),
    ];
    proptest::collection::vec((0..LEDGERS, deed), 1..40)
}

const LEDGERS: usize = 3;

fn ring(current: u8) -> KeyRing {
    (1..5).fold(KeyRing::new(key(current)), |ring, other| ring.with(key(other)))
}

/// What lies under a name, as a ledger knows it.
fn known(ledger: &Ledger, name: &str) -> Option<Arc<Record>> {
    ledger.records(&KIND).into_iter().find_map(|entry| match entry {
        Entry::Sound(record) if &*record.header().name == name => Some(record),
        _ => None,
    })
}

/// Does it, and holds the outcome against the model: what succeeds was right by what is stored, whatever the ledger knew.
async fn do_it(ledgers: &mut [Ledger], store: &Arc<dyn Backend>, model: &mut Model, index: usize, deed: &Deed) {
    let ledger = &ledgers[index];
    match deed {
        Deed::Create(name, text) => {
            let name = NAMES[*name];
            match ledger.add(name, TEXTS[*text]).await {
                Ok(_) => assert_eq!(model.insert(name.to_owned(), (1, *text)), None, "{name} was there"),
                Err(LedgerError::NameTaken) => assert!(model.contains_key(name), "{name} was free"),
                Err(fault) => panic!("{fault}"),
            }
        }
        Deed::Replace(name, text) => {
            let name = NAMES[*name];
            let Some(record) = known(ledger, name) else { return };
            match ledger.replace(&record, draft(name), Payload::Value(&value(TEXTS[*text]))).await {
                Ok(now) => {
                    let before = model.insert(name.to_owned(), (now.header().revision, *text));
                    assert_eq!(before.map(|(revision, _)| revision + 1), Some(now.header().revision));
                }
                Err(LedgerError::Stale | LedgerError::NameTaken) => {
                    assert_ne!(model.get(name).map(|(revision, _)| *revision), Some(record.header().revision), "it was current");
                }
                Err(fault) => panic!("{fault}"),
            }
        }
        Deed::Rename(from, to) if from != to => {
            let (from, to) = (NAMES[*from], NAMES[*to]);
            let Some(record) = known(ledger, from) else { return };
            match ledger.replace(&record, draft(to), Payload::Unchanged).await {
                Ok(now) => {
                    let (revision, text) = model.remove(from).expect("it was there");
                    assert_eq!(now.header().revision, revision + 1);
                    assert_eq!(model.insert(to.to_owned(), (revision + 1, text)), None, "{to} was there");
                }
                Err(LedgerError::NameTaken) => assert!(model.contains_key(to)),
                Err(LedgerError::Stale) => {}
                Err(fault) => panic!("{fault}"),
            }
        }
        Deed::Rename(..) => {}
        Deed::Remove(name) => {
            let name = NAMES[*name];
            let Some(record) = known(ledger, name) else { return };
            match ledger.remove(record.key(), Some(record.header().revision)).await {
                Ok(()) => drop(model.remove(name).expect("it was there")),
                Err(LedgerError::Stale) => {}
                Err(fault) => panic!("{fault}"),
            }
        }
        Deed::Rotate(current) => {
            ledger.sealer().set_ring(ring(*current));
            ledger.renew_records(None, 16).await.expect("sealed anew");
            ledger.renew_manifest().await.expect("sealed anew");
        }
        Deed::Miss => ledger.load_again(),
        Deed::BeginAnew => ledgers[index] = Ledger::open(Arc::clone(store), Sealer::with(ring(1))).await.expect("opens"),
    }
}

async fn lived(deeds: Vec<(usize, Deed)>) {
    let store = shared().await;
    let (mut ledgers, mut model) = (Vec::new(), Model::new());
    for _ in 0..LEDGERS {
        ledgers.push(Ledger::open(Arc::clone(&store), Sealer::with(ring(1))).await.expect("opens"));
    }
    for (index, deed) in deeds {
        do_it(&mut ledgers, &store, &mut model, index, &deed).await;
    }
    let wanted: Vec<_> =
        model.iter().map(|(name, (revision, text))| (format!("{name} {revision}"), TEXTS[*text].to_owned())).collect();
    for ledger in &ledgers {
        assert_eq!(ledger.is_level_with(&store).await, wanted);
        assert_eq!(*ledger.standing().borrow(), Standing::Sound);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whoever_does_what_all_books_are_equal_and_right(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(lived(deeds));
    }
}
