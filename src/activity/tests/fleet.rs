//! Several nodes over one store: each shows what all recorded, counts what all counted, and removes its own.

use super::*;

async fn shared() -> Arc<dyn Backend> {
    store::open(Engine::SharedMemory).await.expect("opens")
}

/// Waits until what the other node wrote has come.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if what() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come");
}

impl Place {
    fn forwarded(&self) -> u32 {
        self.activity.usage(&home(), &name("a")).map_or(0, |usage| usage.days.values().map(|day| day.forwarded).sum())
    }

    async fn nodes(&self) -> Vec<(String, String)> {
        let page = self.activity.page(&home(), Filter::default(), None, 100).await.expect("reads");
        assert_eq!(page.notices, [""; 0]);
        let shown = page.entries.iter().map(|found| match &found.entry.what {
            What::Exchange(exchange) => (found.node.to_string(), exchange.url.clone()),
            What::Change(change) => (found.node.to_string(), change.name.clone()),
        });
        shown.collect()
    }
}

#[tokio::test]
async fn each_node_shows_and_counts_what_all_have_recorded_as_they_do() {
    let store = shared().await;
    let (one, two) = (open(&store, "one", 10_000).await, open(&store, "two", 10_000).await);
    let mut live = two.activity.follow().expect("few follow");
    assert!(!two.activity.has_others());
    one.requests(0, 3).await;
    for number in 0..3 {
        let found = live.recv().await.expect("told");
        assert_eq!((found.node.as_str(), found.id()), ("one", Some(format!("one-{}", number + 1))));
    }
    two.requests(3, 2).await;
    until(|| one.forwarded() == 5 && two.forwarded() == 5).await;
    let shown = one.nodes().await;
    assert_eq!(shown, two.nodes().await);
    let wanted = [("two", "/4"), ("two", "/3"), ("one", "/2"), ("one", "/1"), ("one", "/0")];
    assert_eq!(shown, wanted.map(|(node, url)| (node.to_owned(), url.to_owned())));
    // A batch that takes small ones in holds nothing new.
    one.requests(5, 80).await;
    until(|| two.forwarded() == 85).await;
    assert_eq!(two.urls().await.len(), 85);
    assert!(two.activity.has_others());
    // Whoever starts later knows all of it.
    let three = open(&store, "three", 10_000).await;
    assert_eq!((three.forwarded(), three.urls().await.len()), (85, 85));
    one.request("/85");
    one.activity.flush().await;
    until(|| three.forwarded() == 86).await;
}

#[tokio::test]
async fn what_is_deleted_or_renamed_on_one_node_takes_the_usage_of_all_along() {
    let store = shared().await;
    let (one, two) = (open(&store, "one", 10_000).await, open(&store, "two", 10_000).await);
    one.requests(0, 1).await;
    two.requests(1, 1).await;
    until(|| one.forwarded() == 2 && two.forwarded() == 2).await;
    one.audit.record_change(&home(), Change::new("ada", "renamed", "secret", "a").renaming_to("b"));
    one.activity.flush().await;
    let renamed = |place: &Place| {
        place.activity.usage(&home(), &name("b")).map_or(0, |usage| usage.days.values().map(|day| day.forwarded).sum())
    };
    until(|| renamed(&one) == 2 && renamed(&two) == 2).await;
    assert_eq!((one.forwarded(), two.forwarded()), (0, 0));
    two.audit.record_change(&home(), Change::new("ada", "deleted", "secret", "b"));
    two.activity.flush().await;
    until(|| renamed(&one) == 0 && renamed(&two) == 0).await;
}

#[tokio::test]
async fn what_was_missed_is_listed_and_counted_once() {
    let store = shared().await;
    let one = open(&store, "one", 10_000).await;
    let two = open(&store, "two", 10_000).await;
    two.requests(0, 10).await;
    until(|| one.forwarded() == 10).await;
    // More commits than a follower may lag behind, while this one has no turn.
    let flood = (0..3_000_u64).map(|number| {
        let version = store::Expect::Absent;
        Write::Put { key: format!("record/x/default/{number}"), expect: version, bytes: Vec::new() }
    });
    for write in flood {
        store.commit(vec![write]).await.expect("put");
    }
    two.requests(10, 10).await;
    until(|| one.forwarded() == 20).await;
    assert_eq!(one.urls().await.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_left_that_is_gone_goes_when_it_is_old_whoever_looks_and_nobody_minds_who_was_first() {
    let store = shared().await;
    let long_ago = SystemTime::now() - 91 * DAY;
    let gone = open(&store, "gone", 10_000).await;
    gone.request_of(&home(), "/old", None, long_ago);
    gone.activity.flush().await;
    while store.load(&["usage"]).await.expect("loads").stored.len() < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    gone.killed().await;
    let (one, two) = (open(&store, "one", 10_000).await, open(&store, "two", 10_000).await);
    one.requests(0, 1).await;
    two.requests(1, 1).await;
    let left = async || {
        let all = store.load(&["activity/gone/", "usage/gone/", "usage-through/gone"]).await.expect("loads").stored;
        all.len()
    };
    for _ in 0..600 {
        if left().await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(left().await, 0);
    until(|| one.forwarded() >= 2 && two.forwarded() >= 2).await;
    assert_eq!((one.urls().await.len(), two.urls().await.len()), (2, 2));
}
