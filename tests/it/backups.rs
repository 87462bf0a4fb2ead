//! Backups: taken while the server runs, as sealed as the store, and opened whole before they replace anything.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use base64::Engine;
use serde_json::Value;

use super::support::{Proxy, VALUE, World};

const GET: &str = "GET http://plain.crm.example.com/{secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n\r\n";

fn listed(proxy: &Proxy, pattern: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(proxy.path("data")).expect("there").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().contains(pattern)).map(|entry| entry.path()).collect()
}

async fn names(proxy: &Proxy) -> Vec<String> {
    let listed: Value = serde_json::from_str(&proxy.must(&["secret", "list", "--json"], "").await).expect("JSON");
    let secrets = listed.as_array().expect("a list").iter();
    secrets.inspect(|secret| assert!(secret["fault"].is_null(), "{secret}")).map(|secret| secret["name"].to_string()).collect()
}

#[tokio::test]
async fn a_backup_of_a_running_server_holds_no_key_and_no_value_and_is_restored_as_it_was() {
    let mut world = World::new().await;
    world.proxy.create_secret("early", "early-value", &[]).await;
    assert_eq!(world.send(GET).await.status(), 200);
    let said = String::from_utf8_lossy(&world.proxy.cli(&["backup", "b1"], "").await.stderr).into_owned();
    assert!(said.contains("It holds no key"), "{said}");
    let file = world.proxy.path("b1");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o7777, 0o600);
    let bytes = std::fs::read(&file).expect("there");
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"crm.apiKey"), "names are in the clear: this looks in the right place");
    let key = std::fs::read_to_string(world.proxy.path("keys/kek")).expect("there");
    let raw = base64::engine::general_purpose::STANDARD.decode(key.trim()).expect("base64");
    for secret in [VALUE.as_bytes(), key.trim().as_bytes(), &raw] {
        assert!(!holds(secret));
    }
    let taken = world.proxy.must_fail(&["backup", "b1"], "").await;
    assert!(taken.contains("--force"), "{taken}");
    assert_eq!(std::fs::read(&file).expect("there"), bytes);
    world.proxy.must(&["backup", "b1", "--force"], "").await;
    let printed = world.proxy.cli(&["backup", "-"], "").await.stdout;
    std::fs::write(world.proxy.path("b2"), &printed).expect("written");

    // What came later is not in it, and is kept.
    world.proxy.create_secret("late", "late-value", &[]).await;
    world.proxy.must(&["secret", "delete", "early", "--yes"], "").await;
    let while_running = world.proxy.must_fail(&["restore", "b1"], "").await;
    assert!(
        while_running.contains("stop `subrosa serve` first") && while_running.contains("nothing was changed"),
        "{while_running}"
    );
    assert_eq!(listed(&world.proxy, "store.").len(), 2, "only store.lock and store.mark");
    for file in ["b1", "b2"] {
        world.proxy.must(&["restore", file, "--check"], "").await;
    }
    assert_eq!(names(&world.proxy).await, ["\"crm.apiKey\"", "\"late\""]);

    world.proxy.stop().await;
    let told: Value = serde_json::from_str(&world.proxy.must(&["restore", "b1", "--json"], "").await).expect("JSON");
    assert_eq!((told["records"].as_u64(), told["damaged"].as_array().map(Vec::len)), (Some(2), Some(0)));
    world.proxy.start_again().await;
    assert_eq!(names(&world.proxy).await, ["\"crm.apiKey\"", "\"early\""]);
    assert_eq!(world.send(GET).await.status(), 200);
    assert!(world.crm_plain.received().iter().all(|request| request.head.contains("/abc123-Zx%2F9%2B%3Dsecret ")));
    let activity = world.proxy.must(&["secret", "show", "crm.apiKey", "--json"], "").await;
    assert!(activity.contains("plain.crm.example.com"), "{activity}");

    // The way back.
    world.proxy.stop().await;
    let kept = PathBuf::from(told["kept"].as_str().expect("there was a store"));
    let (store, mark) = (world.proxy.path("data/store"), world.proxy.path("data/store.mark"));
    std::fs::remove_dir_all(&store).expect("removed");
    let kept = world.proxy.path("").join(kept);
    std::fs::rename(kept.join("store"), store).expect("moved");
    std::fs::rename(kept.join("store.mark"), mark).expect("moved");
    world.proxy.start_again().await;
    assert_eq!(names(&world.proxy).await, ["\"crm.apiKey\"", "\"late\""]);
}

