//! A rotation where several nodes share the store: no key is retired that another node seals with.

use std::time::SystemTime;

use super::*;
use crate::activity::Claim;
use crate::ledger::{Draft, Kind, Standing};
use crate::secret::SecretValue;

/// A node with its claim, renewed as it is while time goes on.
struct Node {
    custody: Arc<Custody>,
    kept: Arc<Kept>,
    _heard: mpsc::Receiver<()>,
    renewing: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Node {
    async fn start(store: &Arc<dyn Backend>, name: &str, ring: KeyRing) -> Self {
        let node = NodeName::parse(name).expect("a name");
        let (custody, kept, heard) = custody_of(Arc::clone(store), node.clone(), ring, (0, None)).await;
        let claim = Claim::new(Arc::clone(store), custody.inner.ledger.sealer().clone(), node, name.to_owned());
        claim.renew(SystemTime::now()).await.expect("it is free");
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(crate::activity::RENEWED).await;
                claim.renew(SystemTime::now()).await.expect("it is its own");
            }
        });
        custody.follow();
        Self { custody, kept, _heard: heard, renewing }
    }

    fn give(&self, ring: KeyRing) {
        *self.kept.ring.lock().expect("nobody panics") = ring;
    }

    async fn add(&self, name: &str) {
        let draft = Draft { name: name.to_owned(), metadata: serde_json::Value::Null, by: "t".to_owned() };
        let value = SecretValue::new(b"value".to_vec()).expect("a value");
        let ledger = &self.custody.inner.ledger;
        ledger.create(Kind::new("secret"), &OrganizationName::default(), draft, Some(&value)).await.expect("made");
    }

    async fn is_done(&self) -> Status {
        loop {
            let status = self.custody.status().await.expect("memory is read");
            if status.rotation.state == State::Done {
                return status;
            }
            assert_ne!(status.rotation.state, State::Failed, "{:?}", status.rotation.said);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn shared() -> Arc<dyn Backend> {
    store::open(Engine::SharedMemory).await.expect("opens")
}

#[tokio::test(start_paused = true)]
async fn no_key_is_made_where_others_would_not_have_it() {
    let store = shared().await;
    let one = Node::start(&store, "one", KeyRing::new(key(1))).await;
    let two = Node::start(&store, "two", KeyRing::new(key(1))).await;
    let refused = one.custody.rotate("t").await.expect_err("refused");
    assert!(matches!(&refused, CustodyError::OthersRun(names) if names == "two"), "{refused}");
    assert_eq!((one.kept.ring().current(), two.custody.inner.ledger.key_id()), (key(1).id(), key(1).id()));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_all_are_given_takes_over_on_all_and_the_former_one_goes_when_nobody_seals_with_it() {
    let store = shared().await;
    let nodes = [
        Node::start(&store, "one", KeyRing::new(key(1))).await,
        Node::start(&store, "two", KeyRing::new(key(1))).await,
        Node::start(&store, "three", KeyRing::new(key(1))).await,
    ];
    let [one, two, three] = &nodes;
    one.add("a").await;
    two.add("b").await;
    // Two of them are given it, and one begins: it goes on until the third has it too.
    for node in [one, two] {
        node.give(KeyRing::new(key(2)).with(key(1)));
    }
    assert!(!one.custody.rotate("t").await.expect("begins"), "none is made");
    let ledger = |node: &Node| Arc::clone(&node.custody.inner.ledger);
    while ledger(two).key_id() != key(2).id() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut standing = ledger(three).standing();
    let missing = standing.wait_for(|standing| matches!(standing, Standing::Astray { sealed_with: Some(_), .. })).await;
    assert!(matches!(&*missing.expect("it lives"), Standing::Astray { sealed_with: Some(id), .. } if *id == key(2).id()));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(one.kept.ring().holds(key(1).id()), "three seals with it");
    three.give(KeyRing::new(key(2)).with(key(1)));
    standing.wait_for(|standing| *standing == Standing::Sound).await.expect("it lives");
    for node in &nodes {
        let status = node.is_done().await;
        assert_eq!((status.current, status.needed, status.former), (key(2).id(), 0, Vec::new()));
        assert_eq!((node.kept.ring().current(), node.kept.ring().former().count()), (key(2).id(), 0));
    }
    three.add("c").await;
    let sound = |node: &Node| ledger(node).records(&Kind::new("secret")).len() == 3 && ledger(node).faults().is_empty();
    while !nodes.iter().all(sound) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
