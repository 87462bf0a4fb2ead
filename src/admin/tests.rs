use std::time::{Duration, SystemTime};

use axum::body::Body;
use http::header::{CONTENT_TYPE, ETAG, HOST, IF_MATCH, LOCATION};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::activity;
use crate::audit::{Audit, Entry, Outcome};
use crate::identity::{DeclaredRunner, NewRunner};
use crate::ledger::Ledger;
use crate::metrics::Registry;
use crate::seal::{KeyEncryptionKey, Sealer};
use crate::secret::{AllowedDomains, Description, Limits, OrganizationName, RunnerName, SecretName, SecretValue, Surface};
use crate::store;
use crate::vault::NewSecret;

const SECRETS: &str = "/api/v1/organizations/default/secrets";
const RUNNERS: &str = "/api/v1/organizations/default/runners";
const TESTS: &str = "/api/v1/organizations/default/request-tests";
pub(super) const VALUE: &str = "hunter2-hunter2";

pub(super) async fn state() -> State {
    state_at(Arc::new(SystemTime::now)).await
}

pub(super) async fn state_at(clock: crate::members::Clock) -> State {
    state_with_audit(clock).await.0
}

async fn state_with_audit(clock: crate::members::Clock) -> (State, Arc<Audit>) {
    let key = KeyEncryptionKey::from_base64("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("32 bytes");
    let backend = store::open(store::Engine::Memory).await.expect("memory opens");
    let ledger = Arc::new(Ledger::open(backend.clone(), Sealer::new(key)).await.expect("it is empty"));
    let (audit, handover) = Audit::handing_over(&Registry::new());
    let audit = Arc::new(audit);
    let settings = activity::Settings { node: activity::NodeName::default(), keep: Duration::from_hours(24), entries: 1_000 };
    let opened = Activity::open(backend.clone(), ledger.sealer().clone(), settings, (audit.clone(), handover)).await;
    let (activity, keeper) = opened.expect("it is empty");
    tokio::spawn(keeper.run());
    let activity = Arc::new(activity);
    let backups = Backups::new(backend.clone(), ledger.sealer().clone());
    let custody = Arc::new(Custody::new(backend, ledger.clone(), activity.clone(), None));
    let declared = NewSecret {
        name: SecretName::parse("declared.one").expect("a name"),
        value: SecretValue::new(VALUE.into()).expect("a value"),
        description: Description::default(),
        allowed_domains: AllowedDomains::default(),
        limits: Limits::default(),
    };
    let runner = NewRunner {
        name: RunnerName::parse("declared-runner").expect("a name"),
        secrets: Some(vec![]),
        hosts: AllowedDomains::default(),
        certificate: None,
    };
    let token = SecretValue::new(b"a token".to_vec()).expect("a value");
    let runner = DeclaredRunner { organization: OrganizationName::default(), runner, token: Some(token) };
    let operations = Operations { staleness: ledger.staleness().clone(), ..Operations::default() };
    let settings = Settings {
        hosts: vec![Host::parse("localhost").expect("a host")],
        base: "http://localhost:8081".to_owned(),
        provider: None,
        narrow: vec![(vec![DomainPattern::parse("narrow.test").expect("a pattern")], Surfaces::NONE.with(Surface::Query))],
    };
    let state = State {
        vault: Arc::new(Vault::new(ledger.clone(), vec![(OrganizationName::default(), declared)]).expect("no contradiction")),
        identity: Arc::new(Identity::new(ledger.clone(), vec![runner]).expect("no contradiction")),
        members: Arc::new(Members::new(ledger, [], clock).expect("random")),
        settings: Arc::new(ArcSwap::from_pointee(settings)),
        activity,
        custody,
        backups,
        drafts: Arc::default(),
        reach: Reach { proxy: ("127.0.0.1".to_owned(), 8080), certificates: "/certs".into() },
        ca: "-----BEGIN CERTIFICATE-----\n".into(),
        road: None,
        reload: Some(Arc::new(NothingNew)),
        operations,
    };
    (state, audit)
}

/// A configuration that is as it was.
struct NothingNew;

impl Reload for NothingNew {
    fn reload(&self, _: &str) -> Reloading {
        Box::pin(async { Ok(Report { changed: Vec::new(), needs_restart: Vec::new(), revision: 1, in_force_since: 5 }) })
    }
}

struct Door(Router);

struct Reply {
    status: u16,
    fields: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    fn code(&self) -> (u16, String) {
        assert_eq!(self.fields[CONTENT_TYPE], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], format!("urn:subrosa:{}", problem["code"].as_str().expect("a code")));
        (self.status, problem["code"].as_str().expect("a code").to_owned())
    }
}

