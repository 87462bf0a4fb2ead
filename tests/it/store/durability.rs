//! What was acknowledged stays: proved by watching the system calls of a child process, and by
//! killing one again and again.
//!
//! The children are this very test binary, asked for one test of it and told by the environment
//! what to do; without that these tests do nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use subrosa::inject::Secrets;
use subrosa::store::{Expect, StoreError, Write};
use subrosa::vault::{Edit, Vault};

use super::{Chance, name, new_secret, open_sled, organization, rounds, tried, value, vault};

const DIRECTORY: &str = "SUBROSA_TEST_CHILD_DIRECTORY";
pub(super) const FROM: &str = "SUBROSA_TEST_CHILD_FROM";
pub(super) const COUNT: &str = "SUBROSA_TEST_CHILD_COUNT";

pub(super) fn child(wrapper: &[&str], test: &str, directory: &Path) -> Command {
    let binary = std::env::current_exe().expect("this binary has a path");
    let mut command = match wrapper {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    command.args(["--exact", &format!("store::durability::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// One line, by one write(2), past whatever the test harness buffers.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).expect("the parent reads");
    out.flush().expect("the parent reads");
}

fn number(variable: &str) -> usize {
    std::env::var(variable).expect("set by the parent").parse().expect("a number")
}

// Every acknowledged commit was synced.

#[tokio::test]
async fn child_commits() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let store = open_sled(Path::new(&directory)).await.expect("opens");
    say("acknowledged open");
    for index in 0..number(COUNT) {
        // Sizes below and above what fits in one row, and one that leaves its segment of the log.
        let bytes = vec![7; [10, 5_000, 70_000][index % 3]];
        let put = Write::Put { key: format!("record/{index}"), expect: Expect::Absent, bytes };
        store.commit(vec![put]).await.expect("commits");
        say(&format!("acknowledged {index}"));
    }
}

/// A system call that ended: when it began and when it ended, as line numbers of the trace.
pub(super) struct Call {
    pub(super) name: String,
    pub(super) text: String,
    began: usize,
    ended: usize,
}

#[test]
fn between_the_last_write_of_a_commit_and_its_acknowledgement_lies_an_fsync() {
    const COMMITS: usize = 24;
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let trace_path = trace.to_str().expect("plain");
    let data = directory.path().join("data");
    let strace = ["strace", "-f", "-y", "-s", "64", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", trace_path];
    let output = child(&strace, "child_commits", &data).env(COUNT, COMMITS.to_string()).output().expect("strace runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let calls = calls(&fs::read_to_string(&trace).expect("a trace"));
    let log = format!("<{}/store/db>", data.display());
    let of_log = |call: &&Call| call.text.contains(&log);
    let marks: Vec<_> = calls.iter().filter(|call| call.name == "write" && call.text.contains("acknowledged")).collect();
    assert_eq!(marks.len(), COMMITS + 1);
    for pair in marks.windows(2) {
        let (since, mark) = (pair[0].ended, pair[1]);
        let written = |call: &&Call| call.name == "pwrite64" && call.began > since && call.ended < mark.began;
        let last = calls.iter().filter(of_log).filter(written).map(|call| call.ended).max();
        let last = last.unwrap_or_else(|| panic!("{} wrote nothing to the log", mark.text));
        let synced = calls.iter().filter(of_log).any(|call| {
            matches!(call.name.as_str(), "fsync" | "fdatasync")
                && call.began > last
                && call.ended < mark.began
                && call.text.ends_with("= 0")
        });
        assert!(synced, "no fsync between the last write (line {last}) and {} (line {})", mark.text, mark.began);
    }
}

pub(super) fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((process, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        let (began, text) = if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, (line, begun));
            continue;
        } else if text.starts_with("<... ") {
            let (began, begun) = unfinished.remove(process).expect("it began before");
            (began, format!("{begun} {text}"))
        } else {
            (line, text.to_owned())
        };
        if let Some((name, _)) = text.split_once('(') {
            calls.push(Call { name: name.to_owned(), text: text.clone(), began, ended: line });
        }
    }
    calls
}

// Killed at any moment, nothing acknowledged is lost.

/// What the child does as its nth step. Every step leaves a state that differs from all others.
enum Step {
    Create(usize),
    Edit(usize),
    Delete(usize),
}

fn step(index: usize) -> Step {
    match index % 4 {
        0 | 1 => Step::Create(index),
        2 => Step::Edit(index - 1),
        _ => Step::Delete(index - 3),
    }
}

/// Values of all sizes, so that some take many rows.
fn value_of(secret: usize, edited: bool) -> String {
    let beginning = format!("value-{secret}-{}-", if edited { "edited" } else { "created" });
    beginning.repeat([1, 40, 1_500][secret % 3])
}

#[tokio::test]
async fn child_changes_secrets() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let backend = open_sled(Path::new(&directory)).await.expect("opens");
    let vault = vault(&backend).await;
    let until = std::env::var(COUNT).map_or(usize::MAX, |_| number(FROM) + number(COUNT));
    for index in number(FROM)..until {
        say(&format!("begun {index}"));
        take(&vault, &step(index)).await;
        say(&format!("acknowledged {index}"));
    }
}

async fn take(vault: &Vault, step: &Step) {
    let home = organization("default");
    let called = |secret: &usize| name(&format!("s{secret}"));
    match step {
        Step::Create(secret) => {
            let new = new_secret(&format!("s{secret}"), &value_of(*secret, false), &[]);
            vault.create(&home, new, "test").await.expect("creates");
        }
        Step::Edit(secret) => {
            let edit = Edit { value: Some(value(value_of(*secret, true))), ..Edit::default() };
            vault.edit(&home, &called(secret), edit, None, "test").await.expect("edits");
        }
        Step::Delete(secret) => vault.delete(&home, &called(secret), None, "t").await.expect("deletes"),
    }
}

/// What must be stored after the first `steps` steps.
pub(super) fn model(steps: usize) -> BTreeMap<String, String> {
    let mut secrets = BTreeMap::new();
    for index in 0..steps {
        match step(index) {
            Step::Create(secret) => secrets.insert(format!("s{secret}"), value_of(secret, false)),
            Step::Edit(secret) => secrets.insert(format!("s{secret}"), value_of(secret, true)),
            Step::Delete(secret) => secrets.remove(&format!("s{secret}")),
        };
    }
    secrets
}

pub(super) async fn what_is_stored(directory: &Path) -> BTreeMap<String, String> {
    let backend = open_sled(directory).await.expect("opens after the kill");
    let vault = vault(&backend).await;
    let home = organization("default");
    let resolver = vault.resolver(&home, None);
    let views = vault.list(&home).into_iter();
    let opened = views.map(|view| {
        assert_eq!(view.fault, None, "{}", view.name);
        let secret = resolver.find(&view.name).unwrap_or_else(|absence| panic!("{}: {absence:?}", view.name));
        let value = secret.open().expect("opens");
        (view.name.to_string(), String::from_utf8(value.expose().to_vec()).expect("text"))
    });
    opened.collect()
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_at_any_moment() {
    let all = rounds(20, 300);
    let directory = tempfile::tempdir().expect("a directory");
    let mut from = 0;
    for round in 0..all {
        let mut process =
            child(&[], "child_changes_secrets", directory.path()).env(FROM, from.to_string()).spawn().expect("starts");
        let (begun, acknowledged) = kill_sometime(&mut process, round, from);
        let now = what_is_stored(directory.path()).await;
        // The step under way may or may not have come through; nothing else is open.
        from = match begun {
            Some(begun) if begun >= acknowledged && now == model(begun + 1) => begun + 1,
            _ => acknowledged,
        };
        assert!(now == model(from), "round {round}: acknowledged {acknowledged}, begun {begun:?}, found {:?}", now.keys());
    }
    assert!(from > all, "the children hardly wrote: {from}");
    tried(&format!("{all} kills, {from} acknowledged changes"));
}

/// Reads the child's lines and kills it: in every fourth round while it opens the store, otherwise
/// after some acknowledgements and a moment. Gives the last step begun and how many were acknowledged.
fn kill_sometime(process: &mut Child, round: usize, from: usize) -> (Option<usize>, usize) {
    let nanoseconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| u64::from(elapsed.subsec_nanos()));
    let random = nanoseconds.wrapping_mul(6_364_136_223_846_793_005) >> 33;
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let (mut begun, mut acknowledged) = (None, from);
    let mut note = |line: &str| {
        if let Some(index) = line.strip_prefix("begun ") {
            begun = index.parse().ok();
        } else if let Some(index) = line.strip_prefix("acknowledged ") {
            acknowledged = index.parse::<usize>().expect("a number") + 1;
        }
    };
    if !round.is_multiple_of(4) {
        let enough = format!("begun {}", from + 1 + usize::try_from(random % 25).expect("small"));
        for line in lines.by_ref() {
            note(&line);
            if line == enough {
                break;
            }
        }
    }
    // The moment is what is tried here, not something waited for.
    std::thread::sleep(Duration::from_micros(random % if round.is_multiple_of(4) { 40_000 } else { 4_000 }));
    process.kill().expect("was running");
    process.wait().expect("ends");
    lines.for_each(|line| note(&line));
    (begun, acknowledged)
}

// Failing calls.

/// A disk that fails from its nth call on: the write is not acknowledged, and what was acknowledged before is there when
/// the disk is well again.
#[tokio::test]
async fn a_write_whose_sync_or_write_failed_is_not_acknowledged_and_nothing_before_is_lost() {
    const STEPS: usize = 12;
    let chance = &mut Chance::new();
    for round in 0..rounds(9, 300) {
        let (call, error) = [("fsync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC")][round % 3];
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        drop(open_sled(&data).await.expect("opens"));
        let when = 1 + chance.below(40);
        let inject = format!("inject={call}:error={error}:when={when}+");
        let strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync,pwrite64", "-e", &inject];
        let mut command = child(&strace, "child_changes_secrets", &data);
        let output = command.env(FROM, "0").env(COUNT, STEPS.to_string()).output().expect("strace runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let number = |what: &str| {
            said.lines().filter_map(|line| line.strip_prefix(what)).filter_map(|text| text.parse::<usize>().ok()).max()
        };
        let (begun, acknowledged) =
            (number("begun ").map_or(0, |step| step + 1), number("acknowledged ").map_or(0, |step| step + 1));
        assert_eq!(output.status.success(), acknowledged == STEPS, "{inject}: {said}");
        let now = what_is_stored(&data).await;
        let fits = now == model(acknowledged) || (begun > acknowledged && now == model(begun));
        assert!(fits, "{inject} ({chance:?}): acknowledged {acknowledged}, begun {begun}, found {:?}", now.keys());
    }
}

// Opening.

#[tokio::test]
async fn child_opens() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    match open_sled(Path::new(&directory)).await {
        Ok(_) => say("opened"),
        Err(error) => say(&format!("{error}")),
    }
}

#[tokio::test]
async fn a_second_process_is_told_that_the_directory_is_in_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || child(&[], "child_opens", directory.path()).output().expect("runs").stdout;
    let store = open_sled(directory.path()).await.expect("opens");
    // What the first process might be writing at this moment.
    let half_made = directory.path().join("store/snap.0000000000000001.generating");
    fs::write(&half_made, b"half").expect("writes");
    let said = String::from_utf8(open()).expect("text");
    assert!(half_made.exists(), "whoever comes second touches nothing");
    assert!(said.contains("is in use by another process") && said.contains(directory.path().to_str().expect("plain")), "{said}");
    assert!(matches!(open_sled(directory.path()).await, Err(StoreError::InUse { .. })));
    store.commit(vec![Write::Put { key: "a".to_owned(), expect: Expect::Absent, bytes: vec![1] }]).await.expect("goes on");
    drop(store);
    let said = String::from_utf8(open()).expect("text");
    assert!(said.contains("\nopened\n"), "{said}");
}

