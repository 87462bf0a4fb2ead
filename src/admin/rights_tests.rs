//! Every route by everybody: what each may do, across organizations, and with credentials that are over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use zeroize::Zeroizing;

use super::session::Csrf;
use super::tests::state_at;
use super::*;
use crate::members::{Login, NewToken, Password, Role, Visitor};
use crate::secret::{Description, OrganizationName, TokenName};

/// What it takes at least to be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// To be known at all.
    SignIn,
    /// A role in the organization that the path names.
    Viewer,
    Editor,
    Administrator,
    /// To be an administrator of `default`.
    Operator,
    /// To be a member of `default`.
    Home,
}

use Takes::{Administrator, Editor, Home, Nothing, Operator, SignIn, Viewer};

/// Decided here once more, apart from the table that is enforced.
const ROUTES: &[(&str, &str, Takes)] = &[
    ("GET", "/", Nothing),
    ("GET", "/livez", Nothing),
    ("GET", "/readyz", Nothing),
    ("GET", "/ca.pem", Nothing),
    ("GET", "/ca.der", Nothing),
    ("GET", "/ca.p12", Nothing),
    ("GET", "/metrics", Home),
    ("GET", "/assets/{file}", Nothing),
    ("GET", "/organizations/{organization}", Viewer),
    ("GET", "/organizations/{organization}/secrets", Viewer),
    ("GET", "/organizations/{organization}/new-secret", Editor),
    ("POST", "/organizations/{organization}/new-secret", Editor),
    ("GET", "/organizations/{organization}/secrets/{name}", Viewer),
    ("POST", "/organizations/{organization}/secrets/{name}", Editor),
    ("GET", "/organizations/{organization}/secrets/{name}/remove", Editor),
    ("POST", "/organizations/{organization}/secrets/{name}/remove", Editor),
    ("POST", "/organizations/{organization}/domain-advice", Editor),
    ("GET", "/organizations/{organization}/request-test", Viewer),
    ("POST", "/organizations/{organization}/request-test", Editor),
    ("GET", "/organizations/{organization}/runners", Viewer),
    ("GET", "/organizations/{organization}/new-runner", Administrator),
    ("POST", "/organizations/{organization}/new-runner", Administrator),
    ("GET", "/organizations/{organization}/runners/{name}", Administrator),
    ("POST", "/organizations/{organization}/runners/{name}", Administrator),
    ("GET", "/organizations/{organization}/runners/{name}/token", Administrator),
    ("POST", "/organizations/{organization}/runners/{name}/token", Administrator),
    ("GET", "/organizations/{organization}/runners/{name}/revoke", Administrator),
    ("POST", "/organizations/{organization}/runners/{name}/revoke", Administrator),
    ("GET", "/organizations/{organization}/setup", Viewer),
    ("GET", "/organizations/{organization}/activity", Viewer),
    ("GET", "/refused", Nothing),
    ("GET", "/organizations", SignIn),
    ("GET", "/new-organization", Operator),
    ("POST", "/new-organization", Operator),
    ("GET", "/organizations/{organization}/members", Viewer),
    ("GET", "/organizations/{organization}/members/{login}", Administrator),
    ("POST", "/organizations/{organization}/members/{login}", Administrator),
    ("GET", "/organizations/{organization}/members/{login}/remove", Administrator),
    ("POST", "/organizations/{organization}/members/{login}/remove", Administrator),
    ("GET", "/organizations/{organization}/new-invitation", Administrator),
    ("POST", "/organizations/{organization}/new-invitation", Administrator),
    ("POST", "/organizations/{organization}/invitations/{login}/revoke", Administrator),
    ("GET", "/organizations/{organization}/new-token", Administrator),
    ("POST", "/organizations/{organization}/new-token", Administrator),
    ("GET", "/organizations/{organization}/tokens/{name}/revoke", Administrator),
    ("POST", "/organizations/{organization}/tokens/{name}/revoke", Administrator),
    ("GET", "/organizations/{organization}/welcome", Viewer),
    ("GET", "/organizations/{organization}/delete", Operator),
    ("POST", "/organizations/{organization}/delete", Operator),
    ("GET", "/sign-in", Nothing),
    ("POST", "/sign-in", Nothing),
    ("GET", "/sign-in/provider", Nothing),
    ("GET", "/sign-in/callback", Nothing),
    ("GET", "/setup/{token}", Nothing),
    ("POST", "/setup/{token}", Nothing),
    ("GET", "/invitation/{token}", Nothing),
    ("POST", "/invitation/{token}", Nothing),
    ("GET", "/account", SignIn),
    ("POST", "/account/password", SignIn),
    ("POST", "/account/sessions/{session}/end", SignIn),
    ("GET", "/api/v1/openapi.json", Nothing),
    ("GET", "/api/v1/me", SignIn),
    ("GET", "/api/v1/backup", Operator),
    ("GET", "/api/v1/keys", Operator),
    ("POST", "/api/v1/keys/rotation", Operator),
    ("POST", "/api/v1/reload", Operator),
    ("GET", "/api/v1/organizations", SignIn),
    ("POST", "/api/v1/organizations", Operator),
    ("GET", "/api/v1/organizations/{organization}", Viewer),
    ("DELETE", "/api/v1/organizations/{organization}", Operator),
    ("GET", "/api/v1/organizations/{organization}/secrets", Viewer),
    ("POST", "/api/v1/organizations/{organization}/secrets", Editor),
    ("GET", "/api/v1/organizations/{organization}/secrets/{name}", Viewer),
    ("PATCH", "/api/v1/organizations/{organization}/secrets/{name}", Editor),
    ("DELETE", "/api/v1/organizations/{organization}/secrets/{name}", Editor),
    ("GET", "/api/v1/organizations/{organization}/runners", Viewer),
    ("POST", "/api/v1/organizations/{organization}/runners", Administrator),
    ("GET", "/api/v1/organizations/{organization}/runners/{name}", Viewer),
    ("PATCH", "/api/v1/organizations/{organization}/runners/{name}", Administrator),
    ("DELETE", "/api/v1/organizations/{organization}/runners/{name}", Administrator),
    ("POST", "/api/v1/organizations/{organization}/runners/{name}/token", Administrator),
    ("GET", "/api/v1/organizations/{organization}/members", Viewer),
    ("GET", "/api/v1/organizations/{organization}/members/{login}", Viewer),
    ("PATCH", "/api/v1/organizations/{organization}/members/{login}", Administrator),
    ("DELETE", "/api/v1/organizations/{organization}/members/{login}", Administrator),
    ("GET", "/api/v1/organizations/{organization}/invitations", Administrator),
    ("POST", "/api/v1/organizations/{organization}/invitations", Administrator),
    ("DELETE", "/api/v1/organizations/{organization}/invitations/{login}", Administrator),
    ("GET", "/api/v1/organizations/{organization}/tokens", Administrator),
    ("POST", "/api/v1/organizations/{organization}/tokens", Administrator),
    ("DELETE", "/api/v1/organizations/{organization}/tokens/{name}", Administrator),
    ("POST", "/api/v1/organizations/{organization}/request-tests", Editor),
    ("GET", "/api/v1/organizations/{organization}/activity", Viewer),
    ("GET", "/api/v1/organizations/{organization}/activity/export", Viewer),
    ("GET", "/api/v1/organizations/{organization}/activity/stream", Viewer),
    ("GET", "/api/v1/organizations/{organization}/secrets/{name}/usage", Viewer),
    ("GET", "/api/v1/organizations/{organization}/runners/{name}/usage", Viewer),
    // Last: whoever may do it has no session afterwards.
    ("POST", "/sign-out", SignIn),
];

