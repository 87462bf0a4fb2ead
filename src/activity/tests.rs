mod fleet;

use std::time::SystemTime;

use tokio::task::JoinHandle;

use super::*;
use crate::audit::{Audit, Change, Entry, Outcome, What};
use crate::inject::Code;
use crate::metrics::Registry;
use crate::origin::Host;
use crate::seal::KeyEncryptionKey;
use crate::secret::Surface;
use crate::store::{self, Engine, Stored, Write};

const DAY: Duration = Duration::from_hours(24);

/// A store with activity over it, as one process has it.
struct Place {
    backend: Arc<dyn Backend>,
    audit: Arc<Audit>,
    activity: Activity,
    keeper: JoinHandle<()>,
}

fn sealer() -> Sealer {
    Sealer::new(KeyEncryptionKey::from_base64("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("32 bytes"))
}

async fn memory() -> Arc<dyn Backend> {
    store::open(Engine::Memory).await.expect("opens")
}

async fn open(backend: &Arc<dyn Backend>, node: &str, entries: u64) -> Place {
    let (audit, handover) = Audit::handing_over(&Registry::new());
    let audit = Arc::new(audit);
    let settings = Settings { node: NodeName::parse(node).expect("a name"), keep: 90 * DAY, entries };
    let opened = Activity::open(backend.clone(), sealer(), settings, (audit.clone(), handover)).await;
    let (activity, keeper) = opened.expect("opens");
    Place { backend: backend.clone(), audit, activity, keeper: tokio::spawn(keeper.run()) }
}

fn home() -> OrganizationName {
    OrganizationName::default()
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).expect("a name")
}

impl Place {
    /// A request for `url` with the secret `a`, by `organization`.
    fn request_of(&self, organization: &OrganizationName, url: &str, code: Option<Code>, at: SystemTime) {
        let (host, runner) = (Host::parse("api.test").expect("a host"), RunnerName::parse("billing").expect("a name"));
        self.audit.record(&Entry {
            client: None,
            request_id: "1",
            runner: Some(&runner),
            organization: Some(organization),
            method: "GET",
            url,
            origin: Some("https://api.test"),
            host: Some(&host),
            secrets: &[(name("a"), Surface::Header)],
            redacted: &[],
            unsearched: crate::inject::Reasons::default(),
            answer_unsearched: crate::inject::Reasons::default(),
            outcome: if code.is_some() { Outcome::Refused } else { Outcome::Forwarded },
            code,
            detail: None,
            hint: None,
            status: Some(200),
            duration: Duration::from_millis(1),
            at,
        });
    }

    fn request(&self, url: &str) {
        self.request_of(&home(), url, None, SystemTime::now());
    }

    /// So many requests, numbered from `from`.
    async fn requests(&self, from: usize, count: usize) {
        (from..from + count).for_each(|number| self.request(&format!("/{number}")));
        self.activity.flush().await;
    }

    /// The URLs of everything in `default`, newest first.
    async fn urls(&self) -> Vec<String> {
        let mut walk = self.activity.walk(&home(), Filter::default());
        let mut urls = Vec::new();
        while let Some(found) = walk.next().await.expect("reads") {
            urls.push(url(&found));
        }
        urls
    }

    async fn stored(&self) -> Vec<Stored> {
        self.backend.load(&["activity/"]).await.expect("loads").stored
    }

    /// The process is gone: what it had not committed is lost.
    async fn killed(self) -> Arc<dyn Backend> {
        self.keeper.abort();
        assert!(self.keeper.await.is_err());
        self.backend
    }
}

fn url(found: &Found) -> String {
    match &found.entry.what {
        What::Exchange(exchange) => exchange.url.clone(),
        What::Change(change) => format!("{} {} {} {}", change.actor, change.action, change.object, change.name),
    }
}

fn numbered(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| format!("/{number}")).collect()
}

#[tokio::test]
async fn what_was_recorded_is_read_newest_first_and_survives_the_process() {
    let place = open(&memory().await, "local", 10_000).await;
    place.requests(0, 5).await;
    place.activity.record_change(&home(), Change::new("alice", "edited", "secret", "a"));
    place.requests(5, 200).await;
    let mut expected = numbered((0..205).rev());
    expected.insert(200, "alice edited secret a".to_owned());
    assert_eq!(place.urls().await, expected);
    let again = open(&place.killed().await, "local", 10_000).await;
    assert_eq!(again.urls().await, expected);
    again.requests(205, 1).await;
    assert_eq!(again.urls().await.first().map(String::as_str), Some("/205"));
    assert_eq!(again.activity.walk(&home(), Filter::default()).notices(), [""; 0]);
}

