//! Several ledgers over one store, as several processes have it: what one writes is in all others, held against the manifest,
//! and no two of them can do what does not go together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::seal::{KeyEncryptionKey, KeyRing};
use crate::store::{self, Engine, Expect, Stored, Write};

mod missed;
mod model;

const KIND: Kind = Kind::new("secret");

fn key(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::from_bytes(&[byte; 32])
}

async fn shared() -> Arc<dyn Backend> {
    store::open(Engine::SharedMemory).await.expect("opens")
}

async fn over(store: &Arc<dyn Backend>) -> Ledger {
    Ledger::open(Arc::clone(store), Sealer::new(key(1))).await.expect("opens")
}

fn home() -> OrganizationName {
    OrganizationName::default()
}

fn draft(name: &str) -> Draft {
    Draft { name: name.to_owned(), metadata: serde_json::Value::Null, by: "t".to_owned() }
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec()).expect("a value")
}

impl Ledger {
    async fn add(&self, name: &str, text: &str) -> Result<Arc<Record>, LedgerError> {
        self.create(KIND, &home(), draft(name), Some(&value(text))).await
    }

    /// Every record: name, revision and value, or why it is refused.
    fn told(&self) -> Vec<(String, String)> {
        let told = self.records(&KIND).into_iter().map(|entry| match entry {
            Entry::Sound(record) => {
                let same = |text: &&&str| self.open_value(&record).expect("it opens").is(&value(text));
                let text = TEXTS.iter().find(same).copied().unwrap_or("?");
                (format!("{} {}", record.header().name, record.header().revision), text.to_owned())
            }
            Entry::Faulty(faulty) => (faulty.name.as_deref().unwrap_or("?").to_owned(), faulty.reason.clone()),
        });
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    }

    /// Waits until this ledger holds what the store does.
    async fn is_level_with(&self, store: &Arc<dyn Backend>) -> Vec<(String, String)> {
        let fresh = Ledger::open(Arc::clone(store), self.inner.sealer.clone()).await.expect("opens");
        let (wanted, root) = (fresh.told(), fresh.inner.book().root());
        assert!(self.inner.catch_up(|book| book.root() >= root).await, "it does not follow");
        // What a rotation puts changes no root.
        for _ in 0..1_000 {
            if self.told() == wanted && self.inner.book().versions == fresh.inner.book().versions {
                return wanted;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(self.told(), wanted);
        assert_eq!(self.inner.book().versions, fresh.inner.book().versions);
        wanted
    }

    async fn is(&self, wanted: impl Fn(&Standing) -> bool) {
        let mut standing = self.standing();
        let reached = tokio::time::timeout(Duration::from_mins(1), standing.wait_for(|standing| wanted(standing))).await;
        assert!(reached.is_ok(), "{:?}", self.standing().borrow());
    }
}

const TEXTS: [&str; 4] = ["one", "two", "three", "four"];

#[tokio::test]
async fn what_one_process_writes_is_in_all_others() {
    let store = shared().await;
    let (one, two) = (over(&store).await, over(&store).await);
    let made = one.add("a", "one").await.expect("made");
    assert_eq!(two.is_level_with(&store).await, [("a 1".to_owned(), "one".to_owned())]);
    two.replace(&made, draft("b"), Payload::Value(&value("two"))).await.expect("it is what is stored");
    assert_eq!(one.is_level_with(&store).await, [("b 2".to_owned(), "two".to_owned())]);
    assert!(matches!(one.replace(&made, draft("c"), Payload::Unchanged).await, Err(LedgerError::Stale)));
    one.remove(made.key(), None).await.expect("removed");
    assert_eq!(two.is_level_with(&store).await, []);
}

#[tokio::test]
async fn processes_that_all_begin_on_an_empty_store_have_one_manifest() {
    let store = shared().await;
    let opened = futures_of(6, |_| {
        let store = Arc::clone(&store);
        async move { over(&store).await }
    })
    .await;
    for (index, ledger) in opened.iter().enumerate() {
        ledger.add(&format!("s{index}"), "one").await.expect("made");
    }
    for ledger in &opened {
        assert_eq!(ledger.is_level_with(&store).await.len(), 6);
    }
}

/// All at once, each in a task of its own.
async fn futures_of<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    make: impl Fn(usize) -> F,
) -> Vec<T> {
    let tasks: Vec<_> = (0..count).map(|index| tokio::spawn(make(index))).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.expect("no panic"));
    }
    done
}

