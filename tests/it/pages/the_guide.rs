//! The user's guide, walked sentence by sentence with the real binary, with scripts and without.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::browser::{Browser, Page};
use super::guide::Guide;
use super::nowhere;
use super::stage::{bearer, execute, first_administrator, invited, last_bearer};
use crate::support::{CRM, EVIL, VALUE, World, reply};

/// Values that are typed, in every encoding a form knows the same.
const OPEN: &str = "typedOpenKq7vW2xNpL5r";
const REFUSED: &str = "typedRefusedT8mB4jHd3";
const REPLACED: &str = "typedReplacedYc6gZ1sF9";
const RESTRICTED: &str = "typedRestrictedQn2wE8u";
const LOST: &str = "typedLostUe3yW9oK6dGx";
const AGAIN: &str = "typedAgainMv5kX7pR0aJc";

const NAME: &str = "Name";
const SECRET: &str = "Value";
const DESCRIPTION: &str = "Description (optional)";
const DOMAINS: &str = "Allowed domains (optional)";
const SWITCH: &str = "Enable value editing";
const MASK: &str = "••••••••";

#[tokio::test]
async fn every_sentence_of_the_users_guide_holds() {
    walk(true).await;
}

#[tokio::test]
async fn every_sentence_of_the_users_guide_holds_without_scripts() {
    walk(false).await;
}

async fn walk(scripts: bool) {
    let world = World::with("", reply("200 OK", "", "ok")).await;
    let browser = Browser::start(&world.proxy).await;
    let token = world.proxy.must(&["runner", "create", "billing"], "").await;
    let mut walk = Walk::begin(&world, &browser, &token, scripts).await;
    walk.before_you_start().await;
    walk.what_you_can_store().await;
    walk.open_the_secrets_page().await;
    walk.create_a_secret().await;
    walk.name_rules().await;
    walk.use_a_secret_in_a_request().await;
    walk.edit_a_secret().await;
    walk.restrict_a_secret().await;
    walk.how_restrictions_work().await;
    walk.delete_a_secret().await;
    walk.if_a_secret_is_missing().await;
    walk.good_practices().await;
    walk.example().await;
    walk.too_late().await;
    let Walk { guide, ada, .. } = walk;
    guide.ends();
    assert_eq!(ada.noticed().await, serde_json::json!([]));
    let typed = [VALUE, OPEN, REFUSED, REPLACED, RESTRICTED, AGAIN, LOST];
    nowhere::is_kept(&ada, &typed).await;
    nowhere::is_left(world, browser, &typed).await;
}

/// The guide, the people who follow it, and the runner whose requests it is about.
struct Walk<'a> {
    guide: Guide,
    world: &'a World,
    token: &'a str,
    scripts: bool,
    /// An administrator.
    ada: Page,
    /// A viewer.
    vera: Page,
}

impl<'a> Walk<'a> {
    async fn begin(world: &'a World, browser: &Browser, token: &'a str, scripts: bool) -> Self {
        let ada = first_administrator(&world.proxy, browser, scripts).await;
        let vera = invited(&world.proxy, browser, "vera", "viewer", "default", scripts).await;
        Self { guide: Guide::open(), world, token, scripts, ada, vera }
    }

    /// Organization > Secrets.
    async fn secrets(&self) {
        self.ada.follow("Organization").await;
        assert_eq!(self.ada.follow("Secrets").await.path, "/organizations/default/secrets");
    }

    /// Fills in the form of a new secret, and sends it.
    async fn create(&self, name: &str, value: &str, description: &str, domains: &str) -> u64 {
        self.ada.fill(NAME, name).await;
        self.ada.fill(SECRET, value).await;
        self.ada.fill(DESCRIPTION, description).await;
        self.ada.fill(DOMAINS, domains).await;
        self.ada.submit("Create secret").await.status
    }

