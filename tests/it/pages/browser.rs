//! Chromium, as people use it: one browser, a page for each person, everything found by role and name and
//! done by keyboard. The server's answers pass a tap that keeps them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::tap::Tap;
use crate::support::Proxy;

/// How long one step may take: more than the driver's own patience, which tells what it waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a form field holds and says.
#[derive(Debug)]
pub struct Field {
    pub value: String,
    pub checked: bool,
    /// Whether it is marked as wrong.
    pub invalid: bool,
    /// Its hint and its fault, as a screen reader reads them.
    pub said: String,
}

/// Where a step led.
#[derive(Debug, PartialEq, Eq)]
pub struct Led {
    pub status: u64,
    /// Path and query.
    pub path: String,
}

pub struct Browser {
    pub tap: Tap,
    child: Child,
    pipe: Arc<Mutex<Pipe>>,
    profile: PathBuf,
}

struct Pipe {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// One person's page.
pub struct Page {
    who: String,
    pipe: Arc<Mutex<Pipe>>,
}

impl Browser {
    /// A browser with a profile of its own, before the admin port of `proxy`.
    pub async fn start(proxy: &Proxy) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tools = root.join("target/test-tools");
        let profile = proxy.path("profile");
        let tap = Tap::before(proxy.admin_address().await).await;
        let mut child = Command::new(tools.join("bin/node"))
            .arg(root.join("tests/it/pages/driver.mjs"))
            .args([tools.join("node"), profile.clone()])
            .arg(tap.base())
            .current_dir(proxy.path(""))
            .env("HOME", proxy.path(""))
            .env("TMPDIR", proxy.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("scripts/test-tools installs it");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { tap, child, pipe: Arc::new(Mutex::new(Pipe { input, output })), profile }
    }

    /// Somebody with a page and cookies of their own. The first has the profile that lasts.
    pub async fn person(&self, who: &str, scripts: bool) -> Page {
        let page = Page { who: who.to_owned(), pipe: Arc::clone(&self.pipe) };
        page.ask("scripts", json!({ "on": scripts })).await;
        page
    }

    /// Closes it, and names the profile that it leaves.
    pub async fn quit(self) -> (Tap, PathBuf) {
        let Self { tap, mut child, pipe, profile } = self;
        pipe.lock().await.input.write_all(b"{\"act\":\"quit\"}\n").await.expect("the driver listens");
        let status = timeout(PATIENCE, child.wait()).await.expect("it took too long").expect("it ends");
        assert!(status.success(), "{status}");
        (tap, profile)
    }
}

impl Page {
    async fn ask(&self, act: &str, mut with: Value) -> Value {
        with["act"] = act.into();
        with["who"] = self.who.as_str().into();
        let mut pipe = self.pipe.lock().await;
        let asked = async {
            pipe.input.write_all(format!("{with}\n").as_bytes()).await.ok()?;
            pipe.output.next_line().await.ok()?
        };
        let line =
            timeout(PATIENCE, asked).await.expect("it took too long").unwrap_or_else(|| panic!("the driver ended at {with}"));
        let mut answer: Value = serde_json::from_str(&line).expect("JSON");
        assert!(answer["fault"].is_null(), "{}", answer["fault"].as_str().unwrap_or_default());
        answer["is"].take()
    }

    async fn leads(&self, act: &str, with: Value) -> Led {
        let answer = self.ask(act, with).await;
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        Led { status: answer["status"].as_u64().expect("a status"), path: text(&answer["path"]).expect("a path") }
    }

    /// Goes to an address.
    pub async fn open(&self, path: &str) -> Led {
        self.leads("open", json!({ "path": path })).await
    }

    /// Back to the page before.
    pub async fn back(&self) -> Led {
        self.leads("back", json!({})).await
    }

    /// Follows a link.
    pub async fn follow(&self, name: &str) -> Led {
        self.leads("follow", json!({ "role": "link", "name": name })).await
    }

    /// Presses a button that sends a form.
    pub async fn submit(&self, name: &str) -> Led {
        self.leads("follow", json!({ "role": "button", "name": name })).await
    }

    /// Opens what is folded, or ticks a box: what leads nowhere else.
    pub async fn press(&self, role: &str, name: &str) {
        self.ask("press", json!({ "role": role, "name": name })).await;
    }

    /// Types into a field, in the place of what it holds.
    pub async fn fill(&self, name: &str, text: &str) {
        self.ask("type", json!({ "role": "textbox", "name": name, "text": text })).await;
    }

    /// What a field holds.
    pub async fn field(&self, name: &str) -> Field {
        self.field_of("textbox", name).await
    }

    pub async fn field_of(&self, role: &str, name: &str) -> Field {
        let field = self.ask("field", json!({ "role": role, "name": name })).await;
        Field {
            value: field["value"].as_str().unwrap_or_default().to_owned(),
            checked: field["checked"] == true,
            invalid: field["invalid"] == true,
            said: field["said"].as_str().expect("a text").to_owned(),
        }
    }

    /// How often something is there.
    pub async fn count(&self, role: &str, name: &str) -> u64 {
        self.ask("count", json!({ "role": role, "name": name })).await.as_u64().expect("a number")
    }

    /// All that can be read.
    pub async fn text(&self) -> String {
        self.ask("text", json!({})).await.as_str().expect("a text").to_owned()
    }

    /// Asserts that each of `texts` can be read.
    pub async fn says(&self, texts: &[&str]) {
        let whole = self.text().await;
        for text in texts {
            assert!(whole.contains(text), "{text:?} is not told in:\n{whole}");
        }
    }

    /// Asserts that none of `texts` can be read.
    pub async fn hides(&self, texts: &[&str]) {
        let whole = self.text().await;
        for text in texts {
            assert!(!whole.contains(text), "{text:?} is told in:\n{whole}");
        }
    }

    /// Loads a page until it says `text`: what is recorded of a request may come a moment after its answer.
    pub async fn comes_to_say(&self, path: &str, text: &str) {
        let told = async {
            loop {
                self.open(path).await;
                if self.text().await.contains(text) {
                    return;
                }
            }
        };
        timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{text:?} is never told at {path}"));
    }

    /// Waits until `text` can be read.
    pub async fn waits_for(&self, text: &str) {
        self.ask("waits", json!({ "text": text })).await;
    }

    /// What the server answers to the page itself: status, media type, text.
    pub async fn fetch(&self, path: &str) -> (u64, String, String) {
        let answer = self.ask("fetch", json!({ "path": path })).await;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (answer["status"].as_u64().unwrap_or_default(), text("kind"), text("text"))
    }

    /// A window of this width, light or dark.
    pub async fn look(&self, width: u32, scheme: &str) {
        self.ask("look", json!({ "width": width, "scheme": scheme })).await;
    }

    /// What axe-core finds; `rules` empty: all of them.
    pub async fn faults(&self, rules: &[&str]) -> Vec<String> {
        let faults = self.ask("faults", json!({ "rules": rules })).await;
        faults.as_array().expect("a list").iter().map(|fault| fault.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What the browser keeps for the page: storage, cookies, history.
    pub async fn kept(&self) -> Value {
        self.ask("kept", json!({})).await
    }

    /// What went against the policy, failed in a script, or was asked of another host, on any page so far.
    pub async fn noticed(&self) -> Value {
        self.ask("noticed", json!({})).await
    }
}