#[tokio::test]
async fn of_many_who_want_one_name_or_one_revision_one_gets_it() {
    let store = shared().await;
    let mut ledgers = Vec::new();
    for _ in 0..4 {
        ledgers.push(Arc::new(over(&store).await));
    }
    let made = ledgers[0].add("contested", "one").await.expect("made");
    for ledger in &ledgers {
        ledger.is_level_with(&store).await;
    }
    for round in 0..20 {
        let name = format!("n{round}");
        let (ledgers, made) = (ledgers.clone(), Arc::clone(&made));
        let outcomes = futures_of(8, move |index| {
            let (ledger, name, made) = (Arc::clone(&ledgers[index % 4]), name.clone(), Arc::clone(&made));
            async move {
                let created = ledger.add(&name, "one").await;
                let Some(Entry::Sound(current)) = ledger.entry(made.key()) else { panic!("it is there") };
                let edited = ledger.replace(&current, draft("contested"), Payload::Unchanged).await;
                (created.map(drop), edited.map(|record| record.header().revision))
            }
        })
        .await;
        let created = outcomes.iter().filter(|(created, _)| created.is_ok()).count();
        assert_eq!(created, 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|(created, _)| matches!(created, Ok(()) | Err(LedgerError::NameTaken))), "{outcomes:?}");
        let mut revisions: Vec<_> = outcomes.iter().filter_map(|(_, edited)| edited.as_ref().ok()).collect();
        let count = revisions.len();
        revisions.sort();
        revisions.dedup();
        assert!(count > 0 && revisions.len() == count, "two writers made one revision: {outcomes:?}");
    }
    let told = ledgers[0].is_level_with(&store).await;
    for ledger in &ledgers[1..] {
        assert_eq!(ledger.is_level_with(&store).await, told);
    }
}

#[tokio::test]
async fn what_a_change_depends_on_holds_at_the_moment_of_the_change() {
    let store = shared().await;
    let (one, two) = (over(&store).await, Arc::new(over(&store).await));
    let looks = Arc::clone(&two);
    let is_alone: Condition = {
        let alone = Arc::new(Alone::default());
        two.follow(KIND, alone.clone());
        Arc::new(move || alone.0.load(Ordering::SeqCst))
    };
    // Two has not heard of it yet: its condition holds, and its commit does not.
    one.add("first", "one").await.expect("made");
    let refused = looks.create_if(KIND, &home(), draft("second"), None, Some(is_alone)).await;
    assert!(matches!(refused, Err(LedgerError::Unmet)), "{refused:?}");
    assert_eq!(two.is_level_with(&store).await.len(), 1);
}

/// Whether there is no record.
struct Alone(AtomicBool);

impl Default for Alone {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Follower for Alone {
    fn reset(&self, entries: Vec<Entry>) {
        self.0.store(entries.is_empty(), Ordering::SeqCst);
    }