    /// What a request test says to a request to `host` that refers to a secret.
    async fn tested(&self, host: &str, name: &str) -> String {
        self.ada.follow("Test a request").await;
        let command = format!("curl https://{host}/ -H 'Authorization: Bearer {{secrets.{name}}}'");
        self.ada.fill("URL or curl command", &command).await;
        assert_eq!(self.ada.submit("Test the request").await.status, 200);
        self.ada.text().await
    }

    /// Executes the same, and tells what arrived.
    async fn executed(&self, host: &'static str, name: &str) -> String {
        let answer = bearer(self.world, self.token, host, name).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        last_bearer(self.world, host)
    }

    /// Executes the same, and tells why it was refused; nothing must have arrived.
    async fn refused(&self, host: &'static str, name: &str) -> String {
        let before = (self.world.crm.received().len(), self.world.evil.received().len());
        let answer = bearer(self.world, self.token, host, name).await;
        assert_eq!((self.world.crm.received().len(), self.world.evil.received().len()), before);
        answer.refusal()
    }

    async fn before_you_start(&mut self) {
        let guide = &mut self.guide;
        for _ in 0..2 {
            guide.says("Secrets");
            guide.says(
                "Secrets let you store sensitive values, such as API keys or tokens, once and reuse them in integrations without exposing the full value in forms.",
            );
        }
        guide.says("Before You Start");
        guide.says("You need access to the Organization > Secrets section.");
        let here = self.ada.open("/").await;
        assert_eq!((here.status, here.path.as_str()), (200, "/organizations/default/secrets"));
        guide.says("If you can view secrets but cannot create or edit them, ask an administrator for edit permissions.");
        let vera = &self.vera;
        vera.open("/organizations/default/secrets").await;
        vera.says(&["crm.apiKey", "Ask an administrator of this organization for edit permissions"]).await;
        for (role, name) in [("link", "Create secret"), ("link", "Edit crm.apiKey"), ("link", "Remove crm.apiKey")] {
            assert_eq!(vera.count(role, name).await, 0, "{name}");
        }
        vera.follow("crm.apiKey").await;
        vera.says(&["Ask an administrator of this organization for edit permissions", "*.crm.example.com"]).await;
        for (role, name) in [("textbox", NAME), ("textbox", SECRET), ("button", "Save changes"), ("link", "Remove secret")] {
            assert_eq!(vera.count(role, name).await, 0, "{name}");
        }
        for page in ["new-secret", "secrets/crm.apiKey/remove"] {
            assert_eq!(vera.open(&format!("/organizations/default/{page}")).await.status, 403, "{page}");
            vera.says(&["Ask an administrator"]).await;
        }
    }

    async fn what_you_can_store(&mut self) {
        let (guide, ada) = (&mut self.guide, &self.ada);
        guide.says("What You Can Store");
        guide.says("Each secret contains:");
        ada.follow("Create secret").await;
        for (sentence, field) in [
            ("Name: the identifier used later in requests", NAME),
            ("Value: the sensitive value itself", SECRET),
            ("Description: optional notes for your team", DESCRIPTION),
            ("Allowed domains: optional list of domains where the secret is allowed to be used", DOMAINS),
        ] {
            guide.says(sentence);
            assert_eq!(ada.field(field).await.value, "", "{field}");
        }
    }

    async fn open_the_secrets_page(&mut self) {
        let (guide, ada) = (&mut self.guide, &self.ada);
        guide.says("Open the Secrets Page");
        guide.says("Open Organization.");
        assert_eq!(ada.follow("Organization").await.status, 200);
        guide.says("Go to Secrets.");
        assert_eq!(ada.follow("Secrets").await.path, "/organizations/default/secrets");
        guide.says("The list shows all configured secrets for your organization.");
        ada.says(&["1 secret", "crm.apiKey"]).await;
        guide.says("The secret value is shown in a masked form after saving.");
        ada.says(&[MASK]).await;
        ada.hides(&[VALUE]).await;
    }

