//! One contract, every engine: a new engine adds one line here.

use std::sync::Arc;

use subrosa::store::{Backend, Changed, Expect, Freshness, StoreError, Stored, Told, Write};
use tokio::sync::broadcast::Receiver;

use super::{open_memory, open_sled};

#[tokio::test]
async fn memory_keeps_the_contract() {
    keeps_the_contract(open_memory().await).await;
}

#[tokio::test]
async fn sled_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a directory");
    keeps_the_contract(open_sled(directory.path()).await.expect("opens")).await;
}

/// What every engine keeps, on a store that is empty.
pub async fn keeps_the_contract(store: Arc<dyn Backend>) {
    starts_empty_and_gives_back_what_was_put(&*store).await;
    refuses_what_was_not_expected_and_changes_nothing(&*store).await;
    is_whole_or_not_at_all(&*store).await;
    never_gives_a_version_twice(&*store).await;
    keeps_bytes_of_any_length(&*store).await;
    tells_every_commit_whole_and_in_order(&*store).await;
    says_which_commits_were_loaded(&*store).await;
    is_gone_through_by_prefix_and_in_pages(&*store).await;
    lets_one_of_many_win(store.clone()).await;
}

async fn starts_empty_and_gives_back_what_was_put(store: &dyn Backend) {
    assert_eq!(store.load(&[""]).await.expect("loads").stored, []);
    let versions = store.commit(vec![put("a/1", Expect::Absent, b"one"), put("a/2", Expect::Absent, b"two")]).await;
    let versions = versions.expect("commits");
    assert_eq!(versions.len(), 2);
    assert!(versions.iter().all(|version| *version > 0));
    assert_eq!(all(store).await, [stored("a/1", versions[0], b"one"), stored("a/2", versions[1], b"two")]);
    let again = store.commit(vec![put("a/1", Expect::Version(versions[0]), b"uno")]).await.expect("commits")[0];
    assert!(again > versions[0]);
    assert_eq!(all(store).await[0], stored("a/1", again, b"uno"));
}

async fn refuses_what_was_not_expected_and_changes_nothing(store: &dyn Backend) {
    let before = all(store).await;
    let version = before[0].version;
    for write in [
        put("a/1", Expect::Absent, b"x"),
        put("a/1", Expect::Version(version + 1), b"x"),
        put("a/1", Expect::Version(version - 1), b"x"),
        put("nowhere", Expect::Version(version), b"x"),
        remove("a/1", version + 1),
        remove("nowhere", version),
    ] {
        let refused = store.commit(vec![write.clone()]).await;
        assert!(matches!(&refused, Err(StoreError::Conflict { key }) if *key == key_of(&write)), "{write:?}: {refused:?}");
    }
    assert_eq!(all(store).await, before);
}

async fn is_whole_or_not_at_all(store: &dyn Backend) {
    let before = all(store).await;
    let version = before[0].version;
    for failing in [put("a/2", Expect::Absent, b"x"), remove("nowhere", 1)] {
        let rest = [put("b", Expect::Absent, b"b"), put("a/1", Expect::Version(version), b"x")];
        for place in 0..=rest.len() {
            let mut writes = rest.to_vec();
            writes.insert(place, failing.clone());
            assert!(matches!(store.commit(writes).await, Err(StoreError::Conflict { .. })));
            assert_eq!(all(store).await, before, "{failing:?} at {place}");
        }
    }
}

async fn never_gives_a_version_twice(store: &dyn Backend) {
    let mut seen = vec![store.commit(vec![put("c", Expect::Absent, b"1")]).await.expect("commits")[0]];
    for _ in 0..3 {
        let last = *seen.last().expect("one at least");
        store.commit(vec![remove("c", last)]).await.expect("removes");
        assert!(all(store).await.iter().all(|stored| stored.key != "c"));
        let next = store.commit(vec![put("c", Expect::Absent, b"1")]).await.expect("commits")[0];
        assert!(next > last, "a writer that saw {last} must not take {next} for it");
        let stale = store.commit(vec![put("c", Expect::Version(seen[0]), b"2")]).await;
        assert!(matches!(stale, Err(StoreError::Conflict { .. })));
        seen.push(next);
    }
}

