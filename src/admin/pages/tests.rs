use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::{Extension, Router};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::layout::POLICY;
use crate::admin::principal::Principal;
use crate::admin::tests::{VALUE, state};
use crate::admin::{State, finished, routes};
use crate::members::Role;
use crate::secret::{AllowedDomains, Description, DomainPattern, Limits, OrganizationName, SecretName, SecretValue};
use crate::vault::{Edit, NewSecret};

const SECRETS: &str = "/organizations/default/secrets";
const NEW: &str = "/organizations/default/new-secret";
/// Every surface, as the form sends them when nobody touches them.
const ANYWHERE: &str = "surface=path&surface=query&surface=header&surface=authentication&surface=body";

struct Reply {
    status: u16,
    fields: HeaderMap,
    text: String,
}

impl Reply {
    fn leads_to(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.fields[LOCATION].to_str().expect("text")
    }

    fn has(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.text.contains(part), "{part} is missing in {}", self.text);
        }
    }

    fn lacks(&self, parts: &[&str]) {
        for part in parts {
            assert!(!self.text.contains(part), "{part} is in {}", self.text);
        }
    }
}

/// Somebody with a browser.
struct Person {
    door: Router,
    state: State,
}

impl Person {
    async fn new(role: Role) -> Self {
        Self::of(state().await, role)
    }

    fn of(state: State, role: Role) -> Self {
        let roles = BTreeMap::from([(OrganizationName::default(), role)]);
        Self::acting(state, Principal::known("vera", Arc::new(roles)))
    }

    fn acting(state: State, principal: Principal) -> Self {
        Self { door: finished(routes(&state).layer(Extension(principal)), &state).with_state(state.clone()), state }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.door.clone().oneshot(request).await.expect("a router answers");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("the answer ends").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        assert!(!text.contains(VALUE), "a value was answered: {text}");
        Reply { status: head.status.as_u16(), fields: head.headers, text }
    }

    async fn get(&self, path: &str) -> Reply {
        let request = Request::builder().uri(path).header(ACCEPT, "text/html,*/*");
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    /// Posts a form that is not carried out; the page that shows it again, which was got.
    async fn refused(&self, path: &str, form: &str) -> Reply {
        let reply = self.post(path, form).await;
        let next = reply.leads_to().to_owned();
        assert!(next.starts_with(&format!("{path}?draft=")), "{next}");
        self.get(&next).await
    }

    async fn post(&self, path: &str, form: &str) -> Reply {
        let request = Request::builder().method("POST").uri(path).header(ACCEPT, "text/html");
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form.to_owned())).expect("a request")).await
    }

    async fn store(&self, name: &str, description: &str, domains: &[&str]) {
        let patterns = domains.iter().map(|text| DomainPattern::parse(text).expect("a pattern")).collect();
        let new = NewSecret {
            name: SecretName::parse(name).expect("a name"),
            value: SecretValue::new(VALUE.into()).expect("a value"),
            description: Description::parse(description).expect("short"),
            allowed_domains: AllowedDomains::new(patterns).expect("few"),
            limits: Limits::default(),
        };
        self.state.vault.create(&OrganizationName::default(), new, "mara").await.expect("the name is free");
    }

    fn stored(&self, name: &str) -> Option<crate::vault::SecretView> {
        self.state.vault.get(&OrganizationName::default(), &SecretName::parse(name).expect("a name"))
    }
}

#[tokio::test]
async fn a_secret_is_created_shown_masked_and_told_once() {
    let person = Person::new(Role::Editor).await;
    person.get(SECRETS).await.has(&["Create secret", "declared.one", "declared in the configuration"]);
    let form = format!("name=crm.apiKey&value={VALUE}%0D%0A&description=Of+the+CRM&domains=https://API.crm.test/&{ANYWHERE}");
    let reply = person.post(NEW, &form).await;
    assert_eq!(reply.leads_to(), format!("{SECRETS}/crm.apiKey?done=created&name=crm.apiKey&cut=1"));
    let page = person.get(reply.leads_to()).await;
    page.has(&[
        "was created",
        "line end at the end of the value was left out",
        "api.crm.test",
        "{secrets.crm.apiKey}",
        "by vera",
    ]);
    person.get(SECRETS).await.has(&["crm.</span>apiKey", "Of the CRM", "••••••••", "api.crm.test"]);
}

