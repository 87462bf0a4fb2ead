//! What people may do with secrets, and what runners then get.

mod fleet;
mod model;

use std::time::{Duration, SystemTime};

use super::*;
use crate::inject::Absence;
use crate::seal::{KeyEncryptionKey, Sealer, digest};
use crate::secret::DomainPattern;
use crate::store::{self, Backend, Engine, Freshness, Loaded, Pending, StoreError, Stored, Told, Write};

fn home() -> OrganizationName {
    OrganizationName::default()
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).expect("a good name")
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec()).expect("a good value")
}

fn domains(text: &str) -> AllowedDomains {
    let patterns = text.split_whitespace().map(|text| DomainPattern::parse(text).expect("a good pattern"));
    AllowedDomains::new(patterns.collect()).expect("not too many")
}

fn new(called: &str, text: &str) -> NewSecret {
    NewSecret {
        name: name(called),
        value: value(text),
        description: Description::parse("for the team").expect("short"),
        allowed_domains: domains("a.example"),
        limits: Limits::default(),
    }
}

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

async fn vault_over(backend: Arc<dyn Backend>, declared: Vec<(OrganizationName, NewSecret)>) -> Result<Vault, VaultError> {
    let sealer = Sealer::new(KeyEncryptionKey::from_bytes(&[1; 32]));
    let ledger = Ledger::open_with_clock(backend, sealer, noon).await.expect("the ledger opens");
    Vault::new(Arc::new(ledger), declared)
}

async fn memory() -> Arc<dyn Backend> {
    store::open(Engine::Memory).await.expect("opens")
}

async fn vault() -> Vault {
    vault_over(memory().await, Vec::new()).await.expect("opens")
}

/// Whether a runner of `organization` gets exactly `text`.
fn gives(vault: &Vault, organization: &OrganizationName, called: &str, text: &str) -> bool {
    let found = vault.resolver(organization, None).find(&name(called));
    found.is_ok_and(|secret| digest(&secret.open().expect("opens")) == digest(&value(text)))
}

fn absence(vault: &Vault, called: &str) -> Option<Absence> {
    vault.resolver(&home(), None).find(&name(called)).err()
}

#[tokio::test]
async fn a_view_shows_everything_but_the_value() {
    let vault = vault().await;
    let view = vault.create(&home(), new("crm.apiKey", "hunter2"), "ada").await.expect("creates");
    let json = serde_json::to_value(&view).expect("serialises");
    let expected = serde_json::json!({
        "organization": "default", "name": "crm.apiKey", "description": "for the team",
        "allowed_domains": ["a.example"],
        "limits": {"surfaces": ["path", "query", "header", "authentication", "body"], "headers": [], "url_encoded": false},
        "revision": 1, "created_at": 1_000_000, "updated_at": 1_000_000, "updated_by": "ada", "declared": false, "redacted": false,
        "fault": null,
    });
    assert_eq!(json, expected);
    let longer = vault.create(&home(), new("crm.token", "hunter22"), "ada").await.expect("creates");
    assert!(longer.redacted, "eight bytes are enough");
    vault.delete(&home(), &longer.name, None, "ada").await.expect("it goes");
    assert_eq!(vault.get(&home(), &view.name), Some(view.clone()));
    assert_eq!(vault.list(&home()), [view]);
    assert!(gives(&vault, &home(), "crm.apiKey", "hunter2"));
}

#[tokio::test]
async fn a_name_is_unique_in_its_organization_and_case_counts() {
    let vault = vault().await;
    let other = OrganizationName::parse("other").expect("a good name");
    vault.create(&home(), new("a", "1"), "t").await.expect("creates");
    vault.create(&home(), new("A", "2"), "t").await.expect("case counts");
    vault.create(&other, new("a", "3"), "t").await.expect("another organization");
    let taken = vault.create(&home(), new("a", "4"), "t").await.expect_err("taken");
    assert_eq!(taken.code(), "name_taken");
    assert!(gives(&vault, &home(), "a", "1") && gives(&vault, &home(), "A", "2") && gives(&vault, &other, "a", "3"));
    let names: Vec<_> = vault.list(&home()).into_iter().map(|view| view.name.to_string()).collect();
    assert_eq!(names, ["A", "a"]);
}

