//! What every walk begins with: a proxy with origins, a browser before its admin port, people who have
//! come in by their links, and requests through the proxy.

use std::path::{Path, PathBuf};

use crate::support::client::{Response, exchange, tls_in};
use crate::support::{EVIL, Proxy, World};

use super::browser::{Browser, Page};

pub const PASSWORD: &str = "correct horse battery";

/// Ada, administrator of `default`, who comes by the link that the first start logs.
pub async fn first_administrator(proxy: &Proxy, browser: &Browser, scripts: bool) -> Page {
    let ada = browser.person("ada", scripts).await;
    let event: serde_json::Value = serde_json::from_str(&proxy.logged("nobody has an account yet").await).expect("JSON");
    let link = path_of(event["fields"]["link"].as_str().expect("a link"));
    assert_eq!(ada.open(&link).await.status, 200);
    ada.fill("Login: an e-mail address, or a word", "ada").await;
    ada.fill("Password, 12 characters at least", PASSWORD).await;
    assert_eq!(ada.submit("Make the account").await.status, 200);
    ada
}

/// Somebody who is invited by command, and comes by the link.
pub async fn invited(proxy: &Proxy, browser: &Browser, who: &str, role: &str, organization: &str, scripts: bool) -> Page {
    let link = proxy.must(&["member", "invite", who, "--role", role, "--organization", organization], "").await;
    let page = browser.person(who, scripts).await;
    assert_eq!(page.open(&path_of(&link)).await.status, 200);
    page.fill("Choose a password, 12 characters at least", PASSWORD).await;
    assert_eq!(page.submit("Join").await.status, 200);
    page
}

/// The path of a link that was logged or printed.
pub fn path_of(link: &str) -> String {
    let after = link.splitn(4, '/').nth(3).unwrap_or_else(|| panic!("no link in {link:?}"));
    format!("/{}", after.trim())
}

/// One request of a runner to `host`, through a tunnel.
pub async fn execute(world: &World, token: &str, host: &'static str, request: &str) -> Response {
    let mut stream = world.connect().await;
    let connect =
        format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nProxy-Authorization: Bearer {}\r\n\r\n", token.trim());
    assert_eq!(exchange(&mut stream, &connect).await.status(), 200);
    let mut tls = tls_in(stream, host, &world.ca()).await.expect("the leaf is trusted");
    exchange(&mut tls, request).await
}

/// A request to `host` with this reference as its token.
pub async fn bearer(world: &World, token: &str, host: &'static str, name: &str) -> Response {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {{secrets.{name}}}\r\n\r\n");
    execute(world, token, host, &request).await
}

/// The token that the origin of `host` received last.
pub fn last_bearer(world: &World, host: &str) -> String {
    let origin = if host == EVIL { &world.evil } else { &world.crm };
    let last = origin.received().pop().expect("a request came");
    last.field("authorization").strip_prefix("Bearer ").expect("a token").to_owned()
}

/// Every file below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![directory.to_owned()], Vec::new());
    while let Some(path) = open.pop() {
        let Ok(kind) = std::fs::symlink_metadata(&path) else { continue };
        if kind.is_dir() {
            open.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}
