//! Signing in with an identity provider: by its groups, by invitation, and every way of being refused.

use serde_json::{Value, json};

use crate::people::{Browser, path_of};
use crate::support::Proxy;
use crate::support::provider::Provider;

async fn started(provider: &Provider, groups: &str) -> Proxy {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("client-secret"), "hush-hush-hush\n").expect("written");
    let config = format!(
        "[admin]\nlisten = [\"127.0.0.1:0\"]\n[admin.oidc]\nissuer = \"{}\"\nclient_id = \"subrosa\"\nclient_secret = {{ file = \"client-secret\" }}\n{groups}",
        provider.issuer()
    );
    Proxy::start(dir, &config).await
}

const GROUPS: &str = "[[admin.oidc.groups]]\ngroup = \"platform\"\nrole = \"administrator\"\n\
                      [[admin.oidc.groups]]\ngroup = \"staff\"\nrole = \"viewer\"\n";

/// What a provider says of Bob, with `more` in its place.
fn bob(more: &Value) -> Value {
    let mut claims = json!({ "sub": "b-1", "email": "bob@example.com", "email_verified": true, "groups": ["staff"] });
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

impl Browser<'_> {
    /// Through the provider and back, with what it then says; the status of the answer.
    async fn through(&mut self, provider: &Provider, path: &str, claims: &Value) -> u16 {
        let begun = self.get(path).await;
        assert_eq!(begun.status(), 303, "{}", begun.text());
        let flow = begun.fields("set-cookie")[0].split(';').next().expect("a pair").to_owned();
        assert!(flow.starts_with("subrosa-flow="), "{flow}");
        let back = provider.authorize(begun.fields("location")[0], claims);
        self.back(&flow, &back).await
    }

    async fn back(&mut self, flow: &str, back: &str) -> u16 {
        flow.clone_into(&mut self.cookie);
        let answer = self.get(back).await;
        let cookies = answer.fields("set-cookie");
        let session = cookies.iter().find(|field| field.starts_with("subrosa-session="));
        self.cookie = session.map_or_else(String::new, |field| field.split(';').next().expect("a pair").to_owned());
        answer.status()
    }
}

#[tokio::test]
async fn groups_give_roles_anew_at_each_sign_in() {
    let provider = Provider::start().await;
    let proxy = started(&provider, GROUPS).await;
    assert!(!proxy.log().contains("nobody has an account yet"));
    let mut browser = Browser::new(&proxy);
    assert!(browser.get("/sign-in").await.text().contains("/sign-in/provider"));
    let mut sign_in = async |groups: Value| {
        let status = browser.through(&provider, "/sign-in/provider?next=/account", &bob(&json!({ "groups": groups }))).await;
        (status, browser.me().await.json()["roles"]["default"].clone())
    };
    assert_eq!(sign_in(json!(["staff"])).await, (200, json!("viewer")));
    assert_eq!(sign_in(json!(["staff", "platform"])).await, (200, json!("administrator")));
    assert_eq!(sign_in(json!(["others"])).await, (403, Value::Null));
    let members = proxy.must(&["member", "list", "--json"], "").await;
    assert!(!members.contains("bob@example.com"), "whoever is in no group any more is out: {members}");
    let by_hand = proxy.must_fail(&["member", "role", "bob@example.com", "viewer"], "").await;
    assert!(by_hand.contains("no member"), "{by_hand}");
    let log = proxy.log();
    assert!(!log.contains("hush-hush") && !log.contains("code-"), "{log}");
}

#[tokio::test]
async fn a_token_that_is_not_for_this_sign_in_is_refused() {
    let provider = Provider::start().await;
    let proxy = started(&provider, GROUPS).await;
    for (what, claims) in [
        ("another's signature", bob(&json!({ "forged": true }))),
        ("no signature", bob(&json!({ "unsigned": true }))),
        ("another nonce", bob(&json!({ "nonce": "another" }))),
        ("another audience", bob(&json!({ "aud": "somebody-else" }))),
        ("a second audience", bob(&json!({ "aud": ["subrosa", "somebody-else"] }))),
        ("another issuer", bob(&json!({ "iss": "https://id.example.com" }))),
        ("over", bob(&json!({ "exp": 1_000_000_000 }))),
        ("nobody", bob(&json!({ "email": null, "sub": "" }))),
        ("not their address", bob(&json!({ "email_verified": false }))),
    ] {
        let mut browser = Browser::new(&proxy);
        assert_eq!(browser.through(&provider, "/sign-in/provider", &claims).await, 403, "{what}");
        assert_eq!(browser.me().await.status(), 401, "{what}");
    }
    assert!(proxy.must(&["member", "list", "--json"], "").await.contains("\"members\": []"));
}

#[tokio::test]
async fn only_the_browser_that_began_it_is_signed_in_and_once() {
    let provider = Provider::start().await;
    let proxy = started(&provider, GROUPS).await;
    let mut browser = Browser::new(&proxy);
    let begin = async |browser: &Browser<'_>| {
        let begun = browser.get("/sign-in/provider").await;
        let flow = begun.fields("set-cookie")[0].split(';').next().expect("a pair").to_owned();
        (flow, provider.authorize(begun.fields("location")[0], &bob(&json!({}))))
    };
    let (flow, back) = begin(&browser).await;
    let (others, _) = begin(&browser).await;
    assert_eq!(browser.back("", &back).await, 403, "without its cookie");
    assert_eq!(browser.back(&others, &back).await, 403, "with the cookie of another sign-in");
    assert_eq!(browser.back(&flow, "/sign-in/callback?error=access_denied&state=x").await, 403);
    assert_eq!(browser.back(&flow, &back).await, 200);
    assert_eq!(browser.me().await.status(), 200);
    assert_eq!(browser.back(&flow, &back).await, 403, "the provider takes a code once");
}

#[tokio::test]
async fn an_invitation_lets_in_whoever_has_the_address() {
    let provider = Provider::start().await;
    let proxy = started(&provider, "").await;
    let link = path_of(&proxy.must(&["member", "invite", "bob@example.com", "--role", "editor"], "").await);
    let mut browser = Browser::new(&proxy);
    let page = browser.get(&link).await.text();
    let through = page.split("href=\"/sign-in/provider").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    let through = format!("/sign-in/provider{}", through.replace("&amp;", "&"));
    assert_eq!(browser.through(&provider, "/sign-in/provider", &bob(&json!({}))).await, 403, "without it");
    let others = bob(&json!({ "sub": "e-1", "email": "eve@example.com" }));
    assert_eq!(browser.through(&provider, &through, &others).await, 403, "it is for somebody else");
    let claimed = bob(&json!({ "email_verified": null }));
    assert_eq!(browser.through(&provider, &through, &claimed).await, 403, "nobody verified the address");
    assert_eq!(browser.through(&provider, &through, &bob(&json!({}))).await, 200);
    assert_eq!(browser.me().await.json()["roles"]["default"], "editor");
    assert_eq!(browser.through(&provider, "/sign-in/provider", &bob(&json!({}))).await, 200, "from now on without");
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_and_harms_nobody() {
    let provider = Provider::start().await;
    let proxy = started(&provider, "").await;
    drop(provider);
    let answer = Browser::new(&proxy).get("/sign-in/provider").await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("cannot be used at the moment"), "{}", answer.text());
    proxy.logged("a sign-in with the identity provider failed").await;
    assert_eq!(Browser::new(&proxy).get("/sign-in").await.status(), 200);
}