#[tokio::test]
async fn small_batches_become_one() {
    let backend = memory().await;
    let mut expected = Vec::new();
    for round in 0..4 {
        // A restart in between changes nothing about it.
        let place = open(&backend, "local", 10_000).await;
        for number in round * 20..round * 20 + 20 {
            place.requests(number, 1).await;
            expected.insert(0, format!("/{number}"));
        }
        assert_eq!(place.urls().await, expected);
        let batches = place.stored().await.len();
        assert!(batches < 64 && (round != 3 || batches == 17), "{batches} in round {round}");
        place.killed().await;
    }
}

#[tokio::test]
async fn the_disk_shows_nothing_of_an_entry() {
    let place = open(&memory().await, "local", 10_000).await;
    place.requests(7_777, 100).await;
    for stored in place.backend.load(&[""]).await.expect("loads").stored {
        for private in ["/7777", "api.test", "billing"] {
            let found = stored.bytes.windows(private.len()).any(|part| part == private.as_bytes());
            assert!(!found && !stored.key.contains(private), "{private} in {}", stored.key);
        }
    }
}

#[tokio::test]
async fn whole_batches_go_by_number_and_by_age() {
    let place = open(&memory().await, "local", 300).await;
    for round in 0..10 {
        place.requests(round * 100, 100).await;
    }
    let urls = place.urls().await;
    assert_eq!(urls, numbered((700..1_000).rev()), "the commit that brings more removes the oldest");
    place.activity.set_bounds(DAY, 10_000);
    let two_days_ago = SystemTime::now() - 2 * DAY;
    place.request_of(&home(), "/old", None, two_days_ago);
    place.requests(1_000, 100).await;
    assert_eq!(place.urls().await.len(), 401, "a batch goes when all of it is old");
    (0..100).for_each(|_| place.request_of(&home(), "/old", None, two_days_ago));
    place.activity.flush().await;
    place.requests(1_100, 100).await;
    assert_eq!(place.urls().await.len(), 601, "newer ones lie before it");
    place.activity.set_bounds(Duration::ZERO, 10_000);
    // What is no older than the clock can tell stays.
    let last = crate::audit::millis(SystemTime::now());
    while crate::audit::millis(SystemTime::now()) < last + 2 {
        tokio::task::yield_now().await;
    }
    place.requests(1_200, 100).await;
    assert_eq!(place.urls().await, numbered((1_200..1_300).rev()));
}

#[tokio::test]
async fn nothing_is_kept_where_nothing_is_to_be_kept() {
    let place = open(&memory().await, "local", 0).await;
    let mut live = place.activity.follow().expect("nobody follows yet");
    place.requests(0, 100).await;
    assert_eq!(place.stored().await, []);
    assert_eq!((live.recv().await.expect("one").id(), live.len()), (None, 99));
    assert_eq!(place.activity.usage(&home(), &name("a")).expect("it is counted").last_uses.len(), 1);
}

#[tokio::test]
async fn pages_follow_each_other_while_new_entries_come() {
    let place = open(&memory().await, "local", 10_000).await;
    for round in 0..3 {
        place.requests(round * 50, 50).await;
    }
    let (mut urls, mut cursor) = (Vec::new(), None);
    loop {
        let page = place.activity.page(&home(), Filter::default(), cursor.as_ref(), 40).await.expect("reads");
        assert!(page.entries.len() <= 40 && !page.stopped_early && page.notices.is_empty());
        urls.extend(page.entries.iter().map(url));
        // What comes meanwhile is newer than all of it, and may take in what was not read yet.
        place.requests(9_000, 3).await;
        match page.next {
            Some(next) => cursor = Some(Cursor::parse(&next.to_string()).expect("a cursor")),
            None => break,
        }
    }
    assert_eq!(urls, numbered((0..150).rev()));
    for bad in ["", "x", "eyJhIjoxfQ"] {
        assert_eq!(Cursor::parse(bad), Err(NoCursor), "{bad}");
    }
}

#[tokio::test]
async fn a_page_says_when_it_stopped_early_and_goes_on_from_there() {
    let place = open(&memory().await, "local", 100_000).await;
    place.requests(0, 1).await;
    for _ in 0..6 {
        place.requests(1_000_000, 400).await;
    }
    let filter = Filter { text: Some("/0".to_owned()), ..Filter::default() };
    let page = place.activity.page(&home(), filter.clone(), None, 10).await.expect("reads");
    assert!(page.stopped_early && page.entries.is_empty());
    let rest = place.activity.page(&home(), filter, page.next.as_ref(), 10).await.expect("reads");
    assert_eq!((rest.entries.len(), rest.stopped_early, rest.next), (1, false, None));
}

