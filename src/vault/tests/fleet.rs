//! Secrets on several nodes of one store: what is changed on one rules on all.

use super::*;
use crate::store::Expect;

/// Waits until what the other node wrote has come.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if what() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come");
}

#[tokio::test]
async fn an_edit_a_rename_and_a_deletion_rule_on_each_node() {
    let backend = store::open(Engine::SharedMemory).await.expect("opens");
    let one = vault_over(backend.clone(), Vec::new()).await.expect("opens");
    let two = vault_over(backend, Vec::new()).await.expect("opens");
    one.create(&home(), new("a", "hunter2"), "ada").await.expect("creates");
    until(|| gives(&two, &home(), "a", "hunter2")).await;
    let edit = Edit { name: Some(name("b")), value: Some(value("hunter3")), ..Edit::default() };
    two.edit(&home(), &name("a"), edit, Some(1), "bob").await.expect("edits");
    until(|| gives(&one, &home(), "b", "hunter3")).await;
    assert_eq!(absence(&one, "a"), Some(Absence::NotFound));
    let stale = one.delete(&home(), &name("b"), Some(1), "ada").await;
    assert!(matches!(stale, Err(VaultError::RevisionStale { current }) if current.updated_by == "bob"));
    one.delete(&home(), &name("b"), Some(2), "ada").await.expect("deletes");
    until(|| absence(&two, "b") == Some(Absence::NotFound)).await;
}

#[tokio::test]
async fn a_record_that_somebody_adds_takes_no_secret_s_name() {
    let backend = store::open(Engine::SharedMemory).await.expect("opens");
    let one = vault_over(backend.clone(), Vec::new()).await.expect("opens");
    one.create(&home(), new("a", "hunter2"), "ada").await.expect("creates");
    let stored = backend.load(&["record/secret/"]).await.expect("loads").stored;
    let key = format!("record/secret/default/{:032x}", 7);
    let put = Write::Put { key, expect: Expect::Absent, bytes: stored[0].bytes.clone() };
    backend.commit(vec![put]).await.expect("put");
    until(|| !one.ledger.faults().is_empty()).await;
    assert!(gives(&one, &home(), "a", "hunter2"));
}

#[tokio::test]
async fn beyond_the_time_that_it_is_trusted_no_stored_secret_goes_out_and_declared_ones_do() {
    let backend = store::open(Engine::SharedMemory).await.expect("opens");
    let one = vault_over(backend, vec![(home(), new("d", "hunter1"))]).await.expect("opens");
    one.create(&home(), new("a", "hunter2"), "ada").await.expect("creates");
    let staleness = one.ledger.staleness();
    staleness.trust_for(Duration::ZERO);
    staleness.behind(std::time::Instant::now(), "nobody answers");
    until(|| staleness.check().is_err()).await;
    for called in ["a", "made.up"] {
        assert!(matches!(absence(&one, called), Some(Absence::Unavailable(_))), "{called}");
    }
    assert!(gives(&one, &home(), "d", "hunter1"));
    staleness.current();
    assert!(gives(&one, &home(), "a", "hunter2"));
}
