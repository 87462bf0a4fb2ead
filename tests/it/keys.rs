//! The key-encryption key: where it comes from, and how it is changed while everything goes on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::support::{Proxy, VALUE, World, soon};

const GET: &str = "GET http://plain.crm.example.com/{secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n\r\n";

/// What the path of the request was when the value stood in it.
const INJECTED: &str = "/abc123-Zx%2F9%2B%3Dsecret";

fn line(byte: u8) -> String {
    format!("{}\n", STANDARD.encode([byte; 32]))
}

async fn status(proxy: &Proxy) -> Value {
    serde_json::from_str(&proxy.must(&["key", "status", "--json"], "").await).expect("JSON")
}

/// The ids of the keys that something is sealed under.
fn sealed_under(status: &Value) -> Vec<String> {
    let keys = status["keys"].as_array().expect("a list").iter();
    let used = keys.filter(|key| key["sealed"].as_u64() > Some(0));
    used.map(|key| key["id"].as_str().expect("a text").to_owned()).collect()
}

fn current(status: &Value) -> String {
    let keys = status["keys"].as_array().expect("a list");
    let current = keys.iter().find(|key| key["current"] == true).expect("there is one");
    current["id"].as_str().expect("a text").to_owned()
}

async fn injects(world: &World) {
    let before = world.crm_plain.received().len();
    assert_eq!(world.send(GET).await.status(), 200);
    let received = world.crm_plain.received();
    assert_eq!(received.len(), before + 1);
    let target = received[before].head.split(' ').nth(1).expect("a target").to_owned();
    assert_eq!(target, INJECTED);
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}

#[tokio::test]
async fn a_rotation_under_load_refuses_nobody_and_retires_the_former_key() {
    let mut world = World::new().await;
    let token = world.proxy.must(&["token", "create", "ci", "--role", "editor"], "").await;
    world.proxy.stop().await;
    fill(&world.proxy, 40).await;
    world.proxy.start_again().await;
    injects(&world).await;
    let before = status(&world.proxy).await;
    let kek = world.proxy.path("keys/kek");
    let old_line = std::fs::read_to_string(&kek).expect("there");

    let rotate = world.proxy.cli(&["key", "rotate", "--json"], "");
    let load = async {
        let mut sent = 0;
        loop {
            injects(&world).await;
            sent += 1;
            if sent == 60 {
                return;
            }
        }
    };
    let write = async {
        for index in 0..6 {
            let value = format!("edited-{index}");
            world.proxy.must(&["secret", "edit", &format!("s{index}"), "--value-stdin"], &value).await;
        }
    };
    let (rotated, (), ()) = tokio::join!(rotate, load, write);
    let said = String::from_utf8_lossy(&rotated.stderr).into_owned();
    assert!(rotated.status.success(), "{said}");

    let after: Value = serde_json::from_slice(&rotated.stdout).expect("JSON");
    assert_ne!(current(&before), current(&after));
    assert_eq!(after["needed"], 0);
    assert_eq!(sealed_under(&status(&world.proxy).await), [current(&after)], "{said}");
    assert!(said.contains(&current(&before)) && said.contains("is retired"), "{said}");
    let new_line = std::fs::read_to_string(&kek).expect("there");
    assert_eq!((new_line.lines().count(), new_line == old_line), (1, false));
    let kept = world.proxy.path(&format!("keys/kek.retired-{}", current(&before)));
    assert_eq!(std::fs::read_to_string(&kept).expect("kept for backups"), old_line);
    assert_eq!(std::fs::metadata(&kept).expect("there").permissions().mode() & 0o777, 0o600);
    // Who asked stands in the audit trail.
    world.proxy.logged("\"action\":\"rotated\"").await;
    injects(&world).await;

    world.proxy.stop().await;
    std::fs::remove_file(&kept).expect("removed");
    world.proxy.start_again().await;
    injects(&world).await;
    let listed: Value = serde_json::from_str(&world.proxy.must(&["secret", "list", "--json"], "").await).expect("JSON");
    let secrets = listed.as_array().expect("a list");
    assert!(secrets.len() == 41 && secrets.iter().all(|secret| secret["fault"].is_null()), "{listed}");
    let log = world.proxy.log();
    assert!(!log.contains("cannot be used"), "{log}");
    assert!(!log.contains(VALUE) && !log.contains(token.trim()));

    // Somebody puts the former key back in the place of the new one: nothing opens, and nothing is changed.
    world.proxy.stop().await;
    write_private(&kek, &old_line);
    let said = world.proxy.must_fail(&["secret", "list"], "").await;
    assert!(
        said.contains(&current(&before)) && said.contains(&current(&after)) && said.contains("nothing was changed"),
        "{said}"
    );
    write_private(&kek, &new_line);
    world.proxy.start_again().await;
    injects(&world).await;
}