#[tokio::test]
async fn a_time_range_looks_only_at_its_batches() {
    let place = open(&memory().await, "local", 10_000).await;
    let yesterday = SystemTime::now() - DAY;
    let at = |hours: u64| yesterday + Duration::from_hours(hours);
    for hour in 0..10 {
        (0..100).for_each(|_| place.request_of(&home(), &format!("/{hour}"), None, at(hour)));
        place.activity.flush().await;
    }
    let millis = |at| crate::audit::millis(at);
    let filter = Filter { from: Some(millis(at(3))), to: Some(millis(at(4))), ..Filter::default() };
    let page = place.activity.page(&home(), filter, None, 1_000).await.expect("reads");
    assert_eq!((page.entries.len(), url(&page.entries[0])), (100, "/3".to_owned()));
}

#[tokio::test]
async fn organizations_see_their_own() {
    let place = open(&memory().await, "local", 10_000).await;
    let acme = OrganizationName::parse("acme").expect("a name");
    place.request_of(&acme, "/acme", None, SystemTime::now());
    place.requests(0, 1).await;
    assert_eq!(place.urls().await, ["/0"]);
    let page = place.activity.page(&acme, Filter::default(), None, 10).await.expect("reads");
    assert_eq!(page.entries.iter().map(url).collect::<Vec<_>>(), ["/acme"]);
    assert!(place.activity.last_use(&acme, &name("a")).is_some());
}

#[tokio::test]
async fn followers_hear_what_is_kept_and_how_much_they_missed() {
    let place = open(&memory().await, "local", 10_000).await;
    let mut live = place.activity.follow().expect("nobody follows yet");
    place.requests(0, 1).await;
    let first = live.recv().await.expect("one");
    assert_eq!((url(&first), first.id().as_deref()), ("/0".to_owned(), Some("local-1")));
    place.requests(0, FOLLOWERS_LAG + 10).await;
    assert!(matches!(live.recv().await, Err(broadcast::error::RecvError::Lagged(10))));
}

/// Changes one stored batch.
async fn damage(place: &Place, index: usize, change: impl FnOnce(&mut Stored) -> Option<Write>) {
    let mut stored = place.stored().await.remove(index);
    let write = change(&mut stored).unwrap_or_else(|| Write::Put {
        key: stored.key.clone(),
        expect: store::Expect::Version(stored.version),
        bytes: stored.bytes.clone(),
    });
    place.backend.commit(vec![write]).await.expect("commits");
}

#[tokio::test]
async fn a_damaged_batch_is_skipped_and_told_and_one_that_was_taken_away_is_missed() {
    let place = open(&memory().await, "local", 10_000).await;
    for round in 0..4 {
        place.requests(round * 100, 100).await;
    }
    damage(&place, 1, |stored| {
        *stored.bytes.last_mut().expect("bytes") ^= 1;
        None
    })
    .await;
    damage(&place, 2, |stored| Some(Write::Remove { key: stored.key.clone(), version: stored.version })).await;
    let expected: Vec<String> = numbered((300..400).rev().chain((0..100).rev()));
    let expected_notices = [
        "Entries 201 to 300 of node local are missing: somebody took them away.",
        "Entries 101 to 200 of node local cannot be read: it is damaged or was tampered with: it does not authenticate.",
    ];
    let page = place.activity.page(&home(), Filter::default(), None, 1_000).await.expect("reads");
    assert_eq!(page.entries.iter().map(url).collect::<Vec<_>>(), expected);
    assert_eq!(page.notices, expected_notices);
    // The same after a restart, and nothing of it is fatal.
    let again = open(&place.killed().await, "local", 10_000).await;
    let page = again.activity.page(&home(), Filter::default(), None, 1_000).await.expect("reads");
    assert_eq!((page.entries.len(), page.notices.len()), (200, 2));
    again.requests(400, 1).await;
    assert_eq!(again.urls().await[0], "/400");
}

#[tokio::test]
async fn a_batch_does_not_stand_in_anothers_place() {
    let place = open(&memory().await, "local", 10_000).await;
    place.requests(0, 100).await;
    place.requests(100, 100).await;
    let other = place.stored().await[0].bytes.clone();
    damage(&place, 1, |stored| {
        stored.bytes = other;
        None
    })
    .await;
    let again = open(&place.killed().await, "local", 10_000).await;
    let page = again.activity.page(&home(), Filter::default(), None, 1_000).await.expect("reads");
    assert_eq!(page.entries.len(), 100);
    assert!(page.notices[0].contains("it belongs elsewhere"), "{:?}", page.notices);
}