impl Door {
    async fn open() -> Self {
        Self(socket_router(state().await))
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.0.clone().oneshot(request).await.expect("a router answers");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("the answer ends").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        assert!(!text.contains(VALUE), "a value was answered: {text}");
        Reply { status: head.status.as_u16(), fields: head.headers, text }
    }

    async fn call(&self, method: &str, path: &str, revision: Option<&str>, content: Option<Value>) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        if let Some(revision) = revision {
            request = request.header(IF_MATCH, revision);
        }
        let body = content.map_or_else(Body::empty, |content| Body::from(content.to_string()));
        self.send(request.header(CONTENT_TYPE, "application/json").body(body).expect("a request")).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None, None).await
    }

    async fn post(&self, path: &str, content: Value) -> Reply {
        self.call("POST", path, None, Some(content)).await
    }

    async fn patch(&self, name: &str, revision: Option<&str>, content: Value) -> Reply {
        self.call("PATCH", &format!("{SECRETS}/{name}"), revision, Some(content)).await
    }

    async fn delete(&self, path: &str, revision: Option<&str>) -> Reply {
        self.call("DELETE", path, revision, None).await
    }

    async fn with_secret(domains: Value) -> Self {
        let door = Self::open().await;
        let content = json!({ "name": "crm.apiKey", "value": VALUE, "allowed_domains": domains, "description": "d" });
        assert_eq!(door.post(SECRETS, content).await.status, 201);
        door
    }
}

#[tokio::test]
async fn a_secret_is_created_and_listed_masked() {
    let door = Door::open().await;
    let content = json!({ "name": "crm.apiKey", "value": VALUE, "allowed_domains": ["https://API.Example.com/"] });
    let created = door.post(SECRETS, content).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.fields[LOCATION], format!("{SECRETS}/crm.apiKey"));
    assert_eq!(created.fields[ETAG], "\"1\"");
    let short = door.post(SECRETS, json!({ "name": "b", "value": "x" })).await;
    assert_eq!(short.json()["value"], created.json()["value"], "the mask does not tell a length");
    let list = door.get(SECRETS).await.json();
    let names: Vec<&str> = list["secrets"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["b", "crm.apiKey", "declared.one"]);
    let one = &list["secrets"][1];
    assert_eq!(one["value"], "••••••••");
    assert_eq!(one["allowed_domains"], json!(["api.example.com"]));
    assert_eq!((&one["revision"], &one["updated_by"], &one["declared"]), (&json!(1), &json!("local"), &json!(false)));
    assert!(one["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{one}");
}

