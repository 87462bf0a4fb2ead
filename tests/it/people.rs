//! People and programs at the admin port: in by link, password or token, and out again.

use std::path::Path;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::client::{Response, exchange, tls_in};
use crate::support::{Ca, Proxy, soon};

const PASSWORD: &str = "correct horse battery";

/// What a browser does, with one cookie.
pub struct Browser<'a> {
    proxy: &'a Proxy,
    pub cookie: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    pub fn new(proxy: &'a Proxy) -> Self {
        Self { proxy, cookie: String::new(), csrf: String::new() }
    }

    async fn send(&self, method: &str, path: &str, fields: &str, content: &str) -> Response {
        let address = self.proxy.admin_address().await;
        let mut stream = soon(TcpStream::connect(address)).await.expect("the admin port listens");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {}\r\n{fields}Content-Length: {}\r\n\r\n{content}",
            self.cookie,
            content.len()
        );
        exchange(&mut stream, &request).await
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send("GET", path, "", "").await
    }

    /// Sends a form, with what the session's pages put into it, and keeps the cookie that is set.
    pub async fn post(&mut self, path: &str, inputs: &[(&str, &str)]) -> Response {
        let form = format!("{}&csrf={}", form_urlencoded(inputs), self.csrf);
        let response = self.send("POST", path, "Content-Type: application/x-www-form-urlencoded\r\n", &form).await;
        // The session's: every form changes another one too.
        if let Some(field) = response.fields("set-cookie").iter().find(|field| !field.starts_with("subrosa-sent=")) {
            field.split(';').next().expect("a pair").clone_into(&mut self.cookie);
            let page = self.get("/account").await.text();
            let after = page.split("name=\"csrf\" value=\"").nth(1).unwrap_or_default();
            after.split('"').next().unwrap_or_default().clone_into(&mut self.csrf);
        }
        response
    }

    async fn sign_in(&mut self, login: &str, password: &str) -> Response {
        self.post("/sign-in", &[("login", login), ("password", password)]).await
    }

    pub async fn me(&self) -> Response {
        self.get("/api/v1/me").await
    }
}

fn form_urlencoded(inputs: &[(&str, &str)]) -> String {
    inputs
        .iter()
        .fold(url::form_urlencoded::Serializer::new(String::new()), |mut form, (name, text)| {
            form.append_pair(name, text);
            form
        })
        .finish()
}

async fn started(config: &str) -> Proxy {
    Proxy::start(tempfile::tempdir().expect("a directory"), config).await
}

/// The path of a link that was logged or printed.
pub fn path_of(link: &str) -> String {
    let after = link.splitn(4, '/').nth(3).unwrap_or_else(|| panic!("no link in {link:?}"));
    format!("/{}", after.trim())
}

async fn setup_link(proxy: &Proxy) -> String {
    let event: Value = serde_json::from_str(&proxy.logged("nobody has an account yet").await).expect("JSON");
    event["fields"]["link"].as_str().expect("a link").to_owned()
}

/// Ada, the first administrator, signed in.
pub async fn with_ada(proxy: &Proxy) -> Browser<'_> {
    let path = path_of(&setup_link(proxy).await);
    let mut ada = Browser::new(proxy);
    let answer = ada.post(&path, &[("login", "ada"), ("password", PASSWORD)]).await;
    assert_eq!(answer.status(), 303, "{}", answer.text());
    ada
}

#[tokio::test]
async fn the_link_of_a_first_start_makes_one_administrator() {
    let mut proxy = started("").await;
    let link = setup_link(&proxy).await;
    assert!(link.starts_with("http://localhost:"), "{link}");
    let path = path_of(&link);
    let mut eve = Browser::new(&proxy);
    assert_eq!(eve.get(&format!("{path}x")).await.status(), 404);
    assert!(eve.get(&path).await.text().contains("<form"));
    let short = eve.post(&path, &[("login", "ada"), ("password", "short")]).await;
    assert_eq!(short.status(), 422);
    assert!(short.text().contains("12 characters"), "{}", short.text());
    let ada = with_ada(&proxy).await;
    assert_eq!(ada.me().await.json(), serde_json::json!({ "name": "ada", "roles": { "default": "administrator" } }));
    let again = eve.post(&path, &[("login", "eve"), ("password", PASSWORD)]).await;
    assert_eq!((again.status(), eve.me().await.status()), (404, 401));
    let cookie = ada.cookie.clone();
    drop(ada);

    proxy.stop().await;
    proxy.start_again().await;
    let ada = Browser { cookie, ..Browser::new(&proxy) };
    assert_eq!(ada.me().await.status(), 200, "a session survives a restart");
    assert!(!proxy.log().contains("nobody has an account yet"));
}

