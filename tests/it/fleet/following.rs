//! Whoever follows hears of each commit once, whole and in order, whatever becomes of connections and members; and knows when
//! it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use subrosa::store::{Backend, Changed, EtcdSettings, Expect, Told, Write};
use tokio::sync::broadcast::Receiver;

use super::cluster::Cluster;
use super::relay::Relay;
use super::{becomes, open, open_at, put};
use crate::store::{Chance, rounds};
use crate::support::soon;

/// What one follower holds, by its key: version and bytes.
#[derive(Default)]
struct Copy(BTreeMap<String, (u64, Vec<u8>)>);

impl Copy {
    async fn of(store: &dyn Backend) -> (u64, Self) {
        let loaded = store.load(&[""]).await.expect("loads");
        (loaded.revision, Self(loaded.stored.into_iter().map(|entry| (entry.key, (entry.version, entry.bytes))).collect()))
    }

    fn follow(&mut self, changes: &[Changed]) {
        for Changed { key, now } in changes {
            match now {
                Some(now) => self.0.insert(key.clone(), now.clone()),
                None => self.0.remove(key),
            };
        }
    }
}

/// A writer's own book: it knows the version of each key.
#[derive(Default)]
struct Writer {
    versions: BTreeMap<String, u64>,
    /// What it committed, in order: the revision, and the keys as they were written.
    done: Vec<(u64, Vec<String>)>,
    count: u64,
}

impl Writer {
    /// One commit of up to four keys, each put, changed or removed.
    async fn write(&mut self, store: &dyn Backend, chance: &mut Chance) {
        self.count += 1;
        let mut keys: Vec<String> = (0..=chance.below(4)).map(|_| format!("k/{}", chance.below(12))).collect();
        keys.sort();
        keys.dedup();
        let write = |key: &String, is_removed: bool| match self.versions.get(key) {
            Some(version) if is_removed => Write::Remove { key: key.clone(), version: *version },
            Some(version) => put(key, Expect::Version(*version), &self.count.to_be_bytes()),
            None => put(key, Expect::Absent, &self.count.to_be_bytes()),
        };
        // One of each is always put, so that the revision is known.
        let root = "root".to_owned();
        let writes: Vec<Write> =
            std::iter::once(write(&root, false)).chain(keys.iter().map(|key| write(key, chance.one_in(4)))).collect();
        let versions = soon(store.commit(writes.clone())).await.expect("commits");
        for write in &writes {
            match write {
                Write::Put { key, .. } => self.versions.insert(key.clone(), versions[0]),
                Write::Remove { key, .. } => self.versions.remove(key),
            };
        }
        self.done.push((versions[0], std::iter::once(root).chain(keys).collect()));
    }
}

async fn commit(told: &mut Receiver<Told>) -> (u64, Vec<Changed>) {
    match soon(told.recv()).await.expect("told") {
        Told::Commit { revision, changes } => (revision, changes),
        Told::LoadAgain => panic!("nothing was compacted"),
    }
}

#[tokio::test]
async fn a_connection_dropped_at_random_points_costs_no_commit_and_tells_none_twice() {
    let mut chance = Chance::new();
    let cluster = Cluster::start(3).await;
    let truth = open(&cluster, "/s/").await;
    let mut relays = Vec::new();
    for index in 0..3 {
        relays.push(Relay::to(cluster.address(index)).await);
    }
    let settings = EtcdSettings { endpoints: relays.iter().map(Relay::endpoint).collect(), ..cluster.settings("/s/") };
    let store = open_at(settings).await.expect("opens");
    let mut told = store.watch();
    let (loaded, mut copy) = Copy::of(&*store).await;
    let (mut writer, mut seen, mut cuts) = (Writer::default(), Vec::new(), 0);
    for _ in 0..rounds(250, 4_000) {
        writer.write(&*truth, &mut chance).await;
        if chance.one_in(8) {
            // All of them: whichever it follows.
            relays.iter().for_each(Relay::cut);
            cuts += 1;
        }
        if chance.one_in(20) {
            // It has time to come back, and is cut off somewhere in what it makes up for.
            seen.push(commit(&mut told).await);
        }
    }
    while seen.last().is_none_or(|(revision, _)| *revision < writer.done[writer.done.len() - 1].0) {
        seen.push(commit(&mut told).await);
    }
    seen.retain(|(revision, _)| *revision > loaded);
    let told_of: Vec<(u64, Vec<String>)> =
        seen.iter().map(|(revision, changes)| (*revision, changes.iter().map(|changed| changed.key.clone()).collect())).collect();
    assert_eq!(told_of, writer.done, "each commit once, whole, in order ({chance:?})");
    for (_, changes) in &seen {
        copy.follow(changes);
    }
    assert_eq!(copy.0, Copy::of(&*truth).await.1.0, "{chance:?}");
    let made: usize = relays.iter().map(Relay::connections).sum();
    assert!(cuts > 5 && made > 4, "it was cut off indeed, and came back: {cuts} {made}");
    becomes(&*store, true).await;
}

#[tokio::test]
async fn what_was_compacted_while_nobody_listened_is_loaded_again() {
    let cluster = Cluster::start(1).await;
    let truth = open(&cluster, "/s/").await;
    let relay = Relay::to(cluster.address(0)).await;
    let settings = EtcdSettings { endpoints: vec![relay.endpoint()], ..cluster.settings("/s/") };
    let store = open_at(settings).await.expect("opens");
    let mut told = store.watch();
    let (mut chance, mut writer) = (Chance::new(), Writer::default());
    writer.write(&*truth, &mut chance).await;
    let before = commit(&mut told).await.0;
    assert_eq!(before, writer.done[0].0);
    relay.close();
    for _ in 0..20 {
        writer.write(&*truth, &mut chance).await;
    }
    cluster.compact().await;
    becomes(&*store, false).await;
    relay.open();
    assert_eq!(soon(told.recv()).await.expect("told"), Told::LoadAgain);
    let (loaded, mut copy) = Copy::of(&*store).await;
    assert!(loaded >= writer.done[20].0);
    writer.write(&*truth, &mut chance).await;
    loop {
        let (revision, changes) = commit(&mut told).await;
        if revision > loaded {
            copy.follow(&changes);
            break;
        }
    }
    assert_eq!(copy.0, Copy::of(&*truth).await.1.0);
    becomes(&*store, true).await;
}