    fn changed(&self, _: &RecordKey, now: Option<&Entry>) {
        self.0.store(now.is_none(), Ordering::SeqCst);
    }
}

/// What lies under a key.
async fn stored(store: &Arc<dyn Backend>, key: &str) -> Stored {
    store.read(key).await.expect("reads").expect("there")
}

async fn overwrite(store: &Arc<dyn Backend>, key: &str, bytes: Vec<u8>) {
    let version = stored(store, key).await.version;
    let put = Write::Put { key: key.to_owned(), expect: Expect::Version(version), bytes };
    store.commit(vec![put]).await.expect("overwritten");
}

fn bent(mut bytes: Vec<u8>) -> Vec<u8> {
    *bytes.last_mut().expect("not empty") ^= 1;
    bytes
}

#[tokio::test]
async fn a_record_that_is_damaged_in_the_store_is_faulty_everywhere_and_harms_no_other() {
    let store = shared().await;
    let (one, two) = (over(&store).await, over(&store).await);
    let (harmed, spared) = (one.add("harmed", "one").await.expect("made"), one.add("spared", "two").await.expect("made"));
    let text = harmed.key().to_string();
    overwrite(&store, &text, bent(stored(&store, &text).await.bytes)).await;
    for ledger in [&one, &two] {
        let told = ledger.is_level_with(&store).await;
        assert_eq!(told[1], ("spared 1".to_owned(), "two".to_owned()));
        assert!(told[0].0 == "harmed" && told[0].1.contains("damaged"), "{told:?}");
        assert_eq!(*ledger.standing().borrow(), Standing::Sound);
    }
    // The name is held; an older revision, another's place and a record without a line are refused too.
    assert!(matches!(two.add("harmed", "one").await, Err(LedgerError::NameTaken)));
    two.replace(&spared, draft("spared"), Payload::Unchanged).await.expect("it is sound");
    let was = spared.envelope.clone();
    overwrite(&store, &spared.key().to_string(), was.clone()).await;
    overwrite(&store, &text, was.clone()).await;
    let added = format!("record/secret/default/{:032x}", 5);
    store.commit(vec![Write::Put { key: added, expect: Expect::Absent, bytes: was }]).await.expect("put");
    for ledger in [&one, &two] {
        let told = ledger.is_level_with(&store).await;
        assert_eq!(told.len(), 3);
        let reasons = ["belongs elsewhere", "an older one was put back", "not listed"];
        assert!(reasons.iter().all(|reason| told.iter().any(|(_, said)| said.contains(reason))), "{told:?}");
    }
    // Deleting it is the cure, wherever.
    two.remove(harmed.key(), None).await.expect("removed");
    one.is_level_with(&store).await;
    one.add("harmed", "three").await.expect("its name is free");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_damaged_is_not_followed_nor_overwritten_and_followed_once_it_is_right() {
    let store = shared().await;
    let (one, two) = (over(&store).await, over(&store).await);
    let made = one.add("a", "one").await.expect("made");
    let before = two.is_level_with(&store).await;
    let page = format!("manifest/{}", &made.key().id[..2]);
    for part in ["manifest", &page] {
        let sound = stored(&store, part).await.bytes;
        overwrite(&store, part, bent(sound.clone())).await;
        let damaged = stored(&store, part).await;
        for ledger in [&one, &two] {
            ledger.is(|standing| matches!(standing, Standing::Astray { .. })).await;
            until(|| ledger.staleness().age().is_some()).await;
            assert_eq!(ledger.told(), before, "it goes on with what it knows");
            let refused = ledger.add("b", "two").await.expect_err("refused");
            assert!(matches!(refused, LedgerError::Astray { .. }), "{refused}");
        }
        assert_eq!(stored(&store, part).await, damaged, "nothing was overwritten");
        overwrite(&store, part, sound).await;
        for ledger in [&one, &two] {
            ledger.is(|standing| *standing == Standing::Sound).await;
        }
    }
    two.add("b", "two").await.expect("made");
    assert_eq!(one.is_level_with(&store).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_set_back_as_a_whole_is_noticed_by_who_has_seen_more() {
    let store = shared().await;
    let ledger = over(&store).await;
    let made = ledger.add("a", "one").await.expect("made");
    let keys = ["manifest".to_owned(), format!("manifest/{}", &made.key().id[..2]), made.key().to_string()];
    let mut older = Vec::new();
    for key in &keys {
        older.push(stored(&store, key).await.bytes);
    }
    ledger.replace(&made, draft("a"), Payload::Value(&value("two"))).await.expect("changed");
    let mut puts = Vec::new();
    for (key, bytes) in keys.iter().zip(older) {
        let expect = Expect::Version(stored(&store, key).await.version);
        puts.push(Write::Put { key: key.clone(), expect, bytes });
    }
    store.commit(puts).await.expect("set back");
    ledger.is(|standing| matches!(standing, Standing::Astray { why, .. } if why.contains("set back"))).await;
    assert_eq!(ledger.told(), [("a 2".to_owned(), "two".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn two_fleets_with_different_keys_cannot_overwrite_each_other() {
    let store = shared().await;
    let one = over(&store).await;
    one.add("a", "one").await.expect("made");
    let before = store.load(&[""]).await.expect("loads").stored;
    let other = Ledger::open(Arc::clone(&store), Sealer::new(key(2))).await.err().expect("refused");
    assert!(matches!(other, LedgerError::WrongKey { .. }), "{other}");
    assert_eq!(store.load(&[""]).await.expect("loads").stored, before);
    // They begin at the same time: whoever is second is refused.
    let empty = shared().await;
    let (first, second) = tokio::join!(
        Ledger::open(Arc::clone(&empty), Sealer::new(key(1))),
        Ledger::open(Arc::clone(&empty), Sealer::new(key(2)))
    );
    let refused: Vec<_> = [first.err(), second.err()].into_iter().flatten().collect();
    assert!(matches!(refused[..], [LedgerError::WrongKey { .. }]), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_lacks_a_new_key_keeps_what_it_has_and_follows_once_it_is_given() {
    let store = shared().await;
    let (one, two) = (over(&store).await, over(&store).await);
    one.add("a", "one").await.expect("made");
    let before = two.is_level_with(&store).await;
    one.sealer().set_ring(KeyRing::new(key(9)).with(key(1)));
    // Records first: what is under another key has the header that it had.
    one.renew_records(None, 16).await.expect("sealed anew");
    two.inner.catch_up(|book| book.seen >= one.inner.book().seen).await;
    assert_eq!(two.told(), before);
    one.renew_manifest().await.expect("sealed anew");
    two.is(|standing| matches!(standing, Standing::Astray { sealed_with: Some(id), .. } if *id == key(9).id())).await;
    assert_eq!(two.told(), before);
    two.sealer().set_ring(KeyRing::new(key(1)).with(key(9)));
    two.load_again();
    two.is(|standing| *standing == Standing::Sound).await;
    two.add("b", "two").await.expect("made");
    assert_eq!(one.is_level_with(&store).await.len(), 2);
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}
