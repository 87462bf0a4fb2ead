//! Two organizations side by side: the same names, other values, and nothing of the one to be seen from the other.

use super::browser::{Browser, Led, Page};
use super::routes::{filled, of_members};
use super::stage::{PASSWORD, bearer, first_administrator, invited, last_bearer, path_of};
use crate::support::{CRM, VALUE, World, reply};

const ACME_VALUE: &str = "of-acme-Kq7vW2xNpL5r";
const ACME: &str = "acme";
const NOTE: &str = "Seen in acme only";
const OWN: &str = "default.only";

#[tokio::test]
async fn organizations_share_names_and_nothing_else() {
    let world = World::with("", reply("200 OK", "", "ok")).await;
    world.proxy.create_secret(OWN, "v", &[]).await;
    world.proxy.must(&["organization", "create", "acme"], "").await;
    let browser = Browser::start(&world.proxy).await;
    let ada = first_administrator(&world.proxy, &browser, true).await;
    let zoe = invited(&world.proxy, &browser, "zoe", "administrator", "acme", true).await;
    create_beside(&zoe).await;
    // First, as what a runner asked for is told to its own people.
    each_sees_its_own(&ada, &zoe).await;
    each_runner_gets_its_own(&world).await;
    for (person, foreign) in [(&ada, "acme"), (&zoe, "default")] {
        nothing_is_told(person, foreign).await;
    }
    out_and_in_again(&zoe).await;
    yan_is_invited(&browser, &zoe).await;
    assert_eq!(ada.noticed().await, serde_json::json!([]));
}

/// The name is taken in `default`, and free here.
async fn create_beside(zoe: &Page) {
    assert_eq!(zoe.open("/").await.path, "/organizations/acme/secrets");
    zoe.says(&["No secrets yet"]).await;
    zoe.follow("Create secret").await;
    zoe.fill("Name", "crm.apiKey").await;
    zoe.fill("Value", ACME_VALUE).await;
    zoe.fill("Description (optional)", NOTE).await;
    assert_eq!(zoe.submit("Create secret").await.status, 200);
}

async fn each_runner_gets_its_own(world: &World) {
    for (organization, value) in [("default", VALUE), ("acme", ACME_VALUE)] {
        let token = world.proxy.must(&["runner", "create", "billing", "--organization", organization], "").await;
        assert_eq!(bearer(world, &token, CRM, "crm.apiKey").await.status(), 200);
        assert_eq!(last_bearer(world, CRM), value, "{organization}");
        let other = bearer(world, &token, CRM, OWN).await;
        if organization == "acme" {
            assert_eq!(other.refusal(), "secret_not_found");
        } else {
            assert_eq!(other.status(), 200);
        }
    }
}

async fn each_sees_its_own(ada: &Page, zoe: &Page) {
    ada.open("/organizations/default/secrets").await;
    ada.says(&["2 secrets", "crm.apiKey", OWN]).await;
    zoe.open("/organizations/acme/secrets").await;
    zoe.says(&["1 secret", "crm.apiKey", NOTE]).await;
    zoe.open("/organizations/acme/secrets?q=only").await;
    zoe.says(&["1 secret"]).await;
    // That `default` exists is no secret; what it holds is.
    for (person, own, foreign) in [(ada, "default", [ACME, NOTE]), (zoe, "acme", [OWN, "ada"])] {
        for route in of_members() {
            let (_, _, text) = person.fetch(&filled(&route, own, "none")).await;
            let mut words = text.split(|letter: char| !letter.is_alphanumeric() && !". ".contains(letter));
            let told = words.find(|word| foreign.contains(word));
            assert_eq!(told, None, "{route}: {text}");
        }
    }
}

/// Every page and every answer is as if there were no such organization.
async fn nothing_is_told(person: &Page, foreign: &str) {
    let routes = of_members();
    assert!(routes.len() > 15, "{routes:?}");
    for route in routes {
        let (status, _, text) = person.fetch(&filled(&route, foreign, "none")).await;
        let (_, _, unknown) = person.fetch(&filled(&route, "nowhere", "none")).await;
        assert_eq!((status, &text), (404, &unknown), "{route}");
    }
    assert_eq!(person.open(&format!("/organizations/{foreign}/secrets/crm.apiKey")).await.status, 404);
    person.says(&["There is no such organization, or you are not a member of it"]).await;
    person.hides(&["crm.apiKey"]).await;
}

/// Signing in leads to where somebody wanted to go.
async fn out_and_in_again(zoe: &Page) {
    zoe.open("/organizations/acme/secrets").await;
    zoe.press("DisclosureTriangle", "zoe administrator").await;
    zoe.submit("Sign out").await;
    let secret = "/organizations/acme/secrets/crm.apiKey";
    zoe.open(secret).await;
    zoe.hides(&["crm.apiKey", NOTE]).await;
    zoe.fill("Login", "zoe").await;
    zoe.fill("Password", PASSWORD).await;
    assert_eq!(zoe.submit("Sign in").await, Led { status: 200, path: secret.to_owned() });
}

/// The link that the page shows leads into this organization only.
async fn yan_is_invited(browser: &Browser, zoe: &Page) {
    zoe.follow("Members").await;
    zoe.follow("Invite somebody").await;
    zoe.fill("Login", "yan").await;
    zoe.submit("Make the link").await;
    let text = zoe.text().await;
    let link = text.split_whitespace().find(|word| word.contains("/invitation/")).expect("a link");
    let yan = browser.person("yan", true).await;
    yan.open(&path_of(link)).await;
    yan.fill("Choose a password, 12 characters at least", PASSWORD).await;
    assert_eq!(yan.submit("Join").await, Led { status: 200, path: "/organizations/acme/secrets".to_owned() });
    yan.says(&["Ask an administrator of this organization for edit permissions", NOTE]).await;
    assert_eq!(yan.open("/organizations/default/secrets").await.status, 404);
}
