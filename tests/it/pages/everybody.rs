//! Every page is for everybody: axe-core finds nothing serious, light, dark and narrow; and none breaks the
//! policy that it is sent with, or asks anything of another host.

use super::browser::{Browser, Page};
use super::routes::{filled, gets};
use super::stage::{PASSWORD, bearer, execute, first_administrator, invited, path_of};
use crate::support::{CRM, EVIL, World, reply};

/// A phone.
const NARROW: u32 = 375;
const WIDE: u32 = 1280;

#[tokio::test]
async fn no_page_shuts_anybody_out_or_breaks_its_policy() {
    let world = World::with("", reply("200 OK", "", "ok")).await;
    let browser = Browser::start(&world.proxy).await;
    let mut found = Found::default();
    let ada = found.first_start(&world, &browser).await;
    let invitation = furnish(&world, &browser).await;
    let mut pages = 0;
    for organization in ["default", "acme"] {
        for route in gets() {
            let path = filled(&route, organization, &invitation);
            let (status, kind, _) = ada.fetch(&path).await;
            let shared = organization != "default" && !route.contains("{organization}");
            if kind.starts_with("text/html") && status != 404 && !shared {
                ada.open(&path).await;
                found.look(&ada, &path).await;
                pages += 1;
            }
        }
    }
    assert!(pages > 30, "only {pages} pages were looked at");
    found.with_faults(&ada).await;
    found.with_results(&ada).await;
    found.for_others(&browser).await;
    assert!(found.0.is_empty(), "{:#?}", found.0);
    assert_eq!(ada.noticed().await, serde_json::json!([]));
}

/// Something of everything; the token of an invitation that is open.
async fn furnish(world: &World, browser: &Browser) -> String {
    let proxy = &world.proxy;
    let runner = proxy.must(&["runner", "create", "billing"], "").await;
    let long = "a.rather.long.name-of-a-secret_that-somebody-has-chosen.for.good-reasons.v2";
    proxy
        .create_secret(
            long,
            "v",
            &["*.a-rather-long-name-of-a-host.example.com", "10.0.0.1", "other.example.com", "x.example.com"],
        )
        .await;
    proxy.create_secret("crm.apikey", "v", &[]).await;
    proxy.must(&["secret", "edit", "crm.apiKey", "--description", "The key of our CRM. Ask Ada before you change it."], "").await;
    proxy.must(&["organization", "create", "acme"], "").await;
    proxy.must(&["token", "create", "ci", "--role", "viewer"], "").await;
    invited(proxy, browser, "vera", "viewer", "default", true).await;
    assert_eq!(bearer(world, &runner, CRM, "crm.apiKey").await.status(), 200);
    assert_eq!(bearer(world, &runner, CRM, "crm.apikey").await.status(), 200);
    assert_eq!(bearer(world, &runner, EVIL, "crm.apiKey").await.status(), 403);
    assert_eq!(execute(world, &runner, CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.status(), 200);
    let link = proxy.must(&["member", "invite", "wanda", "--role", "editor"], "").await;
    let own = proxy.must(&["member", "invite", "ada", "--role", "administrator", "--organization", "acme"], "").await;
    let ada = browser.person("ada", true).await;
    ada.open(&path_of(&own)).await;
    assert_eq!(ada.submit("Join").await.status, 200);
    path_of(&link).rsplit('/').next().expect("a token").to_owned()
}

/// What was found, each with its page and the look that showed it.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    async fn look(&mut self, page: &Page, which: &str) {
        for (width, scheme, rules) in [(WIDE, "light", &[][..]), (WIDE, "dark", &["color-contrast"]), (NARROW, "light", &[])] {
            page.look(width, scheme).await;
            let faults = page.faults(rules).await;
            self.0.extend(faults.into_iter().map(|fault| format!("{which}, {width} wide, {scheme}: {fault}")));
        }
        page.look(WIDE, "light").await;
    }

    /// The page of the first start, while there is one.
    async fn first_start(&mut self, world: &World, browser: &Browser) -> Page {
        let ada = browser.person("ada", true).await;
        let event: serde_json::Value =
            serde_json::from_str(&world.proxy.logged("nobody has an account yet").await).expect("JSON");
        ada.open(&path_of(event["fields"]["link"].as_str().expect("a link"))).await;
        self.look(&ada, "first start").await;
        ada.fill("Login: an e-mail address, or a word", "ada").await;
        ada.fill("Password, 12 characters at least", "short").await;
        assert_eq!(ada.submit("Make the account").await.status, 422);
        self.look(&ada, "first start, refused").await;
        first_administrator(&world.proxy, browser, true).await
    }

    /// Forms that come back.
    async fn with_faults(&mut self, ada: &Page) {
        ada.open("/organizations/default/new-secret").await;
        ada.fill("Name", "9").await;
        ada.fill("Value", "v").await;
        ada.fill("Allowed domains (optional)", "*.com").await;
        assert_eq!(ada.submit("Create secret").await.status, 422);
        self.look(ada, "a new secret, refused").await;
        ada.open("/organizations/default/secrets/crm.apiKey").await;
        ada.fill("Allowed domains (optional)", "*.s3.amazonaws.com").await;
        ada.waits_for("Anybody can get a name under").await;
        self.look(ada, "a secret, advised").await;
        assert_eq!(ada.submit("Save changes").await.status, 422);
        self.look(ada, "a secret, refused").await;
        ada.open("/organizations/default/new-runner").await;
        ada.fill("Name", "billing").await;
        assert_eq!(ada.submit("Create runner").await.status, 409);
        self.look(ada, "a new runner, refused").await;
    }

    /// What forms lead to.
    async fn with_results(&mut self, ada: &Page) {
        for host in [CRM, EVIL] {
            ada.open("/organizations/default/request-test").await;
            let command = format!("curl https://{host}/ -H 'Authorization: Bearer {{secrets.crm.apiKey}}'");
            ada.fill("URL or curl command", &command).await;
            assert_eq!(ada.submit("Test the request").await.status, 200);
            self.look(ada, &format!("a tested request to {host}")).await;
        }
        ada.open("/organizations/default/new-runner").await;
        ada.fill("Name", "shipping").await;
        assert_eq!(ada.submit("Create runner").await.status, 201);
        self.look(ada, "the token of a runner").await;
        ada.open("/organizations/default/new-invitation").await;
        ada.fill("Login", "xaver").await;
        ada.submit("Make the link").await;
        self.look(ada, "an invitation").await;
        ada.open("/organizations/default/new-token").await;
        ada.fill("Name", "terraform").await;
        ada.submit("Create token").await;
        self.look(ada, "a new token").await;
        ada.open("/organizations/default/secrets?q=nothing-like-it").await;
        self.look(ada, "nothing found").await;
        ada.open("/nowhere").await;
        self.look(ada, "nothing there").await;
    }

    /// Whoever may only look, and whoever has not come in.
    async fn for_others(&mut self, browser: &Browser) {
        let vera = browser.person("vera", true).await;
        for path in ["secrets", "secrets/crm.apiKey", "request-test", "runners", "new-secret"] {
            vera.open(&format!("/organizations/default/{path}")).await;
            self.look(&vera, &format!("{path}, for a viewer")).await;
        }
        let eve = browser.person("eve", true).await;
        eve.open("/organizations/default/secrets").await;
        eve.fill("Login", "vera").await;
        eve.fill("Password", &PASSWORD.to_uppercase()).await;
        assert_eq!(eve.submit("Sign in").await.status, 403);
        self.look(&eve, "signing in, refused").await;
    }
}