/// What a request shows to be known.
#[derive(Clone)]
enum Shows {
    Nothing,
    Session(String),
    Token(String),
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The handler was reached.
    Through,
    /// 401.
    WhoAreYou,
    /// 403.
    NotPermitted,
    /// 404, as if there were no such organization.
    NoOrganization,
}

struct World {
    router: Router,
    members: Arc<Members>,
    seconds: Arc<AtomicU64>,
}

impl World {
    async fn new() -> Self {
        let seconds = Arc::new(AtomicU64::new(1_800_000_000));
        let clock = seconds.clone();
        let state = state_at(Arc::new(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed)))).await;
        let members = state.members.clone();
        for name in ["acme", "other"] {
            members.create_organization(&organization(name), Description::default(), "t", None).await.expect("creates");
        }
        Self { router: port_router(state, Way::default(), false), members, seconds }
    }

    async fn member(&self, login: &str, of: &str, role: Role) -> Shows {
        let login = Login::parse(login).expect("a login");
        let (_, link) = self.members.invite(&organization(of), &login, role, "t").await.expect("invites");
        let password = Password::typed(Zeroizing::new("correct horse battery".to_owned()));
        let from = Visitor { address: [192, 0, 2, 1].into(), agent: String::new() };
        let (token, _) = self.members.accept(link.show_once().as_bytes(), password, &from).await.expect("accepts");
        Shows::Session(token.show_once().to_owned())
    }

    async fn token(&self, name: &str, of: &str, role: Role, lives: u64) -> Shows {
        let expires_at = i64::try_from(self.seconds.load(Ordering::Relaxed) + lives).expect("small");
        let new = NewToken { name: TokenName::parse(name).expect("a name"), role, expires_at };
        let (_, token) = self.members.create_token(&organization(of), new, "t").await.expect("creates");
        Shows::Token(token.show_once().to_owned())
    }

    async fn answer(&self, method: &str, path: &str, shows: &Shows) -> Answer {
        let path = path.replace("{organization}", "acme");
        let path =
            ["{name}", "{login}", "{token}", "{session}", "{file}"].iter().fold(path, |path, part| path.replace(part, "nothing"));
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let request = match shows {
            Shows::Nothing => request,
            Shows::Token(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            Shows::Session(token) => {
                let csrf = Csrf::of(token);
                request.header(COOKIE, format!("subrosa-session={token}")).header("x-csrf-token", csrf.as_str())
            }
        };
        let response = self.router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("answers");
        let status = response.status().as_u16();
        if response.headers().get(CONTENT_TYPE).is_some_and(|media_type| media_type == "text/event-stream") {
            // It goes on as long as somebody listens.
            return Answer::Through;
        }
        let content = response.into_body().collect().await.expect("ends").to_bytes();
        let problem: Value = serde_json::from_slice(&content).unwrap_or_default();
        match (status, problem["code"].as_str()) {
            (401, _) => Answer::WhoAreYou,
            (403, Some("not_permitted")) => Answer::NotPermitted,
            (404, Some("organization_not_found")) => Answer::NoOrganization,
            // What is let through and then refused for what it sends is let through.
            (200..=303 | 400..=404 | 409 | 415 | 428, _) => Answer::Through,
            other => panic!("{method} {path}: {other:?}", path = "?"),
        }
    }
}

