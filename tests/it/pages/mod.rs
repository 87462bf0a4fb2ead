//! The pages, as people and their tools meet them: Chromium through the port, with the real binary.
//! `driver.mjs` holds the walks; what an origin received, and what lies on the disk afterwards, is looked at here.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::support::{CRM, EVIL, Proxy, VALUE, World};

/// How long a walk may take: a browser starts, and goes through some sixty pages.
const WALK: Duration = Duration::from_mins(3);
/// What is typed as values, to be found nowhere afterwards.
const TYPED: &str = "typed-Zx/9+=value-1";
const SECOND: &str = "typed-Zx/9+=value-2";

#[tokio::test]
async fn people_walk_through_the_guide() {
    guide("guide").await;
}

#[tokio::test]
async fn people_walk_through_the_guide_without_scripts() {
    guide("guide-without-scripts").await;
}

/// Every sentence of the user's guide; the origin receives what was typed, and nobody else ever sees it.
async fn guide(walk_of: &str) {
    let world = world().await;
    walk(&world, walk_of).await;
    let received: Vec<_> = world.crm.received().iter().map(|request| request.field("x-key").to_owned()).collect();
    assert_eq!(received, [TYPED, TYPED, SECOND, TYPED]);
    assert_eq!(world.evil.connections(), 0);
    let log = world.proxy.log();
    for value in [TYPED, SECOND] {
        assert!(!log.contains(value), "the log holds a value");
        for place in ["browsers", "data", "certs", "keys"] {
            assert_eq!(holding(&world.proxy.path(place), value), Vec::<String>::new(), "{place}");
        }
    }
}

/// The files below `place` that hold `text`, as it is or percent-encoded.
fn holding(place: &Path, text: &str) -> Vec<String> {
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place).expect("it can be read").map(|entry| entry.expect("it can be read").path()) {
        if entry.is_dir() {
            found.extend(holding(&entry, text));
        } else if let Ok(bytes) = std::fs::read(&entry) {
            let holds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
            found.extend((holds(text) || holds(&encoded)).then(|| entry.display().to_string()));
        }
    }
    found
}

#[tokio::test]
async fn nobody_is_kept_out_of_a_page() {
    let world = world().await;
    walk(&world, "access").await;
}

/// The CA's certificate, downloaded from the port in each of its forms.
#[tokio::test]
async fn java_and_openssl_read_the_certificate_in_every_form() {
    let proxy = Proxy::start(tempfile::tempdir().expect("a directory"), "").await;
    let port = proxy.admin_address().await;
    for file in ["ca.pem", "ca.der", "ca.p12"] {
        run(&proxy, "curl", &["-sf", "-o", file, &format!("http://{port}/{file}")]);
    }
    let fingerprint = |arguments: &[&str]| {
        let printed = run(&proxy, "openssl", &[arguments, &["-noout", "-fingerprint", "-sha256"]].concat());
        printed.split('=').nth(1).map(|text| text.trim().to_owned()).expect("it is printed")
    };
    let own = fingerprint(&["x509", "-in", "certs/ca.pem"]);
    assert_eq!(fingerprint(&["x509", "-in", "ca.pem"]), own);
    assert_eq!(fingerprint(&["x509", "-inform", "der", "-in", "ca.der"]), own);
    run(&proxy, "openssl", &["pkcs12", "-in", "ca.p12", "-nokeys", "-passin", "pass:", "-nomacver", "-out", "from-p12.pem"]);
    assert_eq!(fingerprint(&["x509", "-in", "from-p12.pem"]), own);
    let listed = run(&proxy, "keytool", &["-list", "-keystore", "ca.p12", "-storetype", "PKCS12", "-storepass", "any"]);
    assert!(listed.contains("trustedCertEntry") && listed.contains(&own), "{listed}");
}

/// What a command prints, in the proxy's directory; it must succeed.
fn run(proxy: &Proxy, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(proxy.path(".")).output().expect("it is installed");
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {printed}{said}");
    printed.into_owned()
}

/// A world to walk through, with a secret that somebody made before.
async fn world() -> World {
    let world = World::new().await;
    world.proxy.create_secret("billing.existing", VALUE, &[CRM]).await;
    world
}

/// Drives a browser through a walk, which says what it misses.
async fn walk(world: &World, name: &str) {
    let event: serde_json::Value = serde_json::from_str(&world.proxy.logged("/setup/").await).expect("JSON");
    let link = event["fields"]["link"].as_str().expect("a link");
    let admin = link.split("/setup/").next().expect("something stands before it");
    let given = serde_json::json!({
        "tools": Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools"),
        "chromium": "/usr/bin/chromium",
        "directory": world.proxy.path("browsers"),
        "admin": admin,
        "setup": link,
        "password": "correct horse battery",
        "proxy": world.proxy.address.to_string(),
        "ca": world.ca(),
        "crm": CRM,
        "evil": EVIL,
        "value": TYPED,
        "second": SECOND,
    });
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/pages/driver.mjs");
    let mut child = tokio::process::Command::new("node")
        .arg(driver)
        .arg(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(given.to_string().as_bytes()).await.expect("it reads");
    drop(input);
    let output = tokio::time::timeout(WALK, child.wait_with_output()).await.expect("it ends").expect("it ends");
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("done"), "{printed}{said}");
}
