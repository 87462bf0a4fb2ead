//! The API against its own description: a generator of requests finds no server error and no answer
//! that the OpenAPI document does not describe.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::support::Proxy;

/// The generator takes its time: a thousand requests and more.
const PATIENCE: Duration = Duration::from_mins(3);

/// What request tests send for real goes to a proxy that is not there: nothing leaves this machine,
/// and no name is looked up.
const NOWHERE: &str = "[egress]\nupstream_proxy = \"http://127.0.0.1:9\"\nupstream_proxy_names = \"send\"\n";

/// The organization that exists, so that what lies behind it is reached.
const PARAMETERS: &str = "[parameters]\norganization = \"default\"\n";

#[tokio::test]
async fn schemathesis_finds_no_server_error_and_no_undocumented_answer() {
    let proxy = Proxy::start(tempfile::tempdir().expect("a directory"), NOWHERE).await;
    let token = proxy.must(&["token", "create", "generator", "--role", "administrator"], "").await;
    std::fs::write(proxy.path("schemathesis.toml"), PARAMETERS).expect("written");
    let document = format!("http://localhost:{}/api/v1/openapi.json", proxy.admin_address().await.port());
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,unsupported_method,ignored_auth";
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/python/bin/python");
    let run = Command::new(python)
        .current_dir(proxy.path(""))
        .args(["-m", "schemathesis.cli", "run", &document, "--no-color", "--checks", checks])
        .args(["-H", &format!("Authorization: Bearer {}", token.trim()), "--max-examples", "15"])
        // Its own token and the road to a revoked one are left alone; what is told live has no end.
        .args(["--exclude-path-regex", "/tokens/|/activity/stream"])
        // That it had to throw away many of its own ideas is its complaint about itself.
        .args(["--generation-deterministic", "--suppress-health-check", "filter_too_much"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("it took too long").expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" generated, "), "{said}");
    let log = proxy.log();
    assert!(!log.contains("panicked"), "{log}");
}