fn organization(name: &str) -> OrganizationName {
    OrganizationName::parse(name).expect("a name")
}

/// What somebody with this role in `acme` is answered.
fn for_member(takes: Takes, role: Role) -> Answer {
    match takes {
        Nothing | SignIn | Viewer => Answer::Through,
        Editor if role >= Role::Editor => Answer::Through,
        Administrator if role >= Role::Administrator => Answer::Through,
        Editor | Administrator | Operator | Home => Answer::NotPermitted,
    }
}

/// And somebody who has nothing to do with `acme`.
fn for_stranger(takes: Takes, operates: bool) -> Answer {
    match takes {
        Nothing | SignIn => Answer::Through,
        Viewer | Editor | Administrator => Answer::NoOrganization,
        Operator | Home if operates => Answer::Through,
        Operator | Home => Answer::NotPermitted,
    }
}

#[test]
fn every_route_has_a_row_here() {
    let rows: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    let decided = access::RIGHTS.iter().map(|(method, path, _)| (method.to_string(), (*path).to_owned())).collect();
    assert_eq!(rows, decided, "decide once more, apart from the table that is enforced, what the new route takes");
}

#[tokio::test]
async fn everybody_may_do_what_their_role_says_and_nothing_elsewhere() {
    let world = World::new().await;
    let people = [
        (world.member("vera", "acme", Role::Viewer).await, Some(Role::Viewer)),
        (world.member("ed", "acme", Role::Editor).await, Some(Role::Editor)),
        (world.member("ada", "acme", Role::Administrator).await, Some(Role::Administrator)),
        (world.member("eve", "other", Role::Administrator).await, None),
    ];
    for (person, role) in &people {
        for (method, path, takes) in ROUTES {
            let expected = role.map_or(for_stranger(*takes, false), |role| for_member(*takes, role));
            assert_eq!(world.answer(method, path, person).await, expected, "{method} {path} by {role:?}");
        }
    }
}