#[tokio::test]
async fn what_was_typed_is_kept_beside_its_fault_and_the_value_is_not() {
    let person = Person::new(Role::Editor).await;
    let long = "d".repeat(1_001);
    let form = format!("name=9crm&value={VALUE}&description={long}&domains=*.com%0D%0Aok.test&headers=x+y");
    let reply = person.refused(NEW, &form).await;
    assert_eq!(reply.status, 422);
    reply.has(&[
        "<title>Error: Create secret",
        "value=\"9crm\"",
        "must start with a letter",
        "1,000 characters",
        "<code>*.com</code>",
        "ok.test",
        "at least one place",
        "aria-invalid=\"true\"",
        "aria-describedby=\"name-hint name-error\"",
    ]);
    let reply = person.refused(NEW, &format!("name=declared.one&value={VALUE}&{ANYWHERE}")).await;
    assert_eq!(reply.status, 409);
    reply.has(&["exists already", "value=\"declared.one\""]);
    let reply = person.refused(NEW, &format!("name=empty&value=&{ANYWHERE}")).await;
    assert_eq!(reply.status, 422);
    reply.has(&["a secret cannot be empty"]);
}

#[tokio::test]
async fn name_and_description_change_freely_and_domains_take_a_value() {
    let person = Person::new(Role::Editor).await;
    person.store("crm.apiKey", "old", &["a.test"]).await;
    let own = format!("{SECRETS}/crm.apiKey");
    let form = format!("revision=1&name=crm.token&description=new&domains=a.test&{ANYWHERE}");
    let reply = person.post(&own, &form).await;
    assert_eq!(reply.leads_to(), format!("{SECRETS}/crm.token?done=saved&name=crm.token"));

    let own = format!("{SECRETS}/crm.token");
    let reply = person.refused(&own, &format!("revision=2&name=crm.token&description=new&domains=b.test&{ANYWHERE}")).await;
    assert_eq!(reply.status, 422);
    reply.has(&["change only together with the value", "name=\"new_value\" value=\"yes\" checked", "b.test"]);
    let reply = person
        .refused(&own, &format!("revision=2&name=crm.token&description=new&domains=a.test&url_encoded=yes&{ANYWHERE}"))
        .await;
    assert_eq!(reply.status, 422);

    let form = format!("revision=2&name=crm.token&description=new&domains=b.test&new_value=yes&value={VALUE}&{ANYWHERE}");
    assert_eq!(person.post(&own, &form).await.leads_to(), format!("{own}?done=saved&name=crm.token"));
    let stored = person.stored("crm.token").expect("it is there");
    assert_eq!((stored.revision, stored.updated_by.as_str(), stored.allowed_domains.to_string().as_str()), (3, "vera", "b.test"));
}

#[tokio::test]
async fn a_value_that_was_typed_with_editing_off_is_not_stored() {
    let person = Person::new(Role::Editor).await;
    person.store("a", "d", &[]).await;
    let reply =
        person.post(&format!("{SECRETS}/a"), &format!("revision=1&name=a&description=d&domains=&value=other&{ANYWHERE}")).await;
    assert_eq!(reply.status, 303);
    assert_eq!(person.stored("a").map(|secret| secret.revision), Some(1));
}