/// Enough that a kill falls somewhere between the first record and the last.
const SECRETS: usize = 96;

#[tokio::test]
async fn a_rotation_that_was_killed_goes_on_at_the_next_start() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    fill(&world.proxy, SECRETS).await;
    world.proxy.start_again().await;
    let first = current(&status(&world.proxy).await);
    for round in 0..6_u32 {
        let before = current(&status(&world.proxy).await);
        let begun = asked(&world.proxy, "POST", "/api/v1/keys/rotation").await;
        assert!(begun.starts_with("HTTP/1.1 202"), "{begun}");
        if round % 2 == 0 {
            // When some is sealed anew and some is not.
            while asked(&world.proxy, "GET", "/api/v1/keys").await.contains("\"running\",\"done\":0,") {}
        } else {
            let nanoseconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.subsec_nanos());
            // The moment is what is tried here, not something waited for.
            tokio::time::sleep(Duration::from_micros(u64::from(nanoseconds % 60_000))).await;
        }
        world.proxy.signal("-KILL").await;
        world.proxy.wait().await;
        world.proxy.start_again().await;
        injects(&world).await;
        soon(async {
            loop {
                let now = asked(&world.proxy, "GET", "/api/v1/keys").await;
                let now: Value = serde_json::from_str(now.split("\r\n\r\n").nth(1).expect("a content")).expect("JSON");
                if now["rotation"]["state"] != "running" {
                    assert_ne!(now["rotation"]["state"], "failed", "{now}");
                    assert_eq!((now["needed"].as_u64(), sealed_under(&now)), (Some(0), vec![current(&now)]), "{now}");
                    assert_ne!(current(&now), before, "the new key was on stable storage before it was answered");
                    break;
                }
            }
        })
        .await;
        let lines = std::fs::read_to_string(world.proxy.path("keys/kek")).expect("there");
        assert_eq!(lines.lines().count(), 1, "round {round}: {} lines", lines.lines().count());
    }
    assert_ne!(current(&status(&world.proxy).await), first);
    let listed: Value = serde_json::from_str(&world.proxy.must(&["secret", "list", "--json"], "").await).expect("JSON");
    let secrets = listed.as_array().expect("a list");
    assert_eq!(secrets.len(), SECRETS + 1);
    assert!(secrets.iter().all(|secret| secret["fault"].is_null()), "{listed}");
}

/// Stores secrets by one process, so that it does not take long.
async fn fill(proxy: &Proxy, count: usize) {
    use subrosa::ledger::Ledger;
    use subrosa::seal::{KeyRing, Sealer};
    use subrosa::secret::{AllowedDomains, Description, Limits, OrganizationName, SecretName, SecretValue};
    use subrosa::vault::{NewSecret, Vault};
    let ring = KeyRing::from_file(&proxy.path("keys/kek")).expect("there");
    let engine = subrosa::store::Engine::Sled { directory: proxy.path("data") };
    let backend = subrosa::store::open(engine).await.expect("nobody holds it");
    let ledger = Ledger::open(backend, Sealer::with(ring)).await.expect("opens");
    let vault = Vault::new(std::sync::Arc::new(ledger), Vec::new()).expect("opens");
    for index in 0..count {
        let new = NewSecret {
            name: SecretName::parse(&format!("s{index}")).expect("a name"),
            value: SecretValue::new(vec![b'v'; 1 + index * 7]).expect("a value"),
            description: Description::default(),
            allowed_domains: AllowedDomains::default(),
            limits: Limits::default(),
        };
        vault.create(&OrganizationName::default(), new, "t").await.expect("creates");
    }
}

async fn asked(proxy: &Proxy, method: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(proxy.path("data/admin.sock")).await.expect("it listens");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("answered");
    answer
}

#[tokio::test]
async fn with_the_server_stopped_the_key_is_rotated_as_well() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    let before = status(&world.proxy).await;
    world.proxy.must(&["key", "rotate"], "").await;
    let after = status(&world.proxy).await;
    assert_eq!(sealed_under(&after), [current(&after)]);
    assert_ne!(current(&before), current(&after));
    world.proxy.start_again().await;
    injects(&world).await;
}

#[tokio::test]
async fn a_key_file_that_cannot_be_replaced_is_told_and_nothing_is_changed() {
    let world = World::new().await;
    let before = (current(&status(&world.proxy).await), std::fs::read(world.proxy.path("keys/kek")).expect("there"));
    // In the way of what is written beside the file.
    std::fs::create_dir(world.proxy.path("keys/kek.new")).expect("made");
    let said = world.proxy.must_fail(&["key", "rotate"], "").await;
    assert!(said.contains("cannot be replaced") && said.contains("nothing was changed"), "{said}");
    assert_eq!((current(&status(&world.proxy).await), std::fs::read(world.proxy.path("keys/kek")).expect("there")), before);
    injects(&world).await;
}