async fn keeps_bytes_of_any_length(store: &dyn Backend) {
    let mut expect = Expect::Absent;
    for length in [0, 1, 4095, 4096, 4097, 8192, 100_000, 8193, 1_000_000, 3, 0] {
        let bytes: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).expect("small")).collect();
        let version = store.commit(vec![put("d", expect, &bytes)]).await.expect("commits")[0];
        let now = all(store).await.into_iter().find(|stored| stored.key == "d").expect("is there");
        assert!(now == stored("d", version, &bytes), "{length}");
        expect = Expect::Version(version);
    }
}

async fn tells_every_commit_whole_and_in_order(store: &dyn Backend) {
    let mut told = store.watch();
    let before = store.load(&[]).await.expect("loads").revision;
    let one = store.commit(vec![put("e", Expect::Absent, b"1"), put("f", Expect::Absent, b"2")]).await.expect("commits");
    let refused = store.commit(vec![put("e", Expect::Absent, b"9")]).await;
    assert!(refused.is_err());
    let two = [put("f", Expect::Version(one[1]), b"3"), remove("e", one[0]), put("d2", Expect::Absent, b"4")];
    let two = store.commit(two.to_vec()).await.expect("commits");
    store.commit(vec![remove("f", two[0])]).await.expect("removes");
    let changed = |key: &str, now: Option<(u64, &[u8])>| Changed {
        key: key.to_owned(),
        now: now.map(|(version, bytes)| (version, bytes.to_vec())),
    };
    let expected = [
        vec![changed("e", Some((one[0], b"1"))), changed("f", Some((one[1], b"2")))],
        vec![changed("f", Some((two[0], b"3"))), changed("e", None), changed("d2", Some((two[1], b"4")))],
        vec![changed("f", None)],
    ];
    let mut last = before;
    for expected in expected {
        let (revision, changes) = next_commit(&mut told, before).await;
        assert_eq!(changes, expected);
        assert!(revision > last && changes.iter().filter_map(|changed| changed.now.as_ref()).all(|now| now.0 == revision));
        last = revision;
    }
    assert!(told.try_recv().is_err(), "a refused commit is no change");
}

/// The next commit behind `revision`: an engine may tell of one later than whoever made it heard of its success.
async fn next_commit(told: &mut Receiver<Told>, revision: u64) -> (u64, Vec<Changed>) {
    loop {
        match told.recv().await.expect("a commit") {
            Told::Commit { revision: told, changes } if told > revision => return (told, changes),
            Told::Commit { .. } => {}
            Told::LoadAgain => panic!("nothing was missed"),
        }
    }
}

/// Whoever subscribes first and loads then, and skips what is loaded, has everything once.
async fn says_which_commits_were_loaded(store: &dyn Backend) {
    let mut told = store.watch();
    let earlier = store.load(&[]).await.expect("loads").revision;
    let before = store.commit(vec![put("l", Expect::Absent, b"1")]).await.expect("commits")[0];
    let loaded = store.load(&["l"]).await.expect("loads");
    assert!(loaded.revision >= before);
    assert_eq!(loaded.stored, [stored("l", before, b"1")]);
    let after = store.commit(vec![put("l", Expect::Version(before), b"2")]).await.expect("commits")[0];
    for expected in [before, after] {
        let (revision, _) = next_commit(&mut told, earlier).await;
        assert_eq!((revision, revision <= loaded.revision), (expected, expected == before));
    }
    store.commit(vec![remove("l", after)]).await.expect("removes");
    let loaded = store.load(&["l"]).await.expect("loads");
    assert!(loaded.revision > after && loaded.stored.is_empty(), "a removal is a commit too");
    assert_eq!(*store.freshness().borrow(), Freshness::Current);
}