#[tokio::test]
async fn whoever_comes_late_is_told_who_was_faster() {
    let person = Person::new(Role::Editor).await;
    person.store("a", "d", &[]).await;
    let name = SecretName::parse("a").expect("a name");
    let edit = Edit { description: Some(Description::parse("theirs").expect("short")), ..Edit::default() };
    person.state.vault.edit(&OrganizationName::default(), &name, edit, Some(1), "mara").await.expect("nobody else changed it");
    let own = format!("{SECRETS}/a");
    let reply = person.refused(&own, &format!("revision=1&name=a&description=mine&domains=&{ANYWHERE}")).await;
    assert_eq!(reply.status, 412);
    reply.has(&["mara changed this secret", "<time", "mine", "theirs", "name=\"revision\" value=\"2\""]);
    let reply = person.post(&format!("{own}/remove"), "revision=1").await;
    assert_eq!(reply.status, 412);
    reply.has(&["mara changed this secret"]);
    assert_eq!(person.post(&own, &format!("revision=2&name=a&description=mine&domains=&{ANYWHERE}")).await.status, 303);
    let reply = person.post(&own, "name=a").await;
    assert_eq!(person.get(reply.leads_to()).await.status, 400);
}

#[tokio::test]
async fn removal_asks_first() {
    let person = Person::new(Role::Editor).await;
    person.store("a", "d", &[]).await;
    let page = person.get(&format!("{SECRETS}/a/remove")).await;
    page.has(&["Remove secret", "Recent uses", "{secrets.a}"]);
    assert!(person.stored("a").is_some());
    let reply = person.post(&format!("{SECRETS}/a/remove"), "revision=1").await;
    assert_eq!(reply.leads_to(), format!("{SECRETS}?done=removed&name=a"));
    person.get(reply.leads_to()).await.has(&["The secret <code>a</code> was removed"]);
    assert!(person.stored("a").is_none());
    assert_eq!(person.get(&format!("{SECRETS}/a")).await.status, 404);
}

#[tokio::test]
async fn whoever_may_only_look_sees_no_controls_and_is_told_whom_to_ask() {
    let viewer = Person::new(Role::Viewer).await;
    viewer.store("crm.apiKey", "Of the CRM", &["a.test"]).await;
    for path in [SECRETS.to_owned(), format!("{SECRETS}/crm.apiKey")] {
        let page = viewer.get(&path).await;
        assert_eq!(page.status, 200);
        page.has(&["Ask an administrator", "Of the CRM", "a.test"]);
        page.lacks(&["Create secret", "/remove", "method=\"post\" action=\"/organizations", "Save"]);
    }
    for path in [NEW.to_owned(), format!("{SECRETS}/crm.apiKey/remove")] {
        let page = viewer.get(&path).await;
        assert_eq!(page.status, 403);
        page.has(&["<!DOCTYPE html>", "Ask an administrator", "not_permitted"]);
    }
    let reply = viewer.post(NEW, &format!("name=b&value=x&{ANYWHERE}")).await;
    assert!(reply.leads_to().starts_with("/refused?draft="), "what was posted does not stay in a history");
    let page = viewer.get(reply.leads_to()).await;
    assert_eq!(page.status, 403);
    page.has(&["Ask an administrator"]);
}

#[tokio::test]
async fn a_declared_secret_is_shown_and_not_changed() {
    let person = Person::new(Role::Editor).await;
    let page = person.get(&format!("{SECRETS}/declared.one")).await;
    page.has(&["declared in the configuration file"]);
    page.lacks(&["method=\"post\" action=\"/organizations", "/remove"]);
    let reply = person.post(&format!("{SECRETS}/declared.one/remove"), "revision=1").await;
    assert_eq!(person.get(reply.leads_to()).await.status, 409);
}

