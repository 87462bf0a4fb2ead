//! One contract, every engine: a new engine adds one line here.

use std::sync::Arc;

use subrosa::store::{Backend, Changed, Expect, StoreError, Stored, Write};

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

async fn keeps_the_contract(store: Arc<dyn Backend>) {
    starts_empty_and_gives_back_what_was_put(&*store).await;
    refuses_what_was_not_expected_and_changes_nothing(&*store).await;
    is_whole_or_not_at_all(&*store).await;
    never_gives_a_version_twice(&*store).await;
    keeps_bytes_of_any_length(&*store).await;
    tells_every_change_in_order(&*store).await;
    is_gone_through_by_prefix_and_in_pages(&*store).await;
    lets_one_of_many_win(store.clone()).await;
}

async fn starts_empty_and_gives_back_what_was_put(store: &dyn Backend) {
    assert_eq!(store.load(&[""]).await.expect("loads"), []);
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

async fn tells_every_change_in_order(store: &dyn Backend) {
    let mut changes = store.watch();
    let one = store.commit(vec![put("e", Expect::Absent, b"1"), put("f", Expect::Absent, b"2")]).await.expect("commits");
    let refused = store.commit(vec![put("e", Expect::Absent, b"9")]).await;
    assert!(refused.is_err());
    store.commit(vec![remove("e", one[0])]).await.expect("removes");
    for (key, now) in [("e", Some((one[0], b"1".to_vec()))), ("f", Some((one[1], b"2".to_vec()))), ("e", None)] {
        assert_eq!(changes.recv().await.expect("a change"), Changed { key: key.to_owned(), now });
    }
    assert!(changes.try_recv().is_err(), "a refused commit is no change");
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
    assert_eq!(keys(store.load(&["p/"]).await), ["p/1", "p/2", "p/20", "p/3"]);
    assert_eq!(keys(store.load(&["q", "p/2", "p/20", "nothing"]).await), ["p/2", "p/20", "q"]);
    assert_eq!(keys(store.load(&[]).await), [""; 0]);
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
    let mut all = store.load(&[""]).await.expect("loads");
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
