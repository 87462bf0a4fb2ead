//! `subrosa doctor` names the step that fails.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use super::support::{CRM, EVIL, VALUE, World, reply, soon};

/// Runs it with `curl` alone, which is the system's or what `curl` says, a script.
async fn doctor(world: &World, curl: Option<&str>, arguments: &[&str]) -> Output {
    let real = std::env::var("PATH").unwrap_or_default();
    let path = match curl {
        None => real,
        Some(script) => {
            let place = world.proxy.path("bin");
            std::fs::create_dir_all(&place).expect("made");
            let file = place.join("curl");
            std::fs::write(&file, script).expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("ours");
            format!("{}:{real}", place.display())
        }
    };
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"));
    command.current_dir(world.proxy.path("")).env_clear().env("PATH", path).env("HOME", world.proxy.path(""));
    command.args(["doctor", "--config", "subrosa.toml", "--json", "--only", "curl"]).args(arguments).kill_on_drop(true);
    soon(command.output()).await.expect("it runs")
}

/// The step at which curl fails, `ok` if at none; and the exit code says the same.
async fn step(world: &World, curl: Option<&str>, arguments: &[&str]) -> String {
    let address = world.proxy.address.to_string();
    let here: &[&str] = if arguments.contains(&"--proxy") { &[] } else { &["--proxy", &address] };
    let output = doctor(world, curl, &[here, arguments].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|fault| panic!("{fault}: {said}"));
    let finding = &report["runtimes"][0];
    assert_eq!(finding["runtime"], "curl", "{report}");
    assert_eq!(finding["ok"] == true, output.status.success(), "{report}");
    assert!(!report.to_string().contains(VALUE), "{report}");
    assert!(!finding["detail"].as_str().unwrap_or_default().is_empty(), "{report}");
    finding["failed_step"].as_str().unwrap_or("ok").to_owned()
}

/// The system's curl, with more arguments.
fn curl(more: &str) -> String {
    let real = std::process::Command::new("sh").args(["-c", "command -v curl"]).output().expect("sh is there");
    format!("#!/bin/sh\nexec {} {more} \"$@\"\n", String::from_utf8_lossy(&real.stdout).trim())
}

#[tokio::test]
async fn each_step_that_fails_is_named() {
    let world = World::new().await;
    let (url, evil) = (format!("https://{CRM}/v1"), format!("https://{EVIL}/"));
    let (url, evil) = (url.as_str(), evil.as_str());
    let with_secret = ["--url", url, "--secret", "crm.apiKey"];
    assert_eq!(step(&world, None, &with_secret).await, "ok");
    assert_eq!(world.crm.only().field("x-subrosa-doctor"), VALUE);
    for (script, arguments, wanted) in [
        (Some(curl("--noproxy '*'")), with_secret.to_vec(), "proxy-variable"),
        (Some(curl(&format!("--cacert {}", world.proxy.path("origin-ca.pem").display()))), with_secret.to_vec(), "trust"),
        (None, vec!["--url", url, "--secret", "nobody"], "secret"),
        (None, vec!["--url", evil, "--secret", "crm.apiKey"], "domain"),
        (None, vec!["--url", "https://127.0.0.9/"], "egress"),
        (None, vec!["--url", url, "--proxy", "127.0.0.1:1"], "proxy"),
    ] {
        assert_eq!(step(&world, script.as_deref(), &arguments).await, wanted, "{arguments:?}");
    }
    assert_eq!((world.crm.received().len(), world.evil.connections()), (1, 0));
    world.proxy.must(&["runner", "create", "somebody"], "").await;
    assert_eq!(step(&world, None, &["--url", url]).await, "token");
}

#[tokio::test]
async fn a_host_that_is_passed_through_is_not_intercepted() {
    let world = World::with(&format!("\n[intercept]\npass_through = [\"{CRM}\"]\n"), reply("200 OK", "", "ok")).await;
    assert_eq!(step(&world, None, &["--url", &format!("https://{CRM}/")]).await, "interception");
}

#[tokio::test]
async fn without_a_url_it_needs_nothing_but_what_is_installed() {
    let world = World::new().await;
    let output = doctor(&world, None, &["--only", "python"]).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success(), "{report}");
    let tried: Vec<&str> =
        report["runtimes"].as_array().expect("a list").iter().filter_map(|it| it["runtime"].as_str()).collect();
    assert_eq!(tried, ["curl", "python"]);
    world.untouched();
    let said = String::from_utf8_lossy(&doctor(&world, None, &["--only", "cobol"]).await.stderr).into_owned();
    assert!(said.contains("known are curl"), "{said}");
}
