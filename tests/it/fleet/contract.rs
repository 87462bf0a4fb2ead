//! What every engine keeps, and what only a shared one has to.

use std::time::Duration;

use subrosa::store::{Expect, StoreError, Told, Write};

use super::cluster::Cluster;
use super::relay::Relay;
use super::{becomes, open, open_at, put};
use crate::store::contract::keeps_the_contract;
use crate::support::soon;

#[tokio::test]
async fn a_cluster_keeps_the_contract_and_others_see_what_one_commits() {
    let cluster = Cluster::start(3).await;
    keeps_the_contract(open(&cluster, "/contract/").await).await;
    // Beside another prefix that begins alike, and whatever else lies there.
    let mut client = cluster.client().await;
    for key in ["/fleet", "/fleet/", "/fleet0", "/fleets/a"] {
        client.put(key, "not ours", None).await.expect("written");
    }
    let (one, two) = (open(&cluster, "/fleet/a/").await, open(&cluster, "/fleet/a/").await);
    assert!(one.is_shared() && one.load(&[""]).await.expect("loads").stored.is_empty());
    let mut told = two.watch();
    let version = one.commit(vec![put("a", Expect::Absent, b"1")]).await.expect("commits")[0];
    let Told::Commit { revision, changes } = soon(told.recv()).await.expect("told") else { panic!("nothing was missed") };
    assert_eq!((revision, changes[0].key.as_str(), &changes[0].now), (version, "a", &Some((version, b"1".to_vec()))));
    assert_eq!(two.read("a").await.expect("reads").expect("there").version, version);
    let late = two.commit(vec![put("a", Expect::Absent, b"2")]).await;
    assert!(matches!(late, Err(StoreError::Conflict { key }) if key == "a"));
}

#[tokio::test]
async fn what_etcd_does_not_take_is_refused_in_words_and_nothing_of_it_is_there() {
    let cluster = Cluster::start(1).await;
    let store = open(&cluster, "/s/").await;
    let many = |count: usize| (0..count).map(|index| put(&format!("k/{index}"), Expect::Absent, b"v")).collect::<Vec<Write>>();
    let fault = store.commit(many(129)).await.expect_err("too many").to_string();
    assert!(fault.contains("129 keys") && fault.contains("128"), "{fault}");
    for size in [1_600_000, 3_000_000] {
        let fault = store.commit(vec![put("big", Expect::Absent, &vec![7; size])]).await.expect_err("too large").to_string();
        assert!(fault.contains("--max-request-bytes"), "{fault}");
    }
    assert!(store.load(&[""]).await.expect("loads").stored.is_empty());
    assert_eq!(store.commit(many(128)).await.expect("as many as it takes").len(), 128);
    // More than one piece, and of pieces of very different sizes.
    for index in 0..20 {
        let size = if index % 3 == 0 { 900_000 } else { 3 };
        store.commit(vec![put(&format!("l/{index:02}"), Expect::Absent, &vec![index; size])]).await.expect("commits");
    }
    let loaded = store.load(&["l/", "k/"]).await.expect("loads").stored;
    assert_eq!(loaded.len(), 148);
    assert!(loaded.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert!(loaded.iter().filter(|entry| entry.key.starts_with("l/")).all(|entry| [3, 900_000].contains(&entry.bytes.len())));
    assert_eq!(store.page("", None, usize::MAX).await.expect("reads"), loaded);
}

/// An answer that is lost is no reason to do it twice, or to say that it was not done.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_done_once_or_said_to_be_unknown() {
    let cluster = Cluster::start(1).await;
    let (deaf, hearing) = (Relay::to(cluster.address(0)).await, Relay::to(cluster.address(0)).await);
    let settings =
        |endpoints| subrosa::store::EtcdSettings { endpoints, timeout: Duration::from_secs(3), ..cluster.settings("/s/") };
    let store = open_at(settings(vec![deaf.endpoint(), hearing.endpoint()])).await.expect("opens");
    let truth = open(&cluster, "/s/").await;
    let first = store.commit(vec![put("a", Expect::Absent, b"0")]).await.expect("commits")[0];
    // Whichever of them is asked first does not answer, and the other one does.
    let mut version = first;
    for (round, (silent, _)) in [(&deaf, &hearing), (&hearing, &deaf), (&deaf, &hearing)].into_iter().enumerate() {
        silent.deafen();
        let bytes = round.to_string().into_bytes();
        let fresh = put(&format!("new/{round}"), Expect::Absent, &bytes);
        let versions = store.commit(vec![put("a", Expect::Version(version), &bytes), fresh]).await.expect("commits");
        let now = truth.read("a").await.expect("reads").expect("there");
        assert_eq!((now.version, now.bytes, versions.len()), (versions[0], bytes, 2), "{round}");
        version = versions[0];
        // Only absent ones: it is looked for, not sent again.
        let key = format!("only/{round}");
        let versions = store.commit(vec![put(&key, Expect::Absent, b"x")]).await.expect("commits");
        assert_eq!(truth.read(&key).await.expect("reads").expect("there").version, versions[0]);
        silent.open();
        silent.cut();
    }
    // Nobody answers: it is there, and that is not known.
    deaf.deafen();
    hearing.deafen();
    let lost = soon(store.commit(vec![put("a", Expect::Version(version), b"lost")])).await;
    assert!(matches!(&lost, Err(StoreError::Unknown { .. })), "{lost:?}");
    assert_eq!(truth.read("a").await.expect("reads").expect("there").bytes, b"lost");
    deaf.open();
    hearing.open();
    deaf.cut();
    hearing.cut();
    becomes(&*store, true).await;
}