    async fn create_a_secret(&mut self) {
        self.guide.says("Create a Secret");
        self.guide.says("Open Organization > Secrets.");
        self.secrets().await;
        self.guide.says("Click Create secret.");
        self.ada.follow("Create secret").await;
        self.guide.says("Fill in the fields:");
        self.guide.says("Name: enter a unique secret name");
        self.guide.says("Value: paste the secret value");
        self.guide.says("Description: optional");
        self.guide.says("Allowed domains: optional");
        self.guide.says("Save the form.");
        assert_eq!(self.create("shop", OPEN, "", "").await, 200);
        self.ada.says(&["The secret shop was created."]).await;
        self.ada.hides(&[OPEN]).await;
        self.secrets().await;
        self.ada.says(&["2 secrets", "shop", "Any domain"]).await;
        // The form that was sent does not hold the value when somebody goes back to it.
        self.ada.back().await;
        self.ada.back().await;
        assert_eq!(self.ada.field(SECRET).await.value, "");
    }

    async fn name_rules(&mut self) {
        self.guide.says("Name Rules");
        self.secrets().await;
        self.ada.follow("Create secret").await;
        self.guide.says("The name must start with a letter.");
        for name in ["9crm.apiKey", "_crm", ".crm"] {
            self.name_refused(name, 422, "letter").await;
        }
        self.guide.says("It can contain letters, numbers, underscores (_), hyphens (-), and dots (.).");
        for name in ["crm apiKey", "crm/apiKey", "crm.Schlüssel"] {
            self.name_refused(name, 422, "letters").await;
        }
        assert_eq!(self.create("A1_b-c.2", AGAIN, "", "").await, 200);
        self.ada.says(&["The secret A1_b-c.2 was created."]).await;
        self.guide.says("Dots can be used to create readable groups, for example crm.apiKey or aws.accessKey.");
        self.secrets().await;
        self.ada.follow("Create secret").await;
        assert_eq!(self.create("aws.accessKey", AGAIN, "", "").await, 200);
        self.guide.says("The name must be unique.");
        self.secrets().await;
        self.ada.follow("Create secret").await;
        self.name_refused("crm.apiKey", 409, "crm.apiKey").await;
    }

    /// The fault stands beside the name, what was typed is kept, and the value is not.
    async fn name_refused(&self, name: &str, status: u64, why: &str) {
        assert_eq!(self.create(name, REFUSED, "kept as typed", "kept.example.com").await, status, "{name}");
        let field = self.ada.field(NAME).await;
        assert!(field.invalid && field.value == name && field.said.contains(why), "{name}: {field:?}");
        assert_eq!(self.ada.field(DESCRIPTION).await.value, "kept as typed");
        assert_eq!(self.ada.field(DOMAINS).await.value, "kept.example.com");
        assert_eq!(self.ada.field(SECRET).await.value, "", "{name}");
        self.ada.hides(&[REFUSED]).await;
    }