/// While it reads: pages of one moment, though etcd forgets that moment in between.
#[tokio::test]
async fn a_load_is_of_one_moment_whatever_is_written_and_compacted_meanwhile() {
    let cluster = Cluster::start(1).await;
    let (store, writer) = (open(&cluster, "/s/").await, open(&cluster, "/s/").await);
    // Every commit changes all of them to the same bytes, and they take several pieces.
    let key = |index: usize| format!("k/{index:03}");
    let puts = |expect, bytes: &[u8]| (0..100).map(|index| put(&key(index), expect, bytes)).collect::<Vec<_>>();
    let mut version = writer.commit(puts(Expect::Absent, &[0; 9_000])).await.expect("commits")[0];
    let writing = async {
        for round in 1..=20_u8 {
            version = writer.commit(puts(Expect::Version(version), &[round; 9_000])).await.expect("commits")[0];
            if round % 5 == 0 {
                cluster.compact().await;
            }
        }
    };
    let reading = async {
        for _ in 0..10 {
            let loaded = store.load(&["k/"]).await.expect("loads");
            assert_eq!(loaded.stored.len(), 100);
            assert!(loaded.stored.iter().all(|entry| entry.bytes == loaded.stored[0].bytes && entry.version <= loaded.revision));
        }
    };
    tokio::join!(writing, reading);
}

#[tokio::test]
async fn a_member_that_hangs_or_dies_holds_nobody_up() {
    let mut cluster = Cluster::start(3).await;
    let (store, follower) = (open(&cluster, "/s/").await, open(&cluster, "/s/").await);
    let mut told = follower.watch();
    let (mut chance, mut writer) = (Chance::new(), Writer::default());
    // From the first commit on each expects a version of something.
    writer.write(&*store, &mut chance).await;
    commit(&mut told).await;
    let leader = cluster.leader().await;
    // The leader, and one that is not; hung first, and then killed.
    for member in [leader, (leader + 1) % 3] {
        cluster.signal(member, Signal::STOP);
        for _ in 0..5 {
            writer.write(&*store, &mut chance).await;
            assert_eq!(commit(&mut told).await.0, writer.done[writer.done.len() - 1].0);
        }
        becomes(&*follower, true).await;
        cluster.signal(member, Signal::CONT);
        cluster.kill(member);
        for _ in 0..5 {
            writer.write(&*store, &mut chance).await;
            assert_eq!(commit(&mut told).await.0, writer.done[writer.done.len() - 1].0);
        }
        cluster.run(member);
        cluster.leader().await;
    }
    assert_eq!(Copy::of(&*store).await.1.0.get("root").map(|root| root.0), writer.versions.get("root").copied());
}

#[tokio::test]
async fn without_a_majority_it_is_behind_and_says_why_and_what_is_written_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let settings = EtcdSettings { timeout: Duration::from_secs(2), ..cluster.settings("/s/") };
    let store = open_at(settings).await.expect("opens");
    let mut told = store.watch();
    let (mut chance, mut writer) = (Chance::new(), Writer::default());
    writer.write(&*store, &mut chance).await;
    commit(&mut told).await;
    for index in [0, 1] {
        cluster.kill(index);
    }
    let why = becomes(&*store, false).await;
    assert!(why.contains("etcd"), "{why}");
    let put = || vec![put("new", Expect::Absent, b"x")];
    let refused = soon(store.commit(put())).await.expect_err("nobody decides").to_string();
    assert!(refused.contains("majority") || refused.contains("not known"), "{refused}");
    let unread = soon(store.read("root")).await.expect_err("nobody knows").to_string();
    assert!(unread.contains("a majority of its members"), "{unread}");
    // And none at all.
    cluster.kill(2);
    let refused = soon(store.commit(put())).await.expect_err("nobody is there").to_string();
    assert!(refused.contains("etcd does not answer") && refused.contains("store.etcd.endpoints"), "{refused}");
    for index in 0..3 {
        cluster.run(index);
    }
    becomes(&*store, true).await;
    // What was refused as unknown may have been done in the end.
    let version = truth_of(&*store, "root").await;
    assert_eq!(version, writer.versions.get("root").copied());
    writer.write(&*store, &mut chance).await;
    while commit(&mut told).await.0 < writer.done[1].0 {}
}

async fn truth_of(store: &dyn Backend, key: &str) -> Option<u64> {
    store.read(key).await.expect("reads").map(|entry| entry.version)
}

/// A member that answers and is cut off from the others does not pass for current.
#[tokio::test]
async fn a_member_without_the_others_is_not_believed() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let alone = (leader + 1) % 3;
    let settings = EtcdSettings { endpoints: vec![cluster.endpoint(alone)], ..cluster.settings("/s/") };
    let store = open_at(EtcdSettings { timeout: Duration::from_secs(2), ..settings }).await.expect("opens");
    becomes(&*store, true).await;
    for index in (0..3).filter(|index| *index != alone) {
        cluster.signal(index, Signal::STOP);
    }
    becomes(&*store, false).await;
    for index in (0..3).filter(|index| *index != alone) {
        cluster.signal(index, Signal::CONT);
    }
    becomes(&*store, true).await;
}