#[tokio::test]
async fn a_rotation_that_could_not_retire_the_former_key_is_gone_on_with_and_makes_no_third_key() {
    let mut world = World::new().await;
    let first = current(&status(&world.proxy).await);
    let in_the_way = world.proxy.path(&format!("keys/kek.retired-{first}"));
    for stopped in [false, true] {
        if stopped {
            world.proxy.stop().await;
        }
        let before = current(&status(&world.proxy).await);
        let in_the_way = in_the_way.with_file_name(format!("kek.retired-{before}"));
        std::fs::create_dir(&in_the_way).expect("made");
        let said = world.proxy.must_fail(&["key", "rotate"], "").await;
        assert!(said.contains("former keys stay") && !said.contains("nothing was changed"), "{said}");
        let made = current(&status(&world.proxy).await);
        assert_ne!(made, before);
        std::fs::remove_dir(&in_the_way).expect("removed");
        // Half of it, as lost power leaves it.
        write_private(&in_the_way, &line(9)[..20]);
        world.proxy.must(&["key", "rotate"], "").await;
        assert_eq!(current(&status(&world.proxy).await), made);
        let lines = std::fs::read_to_string(world.proxy.path("keys/kek")).expect("there");
        assert_eq!(lines.lines().count(), 1);
        assert_eq!(std::fs::read_to_string(&in_the_way).expect("kept").lines().count(), 1);
    }
    world.proxy.start_again().await;
    injects(&world).await;
}

#[tokio::test]
async fn two_stores_with_one_key_file_are_rotated_one_after_the_other_and_both_open() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    let (kek, config) = (world.proxy.path("keys/kek"), world.proxy.path("subrosa.toml"));
    let one = std::fs::read_to_string(&config).expect("there");
    let other = format!("data_dir = \"other\"\n{one}");
    std::fs::write(&config, &other).expect("written");
    world.proxy.must(&["secret", "create", "of.other", "--value-stdin"], "v").await;
    let first = current(&status(&world.proxy).await);
    std::fs::write(&config, &one).expect("written");
    let rotated = world.proxy.cli(&["key", "rotate"], "").await;
    let said = String::from_utf8_lossy(&rotated.stderr).into_owned();
    let place = world.proxy.path("other").display().to_string();
    assert!(rotated.status.success() && said.contains(&place) && said.contains(&first), "{said}");
    assert!(said.contains("by hand"), "{said}");
    assert_eq!(std::fs::read_to_string(&kek).expect("there").lines().filter(|line| !line.starts_with('#')).count(), 2);

    std::fs::write(&config, &other).expect("written");
    assert!(world.proxy.must(&["secret", "list", "--json"], "").await.contains("of.other"));
    world.proxy.must(&["key", "rotate"], "").await;
    let new = std::fs::read_to_string(&kek).expect("there").lines().next().expect("a line").to_owned();
    write_private(&kek, &format!("{new}\n"));
    assert!(world.proxy.must(&["secret", "list", "--json"], "").await.contains("of.other"));
    std::fs::write(&config, &one).expect("written");
    world.proxy.start_again().await;
    injects(&world).await;
}

