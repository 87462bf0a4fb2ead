//! A store that tells late, tells nothing, loses answers or cannot be reached: what was missed is loaded, and nothing is written
//! over what is not known.

use super::*;
use crate::seal::Envelope;
use crate::store::{Changed, Loaded, Pending, Told};

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

#[tokio::test(start_paused = true)]
async fn much_that_was_missed_is_told_as_a_whole() {
    let (moody, ledger) = moody().await;
    let (heard, other) = (Arc::new(Heard::default()), over(&moody.store).await);
    ledger.follow(KIND, heard.clone());
    for number in 0..100 {
        other.add(&format!("s{number}"), "one").await.expect("made");
    }
    moody.told.send(Told::LoadAgain).expect("somebody follows");
    assert_eq!(ledger.is_level_with(&moody.store).await.len(), 100);
    assert!(heard.0.lock().expect("no panic").is_empty(), "one by one");
    assert!(matches!(ledger.add("s5", "one").await, Err(LedgerError::NameTaken)));
    let Some(Entry::Sound(one)) = ledger.records(&KIND).pop() else { panic!("they are sound") };
    ledger.replace(&one, draft("other"), Payload::Unchanged).await.expect("it is what is stored");
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