#[tokio::test]
async fn the_list_is_searched_sorted_narrowed_and_paged() {
    let person = Person::new(Role::Viewer).await;
    for index in 0..60 {
        let domains: &[&str] = if index % 2 == 0 { &["even.test"] } else { &[] };
        person.store(&format!("bulk.key{index:02}"), if index == 7 { "Lucky <one>" } else { "d" }, domains).await;
    }
    let first = person.get(SECRETS).await;
    first.has(&["61 secrets", "1 to 50 of 61", "key00", "rel=\"next\""]);
    first.lacks(&["key55"]);
    person.get(&format!("{SECRETS}?page=2")).await.has(&["51 to 61 of 61", "key55", "rel=\"prev\""]);
    person.get(&format!("{SECRETS}?page=999999999999")).await.has(&["51 to 61 of 61"]);
    person.get(&format!("{SECRETS}?order=down")).await.lacks(&["key00"]);
    person.get(&format!("{SECRETS}?q=EVEN.TEST")).await.has(&["30 of 61 secrets"]);
    person.get(&format!("{SECRETS}?q=lucky")).await.has(&["1 of 61 secrets", "Lucky &lt;one&gt;"]);
    person.get(&format!("{SECRETS}?only=anywhere")).await.has(&["31 of 61 secrets"]);
    person.get(&format!("{SECRETS}?q=%22%3E%3Cscript%3E")).await.has(&["Nothing found", "&quot;&gt;&lt;script&gt;"]);
}

#[tokio::test]
async fn domains_are_judged_while_they_are_typed() {
    let person = Person::new(Role::Editor).await;
    let advice =
        person.post("/organizations/default/domain-advice", "domains=https://API.a.test/%0A*.s3.amazonaws.com%0A*.com").await;
    advice.has(&[
        "data-normalised=\"api.a.test\"",
        "Matches api.a.test",
        "Anybody can get a name under s3.amazonaws.com",
        "public suffix",
    ]);
}