#[tokio::test]
async fn who_mistypes_waits_and_who_does_not_exist_is_told_the_same() {
    let proxy = started("").await;
    with_ada(&proxy).await;
    let mut eve = Browser::new(&proxy);
    let told = |answer: &Response| answer.text().split("role=\"alert\">").nth(1).expect("a sentence").to_owned();
    let known = eve.sign_in("ada", "wrong horse battery").await;
    let unknown = eve.sign_in("nobody", "wrong horse battery").await;
    assert_eq!((known.status(), unknown.status()), (403, 403));
    assert_eq!(told(&known).replace("ada", ""), told(&unknown).replace("nobody", ""));
    for _ in 0..4 {
        eve.sign_in("ada", "wrong horse battery").await;
    }
    let waits = eve.sign_in("ada", PASSWORD).await;
    assert_eq!(waits.status(), 429);
    assert!(waits.fields("retry-after")[0].parse::<u32>().is_ok_and(|seconds| seconds > 0));
    let log = proxy.log();
    assert!(log.contains("a sign-in failed") && !log.contains("wrong horse") && !log.contains(PASSWORD));
}

#[tokio::test]
async fn an_invited_member_loses_a_role_with_the_next_request() {
    let proxy = started("").await;
    with_ada(&proxy).await;
    let link = proxy.must(&["member", "invite", "Bob@Example.com", "--role", "editor"], "").await;
    let path = path_of(&link);
    let mut bob = Browser::new(&proxy);
    assert!(bob.get(&path).await.text().contains("bob@example.com"));
    assert_eq!(bob.post(&path, &[("password", PASSWORD)]).await.status(), 303);
    assert_eq!(bob.me().await.json()["roles"]["default"], "editor");
    assert_eq!(Browser::new(&proxy).get(&path).await.status(), 404, "it was used");

    let create = async |bob: &Browser<'_>, name: &str| {
        let fields = format!("Content-Type: application/json\r\nX-CSRF-Token: {}\r\n", bob.csrf);
        let content = format!("{{\"name\":\"{name}\",\"value\":\"v\"}}");
        bob.send("POST", "/api/v1/organizations/default/secrets", &fields, &content).await.status()
    };
    assert_eq!(create(&bob, "a").await, 201);
    proxy.must(&["member", "role", "bob@example.com", "viewer"], "").await;
    assert_eq!(create(&bob, "b").await, 403);
    proxy.must(&["member", "remove", "bob@example.com"], "").await;
    assert_eq!(bob.me().await.status(), 401);
    assert_eq!(bob.sign_in("bob@example.com", PASSWORD).await.status(), 403);
    let last = proxy.must_fail(&["member", "remove", "ada"], "").await;
    assert!(last.contains("last administrator"), "{last}");
}

#[tokio::test]
async fn signing_out_and_another_password_end_sessions() {
    let proxy = started("").await;
    let mut ada = with_ada(&proxy).await;
    let mut elsewhere = Browser::new(&proxy);
    assert_eq!(elsewhere.sign_in("ada", PASSWORD).await.status(), 303);
    let stolen = Browser { cookie: ada.cookie.clone(), ..Browser::new(&proxy) };
    let change = [("present", PASSWORD), ("password", "another long phrase")];
    assert_eq!(ada.post("/account/password", &change).await.status(), 303);
    assert_eq!((ada.me().await.status(), elsewhere.me().await.status(), stolen.me().await.status()), (200, 401, 401));
    let stolen = Browser { cookie: ada.cookie.clone(), ..Browser::new(&proxy) };
    assert_eq!(stolen.send("POST", "/sign-out", "", "").await.status(), 403, "without the token of the session");
    assert_eq!(ada.post("/sign-out", &[]).await.status(), 303);
    assert_eq!((ada.me().await.status(), stolen.me().await.status()), (401, 401));
}

#[tokio::test]
async fn a_page_of_another_name_or_site_gets_nowhere() {
    let proxy = started("").await;
    let ada = with_ada(&proxy).await;
    let address = proxy.admin_address().await;
    let form = form_urlencoded(&[("login", "ada"), ("password", PASSWORD)]);
    let sent = async |host: &str, fields: &str| {
        let mut stream = soon(TcpStream::connect(address)).await.expect("the admin port listens");
        let request = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n{fields}Content-Length: {}\r\n\r\n{form}",
            form.len()
        );
        exchange(&mut stream, &request).await.status()
    };
    assert_eq!(sent("127.0.0.1", "").await, 303);
    assert_eq!(sent("rebound.example", "").await, 421);
    assert_eq!(sent("127.0.0.1", "Origin: http://evil.example\r\n").await, 403);
    assert_eq!(sent("127.0.0.1", "Sec-Fetch-Site: cross-site\r\n").await, 403);
    assert_eq!(ada.send("DELETE", "/api/v1/organizations/default/members/ada", "", "").await.status(), 403);
}

