//! Runners on several nodes of one store: known and revoked on each.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn a_runner_is_known_on_each_node_until_it_is_revoked_on_one() {
    let backend = store::open(Engine::SharedMemory).await.expect("opens");
    let one = identity_over(backend.clone(), Vec::new()).await.expect("opens");
    let two = identity_over(backend, Vec::new()).await.expect("opens");
    let (_, token) = one.create(&home(), new("r"), "ada").await.expect("creates");
    let token = token.show_once().as_bytes();
    until(|| two.authenticate(token).is_some()).await;
    let runner = two.authenticate(token).expect("is known");
    two.revoke(&home(), &name("r"), None, "ada").await.expect("revoked");
    assert!(two.current(&runner).is_none());
    until(|| one.authenticate(token).is_none()).await;
}

#[tokio::test]
async fn one_certificate_is_one_runner_s_on_all_nodes() {
    let backend = store::open(Engine::SharedMemory).await.expect("opens");
    let one = identity_over(backend.clone(), Vec::new()).await.expect("opens");
    let two = identity_over(backend, Vec::new()).await.expect("opens");
    let certificate = CertificateName::parse("dns:ci.example").expect("a name");
    let with = |called| NewRunner { certificate: Some(certificate.clone()), ..new(called) };
    let (home, bare) = (home(), new("c"));
    let (first, second) = tokio::join!(one.create(&home, with("a"), "ada"), two.create(&home, with("b"), "ada"));
    let refused: Vec<_> = [first.err(), second.err()].into_iter().flatten().collect();
    assert!(matches!(refused[..], [IdentityError::CertificateTaken { .. }]), "{refused:?}");
    one.create(&home, bare, "ada").await.expect("creates");
    let edit = Edit { certificate: Some(Some(certificate)), ..Edit::default() };
    let refused = one.edit(&home, &name("c"), edit, None, "ada").await;
    assert!(matches!(refused, Err(IdentityError::CertificateTaken { .. })), "{refused:?}");
}

#[tokio::test]
async fn beyond_the_time_that_it_is_trusted_nobody_is_known_but_who_is_declared() {
    let backend = store::open(Engine::SharedMemory).await.expect("opens");
    let one = identity_over(backend, vec![declared("d", "a token of the config")]).await.expect("opens");
    let (_, token) = one.create(&home(), new("r"), "ada").await.expect("creates");
    let stored = one.authenticate(token.show_once().as_bytes()).expect("is known");
    let declared = one.authenticate(b"a token of the config").expect("is known");
    let staleness = one.ledger.staleness();
    staleness.trust_for(Duration::ZERO);
    assert!(one.check_trust_in(&stored).is_ok() && one.check_trusted().is_ok());
    staleness.behind(Instant::now(), "nobody answers");
    until(|| one.check_trusted().is_err()).await;
    assert!(one.check_trust_in(&stored).is_err() && one.check_trust_in(&declared).is_ok());
    staleness.current();
    assert!(one.check_trust_in(&stored).is_ok());
}

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
