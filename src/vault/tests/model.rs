//! The vault and its store against a model: whatever is done, fails, or is cut off, what was acknowledged is there, and what
//! was not is there whole or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

/// What happens to the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is carried out and acknowledged.
    Acknowledged,
    /// It fails, and the process goes on.
    Refused,
    /// The process ends before it is carried out.
    CutOffBefore,
    /// The process ends when it was carried out, and before that is said.
    CutOffBehind,
}

/// A store whose next commit has a fate.
struct Fickle {
    store: Arc<dyn Backend>,
    fate: Arc<Mutex<Fate>>,
}

impl Backend for Fickle {
    fn load(&self, prefixes: &[&str]) -> Pending<'_, Result<Loaded, StoreError>> {
        self.store.load(prefixes)
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
        self.store.page(prefix, after, limit)
    }

    fn read(&self, key: &str) -> Pending<'_, Result<Option<Stored>, StoreError>> {
        self.store.read(key)
    }

    fn commit(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(async move {
            let fate = *self.fate.lock().expect("no test panics with it");
            match fate {
                Fate::Acknowledged => self.store.commit(writes).await,
                Fate::Refused | Fate::CutOffBefore => Err(StoreError::Failed("no".to_owned())),
                Fate::CutOffBehind => {
                    self.store.commit(writes).await?;
                    Err(StoreError::Failed("nobody hears of it".to_owned()))
                }
            }
        })
    }

    fn watch(&self) -> tokio::sync::broadcast::Receiver<Told> {
        self.store.watch()
    }

    fn freshness(&self) -> tokio::sync::watch::Receiver<Freshness> {
        self.store.freshness()
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}

/// Where the store lies between two lives of the process.
enum Place {
    Memory(Arc<dyn Backend>),
    Files(PathBuf),
}

/// A process with its vault.
struct Life {
    vault: Vault,
    fate: Arc<Mutex<Fate>>,
}

impl Life {
    async fn begin(place: &Place) -> Self {
        let store = match place {
            Place::Memory(store) => Arc::clone(store),
            Place::Files(directory) => {
                store::open(Engine::Sled { directory: directory.clone() }).await.expect("what was cut off opens")
            }
        };
        let fate = Arc::new(Mutex::new(Fate::Acknowledged));
        let fickle: Arc<dyn Backend> = Arc::new(Fickle { store, fate: Arc::clone(&fate) });
        Self { vault: vault_over(fickle, Vec::new()).await.expect("nothing is contradictory"), fate }
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Create(usize, String),
    Edit(usize, String, Option<u64>),
    Describe(usize, String),
    Rename(usize, usize),
    Delete(usize, Option<u64>),
    /// The process ends in order, and another begins.
    BeginAnew,
}

const NAMES: [&str; 4] = ["a", "b.c", "B", "d"];

/// Value, description and revision.
type Model = BTreeMap<&'static str, (String, String, u64)>;

/// What a deed that is carried out makes of the model; or the code that it is refused with.
fn carried_out(model: &Model, deed: &Deed) -> Result<Model, &'static str> {
    let mut next = model.clone();
    let stale = |seen: &Option<u64>, revision: u64| seen.is_some_and(|seen| seen != revision);
    match deed {
        Deed::Create(index, value) => {
            let free = next.insert(NAMES[*index], (value.clone(), "for the team".to_owned(), 1)).is_none();
            return if free { Ok(next) } else { Err("name_taken") };
        }
        Deed::Edit(index, value, seen) => {
            let (kept, _, revision) = next.get_mut(NAMES[*index]).ok_or("secret_not_found")?;
            if stale(seen, *revision) {
                return Err("revision_stale");
            }
            kept.clone_from(value);
            *revision += 1;
        }
        Deed::Describe(index, text) => {
            let (_, description, revision) = next.get_mut(NAMES[*index]).ok_or("secret_not_found")?;
            if description != text {
                description.clone_from(text);
                *revision += 1;
            }
        }
        Deed::Rename(from, to) => {
            let (value, description, revision) = next.get(NAMES[*from]).cloned().ok_or("secret_not_found")?;
            if from != to {
                if next.contains_key(NAMES[*to]) {
                    return Err("name_taken");
                }
                next.remove(NAMES[*from]);
                next.insert(NAMES[*to], (value, description, revision + 1));
            }
        }
        Deed::Delete(index, seen) => {
            let (_, _, revision) = next.get(NAMES[*index]).ok_or("secret_not_found")?;
            if stale(seen, *revision) {
                return Err("revision_stale");
            }
            next.remove(NAMES[*index]);
        }
        Deed::BeginAnew => {}
    }
    Ok(next)
}