async fn is_gone_through_by_prefix_and_in_pages(store: &dyn Backend) {
    // Of more than one row, and beside keys that begin alike.
    let big = vec![7; 10_000];
    for (key, bytes) in [("p", &big[..]), ("p/1", b"1"), ("p/2", &big), ("p/20", b"20"), ("p/3", b""), ("p0", b"x"), ("q", b"y")]
    {
        store.commit(vec![put(key, Expect::Absent, bytes)]).await.expect("commits");
    }
    let keys = |found: Result<Vec<Stored>, StoreError>| -> Vec<String> {
        found.expect("reads").into_iter().map(|stored| stored.key).collect()
    };
    for (prefixes, expected) in
        [(&["p/"][..], &["p/1", "p/2", "p/20", "p/3"][..]), (&["q", "p/2", "p/20", "nothing"], &["p/2", "p/20", "q"]), (&[], &[])]
    {
        assert_eq!(keys(store.load(prefixes).await.map(|loaded| loaded.stored)), expected);
    }
    for (after, limit, expected) in [
        (None, 2, &["p/1", "p/2"][..]),
        (Some("p/2"), 2, &["p/20", "p/3"]),
        (Some("p/20"), 9, &["p/3"]),
        (Some("p/25"), 9, &["p/3"]),
        (Some("p/3"), 9, &[]),
        (Some("p/"), 1, &["p/1"]),
        (Some("a"), 1, &["p/1"]),
        (Some("z"), 1, &[]),
        (None, 0, &[]),
    ] {
        assert_eq!(keys(store.page("p/", after, limit).await), expected, "{after:?} {limit}");
    }
    assert_eq!(store.page("p/2", None, 1).await.expect("reads")[0].bytes, big);
    for (key, expected) in [("p", Some(&big[..])), ("p/2", Some(&big)), ("p/3", Some(b"")), ("p/", None), ("r", None)] {
        let found = store.read(key).await.expect("reads");
        assert_eq!(
            found.as_ref().map(|stored| (stored.key.as_str(), &stored.bytes[..])),
            expected.map(|bytes| (key, bytes)),
            "{key}"
        );
    }
}

async fn lets_one_of_many_win(store: Arc<dyn Backend>) {
    let threads: Vec<_> = (0..8_u8)
        .map(|writer| {
            let store = store.clone();
            std::thread::spawn(move || block_on(store.commit(vec![put("g", Expect::Absent, &[writer])])))
        })
        .collect();
    let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    let winners: Vec<_> = (0..8_u8).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).collect();
    let [(winner, Ok(versions))] = winners[..] else { panic!("{outcomes:?}") };
    let now = all(&*store).await.into_iter().find(|stored| stored.key == "g").expect("is there");
    assert_eq!(now, stored("g", versions[0], &[winner]));
}

#[tokio::test]
async fn sled_gives_back_after_reopening_what_it_had_versions_included() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_sled(directory.path()).await.expect("opens");
    let big = vec![7; 300_000];
    let versions = store.commit(vec![put("a", Expect::Absent, b"1"), put("b", Expect::Absent, &big)]).await.expect("commits");
    store.commit(vec![remove("a", versions[0])]).await.expect("removes");
    let before = all(&*store).await;
    drop(store);
    let store = open_sled(directory.path()).await.expect("opens again at once");
    assert!(all(&*store).await == before);
    let next = store.commit(vec![put("a", Expect::Absent, b"1")]).await.expect("commits")[0];
    assert!(next > versions[0] + 1, "the removal had a version too");
}

#[tokio::test]
async fn sled_never_makes_a_file_of_its_own_for_a_value() {
    // It would write such files without syncing them; see src/store/sled.rs.
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_sled(directory.path()).await.expect("opens");
    let big = vec![7; 66_000];
    for round in 0..3 {
        for index in 0..40 {
            let key = format!("record/secret/default/{round}-{index}");
            store.commit(vec![put(&key, Expect::Absent, &big)]).await.expect("commits");
        }
    }
    store.commit(vec![put("manifest", Expect::Absent, &vec![7; 2_000_000])]).await.expect("commits");
    let blobs: Vec<_> = std::fs::read_dir(directory.path().join("store/blobs")).expect("is there").collect();
    assert!(blobs.is_empty(), "{blobs:?}");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

async fn all(store: &dyn Backend) -> Vec<Stored> {
    let mut all = store.load(&[""]).await.expect("loads").stored;
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all
}

fn stored(key: &str, version: u64, bytes: &[u8]) -> Stored {
    Stored { key: key.to_owned(), version, bytes: bytes.to_vec() }
}

fn put(key: &str, expect: Expect, bytes: &[u8]) -> Write {
    Write::Put { key: key.to_owned(), expect, bytes: bytes.to_vec() }
}

fn remove(key: &str, version: u64) -> Write {
    Write::Remove { key: key.to_owned(), version }
}

fn key_of(write: &Write) -> String {
    match write {
        Write::Put { key, .. } | Write::Remove { key, .. } => key.clone(),
    }
}
