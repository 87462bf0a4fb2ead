//! Who is known, and from when on no longer.

use super::*;
use crate::seal::{KeyEncryptionKey, Sealer};
use crate::secret::DomainPattern;
use crate::store::{self, Backend, Engine};

fn home() -> OrganizationName {
    OrganizationName::default()
}

fn name(text: &str) -> RunnerName {
    RunnerName::parse(text).expect("a good name")
}

fn new(called: &str) -> NewRunner {
    NewRunner {
        name: name(called),
        secrets: Some(vec![NamePattern::parse("billing.*").expect("a good pattern")]),
        hosts: AllowedDomains::new(vec![DomainPattern::parse("a.example").expect("a good pattern")]).expect("tok-1"),
    }
}

fn declared(called: &str, token: &str) -> DeclaredRunner {
    let token = SecretValue::new(token.as_bytes().to_vec()).expect("a good value");
    DeclaredRunner { organization: home(), runner: new(called), token }
}

async fn memory() -> Arc<dyn Backend> {
    store::open(Engine::Memory).await.expect("opens")
}

async fn identity_over(backend: Arc<dyn Backend>, declared: Vec<DeclaredRunner>) -> Result<Identity, IdentityError> {
    let sealer = Sealer::new(KeyEncryptionKey::from_bytes(&[1; 32]));
    let ledger = Ledger::open(backend, sealer).await.expect("the ledger opens");
    Identity::new(Arc::new(ledger), declared)
}

async fn identity() -> Identity {
    identity_over(memory().await, Vec::new()).await.expect("opens")
}

#[tokio::test]
async fn a_token_is_its_runner_and_nothing_else_is() {
    let identity = identity().await;
    assert!(!identity.has_runners());
    let (view, token) = identity.create(&home(), new("r"), "ada").await.expect("creates");
    assert!(identity.has_runners());
    let runner = identity.authenticate(token.show_once().as_bytes()).expect("is known");
    assert_eq!((&runner.name, &runner.organization), (&name("r"), &home()));
    assert_eq!(runner.secrets.as_deref(), new("r").secrets.as_deref());
    assert_eq!(runner.hosts, new("r").hosts);
    assert!(identity.is_current(&runner));
    assert_eq!((view.created_by.as_str(), view.declared), ("ada", false));
    assert_eq!(identity.list(&home()), [view]);
    let whole = token.show_once();
    for wrong in ["", "srt_", &whole[1..], &whole[..whole.len() - 1], &format!("{whole} "), &whole.to_uppercase()] {
        assert!(identity.authenticate(wrong.as_bytes()).is_none(), "{wrong}");
    }
}

#[tokio::test]
async fn a_view_holds_neither_token_nor_hash() {
    let identity = identity().await;
    let (view, token) = identity.create(&home(), new("r"), "ada").await.expect("creates");
    let json = serde_json::to_string(&view).expect("serialises");
    assert!(!json.contains(token.show_once()) && !json.contains(&String::from(token.hash())), "{json}");
}

#[tokio::test]
async fn a_revoked_runner_is_nobody_at_once_and_its_successor_is_somebody_else() {
    let identity = identity().await;
    let (_, token) = identity.create(&home(), new("r"), "t").await.expect("creates");
    let runner = identity.authenticate(token.show_once().as_bytes()).expect("is known");
    identity.revoke(&home(), &name("r")).await.expect("revokes");
    assert!(identity.authenticate(token.show_once().as_bytes()).is_none());
    assert!(!identity.is_current(&runner) && !identity.has_runners());
    let (_, next) = identity.create(&home(), new("r"), "t").await.expect("the name is free");
    let successor = identity.authenticate(next.show_once().as_bytes()).expect("is known");
    assert!(!identity.is_current(&runner) && identity.is_current(&successor));
    assert_ne!(runner.id, successor.id);
    let gone = identity.revoke(&home(), &name("other")).await.expect_err("nothing there");
    assert_eq!(gone.code(), "runner_not_found");
}

#[tokio::test]
async fn a_name_is_unique_in_its_organization() {
    let identity = identity().await;
    identity.create(&home(), new("r"), "t").await.expect("creates");
    let taken = identity.create(&home(), new("r"), "t").await.err().expect("taken");
    assert_eq!(taken.code(), "name_taken");
    let other = OrganizationName::parse("other").expect("a good name");
    identity.create(&other, new("r"), "t").await.expect("another organization");
    assert_eq!((identity.list(&home()).len(), identity.list(&other).len()), (1, 1));
}

#[tokio::test]
async fn runners_are_known_again_after_reopening() {
    let backend = memory().await;
    let token = {
        let identity = identity_over(backend.clone(), Vec::new()).await.expect("opens");
        identity.create(&home(), new("r"), "t").await.expect("creates").1
    };
    let identity = identity_over(backend, Vec::new()).await.expect("opens");
    let runner = identity.authenticate(token.show_once().as_bytes()).expect("is known");
    assert_eq!(runner.secrets.as_deref(), new("r").secrets.as_deref());
}

#[tokio::test]
async fn declared_runners_are_known_and_read_only() {
    let identity = identity_over(memory().await, vec![declared("r", "a-long-token")]).await.expect("opens");
    let runner = identity.authenticate(b"a-long-token").expect("is known");
    assert!(identity.is_current(&runner) && identity.has_runners());
    assert!(identity.list(&home())[0].declared);
    let created = identity.create(&home(), new("r"), "t").await.err().expect("taken");
    let revoked = identity.revoke(&home(), &name("r")).await.expect_err("read-only");
    assert_eq!((created.code(), revoked.code()), ("name_taken", "declared_read_only"));
}

#[tokio::test]
async fn contradictions_of_declared_runners_stop_the_start() {
    let twice = identity_over(memory().await, vec![declared("r", "tok-1"), declared("r", "tok-2")]).await;
    let shared = identity_over(memory().await, vec![declared("r", "tok-1"), declared("s", "tok-1")]).await;
    let backend = memory().await;
    let identity = identity_over(backend.clone(), Vec::new()).await.expect("opens");
    identity.create(&home(), new("r"), "t").await.expect("creates");
    let stored = identity_over(backend, vec![declared("r", "tok-1")]).await;
    for (error, parts) in [
        (twice.err(), ["`r`", "exists already"]),
        (shared.err(), ["`s`", "same token"]),
        (stored.err(), ["`r`", "exists already"]),
    ] {
        let said = error.expect("a contradiction").to_string();
        assert!(parts.iter().all(|part| said.contains(part)) && !said.contains("tok-"), "{said}");
    }
}