async fn done(vault: &Vault, deed: &Deed) -> Result<(), VaultError> {
    let edit = |index: usize, edit: Edit, seen: Option<u64>| async move {
        vault.edit(&home(), &name(NAMES[index]), edit, seen, "t").await.map(drop)
    };
    match deed {
        Deed::Create(index, text) => vault.create(&home(), new(NAMES[*index], text), "t").await.map(drop),
        Deed::Edit(index, text, seen) => edit(*index, Edit { value: Some(value(text)), ..Edit::default() }, *seen).await,
        Deed::Describe(index, text) => {
            let description = Some(Description::parse(text).expect("short"));
            edit(*index, Edit { description, ..Edit::default() }, None).await
        }
        Deed::Rename(from, to) => edit(*from, Edit { name: Some(name(NAMES[*to])), ..Edit::default() }, None).await,
        Deed::Delete(index, seen) => vault.delete(&home(), &name(NAMES[*index]), *seen, "t").await,
        Deed::BeginAnew => Ok(()),
    }
}

/// Everything that people and runners see is what the model says.
fn agrees(vault: &Vault, model: &Model) {
    let views = vault.list(&home());
    assert!(views.iter().all(|view| view.fault.is_none()), "{views:?}");
    let seen: Vec<_> =
        views.iter().map(|view| (view.name.to_string(), view.description.as_str().to_owned(), view.revision)).collect();
    let wanted: Vec<_> = model.iter().map(|(name, (_, text, revision))| ((*name).to_owned(), text.clone(), *revision)).collect();
    assert_eq!(seen, wanted);
    for called in NAMES {
        match model.get(called) {
            Some((text, ..)) => assert!(gives(vault, &home(), called, text), "{called} is not {text}"),
            None => assert_eq!(absence(vault, called), Some(Absence::NotFound), "{called}"),
        }
    }
}

async fn lived(place: &Place, deeds: Vec<(Deed, Fate)>) {
    let (mut life, mut model) = (Life::begin(place).await, Model::new());
    for (deed, fate) in deeds {
        *life.fate.lock().expect("no test panics with it") = fate;
        let outcome = done(&life.vault, &deed).await;
        let wanted = carried_out(&model, &deed);
        let changes = wanted.as_ref().is_ok_and(|next| *next != model);
        match (&outcome, wanted) {
            (Err(refusal), Err(code)) => assert_eq!(refusal.code(), code, "{deed:?}"),
            (Ok(()), Ok(next)) if fate == Fate::Acknowledged || !changes => model = next,
            (Err(_), Ok(next)) if fate == Fate::CutOffBehind && changes => model = next,
            (Err(_), Ok(_)) if fate != Fate::Acknowledged && changes => {}
            (outcome, wanted) => panic!("{deed:?} {fate:?}: {outcome:?}, and {wanted:?} was meant"),
        }
        let is_cut_off = matches!(fate, Fate::CutOffBefore | Fate::CutOffBehind);
        if is_cut_off || matches!(deed, Deed::BeginAnew) {
            drop(life);
            life = Life::begin(place).await;
        }
        agrees(&life.vault, &model);
    }
}

fn deeds(most: usize) -> impl Strategy<Value = Vec<(Deed, Fate)>> {
    let index = 0..NAMES.len();
    let seen = prop_oneof![3 => Just(None), 1 => (1..4_u64).prop_map(Some)];
    let text = "[a-z]{1,12}";
    let deed = prop_oneof![
        4 => (index.clone(), text).prop_map(|(index, text)| Deed::Create(index, text)),
        3 => (index.clone(), text, seen.clone()).prop_map(|(index, text, seen)| Deed::Edit(index, text, seen)),
        1 => (index.clone(), "[a-c]{0,2}").prop_map(|(index, text)| Deed::Describe(index, text)),
        2 => (index.clone(), index.clone()).prop_map(|(from, to)| Deed::Rename(from, to)),
        2 => (index, seen).prop_map(|(index, seen)| Deed::Delete(index, seen)),
        1 => Just(Deed::BeginAnew),
    ];
    let fate = prop_oneof![
        6 => Just(Fate::Acknowledged),
        1 => Just(Fate::Refused),
        1 => Just(Fate::CutOffBefore),
        1 => Just(Fate::CutOffBehind),
    ];
    proptest::collection::vec((deed, fate), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_nothing_is_lost_or_halved(deeds in deeds(30)) {
        block_on(async { lived(&Place::Memory(memory().await), deeds).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn in_files_nothing_is_lost_or_halved(deeds in deeds(20)) {
        let directory = tempfile::tempdir().expect("a directory");
        block_on(lived(&Place::Files(directory.path().to_owned()), deeds));
    }
}
