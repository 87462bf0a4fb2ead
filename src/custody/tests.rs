//! How a rotation is begun, gone on with and ended, with keys that a test holds.

mod fleet;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::activity::{NodeName, Settings};
use crate::audit::Audit;
use crate::metrics::Registry;
use crate::seal::{KeyEncryptionKey, Sealer};
use crate::store::{self, Engine};

fn key(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::from_bytes(&[byte; 32])
}

/// The keys as they would lie in a file. A retirement fails as often as `fails` says, and a reading waits for a word.
struct Kept {
    ring: Mutex<KeyRing>,
    fails: AtomicU32,
    asked: mpsc::Sender<()>,
    word: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Kept {
    fn ring(&self) -> KeyRing {
        self.ring.lock().expect("nobody panics").clone()
    }
}

impl Sources for Kept {
    fn read(&self) -> Result<KeyRing, String> {
        let _ = self.asked.send(());
        if let Some(word) = self.word.lock().expect("nobody panics").take() {
            word.recv().expect("a word comes");
        }
        Ok(self.ring())
    }

    fn renew(&self) -> Result<KeyRing, String> {
        let renewed = self.ring().renewed().map_err(|fault| fault.to_string())?;
        *self.ring.lock().expect("nobody panics") = renewed.clone();
        Ok(renewed)
    }

    fn retire(&self, current: KeyId) -> Result<Retired, String> {
        if self.fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fails| fails.checked_sub(1)).is_ok() {
            return Err("the disk is full".to_owned());
        }
        let mut ring = self.ring.lock().expect("nobody panics");
        assert_eq!(ring.current(), current);
        *ring = ring.alone();
        Ok(Retired::default())
    }
}

/// A store that was begun under the last key of `ring`, with those keys given; and what is heard when they are read.
async fn custody(ring: KeyRing, fails: u32, word: Option<mpsc::Receiver<()>>) -> (Arc<Custody>, Arc<Kept>, mpsc::Receiver<()>) {
    custody_of(store::open(Engine::Memory).await.expect("memory opens"), NodeName::default(), ring, (fails, word)).await
}

/// The same of a node over `backend`.
async fn custody_of(
    backend: Arc<dyn Backend>,
    node: NodeName,
    ring: KeyRing,
    (fails, word): (u32, Option<mpsc::Receiver<()>>),
) -> (Arc<Custody>, Arc<Kept>, mpsc::Receiver<()>) {
    let ledger = Arc::new(Ledger::open(backend.clone(), Sealer::with(ring.clone())).await.expect("it is empty"));
    let (audit, handover) = Audit::handing_over(&Registry::new());
    let settings = Settings { node, keep: Duration::from_hours(1), entries: 10 };
    let opened = Activity::open(backend.clone(), ledger.sealer().clone(), settings, (Arc::new(audit), handover)).await;
    let (activity, keeper) = opened.expect("it is empty");
    tokio::spawn(keeper.run());
    let (asked, heard) = mpsc::channel();
    let kept = Arc::new(Kept { ring: Mutex::new(ring), fails: AtomicU32::new(fails), asked, word: Mutex::new(word) });
    let custody = Custody::new(backend, ledger, Arc::new(activity), Some(kept.clone()));
    (Arc::new(custody), kept, heard)
}

async fn ended(custody: &Custody) -> Status {
    let ends = async {
        loop {
            let status = custody.status().await.expect("memory is read");
            if matches!(status.rotation.state, State::Done | State::Failed) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ends).await.expect("it ends")
}

#[tokio::test]
async fn a_rotation_that_stopped_at_the_retirement_is_gone_on_with_and_makes_no_other_key() {
    let (custody, kept, _heard) = custody(KeyRing::new(key(1)), 1, None).await;
    assert!(custody.rotate("t").await.expect("begins"), "a new key");
    let status = ended(&custody).await;
    assert_eq!((status.rotation.state, status.needed), (State::Failed, 0));
    let renewed = kept.ring().current();
    assert!(!custody.rotate("t").await.expect("goes on"), "no other key");
    let status = ended(&custody).await;
    assert_eq!((status.rotation.state, status.current, status.former), (State::Done, renewed, Vec::new()));
    assert_eq!((kept.ring().current(), kept.ring().former().count()), (renewed, 0));
    // And the next one is one of its own.
    assert!(custody.rotate("t").await.expect("begins"));
}

#[tokio::test]
async fn whoever_asks_and_goes_away_has_begun_a_rotation_and_nobody_begins_another_meanwhile() {
    let (word, waits) = mpsc::channel();
    let (custody, kept, heard) = custody(KeyRing::new(key(2)).with(key(1)), 0, Some(waits)).await;
    let asker = tokio::spawn({
        let custody = Arc::clone(&custody);
        async move { custody.rotate("t").await }
    });
    let heard = tokio::task::spawn_blocking(move || heard.recv_timeout(Duration::from_secs(20))).await;
    heard.expect("no panic").expect("the keys are read");
    asker.abort();
    assert!(asker.await.is_err(), "it was waiting");
    // As at a start whose doors answer already.
    custody.resume();
    assert_eq!(custody.status().await.expect("memory is read").rotation.state, State::Idle);
    word.send(()).expect("it waits");
    let status = ended(&custody).await;
    assert_eq!((status.rotation.state, status.current, status.former), (State::Done, key(2).id(), Vec::new()));
    assert_eq!(kept.ring().former().count(), 0);
}
