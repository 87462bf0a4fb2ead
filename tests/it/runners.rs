//! Who may ask, for what, and when no longer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::support::client::{exchange, tls_in};
use super::support::{CRM, EVIL, World, reply};

fn basic(token: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("any:{token}")))
}

async fn create(world: &World, arguments: &[&str]) -> String {
    let printed = world.proxy.must(&[&["runner", "create"], arguments].concat(), "").await;
    let token =
        printed.split_whitespace().find(|word| word.starts_with("srt_")).unwrap_or_else(|| panic!("no token in {printed}"));
    token.trim_matches(['"', ',', '`', '\'']).to_owned()
}

const GET: &str = "GET http://plain.crm.example.com/{secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n";

#[tokio::test]
async fn a_407_keeps_the_connection_open_and_names_the_cure() {
    let world = World::new().await;
    assert_eq!(world.send(&format!("{GET}\r\n")).await.status(), 200, "no runner exists yet");
    let token = create(&world, &["billing"]).await;
    let mut stream = world.connect().await;
    for credentials in [
        "",
        "Proxy-Authorization: Bearer srt_wrong\r\n",
        "Proxy-Authorization: Basic !!\r\n",
        "Proxy-Authorization: Digest x\r\n",
        &basic("wrong"),
    ] {
        let response = exchange(&mut stream, &format!("{GET}{credentials}\r\n")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (407, "runner_unauthenticated"), "{credentials}");
        assert!(response.fields("proxy-authenticate")[0].starts_with("Basic realm="));
        assert!(response.text().contains("runner create"));
    }
    for credentials in [basic(&token), format!("Proxy-Authorization: Bearer {token}\r\n")] {
        assert_eq!(exchange(&mut stream, &format!("{GET}{credentials}\r\n")).await.text(), "ok");
    }
    let received = world.crm_plain.received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|request| !request.head.to_lowercase().contains("proxy-authorization")));
}

#[tokio::test]
async fn a_runner_is_limited_to_names_and_hosts() {
    let world = World::new().await;
    let token = create(&world, &["crm", "--secret", "crm.*", "--host", "*.crm.example.com"]).await;
    let auth = format!("Proxy-Authorization: Bearer {token}\r\n");
    world.proxy.create_secret("other", "x", &[]).await;
    assert_eq!(world.send(&format!("{GET}{auth}\r\n")).await.status(), 200);
    for name in ["other", "nobody"] {
        let response =
            world.send(&format!("GET http://plain.crm.example.com/{{secrets.{name}}} HTTP/1.1\r\nHost: x\r\n{auth}\r\n")).await;
        assert_eq!((response.status(), response.refusal().as_str()), (403, "runner_not_permitted"), "{name}");
    }
    let response = world.send(&format!("GET https://{EVIL}/ HTTP/1.1\r\nHost: x\r\n{auth}\r\n")).await;
    assert_eq!((response.status(), response.refusal().as_str()), (403, "runner_not_permitted"));
    assert_eq!(world.evil.connections(), 0);
}

#[tokio::test]
async fn a_revocation_rules_the_next_request_on_an_open_tunnel() {
    let world = World::new().await;
    let token = create(&world, &["billing"]).await;
    create(&world, &["another"]).await;
    let mut stream = world.connect().await;
    let connect = exchange(&mut stream, &format!("CONNECT {CRM}:443 HTTP/1.1\r\nHost: {CRM}:443\r\n{}\r\n", basic(&token))).await;
    assert_eq!(connect.status(), 200);
    let mut inside = tls_in(stream, CRM, &world.ca()).await.expect("trusted");
    let request = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n");
    assert_eq!(exchange(&mut inside, &request).await.status(), 200);
    world.proxy.must(&["runner", "revoke", "billing"], "").await;
    let response = exchange(&mut inside, &request).await;
    assert_eq!((response.status(), response.refusal().as_str()), (407, "runner_unauthenticated"));
    assert_eq!(world.crm.received().len(), 1);
}

#[tokio::test]
async fn an_edit_and_a_new_token_rule_the_next_request_on_an_open_tunnel() {
    let world = World::new().await;
    let token = create(&world, &["crm", "--secret", "crm.*"]).await;
    let mut stream = world.connect().await;
    let connect = exchange(&mut stream, &format!("CONNECT {CRM}:443 HTTP/1.1\r\nHost: {CRM}:443\r\n{}\r\n", basic(&token))).await;
    assert_eq!(connect.status(), 200);
    let mut inside = tls_in(stream, CRM, &world.ca()).await.expect("trusted");
    let request = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n");
    assert_eq!(exchange(&mut inside, &request).await.status(), 200);
    world.proxy.must(&["runner", "edit", "crm", "--secret", "other.*"], "").await;
    let response = exchange(&mut inside, &request).await;
    assert_eq!((response.status(), response.refusal().as_str()), (403, "runner_not_permitted"));
    world.proxy.must(&["runner", "edit", "crm", "--all-secrets", "--host", CRM], "").await;
    assert_eq!(exchange(&mut inside, &request).await.status(), 200);
    world.proxy.must(&["runner", "rotate-token", "crm"], "").await;
    assert_eq!(exchange(&mut inside, &request).await.refusal(), "runner_unauthenticated");
    assert_eq!(world.crm.received().len(), 2);
}

#[tokio::test]
async fn a_deleted_or_restricted_secret_rules_the_next_request_too() {
    let world = World::new().await;
    let mut inside = world.tls(CRM).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n");
    assert_eq!(exchange(&mut inside, &request).await.status(), 200);
    world.proxy.must(&["secret", "edit", "crm.apiKey", "--value-stdin", "--allow", "other.example.com"], "new").await;
    assert_eq!(exchange(&mut inside, &request).await.refusal(), "domain_restricted");
    world.proxy.must(&["secret", "delete", "crm.apiKey", "--yes"], "").await;
    assert_eq!(exchange(&mut inside, &request).await.refusal(), "secret_not_found");
}

#[tokio::test]
async fn declared_runners_and_secrets_come_from_files() {
    let config = "[[secrets]]\nname = \"declared\"\nvalue = { file = \"value\" }\nallowed_domains = [\"*.crm.example.com\"]\n[[runners]]\nname = \"side\"\ntoken = { file = \"token\" }\nsecrets = [\"declared\"]\n";
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("value"), "from-a-file\n").expect("written");
    std::fs::write(dir.path().join("token"), "a-long-token-of-our-own-choice-0123456789\n").expect("written");
    let world = World::with("", reply("200 OK", "", "ok")).await;
    let egress = format!("[egress.resolve]\n\"plain.crm.example.com\" = \"{}\"\n", world.crm_plain.address);
    let proxy = super::support::Proxy::start(dir, &format!("{egress}{config}")).await;
    let world = World { proxy, ..world };
    let get = "GET http://plain.crm.example.com/{secrets.declared} HTTP/1.1\r\nHost: x\r\n";
    assert_eq!(world.send(&format!("{get}\r\n")).await.refusal(), "runner_unauthenticated");
    assert_eq!(
        world.send(&format!("{get}Proxy-Authorization: Bearer a-long-token-of-our-own-choice-0123456789\r\n\r\n")).await.status(),
        200
    );
    assert_eq!(world.crm_plain.only().line(), "GET /from-a-file HTTP/1.1");
    assert!(world.proxy.must_fail(&["secret", "delete", "declared", "--yes"], "").await.contains("declared"));
}