#[tokio::test]
async fn what_cannot_be_a_secret_is_refused_with_its_field() {
    let door = Door::with_secret(json!([])).await;
    let long = "x".repeat(64 * 1024 + 1);
    for (content, status, code, field) in [
        (json!({ "name": "9x", "value": "v" }), 422, "invalid_field", "name"),
        (json!({ "name": "a" }), 422, "invalid_field", "value"),
        (json!({ "name": "a", "value": "" }), 422, "invalid_field", "value"),
        (json!({ "name": "a", "value": long }), 422, "invalid_field", "value"),
        (json!({ "name": "a", "value": "v", "value_base64": "dg==" }), 422, "invalid_field", "value"),
        (json!({ "name": "a", "value_base64": "%" }), 422, "invalid_field", "value_base64"),
        (json!({ "name": "a", "value": "v", "description": "x".repeat(1001) }), 422, "invalid_field", "description"),
        (json!({ "name": "a", "value": "v", "allowed_domains": ["*.com"] }), 422, "invalid_field", "allowed_domains"),
        (json!({ "name": "a", "value": "v", "limits": { "surfaces": ["feet"] } }), 422, "invalid_field", "limits"),
        (json!({ "name": "a", "value": "v", "limits": { "headers": ["a b"] } }), 422, "invalid_field", "limits"),
        (json!({ "name": "crm.apiKey", "value": "v" }), 409, "name_taken", "name"),
        (json!({ "name": "declared.one", "value": "v" }), 409, "name_taken", "name"),
    ] {
        let shown = content.to_string();
        let refused = door.post(SECRETS, content).await;
        assert_eq!(refused.code(), (status, code.to_owned()), "{shown:.80}");
        assert_eq!(refused.json()["field"], field, "{shown:.80}");
    }
    for content in [json!({ "name": "a", "valeu": "v" }), json!({ "name": "a", "value": 4242 }), json!("v"), json!(null)] {
        let refused = door.post(SECRETS, content).await;
        assert_eq!(refused.code(), (400, "malformed_request".to_owned()));
        assert!(!refused.text.contains("4242"));
    }
}