    async fn use_a_secret_in_a_request(&mut self) {
        let guide = &mut self.guide;
        guide.says("Use a Secret in a Request");
        guide.says("To insert a secret into an integration request, use this format:");
        guide.says("{secrets.yourSecretName}");
        guide.says("Example:");
        guide.says("Authorization: Bearer {secrets.crm.apiKey}");
        assert_eq!(self.executed(CRM, "crm.apiKey").await, VALUE);
        self.guide.says("You can use secret references in request fields such as:");
        let body = "{\"key\": \"{secrets.shop}\"}";
        let basic = STANDARD.encode("me:{secrets.shop}");
        let request = format!(
            "POST /v1/{{secrets.shop}}/x?k={{secrets.shop}} HTTP/1.1\r\nHost: {CRM}\r\nX-Api-Key: {{secrets.shop}}\r\nAuthorization: Basic {basic}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(execute(self.world, self.token, CRM, &request).await.status(), 200);
        let arrived = self.world.crm.received().pop().expect("it came");
        self.guide.says("headers");
        assert_eq!(arrived.field("x-api-key"), OPEN);
        self.guide.says("query parameters");
        self.guide.says("request body");
        assert_eq!(arrived.text(), format!("{{\"key\": \"{OPEN}\"}}"));
        self.guide.says("request path");
        assert_eq!(arrived.line(), format!("POST /v1/{OPEN}/x?k={OPEN} HTTP/1.1"));
        self.guide.says("authentication headers");
        assert_eq!(arrived.field("authorization"), format!("Basic {}", STANDARD.encode(format!("me:{OPEN}"))));
        self.guide.says("Do not use secrets in the integration Base URL field.");
        assert!(self.tested("{secrets.shop}.example.com", "shop").await.contains("secret_in_authority"));
        let request = "GET http://{secrets.shop}.example.com/ HTTP/1.1\r\nHost: {secrets.shop}.example.com\r\n\r\n";
        assert_eq!(self.world.send(request).await.refusal(), "secret_in_authority");
    }

    async fn edit_a_secret(&mut self) {
        self.guide.says("Edit a Secret");
        self.guide.says("Open Organization > Secrets.");
        self.secrets().await;
        self.guide.says("Select the secret you want to change.");
        self.ada.follow("shop").await;
        self.guide.says("Update the name and description as needed.");
        self.ada.fill(NAME, "shop.token").await;
        self.ada.fill(DESCRIPTION, "For the shop. Ask Ada.").await;
        assert_eq!(self.ada.submit("Save changes").await.status, 200);
        self.ada.says(&["The secret shop.token was saved."]).await;
        assert_eq!(self.ada.field(DESCRIPTION).await.value, "For the shop. Ask Ada.");
        assert_eq!(self.executed(CRM, "shop.token").await, OPEN);
        assert_eq!(self.refused(CRM, "shop").await, "secret_not_found");
        self.guide.says("If you want to replace the stored value, enable value editing and enter the new value.");
        assert_eq!(self.ada.count("textbox", SECRET).await, 0, "value editing is off");
        self.ada.press("checkbox", SWITCH).await;
        self.ada.fill(SECRET, REPLACED).await;
        self.guide.says("Save the changes.");
        assert_eq!(self.ada.submit("Save changes").await.status, 200);
        assert_eq!(self.executed(CRM, "shop.token").await, REPLACED);
        self.guide.says("Important");
        self.guide.says("After a secret is saved, its full value is not shown again in the UI.");
        self.ada.says(&[MASK]).await;
        self.ada.hides(&[OPEN, REPLACED]).await;
        self.ada.press("checkbox", SWITCH).await;
        assert_eq!(self.ada.field(SECRET).await.value, "");
        self.guide.says("If you do not provide a new value during editing, the current stored value remains unchanged.");
        assert_eq!(self.ada.submit("Save changes").await.status, 422, "value editing is on, and nothing is entered");
        assert!(self.ada.field(SECRET).await.invalid);
        self.ada.press("checkbox", SWITCH).await;
        self.ada.fill(DESCRIPTION, "For the shop").await;
        assert_eq!(self.ada.submit("Save changes").await.status, 200);
        assert_eq!(self.executed(CRM, "shop.token").await, REPLACED);
    }

    async fn restrict_a_secret(&mut self) {
        self.guide.says("Restrict a Secret to Specific Domains");
        self.guide.says("Allowed domains help prevent a secret from being sent to unintended destinations.");
        assert_eq!(self.refused(EVIL, "crm.apiKey").await, "domain_restricted");
        self.guide.says("If you leave Allowed domains empty, the secret can be used for requests to any domain.");
        assert_eq!(self.executed(EVIL, "shop.token").await, REPLACED);
        assert!(self.tested(EVIL, "shop.token").await.contains("It would be sent to"));
        self.guide.says("Examples of valid entries:");
        self.secrets().await;
        self.ada.follow("shop.token").await;
        self.domains_need_a_value().await;
        self.ada.fill(SECRET, RESTRICTED).await;
        self.ada.fill(DOMAINS, "*.com").await;
        assert_eq!(self.ada.submit("Save changes").await.status, 422);
        let field = self.ada.field(DOMAINS).await;
        assert!(field.invalid && field.value == "*.com" && field.said.contains("*.com"), "{field:?}");
        let examples = ["example.com", "api.example.com", "*.example.com"];
        for example in examples {
            self.guide.says(example);
        }
        self.ada.fill(SECRET, RESTRICTED).await;
        self.ada.fill(DOMAINS, &examples.join("\n")).await;
        if self.scripts {
            self.ada.waits_for("Does not match www.example.com, notexample.com").await;
        }
        assert_eq!(self.ada.submit("Save changes").await.status, 200);
        assert_eq!(self.ada.field(DOMAINS).await.value, examples.join("\n"));
        assert!(self.tested("v1.api.example.com", "shop.token").await.contains("It would be sent to"));
        assert!(self.tested("notexample.com", "shop.token").await.contains("domain_restricted"));
    }

    /// Other domains alone are not saved: the page switches value editing on, and says why.
    async fn domains_need_a_value(&self) {
        self.ada.fill(DOMAINS, "example.com").await;
        let switch = self.ada.field_of("checkbox", SWITCH).await;
        assert_eq!(switch.checked, self.scripts, "a script switches it on at once, the server when it is asked");
        assert_eq!(self.ada.submit("Save changes").await.status, 422);
        assert!(self.ada.field_of("checkbox", SWITCH).await.checked);
        let value = self.ada.field(SECRET).await;
        let why =
            if self.scripts { "Paste the new value" } else { "Allowed domains and limits change only together with the value" };
        assert!(value.invalid && value.said.contains(why), "{value:?}");
        assert_eq!(self.ada.field(DOMAINS).await.value, "example.com");
        assert_eq!(self.executed(EVIL, "shop.token").await, REPLACED, "nothing was saved");
    }

    async fn how_restrictions_work(&mut self) {
        self.guide.says("How Domain Restrictions Work");
        self.guide.says(
            "If a secret is restricted, it can only be used when the request target matches one of the allowed domain patterns.",
        );
        assert!(self.tested(CRM, "crm.apiKey").await.contains("It would be sent to"));
        assert_eq!(self.executed(CRM, "crm.apiKey").await, VALUE);
        self.guide.says(
            "If the target domain does not match, the request test or execution will fail with a domain restriction error.",
        );
        let told = self.tested(EVIL, "crm.apiKey").await;
        assert!(told.contains("Refused") && told.contains("domain_restricted") && told.contains(EVIL), "{told}");
        assert_eq!(self.refused(EVIL, "crm.apiKey").await, "domain_restricted");
        self.guide.says("Important");
        self.guide
            .says("To change Allowed domains for an existing secret, you must also provide a new secret value at the same time.");
        assert_eq!(self.refused(EVIL, "shop.token").await, "domain_restricted", "it was provided above, and the domains changed");
    }

    async fn delete_a_secret(&mut self) {
        self.guide.says("Delete a Secret");
        self.guide.says("Open Organization > Secrets.");
        self.secrets().await;
        self.guide.says("Find the secret in the list.");
        self.ada.says(&["crm.apiKey"]).await;
        self.guide.says("Click the remove action.");
        self.ada.follow("Remove crm.apiKey").await;
        self.ada.says(&["Remove crm.apiKey?"]).await;
        self.guide.says("Confirm deletion.");
        // Before that it is there, also for whoever thinks better of it.
        self.ada.follow("Keep it").await;
        assert_eq!(self.executed(CRM, "crm.apiKey").await, VALUE);
        self.secrets().await;
        self.ada.follow("Remove crm.apiKey").await;
        self.ada.comes_to_say("/organizations/default/secrets/crm.apiKey/remove", "billing").await;
        self.guide.says("Deleting a secret can break integrations or requests that still reference it.");
        self.ada
            .says(&["every request that still refers to {secrets.crm.apiKey} will be refused", "billing", CRM, "authentication"])
            .await;
        assert_eq!(self.ada.submit("Remove secret").await.status, 200);
        self.ada.says(&["The secret crm.apiKey was removed."]).await;
        assert_eq!(self.ada.count("link", "crm.apiKey").await, 0);
    }

    async fn if_a_secret_is_missing(&mut self) {
        self.guide.says("What Happens If a Secret Is Missing");
        self.guide.says(
            "If a request references a secret that does not exist, the request test or execution will fail until the missing secret is created or the reference is removed.",
        );
        assert!(self.tested(CRM, "crm.apiKey").await.contains("secret_not_found"));
        assert_eq!(self.refused(CRM, "crm.apiKey").await, "secret_not_found");
        let without = format!("GET /without HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
        assert_eq!(execute(self.world, self.token, CRM, &without).await.status(), 200);
    }

    async fn good_practices(&mut self) {
        self.guide.says("Good Practices");
        self.guide.says("Use clear, stable names such as crm.apiKey or billing.token.");
        self.secrets().await;
        self.ada.follow("Create secret").await;
        assert!(self.ada.field(NAME).await.said.contains("crm.apiKey"));
        self.guide.says("Add descriptions so other users know what the secret is for.");
        assert_eq!(self.create("shop.tokens", AGAIN, "", "").await, 200);
        self.ada.says(&["It has no description."]).await;
        self.guide.says("Use Allowed domains for production credentials whenever possible.");
        self.ada.hides(&["Name the domains it is meant for"]).await;
        assert_eq!(self.executed(CRM, "shop.tokens").await, AGAIN);
        let own = "/organizations/default/secrets/shop.tokens";
        self.ada.comes_to_say(own, "It is in use and may go to any domain. Name the domains it is meant for.").await;
        self.guide.says("Reuse existing secrets instead of creating duplicates with similar names.");
        self.ada.says(&["There is also shop.token."]).await;
        self.guide.says("Before deleting a secret, check whether it is still used in integrations.");
        self.ada.follow("Remove secret").await;
        self.ada.says(&["Recent uses", "billing", CRM]).await;
    }

    async fn example(&mut self) {
        self.guide.says("Example");
        self.guide.says("Secret:");
        self.guide.says("Name: crm.apiKey");
        self.guide.says("Value: abc123...");
        self.guide.says("Allowed domains: api.crm.example.com");
        self.secrets().await;
        self.ada.follow("Create secret").await;
        assert_eq!(self.create("crm.apiKey", AGAIN, "", "api.crm.example.com").await, 200);
        self.guide.says("Usage in request header:");
        self.guide.says("Authorization: Bearer {secrets.crm.apiKey}");
        assert_eq!(self.executed(CRM, "crm.apiKey").await, AGAIN);
        assert_eq!(self.refused(EVIL, "crm.apiKey").await, "domain_restricted");
    }

    /// Somebody else was faster: nothing is saved, what was typed stays, and the value does not, even where no form is left to
    /// show.
    async fn too_late(&self) {
        self.secrets().await;
        self.ada.follow("shop.tokens").await;
        self.world.proxy.must(&["secret", "edit", "shop.tokens", "--description", "Theirs"], "").await;
        self.ada.fill(DESCRIPTION, "Mine").await;
        assert_eq!(self.ada.submit("Save changes").await.status, 412);
        self.ada.says(&["Nothing was saved: local changed this secret", "Theirs"]).await;
        assert_eq!(self.ada.field(DESCRIPTION).await.value, "Mine");
        self.ada.press("checkbox", SWITCH).await;
        self.ada.fill(SECRET, LOST).await;
        self.world.proxy.must(&["secret", "delete", "shop.tokens", "--yes"], "").await;
        assert_eq!(self.ada.submit("Save changes").await.status, 404);
    }
}
