//! Several ledgers over one store, as several processes have it: what one writes is in all others, held against the manifest,
//! and no two of them can do what does not go together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::seal::{Envelope, KeyEncryptionKey, KeyRing};
use crate::store::{self, Changed, Engine, Expect, Loaded, Pending, Stored, Told, Write};

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

/// A store that may be told to keep what it is told to itself, to lose it, to lose answers, or that it cannot be reached.
struct Moody {
    store: Arc<dyn Backend>,
    told: tokio::sync::broadcast::Sender<Told>,
    loses_answers: AtomicBool,
    freshness: watch::Sender<Freshness>,
}

impl Backend for Moody {
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
            let versions = self.store.commit(writes).await?;
            let lost = self.loses_answers.load(Ordering::SeqCst);
            if lost { Err(StoreError::Unknown { why: "the connection broke".to_owned() }) } else { Ok(versions) }
        })
    }

    fn watch(&self) -> tokio::sync::broadcast::Receiver<Told> {
        self.told.subscribe()
    }

    fn freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.subscribe()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

async fn moody() -> (Arc<Moody>, Ledger) {
    let (store, told) = (shared().await, tokio::sync::broadcast::Sender::new(64));
    let (loses_answers, freshness) = (AtomicBool::new(false), watch::Sender::new(Freshness::Current));
    let moody = Arc::new(Moody { store, told, loses_answers, freshness });
    let ledger = over(&(Arc::clone(&moody) as Arc<dyn Backend>)).await;
    (moody, ledger)
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_loaded_and_whoever_follows_hears_only_of_what_differs() {
    let (moody, ledger) = moody().await;
    let other = over(&moody.store).await;
    let kept = other.add("kept", "one").await.expect("made");
    let gone = other.add("gone", "two").await.expect("made");
    moody.told.send(Told::LoadAgain).expect("somebody follows");
    ledger.is_level_with(&moody.store).await;
    let heard = Arc::new(Heard::default());
    ledger.follow(KIND, heard.clone());
    let Some(Entry::Sound(before)) = ledger.entry(kept.key()) else { panic!("it is there") };
    other.remove(gone.key(), None).await.expect("removed");
    let new = other.add("new", "three").await.expect("made");
    assert_eq!(ledger.told().len(), 2, "it was told of nothing");
    moody.told.send(Told::LoadAgain).expect("somebody follows");
    ledger.is_level_with(&moody.store).await;
    let mut keys = heard.0.lock().expect("no panic").clone();
    let mut wanted = vec![gone.key().clone(), new.key().clone()];
    keys.sort();
    wanted.sort();
    assert_eq!(keys, wanted);
    let Some(Entry::Sound(after)) = ledger.entry(kept.key()) else { panic!("it is there") };
    assert!(Arc::ptr_eq(&before, &after), "the very record");
}

#[derive(Default)]
struct Heard(StdMutex<Vec<RecordKey>>);

impl Follower for Heard {
    fn reset(&self, _: Vec<Entry>) {}

    fn changed(&self, key: &RecordKey, _: Option<&Entry>) {
        self.0.lock().expect("no panic").push(key.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_known_by_what_the_store_tells() {
    let (moody, ledger) = moody().await;
    moody.loses_answers.store(true, Ordering::SeqCst);
    // Nothing is told: it is not known.
    let unknown = ledger.add("a", "one").await.expect_err("it is not known");
    assert!(matches!(unknown, LedgerError::Store(StoreError::Unknown { .. })), "{unknown}");
    moody.told.send(Told::LoadAgain).expect("somebody follows");
    ledger.is_level_with(&moody.store).await;
    assert!(matches!(ledger.add("a", "one").await, Err(LedgerError::NameTaken)), "it was made");
    // It is told: it is known to have been made.
    let mut told = moody.store.watch();
    let passing = Arc::clone(&moody);
    let passed = tokio::spawn(async move {
        let told = told.recv().await.expect("a commit");
        passing.told.send(told).expect("somebody follows");
    });
    ledger.add("b", "two").await.expect("it was made");
    passed.await.expect("no panic");
    assert_eq!(ledger.is_level_with(&moody.store).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_over_what_was_not_told_waits_for_it() {
    let (moody, ledger) = moody().await;
    let other = over(&moody.store).await;
    let mut told = moody.store.watch();
    other.add("a", "one").await.expect("made");
    let late = told.recv().await.expect("a commit");
    let passing = Arc::clone(&moody);
    let passed = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        passing.told.send(late).expect("somebody follows");
    });
    let taken = ledger.add("a", "two").await.expect_err("the name is taken");
    assert!(matches!(taken, LedgerError::NameTaken), "{taken}");
    passed.await.expect("no panic");
    // What is never told is loaded: first it is refused, and then it is known.
    other.add("b", "one").await.expect("made");
    assert!(matches!(ledger.add("b", "two").await, Err(LedgerError::Store(StoreError::Conflict { .. }))));
    ledger.is_level_with(&moody.store).await;
    assert!(matches!(ledger.add("b", "two").await, Err(LedgerError::NameTaken)));
}

#[tokio::test]
async fn while_the_store_cannot_be_reached_nothing_is_written_and_what_is_known_ages() {
    let (moody, ledger) = moody().await;
    ledger.add("a", "one").await.expect("made");
    let since = std::time::Instant::now();
    moody.freshness.send_replace(Freshness::Behind { since, why: "no member answers".to_owned() });
    let refused = ledger.add("b", "one").await.expect_err("refused at once").to_string();
    assert!(refused.contains("no member answers"), "{refused}");
    ledger.staleness().trust_for(Duration::from_hours(1));
    until(|| ledger.staleness().age().is_some()).await;
    assert_eq!(ledger.staleness().check(), Ok(()), "it goes on with what it knows");
    assert_eq!(ledger.told(), [("a 1".to_owned(), "one".to_owned())]);
    ledger.staleness().trust_for(Duration::ZERO);
    until(|| ledger.staleness().check().is_err()).await;
    moody.freshness.send_replace(Freshness::Current);
    until(|| ledger.staleness().age().is_none()).await;
    ledger.add("b", "one").await.expect("made");
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

/// Everything of a commit under one revision, as the store tells it.
fn told_of(revision: u64, changes: Vec<(String, Option<Vec<u8>>)>) -> Told {
    let changes = changes.into_iter().map(|(key, bytes)| Changed { key, now: bytes.map(|bytes| (revision, bytes)) });
    Told::Commit { revision, changes: changes.collect() }
}

#[tokio::test]
async fn commits_that_are_known_already_change_nothing() {
    let (moody, ledger) = moody().await;
    let mut told = moody.store.watch();
    let made = ledger.add("a", "one").await.expect("made");
    let first = told.recv().await.expect("a commit");
    ledger.remove(made.key(), None).await.expect("removed");
    let heard = Arc::new(Heard::default());
    ledger.follow(KIND, heard.clone());
    // The store tells of one's own commits later than they are acknowledged.
    moody.told.send(first).expect("somebody follows");
    moody.told.send(told.recv().await.expect("a commit")).expect("somebody follows");
    moody.told.send(told_of(1, vec![("activity/x/1".to_owned(), Some(Vec::new()))])).expect("somebody follows");
    ledger.add("b", "one").await.expect("made");
    assert_eq!(ledger.told().len(), 1);
    assert!(!heard.0.lock().expect("no panic").contains(made.key()), "it came back for a moment");
    assert_eq!(Envelope::parse(&stored(&moody.store, "manifest").await.bytes).expect("one").key_id(), key(1).id());
}