#[tokio::test]
async fn content_is_json_and_bounded() {
    let door = Door::open().await;
    let send = async |media_type: &str, body: Vec<u8>| {
        let request = Request::post(SECRETS).header(CONTENT_TYPE, media_type).body(Body::from(body)).expect("a request");
        door.send(request).await.code()
    };
    assert_eq!(send("text/plain", b"{}".to_vec()).await, (415, "unsupported_media_type".to_owned()));
    assert_eq!(send("application/json", b"{".to_vec()).await, (400, "malformed_request".to_owned()));
    assert_eq!(send("application/json", vec![b' '; body::MAX_CONTENT + 1]).await, (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn an_edit_keeps_what_it_does_not_name() {
    let door = Door::with_secret(json!(["api.test"])).await;
    let edited = door.patch("crm.apiKey", Some("\"1\""), json!({ "name": "crm.key", "description": "new" })).await;
    assert_eq!((edited.status, &edited.fields[ETAG]), (200, &http::HeaderValue::from_static("\"2\"")));
    let one = door.get(&format!("{SECRETS}/crm.key")).await.json();
    assert_eq!((&one["description"], &one["allowed_domains"]), (&json!("new"), &json!(["api.test"])));
    assert_eq!(door.get(&format!("{SECRETS}/crm.apiKey")).await.code(), (404, "secret_not_found".to_owned()));
}

#[tokio::test]
async fn domains_and_limits_change_only_with_a_value() {
    let door = Door::with_secret(json!(["api.test"])).await;
    for content in [json!({ "allowed_domains": [] }), json!({ "limits": { "url_encoded": true } })] {
        let refused = door.patch("crm.apiKey", Some("\"1\""), content).await;
        assert_eq!(refused.code(), (422, "allowed_domains_need_value".to_owned()));
    }
    let content = json!({ "allowed_domains": [], "value": VALUE, "limits": { "headers": ["X-Key"] } });
    let edited = door.patch("crm.apiKey", Some("\"1\""), content).await.json();
    assert_eq!((&edited["allowed_domains"], &edited["limits"]["headers"]), (&json!([]), &json!(["x-key"])));
}

#[tokio::test]
async fn two_writers_never_silently_overwrite_each_other() {
    let door = Door::with_secret(json!([])).await;
    let path = format!("{SECRETS}/crm.apiKey");
    let content = || json!({ "description": "mine" });
    assert_eq!(door.patch("crm.apiKey", None, content()).await.code(), (428, "revision_required".to_owned()));
    assert_eq!(door.delete(&path, None).await.code(), (428, "revision_required".to_owned()));
    assert_eq!(door.patch("crm.apiKey", None, json!({ "description": "first", "revision": 1 })).await.status, 200);
    assert_eq!(door.patch("crm.apiKey", Some("\"1\""), content()).await.code(), (412, "revision_stale".to_owned()));
    assert_eq!(door.delete(&path, Some("\"1\"")).await.code(), (412, "revision_stale".to_owned()));
    assert_eq!(door.get(&path).await.json()["description"], "first");
    assert_eq!(door.delete(&path, Some("\"2\"")).await.status, 200);
    assert_eq!(door.delete(&path, Some("*")).await.status, 204, "gone is gone");
    assert_eq!(door.delete(&path, None).await.status, 204);
}

#[tokio::test]
async fn one_secret_and_its_deletion_tell_the_last_use() {
    let (state, audit) = state_with_audit(Arc::new(SystemTime::now)).await;
    let (organization, name) = (OrganizationName::default(), SecretName::parse("a").expect("a name"));
    let runner = RunnerName::parse("billing").expect("a name");
    let host = Host::parse("api.test").expect("a host");
    audit.record(&Entry {
        client: None,
        request_id: "1",
        runner: Some(&runner),
        organization: Some(&organization),
        method: "GET",
        url: "https://api.test/",
        origin: Some("https://api.test"),
        host: Some(&host),
        secrets: &[(name, Surface::Header)],
        redacted: &[],
        unsearched: crate::inject::Reasons::default(),
        answer_unsearched: crate::inject::Reasons::default(),
        outcome: Outcome::Forwarded,
        code: None,
        detail: None,
        hint: None,
        status: Some(200),
        duration: Duration::ZERO,
        at: SystemTime::UNIX_EPOCH,
    });
    state.activity.flush().await;
    let door = Door(socket_router(state));
    assert_eq!(door.post(SECRETS, json!({ "name": "a", "value": VALUE })).await.status, 201);
    let expected = json!({ "at": "1970-01-01T00:00:00Z", "runner": "billing", "host": "api.test", "surface": "header" });
    let path = format!("{SECRETS}/a");
    assert_eq!(door.get(&path).await.json()["last_use"], expected);
    assert_eq!(door.delete(&path, Some("\"1\"")).await.json()["last_use"], expected);
}

#[tokio::test]
async fn what_the_config_declares_is_read_only() {
    let door = Door::open().await;
    let path = format!("{SECRETS}/declared.one");
    let one = door.get(&path).await;
    assert_eq!(one.json()["declared"], true);
    let tag = one.fields[ETAG].to_str().expect("digits").to_owned();
    let edited = door.patch("declared.one", Some(&tag), json!({ "description": "x" })).await;
    assert_eq!(edited.code(), (409, "declared_read_only".to_owned()));
    assert_eq!(door.delete(&path, Some(&tag)).await.code(), (409, "declared_read_only".to_owned()));
    let runner = format!("{RUNNERS}/declared-runner");
    assert_eq!(door.delete(&runner, Some("*")).await.code(), (409, "declared_read_only".to_owned()));
}

#[tokio::test]
async fn a_runners_token_is_answered_once() {
    let state = state().await;
    let identity = state.identity.clone();
    let door = Door(socket_router(state));
    let content = json!({ "name": "billing", "secrets": ["billing.*"], "hosts": ["*.Example.com"] });
    let created = door.post(RUNNERS, content.clone()).await.json();
    let token = created["token"].as_str().expect("a token").to_owned();
    assert!(identity.authenticate(token.as_bytes()).is_some());
    assert_eq!(door.post(RUNNERS, content).await.code(), (409, "name_taken".to_owned()));
    let path = format!("{RUNNERS}/billing");
    let (list, one) = (door.get(RUNNERS).await, door.get(&path).await);
    assert!(!list.text.contains(&token) && !one.text.contains(&token));
    assert_eq!((&one.json()["secrets"], &one.json()["hosts"]), (&json!(["billing.*"]), &json!(["*.example.com"])));
    assert_eq!(door.delete(&path, None).await.code(), (428, "revision_required".to_owned()));
    assert_eq!(door.delete(&path, Some("\"2\"")).await.code(), (412, "revision_stale".to_owned()));
    assert_eq!(door.delete(&path, Some("\"1\"")).await.status, 204);
    assert!(identity.authenticate(token.as_bytes()).is_none());
    assert_eq!(door.delete(&path, None).await.status, 204, "gone is gone");
    for (content, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "a", "secrets": ["*a"] }), "secrets"),
        (json!({ "name": "a", "hosts": ["*"] }), "hosts"),
    ] {
        let refused = door.post(RUNNERS, content).await;
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)));
    }
}