#[tokio::test]
async fn usage_survives_the_process_without_counting_anything_twice() {
    let backend = memory().await;
    for round in 1..=5_u32 {
        let place = open(&backend, "local", 10_000).await;
        place.requests(0, 30).await;
        let usage = place.activity.usage(&home(), &name("a")).expect("it was used");
        let counted: u32 = usage.days.values().map(|day| day.forwarded).sum();
        assert_eq!(counted, round * 30);
        let runner = place.activity.runner_usage(&home(), &RunnerName::parse("billing").expect("a name"));
        assert_eq!(runner.and_then(|usage| usage.last_seen()), usage.last_seen());
        place.killed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn usage_is_stored_now_and_then_and_outlives_the_entries() {
    let place = open(&memory().await, "local", 64).await;
    place.requests(0, 100).await;
    // Time goes on by itself where everybody waits for it.
    while place.backend.load(&["usage"]).await.expect("loads").stored.len() < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    place.requests(100, 70).await;
    place.requests(200, 70).await;
    assert_eq!(place.urls().await.len(), 70, "the rest went");
    let again = open(&place.killed().await, "local", 64).await;
    let usage = again.activity.usage(&home(), &name("a")).expect("it was used");
    assert_eq!(usage.days.values().map(|day| day.forwarded).sum::<u32>(), 240);
}

#[tokio::test]
async fn nodes_share_a_store_without_meeting() {
    let backend = memory().await;
    let (one, two) = (open(&backend, "one", 10_000).await, open(&backend, "two", 10_000).await);
    let yesterday = SystemTime::now() - DAY;
    let at = |seconds: u64| yesterday + Duration::from_secs(seconds);
    for number in 0..100 {
        let place = if number % 3 == 0 { &one } else { &two };
        place.request_of(&home(), &format!("/{number}"), None, at(number));
        if number % 7 == 0 {
            place.activity.flush().await;
        }
    }
    tokio::join!(one.activity.flush(), two.activity.flush());
    let all = open(&backend, "three", 10_000).await;
    assert_eq!(all.urls().await, numbered((0..100).rev()));
    let page = all.activity.page(&home(), Filter::default(), None, 30).await.expect("reads");
    let rest = all.activity.page(&home(), Filter::default(), page.next.as_ref(), 100).await.expect("reads");
    assert_eq!((page.entries.len(), rest.entries.len(), url(&rest.entries[0])), (30, 70, "/69".to_owned()));
    let nodes: std::collections::BTreeSet<_> = page.entries.iter().map(|found| found.node.to_string()).collect();
    assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["one", "two"]);
    let usage = all.activity.usage(&home(), &name("a")).expect("it was used");
    assert_eq!(usage.days.values().map(|day| day.forwarded).sum::<u32>(), 100);
}

#[tokio::test]
async fn two_processes_of_one_name_lose_nothing_to_each_other() {
    let backend = memory().await;
    let (one, two) = (open(&backend, "same", 10_000).await, open(&backend, "same", 10_000).await);
    one.requests(0, 3).await;
    two.request("/3");
    // The first attempt meets what the other wrote; the second one comes behind it.
    while two.backend.load(&["activity/"]).await.expect("loads").stored.len() < 2 {
        two.activity.flush().await;
    }
    assert_eq!(two.urls().await, numbered((0..4).rev()));
}

/// A store that cannot be written for a while.
struct Flaky(Arc<dyn Backend>, std::sync::atomic::AtomicBool);

impl Backend for Flaky {
    fn load(&self, prefixes: &[&str]) -> store::Pending<'_, Result<store::Loaded, StoreError>> {
        self.0.load(prefixes)
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> store::Pending<'_, Result<Vec<Stored>, StoreError>> {
        self.0.page(prefix, after, limit)
    }

    fn read(&self, key: &str) -> store::Pending<'_, Result<Option<Stored>, StoreError>> {
        self.0.read(key)
    }

    fn commit(&self, writes: Vec<Write>) -> store::Pending<'_, Result<Vec<u64>, StoreError>> {
        if self.1.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(StoreError::Failed("no space left on device".to_owned()))));
        }
        self.0.commit(writes)
    }

    fn watch(&self) -> broadcast::Receiver<store::Told> {
        self.0.watch()
    }

    fn freshness(&self) -> tokio::sync::watch::Receiver<store::Freshness> {
        self.0.freshness()
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
}

#[tokio::test]
async fn what_cannot_be_written_now_is_written_later() {
    let flaky = Arc::new(Flaky(memory().await, true.into()));
    let backend: Arc<dyn Backend> = flaky.clone();
    let place = open(&backend, "local", 10_000).await;
    place.requests(0, 10).await;
    assert_eq!(place.stored().await, []);
    flaky.1.store(false, Ordering::Relaxed);
    place.requests(10, 1).await;
    assert_eq!(place.urls().await, numbered((0..11).rev()));
}