#[tokio::test]
async fn whoever_looks_after_the_instance_is_no_member_of_every_organization() {
    let world = World::new().await;
    // Something in it, so that it stays when it is told to go.
    let operator = world.member("root", "default", Role::Administrator).await;
    for (method, path, takes) in ROUTES.iter().filter(|(method, ..)| *method != "DELETE") {
        assert_eq!(world.answer(method, path, &operator).await, for_stranger(*takes, true), "{method} {path}");
    }
}

#[tokio::test]
async fn programs_may_do_what_their_token_says() {
    let world = World::new().await;
    for (name, role) in [("v", Role::Viewer), ("e", Role::Editor), ("a", Role::Administrator)] {
        let program = world.token(name, "acme", role, 7_200).await;
        for (method, path, takes) in ROUTES {
            let of_people = path.starts_with("/account") || *path == "/sign-out";
            let expected = if of_people { Answer::NotPermitted } else { for_member(*takes, role) };
            assert_eq!(world.answer(method, path, &program).await, expected, "{method} {path} by {role:?}");
        }
    }
}

#[tokio::test]
async fn nobody_and_whoever_is_over_get_nowhere() {
    let world = World::new().await;
    let expired = world.token("expired", "acme", Role::Administrator, 3_600).await;
    let revoked = world.token("revoked", "acme", Role::Administrator, 7_200).await;
    let removed = world.member("gone", "acme", Role::Administrator).await;
    let old = world.member("old", "acme", Role::Administrator).await;
    world.members.revoke_token(&organization("acme"), &TokenName::parse("revoked").expect("a name")).await.expect("revokes");
    let gone = Login::parse("gone").expect("a login");
    world.members.remove_member(&organization("acme"), &gone, None, "t").await.expect("removes");
    world.seconds.fetch_add(8 * 3_600, Ordering::Relaxed);
    let forged = Shows::Token("sat_forged".to_owned());
    for (method, path, takes) in ROUTES {
        let closed = if *takes == Nothing { Answer::Through } else { Answer::WhoAreYou };
        for nobody in [&Shows::Nothing, &removed, &old] {
            assert_eq!(world.answer(method, path, nobody).await, closed, "{method} {path}");
        }
        // Whoever shows a token is never taken for nobody.
        for program in [&expired, &revoked, &forged] {
            assert_eq!(world.answer(method, path, program).await, Answer::WhoAreYou, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_change_by_cookie_needs_the_token_of_the_same_session() {
    let world = World::new().await;
    let Shows::Session(ada) = world.member("ada", "acme", Role::Administrator).await else { panic!("a session") };
    let Shows::Session(eve) = world.member("eve", "other", Role::Administrator).await else { panic!("a session") };
    let send = async |fields: &[(&str, &str)], body: &str| {
        let request = Request::builder().method("POST").uri("/account/sessions/nothing/end").header(HOST, "localhost");
        let request = request.header(COOKIE, format!("subrosa-session={ada}"));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = world.router.clone().oneshot(request).await.expect("answers");
        let content = response.into_body().collect().await.expect("ends").to_bytes();
        let problem: Value = serde_json::from_slice(&content).unwrap_or_default();
        problem["code"].as_str().unwrap_or("through").to_owned()
    };
    let (own, others) = (Csrf::of(&ada), Csrf::of(&eve));
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(send(&[], "").await, "csrf_token_missing");
    assert_eq!(send(&[("x-csrf-token", others.as_str())], "").await, "csrf_token_missing");
    assert_eq!(send(&[form], &format!("csrf={}", others.as_str())).await, "csrf_token_missing");
    assert_eq!(send(&[("content-type", "text/plain")], &format!("csrf={}", own.as_str())).await, "csrf_token_missing");
    assert_eq!(send(&[("x-csrf-token", own.as_str())], "").await, "session_not_found");
    assert_eq!(send(&[form], &format!("a=b&csrf={}", own.as_str())).await, "session_not_found");
    let elsewhere = [form, ("origin", "http://evil.test"), ("x-csrf-token", own.as_str())];
    assert_eq!(send(&elsewhere, "").await, "cross_site");
    assert_eq!(send(&[("sec-fetch-site", "cross-site"), ("x-csrf-token", own.as_str())], "").await, "cross_site");
}

#[tokio::test]
async fn a_method_that_is_no_change_changes_nothing() {
    let changing = [Method::POST, Method::PATCH, Method::PUT, Method::DELETE];
    assert!(access::RIGHTS.iter().all(|(method, ..)| *method == Method::GET || changing.contains(method)));
}