#[tokio::test]
async fn a_runner_is_edited_and_given_another_token() {
    let state = state().await;
    let identity = state.identity.clone();
    let door = Door(socket_router(state));
    let created = door.post(RUNNERS, json!({ "name": "billing", "secrets": ["a"], "hosts": ["a.test"] })).await.json();
    let path = format!("{RUNNERS}/billing");
    let change = async |content: Value| {
        let revision = door.get(&path).await.fields[ETAG].to_str().expect("digits").to_owned();
        door.call("PATCH", &path, Some(&revision), Some(content)).await
    };
    let edited = change(json!({ "hosts": [] })).await.json();
    assert_eq!((&edited["secrets"], &edited["hosts"], &edited["revision"]), (&json!(["a"]), &json!([]), &json!(2)));
    assert_eq!(change(json!({ "secrets": null })).await.json()["secrets"], Value::Null);
    assert_eq!(change(json!({ "secrets": [] })).await.json()["secrets"], json!([]));
    assert_eq!(change(json!({ "secrets": ["*a"] })).await.json()["field"], "secrets");
    let stale = door.call("PATCH", &path, Some("\"1\""), Some(json!({}))).await;
    assert_eq!(stale.code(), (412, "revision_stale".to_owned()));
    assert!(stale.text.contains("by local"), "{}", stale.text);
    let token_path = format!("{path}/token");
    assert_eq!(door.call("POST", &token_path, None, None).await.code(), (428, "revision_required".to_owned()));
    let rotated = door.call("POST", &token_path, Some("\"4\""), None).await;
    assert_eq!((rotated.status, rotated.fields[ETAG].to_str().expect("digits")), (201, "\"5\""));
    let known = |token: &Value| identity.authenticate(token.as_str().expect("a token").as_bytes()).is_some();
    assert!(known(&rotated.json()["token"]) && !known(&created["token"]));
}

#[tokio::test]
async fn lists_are_searched_sorted_and_paged() {
    let door = Door::open().await;
    for (name, domain) in [("b", "one.test"), ("a", "two.test"), ("c.key", "two.test")] {
        let content = json!({ "name": name, "value": VALUE, "allowed_domains": [domain], "description": "Of the CRM" });
        assert_eq!(door.post(SECRETS, content).await.status, 201);
    }
    let names = async |query: &str| {
        let list = door.get(&format!("{SECRETS}{query}")).await.json();
        let names = list["secrets"].as_array().expect(query).iter().map(|one| one["name"].as_str().expect("text").to_owned());
        (names.collect::<Vec<_>>().join(" "), list["total"].as_u64().expect("a number"), list["next"].clone())
    };
    assert_eq!(names("").await, ("a b c.key declared.one".to_owned(), 4, Value::Null));
    assert_eq!(names("?search=TWO.test&sort=-name").await, ("c.key a".to_owned(), 2, Value::Null));
    assert_eq!(names("?search=crm").await.1, 3);
    let (first, total, next) = names("?limit=3").await;
    assert_eq!((first.as_str(), total), ("a b c.key", 4));
    let second = format!("?limit=3&cursor={}", next.as_str().expect("a cursor"));
    assert_eq!(names(&second).await, ("declared.one".to_owned(), 4, Value::Null));
    for bad in ["?sort=colour", "?limit=0", "?limit=x", "?serach=a", "?cursor=x"] {
        let reply = door.get(&format!("{SECRETS}{bad}")).await;
        assert!(matches!(reply.code().0, 400 | 422), "{bad}");
    }
    let told = door.get(&format!("{SECRETS}?serach=a")).await.text;
    assert!(told.contains("serach") && told.contains("search"), "{told}");
}