#[tokio::test]
async fn a_program_elsewhere_does_what_its_token_says() {
    let proxy = started("").await;
    let server = format!("http://{}", proxy.admin_address().await);
    let token = proxy.must(&["token", "create", "ci", "--role", "viewer"], "").await;
    std::fs::write(proxy.path("token"), &token).expect("written");
    proxy.create_secret("crm.apiKey", "v", &[]).await;
    let remote = |arguments: &[&'static str]| {
        let server = server.clone();
        arguments.iter().map(|&part| part.to_owned()).chain(["--server".to_owned(), server]).collect::<Vec<_>>()
    };
    let with_file = [remote(&["secret", "list", "--json"]), vec!["--token-file".to_owned(), "token".to_owned()]].concat();
    let listed = proxy.must(&with_file.iter().map(String::as_str).collect::<Vec<_>>(), "").await;
    assert!(listed.contains("crm.apiKey"), "{listed}");
    let create =
        [remote(&["secret", "create", "b", "--value-stdin"]), vec!["--token-file".to_owned(), "token".to_owned()]].concat();
    let refused = proxy.must_fail(&create.iter().map(String::as_str).collect::<Vec<_>>(), "v").await;
    assert!(refused.contains("editor"), "{refused}");

    let told = proxy.must_fail(&["secret", "list", "--server", &server], "").await;
    assert!(told.contains("SUBROSA_TOKEN"), "{told}");
    let plain = ["secret", "list", "--server", "http://subrosa.example.com", "--token-file", "token"];
    assert!(proxy.must_fail(&plain, "").await.contains("use https"));
    assert!(proxy.must(&["token", "list"], "").await.contains("ci"));
    proxy.must(&["token", "revoke", "ci"], "").await;
    let over = proxy.must_fail(&with_file.iter().map(String::as_str).collect::<Vec<_>>(), "").await;
    assert!(over.contains("revoked"), "{over}");
    assert!(!proxy.log().contains(token.trim()));
}

#[tokio::test]
async fn organizations_are_made_and_go_by_command() {
    let proxy = started("").await;
    proxy.must(&["organization", "create", "acme", "--description", "The other one"], "").await;
    assert!(proxy.must(&["organization", "list"], "").await.contains("The other one"));
    proxy.must(&["secret", "create", "a", "--value-stdin", "--organization", "acme"], "v").await;
    let holds = proxy.must_fail(&["organization", "delete", "acme", "--yes"], "").await;
    assert!(holds.contains("secrets or runners"), "{holds}");
    proxy.must(&["secret", "delete", "a", "--yes", "--organization", "acme"], "").await;
    proxy.must(&["organization", "delete", "acme", "--yes"], "").await;
    assert!(!proxy.must(&["organization", "list"], "").await.contains("acme"));
}

#[tokio::test]
async fn the_admin_port_speaks_tls_with_its_own_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("written");
    let (certificate, key) = ca.issue(&["localhost", "127.0.0.1"]);
    write_pair(dir.path(), &certificate, &key);
    let config = "[admin]\nlisten = [\"127.0.0.1:0\"]\ntls = { certificate = \"admin.pem\", key = \"admin-key.pem\" }\n";
    let proxy = Proxy::start(dir, config).await;
    let link = setup_link(&proxy).await;
    assert!(link.starts_with("https://localhost:"), "{link}");
    let form = form_urlencoded(&[("login", "ada"), ("password", PASSWORD)]);
    let stream = soon(TcpStream::connect(proxy.admin_address().await)).await.expect("the admin port listens");
    let mut stream = tls_in(stream, "localhost", &proxy.path("ca.pem")).await.expect("the certificate is its own");
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        path_of(&link),
        form.len()
    );
    let answer = exchange(&mut stream, &request).await;
    let cookie = answer.fields("set-cookie")[0];
    assert!(cookie.starts_with("__Host-subrosa=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"), "{cookie}");

    let token = proxy.must(&["token", "create", "ci", "--role", "viewer"], "").await;
    std::fs::write(proxy.path("token"), token).expect("written");
    let server = format!("https://localhost:{}", proxy.admin_address().await.port());
    let list = ["member", "list", "--server", &server, "--token-file", "token"];
    assert!(proxy.must_fail(&list, "").await.contains("cannot be reached"), "nobody signed it");
    let trusting = [&list[..], &["--server-ca", "ca.pem"]].concat();
    assert!(proxy.must(&trusting, "").await.contains("ada"));
}

fn write_pair(directory: &Path, certificate: &str, key: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(directory.join("admin.pem"), certificate).expect("written");
    std::fs::write(directory.join("admin-key.pem"), key).expect("written");
    let own = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(directory.join("admin-key.pem"), own).expect("set");
}

#[tokio::test]
async fn nothing_that_opens_a_door_lies_on_the_disk() {
    let mut proxy = started("").await;
    let ada = with_ada(&proxy).await;
    let session = ada.cookie.split('=').nth(1).expect("a value").to_owned();
    drop(ada);
    let link = proxy.must(&["member", "invite", "bob", "--role", "viewer"], "").await;
    let token = proxy.must(&["token", "create", "ci", "--role", "viewer"], "").await;
    proxy.stop().await;
    let invitation = path_of(&link).rsplit('/').next().expect("a token").to_owned();
    let mut files = vec![proxy.path("data")];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        seen += bytes.len();
        for hidden in [PASSWORD, "argon2id", session.as_str(), invitation.as_str(), token.trim()] {
            let found = bytes.windows(hidden.len()).any(|window| window == hidden.as_bytes());
            assert!(!found, "{hidden} in {}", path.display());
        }
    }
    assert!(seen > 0);
}