#[tokio::test]
async fn a_snapshot_left_half_made_does_not_keep_the_store_from_opening() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_sled(directory.path()).await.expect("opens");
    store.commit(vec![Write::Put { key: "a".to_owned(), expect: Expect::Absent, bytes: vec![1] }]).await.expect("commits");
    drop(store);
    let files = directory.path().join("store");
    fs::write(files.join("snap.7FFFFFFFFFFFFFFF.generating"), b"half").expect("writes");
    let naked = sled::Config::new().path(&files).open();
    assert!(naked.is_err(), "sled has learned to open these: the cure can go");
    drop(naked);
    let store = open_sled(directory.path()).await.expect("opens");
    assert_eq!(store.load(&[""]).await.expect("loads").stored.len(), 1);
}

#[tokio::test]
async fn the_data_directory_is_made_for_its_owner_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("some/data");
    let _store = open_sled(&data).await.expect("opens");
    for place in [&data, &data.join("store")] {
        assert_eq!(fs::metadata(place).expect("is there").mode() & 0o7777, 0o700, "{}", place.display());
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_one_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("writes");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("changes the mode");
    let error = open_sled(&file).await.err().expect("a file is no directory").to_string();
    assert!(error.starts_with("the data directory") && error.contains("cannot be created"), "{error}");
}

