//! Who is known, and from when on no longer.

mod fleet;

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
        certificate: None,
    }
}

fn declared(called: &str, token: &str) -> DeclaredRunner {
    let token = SecretValue::new(token.as_bytes().to_vec()).expect("a good value");
    DeclaredRunner { organization: home(), runner: new(called), token: Some(token) }
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
    assert!(identity.current(&runner).is_some());
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
    identity.revoke(&home(), &name("r"), None, "t").await.expect("revokes");
    assert!(identity.authenticate(token.show_once().as_bytes()).is_none());
    assert!(identity.current(&runner).is_none() && !identity.has_runners());
    let (_, next) = identity.create(&home(), new("r"), "t").await.expect("the name is free");
    let successor = identity.authenticate(next.show_once().as_bytes()).expect("is known");
    assert!(identity.current(&runner).is_none() && identity.current(&successor).is_some());
    assert_ne!(runner.id, successor.id);
    let gone = identity.revoke(&home(), &name("other"), None, "t").await.expect_err("nothing there");
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
    assert!(identity.current(&runner).is_some() && identity.has_runners());
    assert!(identity.list(&home())[0].declared);
    let created = identity.create(&home(), new("r"), "t").await.err().expect("taken");
    let revoked = identity.revoke(&home(), &name("r"), None, "t").await.expect_err("read-only");
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

#[tokio::test]
async fn a_declared_runner_stays_itself_as_long_as_it_keeps_its_name_and_token() {
    let certificate = CertificateName::parse("dns:r.example").expect("a name");
    let certified = |called: &str| DeclaredRunner {
        organization: home(),
        runner: NewRunner { certificate: Some(certificate.clone()), ..new(called) },
        token: None,
    };
    let identity = identity_over(memory().await, vec![declared("r", "tok-1"), certified("c")]).await.expect("opens");
    let (runner, by_certificate) =
        (identity.authenticate(b"tok-1").expect("known"), identity.by_certificate(std::slice::from_ref(&certificate)));
    let by_certificate = by_certificate.expect("known");
    let wider = DeclaredRunner { runner: NewRunner { secrets: None, ..new("r") }, ..declared("r", "tok-1") };
    let redeclared = identity.redeclare(vec![wider, certified("c")]).await.expect("no contradiction");
    assert_eq!(redeclared.changed(), [(home(), name("r"))]);
    redeclared.put_in_force();
    assert!(identity.current(&runner).is_some_and(|now| now.secrets.is_none()));
    assert!(identity.current(&by_certificate).is_some(), "without a token it is who it was");
    identity.redeclare(vec![declared("r", "tok-2")]).await.expect("no contradiction").put_in_force();
    assert!(identity.current(&runner).is_none() && identity.authenticate(b"tok-1").is_none());
    assert!(identity.authenticate(b"tok-2").is_some() && identity.by_certificate(std::slice::from_ref(&certificate)).is_none());
    let stored = NewRunner { certificate: Some(certificate.clone()), ..new("stored") };
    identity.create(&home(), stored, "t").await.expect("creates");
    for contradiction in
        [vec![certified("c")], vec![declared("stored", "tok-3")], vec![declared("a", "t-4"), declared("b", "t-4")]]
    {
        assert!(identity.redeclare(contradiction).await.is_err());
    }
    assert!(identity.authenticate(b"tok-2").is_some());
    identity.redeclare(Vec::new()).await.expect("no contradiction").put_in_force();
    assert!(identity.has_runners(), "one is stored");
}

#[tokio::test]
async fn an_edit_changes_the_limits_and_keeps_the_token() {
    let identity = identity().await;
    let (view, token) = identity.create(&home(), new("r"), "ada").await.expect("creates");
    let before = identity.authenticate(token.show_once().as_bytes()).expect("is known");
    let edit = Edit { secrets: Some(Some(Vec::new())), ..Edit::default() };
    let edited = identity.edit(&home(), &name("r"), edit, Some(view.revision), "bob").await.expect("edits");
    assert_eq!((edited.revision, edited.updated_by.as_str(), edited.created_by.as_str()), (2, "bob", "ada"));
    assert_eq!((edited.secrets.as_deref(), &edited.hosts), (Some(&[][..]), &view.hosts));
    let now = identity.current(&before).expect("it is the same runner");
    assert_eq!(now.secrets.as_deref(), Some(&[][..]), "a connection that is open feels it");
    let stale = identity.edit(&home(), &name("r"), Edit::default(), Some(1), "eve").await.expect_err("too late");
    assert!(stale.to_string().contains("changed meanwhile, by bob"), "{stale}");
    assert!(matches!(identity.revoke(&home(), &name("r"), Some(1), "t").await, Err(IdentityError::RevisionStale { .. })));
}

#[tokio::test]
async fn a_new_token_takes_the_place_of_the_old_one() {
    let identity = identity().await;
    let (_, old) = identity.create(&home(), new("r"), "ada").await.expect("creates");
    let before = identity.authenticate(old.show_once().as_bytes()).expect("is known");
    let (view, token) = identity.rotate_token(&home(), &name("r"), None, "bob").await.expect("rotates");
    assert_eq!(view.revision, 2);
    assert!(identity.authenticate(old.show_once().as_bytes()).is_none());
    assert!(identity.current(&before).is_none(), "tunnels of the old token end");
    let after = identity.authenticate(token.show_once().as_bytes()).expect("is known");
    assert_eq!((&after.id, &after.hosts), (&before.id, &before.hosts));
    let missing = identity.rotate_token(&home(), &name("other"), None, "bob").await;
    assert!(matches!(missing, Err(IdentityError::NotFound { .. })));
}

#[tokio::test]
async fn a_certificate_is_one_runners_in_all_organizations() {
    let certificate = |text: &str| CertificateName::parse(text).expect("a good name");
    let with = |called: &str, text: &str| NewRunner { certificate: Some(certificate(text)), ..new(called) };
    let only = DeclaredRunner { organization: home(), runner: with("d", "dns:d.example"), token: None };
    let identity = identity_over(memory().await, vec![only]).await.expect("opens");
    let (view, token) = identity.create(&home(), with("r", "dns:r.example"), "t").await.expect("creates");
    assert_eq!(view.certificate, Some(certificate("dns:r.example")));
    let known = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|text| certificate(text)).collect();
        identity.by_certificate(&names).map(|runner| runner.name.to_string())
    };
    assert_eq!(known(&["uri:a:b", "dns:r.example"]).as_deref(), Some("r"));
    assert_eq!(known(&["dns:d.example"]).as_deref(), Some("d"));
    assert_eq!(known(&["dns:r.example", "dns:d.example"]), None, "two runners are nobody");
    assert_eq!((known(&[]), known(&["dns:x.example"])), (None, None));
    let other = OrganizationName::parse("other").expect("a good name");
    for taken in ["dns:r.example", "dns:d.example"] {
        let error = identity.create(&other, with("s", taken), "t").await.err().expect(taken);
        assert_eq!(error.code(), "certificate_taken");
    }
    let edit = |text: Option<&str>| Edit { certificate: Some(text.map(certificate)), ..Edit::default() };
    identity.edit(&home(), &name("r"), edit(Some("dns:r.example")), None, "t").await.expect("its own");
    identity.edit(&home(), &name("r"), edit(Some("dns:q.example")), None, "t").await.expect("free");
    assert_eq!((known(&["dns:r.example"]), known(&["dns:q.example"]).as_deref()), (None, Some("r")));
    identity.edit(&home(), &name("r"), edit(None), None, "t").await.expect("none");
    assert_eq!(known(&["dns:q.example"]), None);
    assert!(identity.authenticate(token.show_once().as_bytes()).is_some(), "the token stays");
    identity.edit(&home(), &name("r"), edit(Some("dns:q.example")), None, "t").await.expect("free again");
    identity.revoke(&home(), &name("r"), None, "t").await.expect("revokes");
    assert_eq!(known(&["dns:q.example"]), None);
}
