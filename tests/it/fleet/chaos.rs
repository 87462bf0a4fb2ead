//! A fleet under load whose members of etcd and whose nodes are killed, stopped and brought back: what was acknowledged is
//! there, what runners get is what was there, and no exchange fails that was not on a node that was killed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use super::history::{Deed, Last, What, check};
use super::nodes::{Fleet, Reach, create};
use crate::support::soon;

const SECRETS: usize = 4;
const NODES: usize = 3;
/// How old what a runner gets may be while its node says that it knows everything. Less than `store.stale_for`, which bounds it where
/// it does not.
const BOUND: Duration = Duration::from_secs(10);
/// How long nothing more is done to the fleet after each mishap.
const CALM: Duration = Duration::from_millis(700);
/// How long something is away.
const AWAY: Duration = Duration::from_millis(900);

fn secret(index: usize) -> String {
    format!("s{index}")
}

/// Everything that the clients of a run share.
struct Run {
    reach: Vec<Mutex<Reach>>,
    /// Which node may be gone at the moment; more than there are: none.
    killed: AtomicUsize,
    over: AtomicBool,
    began: Instant,
    history: Mutex<Vec<Deed>>,
    failed: Mutex<Vec<String>>,
}

impl Run {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn reach(&self, node: usize) -> Reach {
        self.reach[node].lock().expect("nobody panics with it").clone()
    }

    fn note(&self, secret: usize, what: What, began: Duration) {
        let deed = Deed { secret, what, began, ended: self.now() };
        self.history.lock().expect("nobody panics with it").push(deed);
    }