/// Everything below `from`, as a crash would leave it.
fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copied(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[tokio::test]
async fn a_store_that_lacks_something_acknowledged_is_refused_and_kept() {
    let place = tempfile::tempdir().expect("a directory");
    let live = place.path().join("live");
    let backend = open_sled(&live).await.expect("opens");
    for index in 0..7 {
        let write = Write::Put { key: format!("key{index}"), expect: Expect::Absent, bytes: vec![index; 300] };
        backend.commit(vec![write]).await.expect("commits");
    }
    let length = fs::metadata(live.join("store/db")).expect("there").len();
    let step = usize::try_from(length / 23).expect("it fits").max(1);
    for (round, offset) in (0..length).step_by(step).enumerate() {
        let crashed = place.path().join(format!("crashed{round}"));
        copied(&live, &crashed);
        let path = crashed.join("store/db");
        let sound = fs::read(&path).expect("readable");
        let mut bytes = sound.clone();
        bytes[usize::try_from(offset).expect("it fits")] ^= 0x55;
        fs::write(&path, &bytes).expect("written");
        match open_sled(&crashed).await {
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("was acknowledged") || said.contains("backup"), "{offset}: {said}");
                let kept = fs::read(crashed.join("store.opening/db")).expect("kept");
                assert!(kept == bytes, "{offset}: what lay there is kept as it was");
                // Whoever mends the byte has everything again.
                fs::remove_dir_all(crashed.join("store")).expect("removed");
                copied(&live.join("store"), &crashed.join("store"));
                let mended = open_sled(&crashed).await.expect("mended");
                assert_eq!(mended.load(&[""]).await.expect("read").stored.len(), 7);
                assert!(!crashed.join("store.opening").exists());
            }
            // The byte meant nothing: padding, or what was written anew elsewhere.
            Ok(opened) => assert_eq!(opened.load(&[""]).await.expect("read").stored.len(), 7, "{offset}"),
        }
    }
    let emptied = place.path().join("emptied");
    copied(&live, &emptied);
    fs::remove_dir_all(emptied.join("store")).expect("removed");
    let said = open_sled(&emptied).await.err().expect("an emptied store is none").to_string();
    assert!(said.contains("change 0, and change"), "{said}");
}