#[tokio::test]
async fn the_document_describes_every_route_of_the_api_and_its_right() {
    let document = Door::open().await.get("/api/v1/openapi.json").await.json();
    let described: std::collections::BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, item)| item.as_object().expect("an item").keys().map(|method| (method.to_uppercase(), path.clone())))
        .collect();
    let undescribed = "/api/v1/openapi.json";
    let decided = access::RIGHTS.iter().filter(|(_, path, _)| path.starts_with("/api/v1/") && *path != undescribed);
    let decided = decided.map(|(method, path, _)| (method.to_string(), (*path).to_owned())).collect();
    assert_eq!(described, decided);
    let post = &document["paths"]["/api/v1/organizations/{organization}/secrets"]["post"];
    let said = post["description"].as_str().expect("a text");
    assert!(said.contains("an editor or an administrator"), "{said}");
    assert!(post["responses"]["default"]["content"]["application/problem+json"].is_object());
}

#[tokio::test]
async fn a_request_test_says_what_would_be_sent() {
    let door = Door::with_secret(json!(["api.test"])).await;
    let content = json!({
        "url": "https://api.test/v1?k={secrets.crm.apiKey}",
        "method": "POST",
        "headers": [["Authorization", "Bearer {secrets.declared.one}"], ["Subrosa-Surfaces", "query, header, body"], ["Content-Type", "application/json"]],
        "body": "{\"key\":\"{secrets.crm.apiKey}\"}",
    });
    let findings = door.post(TESTS, content).await.json();
    assert_eq!((&findings["outcome"], &findings["origin"]), (&json!("forwarded"), &json!("https://api.test")));
    let found: Vec<(&str, &str, bool)> = findings["references"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["secret"].as_str().expect("text"), one["surface"].as_str().expect("text"), one["permitted"] == true))
        .collect();
    let expected = [("crm.apiKey", "query", true), ("declared.one", "authentication", true), ("crm.apiKey", "body", true)];
    assert_eq!(found, expected);
    assert_eq!(
        findings["request"],
        json!({
            "method": "POST",
            "target": "/v1?k=MASKED",
            "headers": [["authorization", "Bearer MASKED"], ["content-type", "application/json"], ["host", "api.test"]],
            "body": "{\"key\":\"MASKED\"}",
        })
    );
}

#[tokio::test]
async fn a_request_test_judges_every_reference() {
    let door = Door::with_secret(json!(["api.test"])).await;
    let content = json!({
        "url": "https://evil.test/{secrets.declared.one}?a={secrets.crm.apiKey}&b={secrets.nothing}",
        "headers": { "X-Key": "{secrets.crm.apiKey}" },
    });
    let findings = door.post(TESTS, content).await.json();
    let codes: Vec<(&str, Option<&str>)> = findings["references"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["surface"].as_str().expect("text"), one["code"].as_str()))
        .collect();
    let expected = [
        ("path", None),
        ("query", Some("domain_restricted")),
        ("query", Some("secret_not_found")),
        ("header", Some("domain_restricted")),
    ];
    assert_eq!(codes, expected);
    assert_eq!((&findings["outcome"], &findings["refusal"]["code"]), (&json!("refused"), &json!("domain_restricted")));
    assert_eq!((&findings["refusal"]["status"], &findings["request"]), (&json!(403), &Value::Null));
}