#[tokio::test]
async fn a_backup_that_is_cut_short_changed_or_none_replaces_nothing() {
    let mut world = World::new().await;
    world.proxy.must(&["backup", "whole"], "").await;
    world.proxy.create_secret("later", "v", &[]).await;
    world.proxy.stop().await;
    let whole = std::fs::read(world.proxy.path("whole")).expect("there");
    let record = whole.windows(7).rposition(|window| window == b"record/").expect("there is one");
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let longer = [&whole[..], b"x"].concat();
    let first = usize::from(u16::from_be_bytes([whole[17], whole[18]]));
    let length = u32::from_be_bytes(whole[19 + first..23 + first].try_into().expect("4 bytes")) as usize;
    let without_one = [&whole[..17], &whole[23 + first + length..]].concat();
    for (what, bytes, part) in [
        ("cut", whole[..whole.len() - 1].to_vec(), "breaks off at byte"),
        ("cut in the middle", whole[..record + 20].to_vec(), "breaks off at byte"),
        ("a byte of an envelope", changed(record + 200), "was damaged or changed in the entry `record/"),
        ("the last byte", changed(whole.len() - 1), "in its end, which begins at byte"),
        ("an entry taken out", without_one, "was damaged or changed"),
        ("something behind it", longer, "something follows its end"),
        ("nothing", Vec::new(), "no backup of subrosa"),
        ("something else", b"[proxy]\n".repeat(9), "no backup of subrosa"),
    ] {
        std::fs::write(world.proxy.path("bent"), bytes).expect("written");
        for arguments in [&["restore", "bent"][..], &["restore", "bent", "--check"]] {
            let said = world.proxy.must_fail(arguments, "").await;
            assert!(said.contains(part), "{what}: {said}");
        }
        assert!(listed(&world.proxy, "restor").is_empty() && listed(&world.proxy, "building").is_empty(), "{what}");
    }
    world.proxy.start_again().await;
    assert_eq!(names(&world.proxy).await, ["\"crm.apiKey\"", "\"later\""]);
}

#[tokio::test]
async fn a_backup_of_before_a_rotation_opens_with_the_retired_key_and_is_sealed_under_the_current_one() {
    let mut world = World::new().await;
    world.proxy.must(&["backup", "before"], "").await;
    world.proxy.must(&["key", "rotate"], "").await;
    world.proxy.stop().await;
    let entries = std::fs::read_dir(world.proxy.path("keys")).expect("there").flatten();
    let mut retired = entries.filter(|entry| entry.file_name().to_string_lossy().contains("retired"));
    let retired = retired.next().expect("kept").path();
    let id = retired.to_string_lossy().rsplit('-').next().expect("an id").to_owned();
    let aside = world.proxy.path("aside");
    std::fs::rename(&retired, &aside).expect("moved");
    let said = world.proxy.must_fail(&["restore", "before"], "").await;
    assert!(said.contains(&id) && said.contains("--key-file"), "{said}");
    world.proxy.must(&["restore", "before", "--check", "--key-file", "aside"], "").await;
    std::fs::rename(&aside, &retired).expect("moved back");
    world.proxy.must(&["restore", "before"], "").await;
    std::fs::remove_file(retired).expect("removed");
    world.proxy.start_again().await;
    let status: Value = serde_json::from_str(&world.proxy.must(&["key", "status", "--json"], "").await).expect("JSON");
    assert_eq!(status["keys"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(world.send(GET).await.status(), 200);
}

#[tokio::test]
async fn a_backup_is_restored_where_nothing_is_but_the_key() {
    let world = World::new().await;
    world.proxy.must(&["backup", "b"], "").await;
    let place = tempfile::tempdir().expect("a directory");
    let config = std::fs::read_to_string(world.proxy.path("subrosa.toml")).expect("there");
    let mut other = Proxy::start(place, &config).await;
    other.stop().await;
    std::fs::remove_dir_all(other.path("data")).expect("removed");
    std::fs::remove_dir_all(other.path("keys")).expect("removed");
    std::fs::remove_dir_all(other.path("certs")).expect("removed");
    std::fs::copy(world.proxy.path("b"), other.path("b")).expect("copied");
    let said = other.must_fail(&["restore", "b"], "").await;
    assert!(said.contains("there is no key at keys/kek"), "{said}");
    assert!(!other.path("keys").exists() && !other.path("data").exists());
    std::fs::create_dir(other.path("keys")).expect("made");
    std::fs::copy(world.proxy.path("keys/kek"), other.path("keys/kek")).expect("copied");
    other.must(&["restore", "b"], "").await;
    assert_eq!(names(&other).await, ["\"crm.apiKey\""]);
    other.start_again().await;
    assert_eq!(names(&other).await, ["\"crm.apiKey\""]);
}

#[tokio::test]
async fn what_was_damaged_when_the_backup_was_made_is_named_and_restored_only_when_asked_for() {
    let mut world = World::new().await;
    world.proxy.create_secret("other", "v", &[]).await;
    world.proxy.stop().await;
    // As a disk would: a byte of what is sealed.
    {
        let engine = subrosa::store::Engine::Sled { directory: world.proxy.path("data") };
        let store = subrosa::store::open(engine).await.expect("nobody holds it");
        let mut stored = store.load(&["record/secret/"]).await.expect("loads").stored.remove(0);
        *stored.bytes.last_mut().expect("some") ^= 1;
        let expect = subrosa::store::Expect::Version(stored.version);
        store.commit(vec![subrosa::store::Write::Put { key: stored.key, expect, bytes: stored.bytes }]).await.expect("commits");
    }
    world.proxy.must(&["backup", "b"], "").await;
    let said = world.proxy.must_fail(&["restore", "b"], "").await;
    assert!(said.contains("1 in the backup cannot be used") && said.contains("--accept-damaged"), "{said}");
    let told = world.proxy.must(&["restore", "b", "--accept-damaged", "--json"], "").await;
    assert!(told.contains("does not authenticate"), "{told}");
    world.proxy.start_again().await;
    world.proxy.logged("a stored record cannot be used").await;
}

#[tokio::test]
async fn what_a_restore_left_that_was_cut_off_is_named_by_the_next_start() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    std::fs::create_dir(world.proxy.path("data/store.restoring-1760000000")).expect("made");
    world.proxy.start_again().await;
    let said = world.proxy.logged("left by a restore that was cut off").await;
    assert!(said.contains("store.restoring-1760000000"), "{said}");
}