/// What 8 threads with a runtime each get, all at the same time.
fn eight_at_once<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        let one = |index| {
            barrier.wait();
            work(index)
        };
        let threads: Vec<_> = (0..8).map(|index| scope.spawn(move || one(index))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

#[test]
fn of_eight_creates_of_one_name_at_once_exactly_one_wins() {
    let directory = tempfile::tempdir().expect("a directory");
    for engine in [Engine::Memory, Engine::Sled { directory: directory.path().to_owned() }] {
        let vault = block_on(async { vault_over(store::open(engine).await.expect("opens"), Vec::new()).await.expect("opens") });
        let outcomes = eight_at_once(|index| block_on(vault.create(&home(), new("a", &index.to_string()), "t")));
        let winners: Vec<_> = (0..8).filter(|index| outcomes[*index].is_ok()).collect();
        let [winner] = winners[..] else { panic!("{outcomes:?}") };
        let code = |outcome: &Result<_, VaultError>| outcome.as_ref().err().map(VaultError::code);
        assert_eq!(outcomes.iter().filter(|outcome| code(outcome) == Some("name_taken")).count(), 7);
        assert!(gives(&vault, &home(), "a", &winner.to_string()), "the winner's value is the one stored");
    }
}

#[test]
fn of_eight_edits_of_one_revision_at_once_exactly_one_wins() {
    let vault = block_on(async {
        let vault = vault().await;
        vault.create(&home(), new("a", "first"), "t").await.expect("creates");
        vault
    });
    let outcomes = eight_at_once(|index| {
        let edit = Edit { value: Some(value(&index.to_string())), ..Edit::default() };
        block_on(vault.edit(&home(), &name("a"), edit, Some(1), "t"))
    });
    let winners: Vec<_> = (0..8).filter(|index| outcomes[*index].is_ok()).collect();
    let [winner] = winners[..] else { panic!("{outcomes:?}") };
    assert!(gives(&vault, &home(), "a", &winner.to_string()));
    assert_eq!(vault.get(&home(), &name("a")).map(|view| view.revision), Some(2));
}

#[tokio::test]
async fn an_edit_without_a_value_keeps_the_value_and_changes_the_rest() {
    let vault = vault().await;
    vault.create(&home(), new("a", "hunter2"), "ada").await.expect("creates");
    let description = Some(Description::parse("other notes").expect("short"));
    let edit = Edit { name: Some(name("b")), description, ..Edit::default() };
    let view = vault.edit(&home(), &name("a"), edit, Some(1), "bob").await.expect("edits");
    assert_eq!((view.name.as_str(), view.description.as_str(), view.revision), ("b", "other notes", 2));
    assert_eq!((view.updated_by.as_str(), view.allowed_domains), ("bob", domains("a.example")));
    assert_eq!(absence(&vault, "a"), Some(Absence::NotFound));
    assert!(gives(&vault, &home(), "b", "hunter2"));
    vault.create(&home(), new("a", "again"), "t").await.expect("the old name is free");
}

#[tokio::test]
async fn an_edit_that_changes_nothing_makes_no_revision() {
    let vault = vault().await;
    let created = vault.create(&home(), new("a", "v"), "ada").await.expect("creates");
    let same = Edit { name: Some(name("a")), allowed_domains: Some(domains("a.example")), ..Edit::default() };
    for edit in [Edit::default(), same] {
        assert_eq!(vault.edit(&home(), &name("a"), edit, None, "bob").await.expect("edits"), created);
    }
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_for_a_rename_too() {
    let vault = vault().await;
    vault.create(&home(), new("a", "1"), "t").await.expect("creates");
    vault.create(&home(), new("b", "2"), "t").await.expect("creates");
    let edit = Edit { name: Some(name("b")), ..Edit::default() };
    let taken = vault.edit(&home(), &name("a"), edit, None, "t").await.expect_err("taken");
    assert!(matches!(taken, VaultError::NameTaken { name } if name.as_str() == "b"));
    assert!(gives(&vault, &home(), "a", "1") && gives(&vault, &home(), "b", "2"));
}

#[tokio::test]
async fn domains_and_limits_change_only_together_with_a_value() {
    let vault = vault().await;
    vault.create(&home(), new("a", "1"), "t").await.expect("creates");
    let limits = Limits { url_encoded: true, ..Limits::default() };
    let with_domains = || Edit { allowed_domains: Some(domains("b.example")), ..Edit::default() };
    let with_limits = || Edit { limits: Some(limits.clone()), ..Edit::default() };
    for edit in [with_domains(), with_limits(), Edit { allowed_domains: Some(AllowedDomains::default()), ..Edit::default() }] {
        let refused = vault.edit(&home(), &name("a"), edit, None, "t").await.expect_err("no value");
        assert_eq!(refused.code(), "allowed_domains_need_value");
    }
    assert_eq!(vault.get(&home(), &name("a")).map(|view| view.revision), Some(1));

    let edit = Edit { value: Some(value("2")), ..with_domains() };
    let view = vault.edit(&home(), &name("a"), edit, None, "t").await.expect("edits");
    assert_eq!((view.allowed_domains, view.limits.url_encoded), (domains("b.example"), false));
    let edit = Edit { value: Some(value("3")), ..with_limits() };
    let view = vault.edit(&home(), &name("a"), edit, None, "t").await.expect("edits");
    assert_eq!((view.allowed_domains, view.limits.url_encoded), (domains("b.example"), true), "what is not named stays");
    assert!(gives(&vault, &home(), "a", "3"));
}

#[tokio::test]
async fn whoever_saw_an_old_revision_is_told_who_changed_it() {
    let vault = vault().await;
    vault.create(&home(), new("a", "1"), "ada").await.expect("creates");
    let edit = |text: &str| Edit { value: Some(value(text)), ..Edit::default() };
    vault.edit(&home(), &name("a"), edit("2"), Some(1), "bob").await.expect("edits");
    let stale = vault.edit(&home(), &name("a"), edit("3"), Some(1), "eve").await.expect_err("stale");
    assert_eq!(stale.code(), "revision_stale");
    assert!(stale.to_string().contains("bob") && stale.to_string().contains("revision 2"), "{stale}");
    let VaultError::RevisionStale { current } = stale else { panic!("{stale}") };
    assert_eq!((current.revision, current.updated_by.as_str(), current.updated_at), (2, "bob", 1_000_000));
    let stale = vault.delete(&home(), &name("a"), Some(1), "t").await.expect_err("stale");
    assert_eq!(stale.code(), "revision_stale");
    assert!(gives(&vault, &home(), "a", "2"));
    vault.delete(&home(), &name("a"), Some(2), "t").await.expect("deletes");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_at_every_door() {
    let vault = vault().await;
    let edited = vault.edit(&home(), &name("a"), Edit::default(), None, "t").await.expect_err("nothing there");
    let deleted = vault.delete(&home(), &name("a"), None, "t").await.expect_err("nothing there");
    assert_eq!((edited.code(), deleted.code()), ("secret_not_found", "secret_not_found"));
    assert_eq!(vault.get(&home(), &name("a")), None);
    assert_eq!(absence(&vault, "a"), Some(Absence::NotFound));
}

#[tokio::test]
async fn a_change_rules_the_next_look_of_a_resolver_made_before() {
    let vault = vault().await;
    let resolver = vault.resolver(&home(), None);
    assert_eq!(resolver.find(&name("a")).err(), Some(Absence::NotFound));
    vault.create(&home(), new("a", "1"), "t").await.expect("creates");
    assert!(resolver.find(&name("a")).is_ok());
    vault.delete(&home(), &name("a"), None, "t").await.expect("deletes");
    assert_eq!(resolver.find(&name("a")).err(), Some(Absence::NotFound));
}

#[tokio::test]
async fn a_runner_learns_nothing_about_names_outside_its_patterns() {
    let vault = vault().await;
    vault.create(&home(), new("crm.a", "1"), "t").await.expect("creates");
    vault.create(&home(), new("billing.a", "2"), "t").await.expect("creates");
    let patterns = [NamePattern::parse("billing.*").expect("a good pattern")];
    let resolver = vault.resolver(&home(), Some(Arc::from(patterns)));
    assert!(resolver.find(&name("billing.a")).is_ok());
    assert_eq!(resolver.find(&name("billing.b")).err(), Some(Absence::NotFound));
    for hidden in ["crm.a", "crm.none"] {
        assert_eq!(resolver.find(&name(hidden)).err(), Some(Absence::NotPermitted), "{hidden}");
    }
    let none = vault.resolver(&home(), Some(Arc::from([])));
    assert_eq!(none.find(&name("billing.a")).err(), Some(Absence::NotPermitted), "no pattern permits nothing");
}

#[tokio::test]
async fn declared_secrets_work_and_are_read_only() {
    let vault = vault_over(memory().await, vec![(home(), new("a", "declared"))]).await.expect("opens");
    assert!(gives(&vault, &home(), "a", "declared"));
    let view = vault.get(&home(), &name("a")).expect("is listed");
    assert!(view.declared);
    assert_eq!(vault.list(&home()), [view]);
    let edited = vault.edit(&home(), &name("a"), Edit::default(), None, "t").await.expect_err("read-only");
    let deleted = vault.delete(&home(), &name("a"), None, "t").await.expect_err("read-only");
    assert_eq!((edited.code(), deleted.code()), ("declared_read_only", "declared_read_only"));
    let created = vault.create(&home(), new("a", "2"), "t").await.expect_err("taken");
    vault.create(&home(), new("b", "2"), "t").await.expect("creates");
    let renamed = Edit { name: Some(name("a")), ..Edit::default() };
    let renamed = vault.edit(&home(), &name("b"), renamed, None, "t").await.expect_err("taken");
    assert_eq!((created.code(), renamed.code()), ("name_taken", "name_taken"));
    assert!(gives(&vault, &home(), "a", "declared"));
}

#[tokio::test]
async fn a_name_declared_twice_or_stored_as_well_stops_the_start_and_is_named() {
    let twice = vault_over(memory().await, vec![(home(), new("a", "1")), (home(), new("a", "2"))]).await;
    let backend = memory().await;
    let vault = vault_over(backend.clone(), Vec::new()).await.expect("opens");
    vault.create(&home(), new("a", "1"), "t").await.expect("creates");
    let stored = vault_over(backend, vec![(home(), new("a", "2"))]).await;
    for (error, part) in [(twice.err(), "twice"), (stored.err(), "stored as well")] {
        let said = error.expect("a contradiction").to_string();
        assert!(said.contains(part) && said.contains("`a`") && said.contains("`default`"), "{said}");
    }
}

#[tokio::test]
async fn declared_secrets_are_exchanged_whole_and_only_what_differs_is_told() {
    let vault = vault_over(memory().await, vec![(home(), new("a", "1")), (home(), new("b", "1"))]).await.expect("opens");
    vault.create(&home(), new("stored", "1"), "t").await.expect("creates");
    let contradicts = vault.redeclare(vec![(home(), new("a", "2")), (home(), new("stored", "2"))]).await;
    assert!(matches!(contradicts.err(), Some(VaultError::DeclaredAndStored { .. })));
    drop(vault.redeclare(vec![(home(), new("a", "2"))]).await.expect("no contradiction"));
    assert!(gives(&vault, &home(), "a", "1") && gives(&vault, &home(), "b", "1"), "what is given up changes nothing");
    let next = vec![(home(), new("a", "1")), (home(), new("b", "2")), (home(), new("c", "3"))];
    let redeclared = vault.redeclare(next).await.expect("no contradiction");
    assert_eq!(redeclared.changed(), [(home(), name("b")), (home(), name("c"))]);
    redeclared.put_in_force();
    assert!(gives(&vault, &home(), "a", "1") && gives(&vault, &home(), "b", "2") && gives(&vault, &home(), "c", "3"));
    let revision = |called: &str| vault.get(&home(), &name(called)).expect("there").revision;
    assert_eq!((revision("a"), revision("b"), revision("c")), (1, 2, 1));
    let gone = vault.redeclare(Vec::new()).await.expect("no contradiction");
    assert_eq!(gone.changed().len(), 3);
    gone.put_in_force();
    assert_eq!(absence(&vault, "a"), Some(Absence::NotFound));
    assert!(gives(&vault, &home(), "stored", "1"));
}

#[tokio::test]
async fn nobody_takes_a_name_while_it_is_being_declared() {
    let vault = vault().await;
    let redeclared = vault.redeclare(vec![(home(), new("a", "declared"))]).await.expect("no contradiction");
    let home = home();
    let mut create = std::pin::pin!(vault.create(&home, new("a", "stored"), "t"));
    let waits = tokio::time::timeout(Duration::from_millis(20), create.as_mut()).await;
    assert!(waits.is_err(), "it waits");
    redeclared.put_in_force();
    assert_eq!(create.await.expect_err("taken").code(), "name_taken");
}

#[tokio::test]
async fn a_vault_that_reopens_has_what_it_had() {
    let backend = memory().await;
    let before = {
        let vault = vault_over(backend.clone(), Vec::new()).await.expect("opens");
        vault.create(&home(), new("a", "1"), "t").await.expect("creates");
        vault.create(&home(), new("b", "2"), "t").await.expect("creates");
        let edit = Edit { value: Some(value("3")), ..Edit::default() };
        vault.edit(&home(), &name("b"), edit, None, "t").await.expect("edits");
        vault.delete(&home(), &name("a"), None, "t").await.expect("deletes");
        vault.list(&home())
    };
    let vault = vault_over(backend, Vec::new()).await.expect("opens");
    assert_eq!(vault.list(&home()), before);
    assert!(gives(&vault, &home(), "b", "3"));
    assert_eq!(absence(&vault, "a"), Some(Absence::NotFound));
}

#[tokio::test]
async fn a_write_whose_caller_went_away_still_ends_as_one() {
    let vault = vault().await;
    {
        let home = home();
        let mut create = std::pin::pin!(vault.create(&home, new("a", "1"), "t"));
        let begun = std::future::poll_fn(|context| std::task::Poll::Ready(create.as_mut().poll(context).is_pending()));
        assert!(begun.await, "it would have to be under way");
    }
    while vault.get(&home(), &name("a")).is_none() {
        tokio::task::yield_now().await;
    }
    assert!(gives(&vault, &home(), "a", "1"));
    vault.delete(&home(), &name("a"), None, "t").await.expect("the next writer is not kept out");
}

/// A store whose disk is full.
struct Full(Arc<dyn Backend>);

impl Backend for Full {
    fn load(&self, prefixes: &[&str]) -> Pending<'_, Result<Loaded, StoreError>> {
        self.0.load(prefixes)
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
        self.0.page(prefix, after, limit)
    }

    fn read(&self, key: &str) -> Pending<'_, Result<Option<Stored>, StoreError>> {
        self.0.read(key)
    }

    fn commit(&self, _: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(std::future::ready(Err(StoreError::Failed("no space left on device".to_owned()))))
    }

    fn watch(&self) -> tokio::sync::broadcast::Receiver<Told> {
        self.0.watch()
    }

    fn freshness(&self) -> tokio::sync::watch::Receiver<Freshness> {
        self.0.freshness()
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
}

#[tokio::test]
async fn a_store_that_cannot_write_says_so_and_what_is_stored_goes_on_working() {
    let backend = memory().await;
    let vault = vault_over(backend.clone(), Vec::new()).await.expect("opens");
    vault.create(&home(), new("a", "1"), "t").await.expect("creates");
    let vault = vault_over(Arc::new(Full(backend)), Vec::new()).await.expect("opens");
    let edit = Edit { value: Some(value("2")), ..Edit::default() };
    let created = vault.create(&home(), new("b", "2"), "t").await.expect_err("full");
    let edited = vault.edit(&home(), &name("a"), edit, None, "t").await.expect_err("full");
    let deleted = vault.delete(&home(), &name("a"), None, "t").await.expect_err("full");
    for error in [created, edited, deleted] {
        assert_eq!(error.code(), "store_unavailable");
        assert_eq!(error.to_string(), "no space left on device");
    }
    assert!(gives(&vault, &home(), "a", "1"));
    assert_eq!(absence(&vault, "b"), Some(Absence::NotFound));
}

#[tokio::test]
async fn every_change_is_recorded_and_no_value_with_it() {
    let (audit, mut handover) = Audit::handing_over(&crate::metrics::Registry::new());
    let vault = vault_over(memory().await, Vec::new()).await.expect("opens").recording_to(Arc::new(audit));
    vault.create(&home(), new("a", "hunter2"), "alice").await.expect("creates");
    let edit = Edit { value: Some(value("hunter3")), description: Some(Description::default()), ..Edit::default() };
    vault.edit(&home(), &name("a"), edit, None, "bob").await.expect("edits");
    vault.edit(&home(), &name("a"), Edit::default(), None, "bob").await.expect("nothing to do");
    vault.edit(&home(), &name("a"), Edit { name: Some(name("b")), ..Edit::default() }, None, "bob").await.expect("renames");
    vault.delete(&home(), &name("a"), None, "eve").await.expect_err("it is not there");
    vault.delete(&home(), &name("b"), None, "eve").await.expect("deletes");
    let told: Vec<_> = std::iter::from_fn(|| handover.take()).map(|entry| serde_json::to_string(&entry).expect("JSON")).collect();
    let expected = [
        r#""actor":"alice","action":"created","object":"secret","name":"a"}"#,
        r#""actor":"bob","action":"edited","object":"secret","name":"a","detail":"description, value"}"#,
        r#""actor":"bob","action":"renamed","object":"secret","name":"a","renamed_to":"b","detail":"name"}"#,
        r#""actor":"eve","action":"deleted","object":"secret","name":"b"}"#,
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected) && !told.contains("hunter"), "{expected} in {told}");
    }
}
