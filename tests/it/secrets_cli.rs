//! Secrets by the command line, with the server running and stopped; and the value nowhere else.

use std::path::Path;

use super::support::{CRM, VALUE, World};

#[tokio::test]
async fn create_list_show_edit_and_delete_whether_it_runs_or_not() {
    let mut world = World::new().await;
    for running in [true, false] {
        if !running {
            world.proxy.stop().await;
        }
        let p = &world.proxy;
        p.must(
            &[
                "secret",
                "create",
                "billing.token",
                "--value-stdin",
                "--description",
                "for invoices",
                "--allow",
                "https://API.Billing.example/",
            ],
            "v1\n",
        )
        .await;
        let again = p.must_fail(&["secret", "create", "billing.token", "--value-stdin"], "v2").await;
        assert!(again.contains("billing.token"), "{again}");
        let list: serde_json::Value = serde_json::from_str(&p.must(&["secret", "list", "--json"], "").await).expect("JSON");
        let listed = list
            .as_array()
            .or(list["secrets"].as_array())
            .expect("a list")
            .iter()
            .find(|secret| secret["name"] == "billing.token")
            .expect("listed")
            .clone();
        assert_eq!(listed["description"], "for invoices");
        assert_eq!(listed["allowed_domains"], serde_json::json!(["api.billing.example"]));
        let refused = p.must_fail(&["secret", "edit", "billing.token", "--allow", "x.example"], "").await;
        assert!(refused.contains("allowed_domains_need_value") || refused.contains("value"), "{refused}");
        p.must(&["secret", "edit", "billing.token", "--rename", "billing.key"], "").await;
        let shown = p.must(&["secret", "show", "billing.key"], "").await;
        assert!(shown.contains("api.billing.example") && !shown.contains("v1"), "{shown}");
        p.must(&["secret", "delete", "billing.key", "--yes"], "").await;
        let gone = p.must_fail(&["secret", "show", "billing.key"], "").await;
        assert!(gone.contains("billing.key"), "{gone}");
    }
}

#[tokio::test]
async fn an_edit_changes_the_limits_it_names_and_no_others() {
    let world = World::new().await;
    let p = &world.proxy;
    p.must(&["secret", "create", "lim", "--value-stdin", "--surfaces", "query,header", "--header", "X-Key"], "v").await;
    p.must(&["secret", "edit", "lim", "--value-stdin", "--url-encoded"], "w").await;
    let shown: serde_json::Value = serde_json::from_str(&p.must(&["secret", "show", "lim", "--json"], "").await).expect("JSON");
    assert_eq!(
        shown["limits"],
        serde_json::json!({ "surfaces": ["query", "header", "authentication"], "headers": ["x-key"], "url_encoded": true })
    );
    assert!(p.must_fail(&["secret", "edit", "lim", "--no-limits"], "").await.contains("new value"));
    p.must(&["secret", "edit", "lim", "--value-stdin", "--no-limits"], "w").await;
    let shown: serde_json::Value = serde_json::from_str(&p.must(&["secret", "show", "lim", "--json"], "").await).expect("JSON");
    assert_eq!(
        shown["limits"],
        serde_json::json!({ "surfaces": ["path", "query", "header", "authentication", "body"], "headers": [], "url_encoded": false })
    );
}

#[tokio::test]
async fn a_restart_finds_what_was_stored() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    world.proxy.start_again().await;
    world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\n\r\n")).await;
    assert_eq!(world.crm.only().field("x"), VALUE);
}

#[tokio::test]
async fn bad_input_is_refused_with_its_reason() {
    let world = World::new().await;
    for (arguments, stdin, reason) in [
        (vec!["secret", "create", "9x", "--value-stdin"], "v", "letter"),
        (vec!["secret", "create", "ok", "--value-stdin"], "", "empty"),
        (vec!["secret", "create", "ok", "--value-stdin", "--allow", "*.com"], "v", "public suffix"),
        (vec!["secret", "create", "ok", "--value-stdin", "--allow", "a.example:443"], "v", "port"),
        (vec!["secret", "delete", "nobody", "--yes"], "", "nobody"),
    ] {
        let said = world.proxy.must_fail(&arguments, stdin).await;
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn the_value_is_nowhere_on_disk_in_logs_or_in_the_process_table() {
    let mut world = World::new().await;
    let request = format!(
        "GET /{{secrets.crm.apiKey}} HTTP/1.1\r\nHost: {CRM}\r\nX: {{secrets.crm.apiKey}}\r\nAuthorization: Basic bWU6e3NlY3JldHMuY3JtLmFwaUtleX0=\r\n\r\n"
    );
    world.send_tls(CRM, &request).await;
    assert_eq!(world.crm.only().field("authorization"), format!("Basic {}", forms()[3]));
    world.send_tls("evil.example.net", &request.replace(CRM, "evil.example.net")).await;
    let table = format!("/proc/{}", world.proxy.process_id());
    for name in ["cmdline", "environ"] {
        assert!(!holds(&Path::new(&table).join(name)), "{name}");
    }
    let listed = world.proxy.must(&["secret", "list"], "").await;
    assert!(!listed.contains(VALUE));
    world.proxy.stop().await;
    assert!(!forms().iter().any(|form| world.proxy.log().contains(form)));
    let mut files = 0;
    grep(&world.proxy.path(""), &mut files);
    assert!(files >= 5, "only {files} files were looked at");
}

/// The value, and what it becomes on its way.
fn forms() -> [String; 4] {
    use base64::Engine;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    [VALUE.to_owned(), "abc123-Zx%2F9%2B%3Dsecret".to_owned(), base64(VALUE), base64(&format!("me:{VALUE}"))]
}

fn holds(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    forms().iter().any(|form| memchr::memmem::find(&bytes, form.as_bytes()).is_some())
}

fn grep(folder: &Path, files: &mut usize) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            grep(&path, files);
        } else {
            assert!(!holds(&path), "{}", path.display());
            *files += 1;
        }
    }
}