#[tokio::test]
async fn similar_names_are_told() {
    let person = Person::new(Role::Editor).await;
    person.store("crm.apiKey", "d", &[]).await;
    person.store("crm.api_key", "", &[]).await;
    let page = person.get(&format!("{SECRETS}/crm.api_key")).await;
    page.has(&["There is also", "secrets/crm.apiKey", "It has no description"]);
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_hold_no_inline_script() {
    let person = Person::new(Role::Administrator).await;
    person.store("a", "d", &[]).await;
    for path in [SECRETS.to_owned(), NEW.to_owned(), format!("{SECRETS}/a"), format!("{SECRETS}/a/remove"), "/nothing".to_owned()]
    {
        let page = person.get(&path).await;
        assert_eq!(page.fields[CONTENT_SECURITY_POLICY], POLICY, "{path}");
        assert_eq!(page.fields[CACHE_CONTROL], "no-store", "{path}");
        page.lacks(&["style=", "onclick", "http://", "<style"]);
        assert_eq!(page.text.matches("<script").count(), page.text.matches("<script src=\"/assets/").count());
    }
}

#[tokio::test]
async fn files_are_kept_under_names_that_change_with_them() {
    let person = Person::acting(state().await, Principal::nobody());
    for asset in [super::assets::STYLE, super::assets::SCRIPT, super::assets::LOGO] {
        let file = person.get(&asset.path()).await;
        assert_eq!(file.status, 200);
        assert!(file.fields[CACHE_CONTROL].to_str().is_ok_and(|text| text.contains("immutable")));
    }
    assert_eq!(person.get("/assets/0000000000000000-pages.css").await.status, 404);
}

#[tokio::test]
async fn strangers_are_sent_to_sign_in_and_scripts_get_problems() {
    let stranger = Person::acting(state().await, Principal::nobody());
    let reply = stranger.get(&format!("{SECRETS}?q=a&only=unused")).await;
    assert_eq!(reply.leads_to(), "/sign-in?next=%2Forganizations%2Fdefault%2Fsecrets%3Fq%3Da%26only%3Dunused");
    let plain = Request::builder().uri(SECRETS).body(Body::empty()).expect("a request");
    let reply = stranger.send(plain).await;
    assert_eq!((reply.status, reply.fields[CONTENT_TYPE].to_str().ok()), (401, Some("application/problem+json")));
    let member = Person::new(Role::Administrator).await;
    let page = member.get("/organizations/other/secrets").await;
    assert_eq!(page.status, 404);
    page.has(&["no such organization"]);
}

const TEST: &str = "/organizations/default/request-test";
const RUNNERS: &str = "/organizations/default/runners";

fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[tokio::test]
async fn a_request_is_tested_from_a_command_and_its_parts_are_kept() {
    let person = Person::new(Role::Editor).await;
    person.store("crm.apiKey", "d", &["api.test"]).await;
    let command = "curl https://api.test/v1 -u 'me:{secrets.crm.apiKey}' --json '{\"k\":\"{secrets.nope}\"}'";
    let page = person.post(TEST, &form(&[("paste", command)])).await;
    assert_eq!(page.status, 200);
    page.has(&["Refused: ", "secret_not_found", "authentication", "permitted", "value=\"https://api.test/v1\"", "selected>POST"]);
    page.lacks(&["Send it for real"]);
    let fields = [
        ("method", "GET"),
        ("url", "https://api.test/?k={secrets.crm.apiKey}"),
        ("headers", "Authorization: Basic bWU6e3NlY3JldHMuY3JtLmFwaUtleX0="),
    ];
    let page = person.post(TEST, &form(&fields)).await;
    page.has(&[
        "It would be sent to https://api.test",
        "Send it for real",
        "Basic base64(me:<mark>••••••••</mark>)",
        "/?k=<mark>",
    ]);
    let page = person.post(TEST, &form(&[("paste", "https://other.test/{secrets.crm.apiKey}")])).await;
    page.has(&["domain_restricted", "other.test"]);
}

#[tokio::test]
async fn what_cannot_be_tested_is_told_beside_its_input() {
    let person = Person::new(Role::Editor).await;
    for (fields, status, said) in [
        (&[("paste", "curl --frobnicate https://a.test")][..], 422, "<code>--frobnicate</code> is not known here"),
        (&[("paste", ""), ("url", "")], 422, "Paste a URL or a curl command"),
        (&[("url", "https://a.test/"), ("method", "GET"), ("headers", "nonsense")], 422, "<code>nonsense</code> is no header"),
        (&[("paste", "https://a.test/"), ("runner", "nobody")], 404, "no runner called"),
        (&[("url", "https://a.test/"), ("method", "G T")], 422, "this is no method"),
    ] {
        let page = person.post(TEST, &form(fields)).await;
        let page = if page.status == 303 { person.get(page.leads_to()).await } else { page };
        assert_eq!(page.status, status, "{fields:?}");
        page.has(&[said]);
    }
    let viewer = Person::new(Role::Viewer).await;
    let page = viewer.get(TEST).await;
    page.has(&["Ask an administrator"]);
    page.lacks(&["method=\"post\" action=\"/organizations"]);
    let reply = viewer.post(TEST, "").await;
    assert_eq!(viewer.get(reply.leads_to()).await.status, 403);
}

#[tokio::test]
async fn a_runners_token_is_shown_once_with_lines_that_use_it() {
    let person = Person::new(Role::Administrator).await;
    let fields =
        [("name", "billing"), ("may_use", "some"), ("secrets", "billing.*\r\ncrm.apiKey"), ("domains", "*.billing.test")];
    let page = person.post("/organizations/default/new-runner", &form(&fields)).await;
    assert_eq!(page.status, 201);
    let token = page.text.split("data-token>").nth(1).and_then(|rest| rest.split('<').next()).expect("it is shown").to_owned();
    assert!(person.state.identity.authenticate(token.as_bytes()).is_some());
    page.has(&[
        &format!("export HTTPS_PROXY='http://runner:{token}@127.0.0.1:8080'"),
        "http://runner:$(SUBROSA_TOKEN)@127.0.0.1:8080",
        &format!("--from-literal=token={token}"),
        "/certs/bundle.pem",
    ]);
    let list = person.get(RUNNERS).await;
    list.has(&["billing.*", "crm.apiKey", "*.billing.test", "by vera", "declared-runner"]);
    list.lacks(&[&token]);
}

#[tokio::test]
async fn a_runner_is_edited_given_a_new_token_and_revoked() {
    let person = Person::new(Role::Administrator).await;
    let made = person.post("/organizations/default/new-runner", &form(&[("name", "r"), ("may_use", "every")])).await;
    assert_eq!(made.status, 201);
    let own = format!("{RUNNERS}/r");
    let edit = [("revision", "1"), ("may_use", "some"), ("secrets", "crm.*"), ("domains", "a.test")];
    assert_eq!(person.post(&own, &form(&edit)).await.leads_to(), format!("{RUNNERS}?done=saved&name=r"));
    let late = person.post(&own, &form(&edit)).await;
    assert_eq!(late.status, 412);
    late.has(&["vera changed this runner", "name=\"revision\" value=\"2\""]);
    for (fields, said) in [
        ([("may_use", "some"), ("secrets", "")], "name at least one".to_owned()),
        ([("may_use", "some"), ("secrets", "9*")], "must start with a letter".to_owned()),
        ([("may_use", "every"), ("domains", "*.com")], "public suffix".to_owned()),
    ] {
        let page = person.post(&own, &(form(&fields) + "&revision=2")).await;
        assert_eq!(page.status, 422);
        assert!(page.text.to_lowercase().contains(&said), "{said}");
    }
    person.get(&format!("{own}/token")).await.has(&["Make a new token"]);
    let page = person.post(&format!("{own}/token"), "revision=2").await;
    assert_eq!(page.status, 201);
    person.get(&format!("{own}/revoke")).await.has(&["Revoke <code>r</code>?"]);
    assert_eq!(person.post(&format!("{own}/revoke"), "revision=2").await.status, 412);
    let reply = person.post(&format!("{own}/revoke"), "revision=3").await;
    person.get(reply.leads_to()).await.has(&["was revoked"]);
}

#[tokio::test]
async fn whoever_is_no_administrator_sees_runners_without_controls() {
    let editor = Person::new(Role::Editor).await;
    let page = editor.get(RUNNERS).await;
    page.has(&["declared-runner", "Ask an administrator", "no secret"]);
    page.lacks(&["Create runner", "/revoke"]);
    assert_eq!(editor.get("/organizations/default/new-runner").await.status, 403);
}

#[tokio::test]
async fn setup_offers_the_certificate_and_lines_for_other_places() {
    let person = Person::new(Role::Viewer).await;
    let page = person.get("/organizations/default/setup?proxy=proxy.internal:3128&certificates=/etc/subrosa/").await;
    page.has(&["proxy.internal:3128", "/etc/subrosa/bundle.pem", "/ca.p12", "NODE_EXTRA_CA_CERTS"]);
    let page = person.get("/organizations/default/setup?proxy=proxy.internal").await;
    assert_eq!(page.status, 422);
    page.has(&["host and port"]);
}

#[tokio::test]
async fn a_form_that_was_kept_is_shown_to_its_writer_only() {
    let person = Person::new(Role::Editor).await;
    let reply = person.post(NEW, &form(&[("name", "9"), ("value", VALUE), ("description", "mine")])).await;
    let next = reply.leads_to().to_owned();
    person.get(&next).await.has(&["mine"]);
    person.get(&next).await.has(&["must start with a letter"]);
    let roles = BTreeMap::from([(OrganizationName::default(), Role::Editor)]);
    let other = Person::acting(person.state.clone(), Principal::known("eve", Arc::new(roles)));
    let page = other.get(&next).await;
    assert_eq!(page.status, 200);
    page.lacks(&["mine"]);
}

#[tokio::test]
async fn activity_is_shown_narrowed_and_exported() {
    let person = Person::new(Role::Viewer).await;
    let page = person.get("/organizations/default/activity").await;
    page.has(&["Nothing happened yet", "/api/v1/organizations/default/activity/export?", "data-live-rows"]);
    let page = person.get("/organizations/default/activity?secret=crm.apiKey&outcome=refused&q=%3Cb%3E").await;
    page.has(&["Nothing found", "secret=crm.apiKey", "outcome=refused", "value=\"&lt;b&gt;\""]);
    person.store("crm.apiKey", "d", &[]).await;
    person.get(&format!("{SECRETS}/crm.apiKey")).await.has(&[
        "Use by day",
        "No requests in the last 90 days",
        "activity?secret=crm.apiKey",
    ]);
}
