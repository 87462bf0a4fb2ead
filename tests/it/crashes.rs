//! Killed at a step: a restore and a rotation, ended by SIGKILL at their nth call that gives a file another name or waits
//! for the disk. What was there opens afterwards, or what was to be there, and the next attempt comes to its end.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use super::support::{Proxy, World, soon};

/// Runs the command line and kills it as it begins the `nth` of these calls.
async fn killed_at(proxy: &Proxy, calls: &str, nth: usize, arguments: &[&str]) -> Output {
    let inject = format!("inject={calls}:signal=KILL:when={nth}");
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject]);
    command.arg(env!("CARGO_BIN_EXE_subrosa")).args(arguments).args(["--config", "subrosa.toml"]);
    command.current_dir(proxy.path("")).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    soon(command.kill_on_drop(true).output()).await.expect("strace is there")
}

async fn names(proxy: &Proxy) -> Vec<String> {
    let listed: Value = serde_json::from_str(&proxy.must(&["secret", "list", "--json"], "").await).expect("JSON");
    let secrets = listed.as_array().expect("a list").iter();
    secrets.inspect(|secret| assert!(secret["fault"].is_null(), "{secret}")).map(|secret| secret["name"].to_string()).collect()
}

/// Which calls: every one that gives a name, and some of those that wait for the disk.
const CALLS: &[(&str, usize)] = &[("rename,renameat,renameat2", 1), ("fsync,fdatasync", 4)];

#[tokio::test]
async fn a_restore_that_is_killed_leaves_what_was_there_or_what_was_to_be_there() {
    let mut world = World::new().await;
    world.proxy.must(&["backup", "b"], "").await;
    world.proxy.create_secret("later", "v", &[]).await;
    world.proxy.stop().await;
    let (restored, before) = (vec!["\"crm.apiKey\"".to_owned()], vec!["\"crm.apiKey\"".to_owned(), "\"later\"".to_owned()]);
    for (calls, step) in CALLS {
        let (mut nth, mut killed) = (1, 0);
        while !killed_at(&world.proxy, calls, nth, &["restore", "b"]).await.status.success() {
            let now = names(&world.proxy).await;
            assert!(now == restored || now == before, "{calls} {nth}: {now:?}");
            if now == restored {
                // As it was, for the next attempt.
                world.proxy.must(&["secret", "create", "later", "--value-stdin"], "v").await;
            }
            (nth, killed) = (nth + step, killed + 1);
        }
        assert!(killed >= 3, "{calls}: {killed}");
        assert_eq!(names(&world.proxy).await, restored, "{calls}");
        world.proxy.must(&["secret", "create", "later", "--value-stdin"], "v").await;
    }
}

#[tokio::test]
async fn a_rotation_that_is_killed_at_a_step_leaves_a_key_that_opens_everything() {
    let mut world = World::new().await;
    world.proxy.create_secret("other", "v", &[]).await;
    world.proxy.stop().await;
    for (calls, step) in CALLS {
        let (mut nth, mut killed) = (1, 0);
        while !killed_at(&world.proxy, calls, nth, &["key", "rotate"]).await.status.success() {
            assert_eq!(names(&world.proxy).await, ["\"crm.apiKey\"", "\"other\""], "{calls} {nth}");
            (nth, killed) = (nth + step, killed + 1);
        }
        assert!(killed >= 2, "{calls}: {killed}");
        let status: Value = serde_json::from_str(&world.proxy.must(&["key", "status", "--json"], "").await).expect("JSON");
        assert_eq!((status["needed"].as_u64(), status["keys"].as_array().map(Vec::len)), (Some(0), Some(1)), "{status}");
        assert_eq!(std::fs::read_to_string(world.proxy.path("keys/kek")).expect("there").lines().count(), 1);
    }
    assert_eq!(names(&world.proxy).await, ["\"crm.apiKey\"", "\"other\""]);
}