    /// Gets each secret through one node, on and on.
    async fn runner(self: Arc<Self>, node: usize) {
        let mut turn = node;
        while !self.over.load(Ordering::Relaxed) {
            turn += 1;
            let (index, began) = (turn % SECRETS, self.now());
            match self.reach(node).get(&secret(index)).await {
                Some(Ok(value)) => self.note(index, What::Read { value, node }, began),
                // A node that is killed breaks what it has under way, and nobody else does.
                None if self.killed.load(Ordering::SeqCst) == node => {}
                failed => {
                    self.failed.lock().expect("nobody panics with it").push(format!("node {node} at {began:?}: {failed:?}"));
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Changes one secret through all nodes, one after the other.
    async fn writer(self: Arc<Self>, index: usize) {
        let mut turn = 0;
        while !self.over.load(Ordering::Relaxed) {
            turn += 1;
            let (node, value, began) = (turn % NODES, format!("v{index}-{turn}"), self.now());
            match self.reach(node).edit(&secret(index), &value).await {
                Some(answer) if answer.status() == 200 => {
                    let revision = answer.json()["revision"].as_u64().expect("a number");
                    self.note(index, What::Wrote { revision, value }, began);
                }
                // Nothing was changed: somebody else was faster, or the store was away before anything was sent.
                Some(answer) if matches!(answer.status(), 409 | 412) => {}
                // It may have been.
                _ => self.note(index, What::MayHaveWritten { value }, began),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Creates the same names on all nodes at once; how often one was given twice.
    async fn contest(self: Arc<Self>) -> usize {
        let (mut round, mut twice) = (0, 0);
        while !self.over.load(Ordering::Relaxed) {
            round += 1;
            let mut tasks = JoinSet::new();
            for node in 0..NODES {
                let (reach, name) = (self.reach(node), format!("contested{round}"));
                tasks.spawn(async move { reach.create(&name).await.map(|answer| answer.status()) });
            }
            let outcomes = tasks.join_all().await;
            twice += usize::from(outcomes.iter().filter(|status| **status == Some(201)).count() > 1);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        twice
    }
}

/// A number that follows from the one before (`SplitMix64`).
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((mixed ^ (mixed >> 31)) >> 33).expect("31 bits")
}

/// One mishap, and its end.
async fn mishap(fleet: &mut Fleet, run: &Run, which: usize, victim: usize) -> String {
    let away = || tokio::time::sleep(AWAY);
    match which {
        0 => {
            fleet.cluster.kill(victim);
            away().await;
            fleet.cluster.run(victim);
            format!("member {victim} was killed")
        }
        1 => {
            let leader = fleet.cluster.leader().await;
            fleet.cluster.kill(leader);
            away().await;
            fleet.cluster.run(leader);
            format!("the leader, {leader}, was killed")
        }
        2 => {
            let leader = fleet.cluster.leader().await;
            fleet.cluster.signal(leader, Signal::STOP);
            away().await;
            away().await;
            fleet.cluster.signal(leader, Signal::CONT);
            format!("the leader, {leader}, was stopped for a while")
        }
        3 => {
            (0..3).for_each(|member| fleet.cluster.kill(member));
            away().await;
            (0..3).for_each(|member| fleet.cluster.run(member));
            fleet.cluster.leader().await;
            "all members were killed".to_owned()
        }
        _ => {
            run.killed.store(victim, Ordering::SeqCst);
            fleet.nodes[victim].signal("-KILL").await;
            fleet.nodes[victim].wait().await;
            fleet.nodes[victim].start_again().await;
            *run.reach[victim].lock().expect("nobody panics with it") = Reach::of(&fleet.nodes[victim]);
            // What was under way when it was killed has ended by now.
            tokio::time::sleep(CALM).await;
            run.killed.store(usize::MAX, Ordering::SeqCst);
            format!("node {victim} was killed")
        }
    }
}

async fn survives(seed: u64, mishaps: usize) {
    let mut fleet = Fleet::start(NODES).await;
    for index in 0..SECRETS {
        assert_eq!(create(&fleet.nodes[index % NODES], &secret(index), &format!("v{index}-0")).await.status(), 201);
        fleet.all_get(&secret(index), "", &Ok(format!("v{index}-0"))).await;
    }
    let run = Arc::new(Run {
        reach: fleet.nodes.iter().map(|node| Mutex::new(Reach::of(node))).collect(),
        killed: AtomicUsize::new(usize::MAX),
        over: AtomicBool::new(false),
        began: Instant::now(),
        history: Mutex::default(),
        failed: Mutex::default(),
    });
    for index in 0..SECRETS {
        run.note(index, What::Wrote { revision: 1, value: format!("v{index}-0") }, Duration::ZERO);
    }
    let mut clients = JoinSet::new();
    (0..NODES).for_each(|node| drop(clients.spawn(Arc::clone(&run).runner(node))));
    (0..SECRETS).for_each(|index| drop(clients.spawn(Arc::clone(&run).writer(index))));
    let contest = tokio::spawn(Arc::clone(&run).contest());
    let (mut random, mut told) = (seed, Vec::new());
    for turn in 0..mishaps {
        // Each kind in turn, in an order that follows from the seed.
        let which = (turn + usize::try_from(seed % 5).expect("small")) % 5;
        let victim = next(&mut random) % 3;
        let at = run.now();
        let what = mishap(&mut fleet, &run, which, victim).await;
        told.push(format!("{at:?} to {:?}: {what}", run.now()));
        tokio::time::sleep(CALM).await;
    }
    run.over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let twice = contest.await.expect("no panic");
    // All is calm: all nodes agree.
    let mut last = Vec::new();
    for index in 0..SECRETS {
        last.push(agreed(&fleet, &secret(index)).await);
    }
    let history = std::mem::take(&mut *run.history.lock().expect("nobody panics with it"));
    let failed = std::mem::take(&mut *run.failed.lock().expect("nobody panics with it"));
    let count = |wanted: fn(&What) -> bool| history.iter().filter(|deed| wanted(&deed.what)).count();
    let (wrote, unknown, read) = (
        count(|what| matches!(what, What::Wrote { .. })),
        count(|what| matches!(what, What::MayHaveWritten { .. })),
        count(|what| matches!(what, What::Read { .. })),
    );
    crate::store::tried(&format!(
        "seed {seed}: {wrote} changes acknowledged, {unknown} not known, {read} exchanges; {}",
        told.join("; ")
    ));
    let told = told.join("\n");
    assert_eq!(twice, 0, "seed {seed}: a name was given twice\n{told}");
    assert!(failed.is_empty(), "seed {seed}: exchanges failed\n{}\n{told}", failed.join("\n"));
    assert!(wrote > SECRETS && read > 100, "seed {seed}: nothing was tried");
    check(&history, &last, BOUND).unwrap_or_else(|fault| panic!("seed {seed}: {fault}\n{told}"));
}

/// What all nodes hold, once they hold the same; a runner gets it on each of them.
async fn agreed(fleet: &Fleet, name: &str) -> Last {
    soon(async {
        loop {
            let mut found = Vec::new();
            for node in &fleet.nodes {
                let reach = Reach::of(node);
                let revision = reach.api("GET", &format!("{}/{name}", super::nodes::SECRETS), &Value::Null).await;
                let revision = revision.and_then(|answer| answer.json()["revision"].as_u64());
                found.push((revision, reach.get(name).await));
            }
            if let [(Some(revision), Some(Ok(value))), ..] = &found[..]
                && found.iter().all(|other| *other == found[0])
            {
                return Last { revision: *revision, value: value.clone() };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_whatever_is_killed() {
    // A kind of mishap each.
    survives(1, 5).await;
}

#[tokio::test]
#[ignore = "twenty seeds take minutes: make soak-fleet"]
async fn nothing_that_was_acknowledged_is_lost_over_twenty_seeds() {
    for seed in 1..=20 {
        survives(seed, 5).await;
    }
}