#[tokio::test]
async fn a_request_test_refuses_as_the_road_does() {
    let door = Door::with_secret(json!([])).await;
    door.post(RUNNERS, json!({ "name": "narrow", "secrets": ["other.*"], "hosts": ["api.test"] })).await;
    for (content, code) in [
        (json!({ "url": "https://{secrets.crm.apiKey}.test/" }), "secret_in_authority"),
        (json!({ "url": "https://api.test/", "headers": [["Host", "{secrets.crm.apiKey}"]] }), "secret_in_authority"),
        (json!({ "url": "https://api.test/{secrets.crm.apiKey}", "method": "TRACE" }), "malformed_request"),
        (json!({ "url": "https://api.test/{secrets.crm.apiKey}", "runner": "narrow" }), "runner_not_permitted"),
        (json!({ "url": "https://other.test/", "runner": "narrow" }), "runner_not_permitted"),
        (json!({ "url": "https://api.test/", "headers": [["Subrosa-Surfaces", "feet"]] }), "malformed_request"),
    ] {
        let shown = content.to_string();
        let findings = door.post(TESTS, content).await.json();
        assert_eq!((&findings["outcome"], &findings["refusal"]["code"]), (&json!("refused"), &json!(code)), "{shown}");
    }
    let unknown = door.post(TESTS, json!({ "url": "https://api.test/", "runner": "nobody" })).await;
    assert_eq!(unknown.code(), (404, "runner_not_found".to_owned()));
}

#[tokio::test]
async fn a_request_test_knows_the_surfaces_of_a_host() {
    let door = Door::with_secret(json!([])).await;
    let content = json!({ "url": "https://narrow.test/{secrets.crm.apiKey}?k={secrets.crm.apiKey}" });
    let findings = door.post(TESTS, content).await.json();
    assert_eq!(findings["request"]["target"], "/{secrets.crm.apiKey}?k=MASKED");
    assert_eq!(findings["references"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let door = Door::open().await;
    assert_eq!(door.get("/nothing").await.code(), (404, "not_found".to_owned()));
    assert_eq!(door.delete(SECRETS, None).await.code(), (405, "method_not_allowed".to_owned()));
    assert_eq!(door.get("/api/v1/organizations/9/secrets").await.code(), (404, "organization_not_found".to_owned()));
    assert_eq!(door.get("/livez").await.status, 200);
    let ca = door.get("/ca.pem").await;
    assert_eq!((ca.status, ca.text.as_str()), (200, "-----BEGIN CERTIFICATE-----\n"));
}

#[tokio::test]
async fn a_reload_says_what_became_of_it_and_where_there_is_nothing_to_reload() {
    let reply = Door::open().await.post("/api/v1/reload", Value::Null).await;
    let expected = json!({ "unchanged": true, "changed": [], "needs_restart": [], "revision": 1, "in_force_since": 5 });
    assert_eq!((reply.status, reply.json()), (200, expected));
    let door = Door(socket_router(State { reload: None, ..state().await }));
    assert_eq!(door.post("/api/v1/reload", Value::Null).await.code(), (503, "not_running".to_owned()));
}

#[tokio::test]
async fn the_owner_of_the_socket_is_told_who_they_are() {
    assert_eq!(Door::open().await.get("/api/v1/me").await.json(), json!({ "name": "local", "roles": null }));
}

#[tokio::test]
async fn the_port_offers_nobody_more_than_is_public_and_under_its_own_names_only() {
    let door = Door(port_router(state().await, Way::default(), false));
    assert_eq!(door.get("/").await.fields["location"], "/sign-in");
    for path in ["/sign-in", "/livez", "/ca.pem"] {
        let reply = door.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        let policy = reply.fields["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
    for path in [SECRETS, RUNNERS, "/api/v1/me"] {
        let reply = door.get(path).await;
        assert_eq!(reply.code(), (401, "unauthenticated".to_owned()), "{path}");
        assert_eq!(reply.fields["www-authenticate"], "Bearer realm=\"subrosa\"");
    }
    let request = Request::get("/livez").header(HOST, "evil.test").body(Body::empty()).expect("a request");
    assert_eq!(door.send(request).await.code(), (421, "misdirected".to_owned()));
}