/// A world whose key is printed by a program, from a file that the test writes.
async fn with_command(ring: &str) -> World {
    let place = tempfile::tempdir().expect("a directory").keep();
    let (ring_file, script) = (place.join("ring"), place.join("kms"));
    std::fs::write(&ring_file, ring).expect("written");
    let text = format!("#!/bin/sh\necho asked >> {0}/calls\ncat {0}/ring\n", place.display());
    std::fs::write(&script, text).expect("written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let config = format!("\n[keys]\ncommand = [{:?}]\n", script.display().to_string());
    World::with(&config, super::support::reply("200 OK", "", "ok")).await
}

fn place_of(world: &World) -> std::path::PathBuf {
    let config = std::fs::read_to_string(world.proxy.path("subrosa.toml")).expect("there");
    let command = config.lines().find_map(|line| line.strip_prefix("command = [\"")).expect("it is named");
    Path::new(command.trim_end_matches("\"]")).parent().expect("it has one").to_owned()
}

#[tokio::test]
async fn a_key_from_a_program_is_rotated_by_giving_a_new_one_before_it() {
    let mut world = with_command(&line(1)).await;
    let place = place_of(&world);
    injects(&world).await;
    assert!(!world.proxy.path("keys/kek").exists(), "no key is made where one is given");
    let first = current(&status(&world.proxy).await);
    let said = world.proxy.must_fail(&["key", "rotate"], "").await;
    assert!(said.contains("keys.command") && said.contains("on a line below it"), "{said}");

    // A key that leaves out the one in use is not taken.
    std::fs::write(place.join("ring"), line(2)).expect("written");
    let said = world.proxy.must_fail(&["key", "rotate"], "").await;
    assert!(said.contains(&first) && said.contains("nothing was changed"), "{said}");
    assert_eq!(current(&status(&world.proxy).await), first);

    std::fs::write(place.join("ring"), format!("{}{}", line(2), line(1))).expect("written");
    let rotated = world.proxy.cli(&["key", "rotate"], "").await;
    let said = String::from_utf8_lossy(&rotated.stderr).into_owned();
    assert!(rotated.status.success() && said.contains(&format!("remove {first} from keys.command")), "{said}");
    let after = status(&world.proxy).await;
    assert_ne!(current(&after), first);
    assert_eq!(sealed_under(&after), [current(&after)]);
    injects(&world).await;

    std::fs::write(place.join("ring"), line(2)).expect("written");
    world.proxy.stop().await;
    world.proxy.start_again().await;
    injects(&world).await;
    std::fs::remove_dir_all(place).expect("removed");
}

#[tokio::test]
async fn a_program_that_prints_the_key_inherits_no_variable_whose_value_a_reload_has_made_a_secret() {
    let mut world = with_command(&line(1)).await;
    let place = place_of(&world);
    world.proxy.stop().await;
    let script = format!("#!/bin/sh\nenv > {0}/seen\ncat {0}/ring\n", place.display());
    std::fs::write(place.join("kms"), script).expect("written");
    world.proxy.start_again_under(&["env", "SUBROSA_TOKEN=hunter2", "SINCE=hunter2-since", "ELSE=else"]).await;
    let seen = || std::fs::read_to_string(place.join("seen")).expect("it was asked");
    assert!(seen().contains("ELSE=else") && seen().contains("SINCE=hunter2-since") && !seen().contains("SUBROSA_TOKEN"));
    let config = world.proxy.path("subrosa.toml");
    let text = std::fs::read_to_string(&config).expect("there");
    let declared = "[[secrets]]\nname = \"since\"\nvalue = { env = \"SINCE\" }\n";
    std::fs::write(&config, format!("{text}{declared}")).expect("written");
    world.proxy.must(&["reload"], "").await;
    std::fs::remove_file(place.join("seen")).expect("removed");
    world.proxy.must_fail(&["key", "rotate"], "").await;
    assert!(seen().contains("ELSE=else") && !seen().contains("hunter2"), "the names of the start are not all");
    std::fs::remove_dir_all(place).expect("removed");
}

#[tokio::test]
async fn a_program_that_fails_stops_the_start_with_its_complaint_and_without_what_it_printed() {
    let mut world = with_command(&line(1)).await;
    let place = place_of(&world);
    world.proxy.stop().await;
    for (script, part) in [
        ("echo hunter2; echo 'no token' >&2; exit 3", "exit status: 3: no token"),
        ("echo hunter2", "is not one line of base64"),
        ("yes hunter2", "printed more than"),
        ("true", "holds no key"),
    ] {
        std::fs::write(place.join("kms"), format!("#!/bin/sh\n{script}\n")).expect("written");
        for command in [&["secret", "list"][..], &["config", "check"]] {
            let said = world.proxy.must_fail(command, "").await;
            assert!(said.contains("keys.command") && said.contains(part) && !said.contains("hunter2"), "{said}");
        }
    }
    std::fs::remove_dir_all(place).expect("removed");
}

#[tokio::test]
async fn former_keys_that_the_config_names_are_needed_until_a_start_has_sealed_everything_anew() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    let old = world.proxy.path("keys/kek");
    let config = std::fs::read_to_string(world.proxy.path("subrosa.toml")).expect("there");
    std::fs::rename(&old, world.proxy.path("keys/old")).expect("moved");
    write_private(&world.proxy.path("keys/new"), &line(7));
    let keys = "[keys]\nfile = \"keys/new\"\n";
    std::fs::write(world.proxy.path("subrosa.toml"), format!("{config}{keys}")).expect("written");
    let said = world.proxy.must_fail(&["secret", "list"], "").await;
    assert!(said.contains("nothing was changed"), "{said}");
    let keys = format!("{keys}previous = [{{ file = \"keys/old\" }}]\n");
    std::fs::write(world.proxy.path("subrosa.toml"), format!("{config}{keys}")).expect("written");
    world.proxy.start_again().await;
    let said = world.proxy.logged("everything is sealed under the key").await;
    assert!(said.contains("from keys.previous"), "{said}");
    injects(&world).await;
    world.proxy.stop().await;
    std::fs::remove_file(world.proxy.path("keys/old")).expect("removed");
    std::fs::write(world.proxy.path("subrosa.toml"), format!("{config}[keys]\nfile = \"keys/new\"\n")).expect("written");
    world.proxy.start_again().await;
    injects(&world).await;
}
