//! The arrows of the house, held against the source: a room uses rooms below it, never those above
//! or beside it, and a few things stand in one place only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Top floor first. Rooms on one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["config"],
    &["admin"],
    &["proxy"],
    &["backup", "custody", "identity", "members", "vault"],
    &["activity", "ledger"],
    &["audit", "store", "token"],
    &["fetch", "inject", "seal", "upstream"],
    &["runtimes", "secret", "serve", "tls"],
    &["drain", "metrics", "origin", "readiness", "stack", "staleness"],
];

/// Beyond the floors: whoever stands first never names what stands second, and why.
const NEVER: &[(&str, &[&str], &str)] = &[
    (
        "inject",
        &["tokio::", "hyper::", "rustls::", "tracing::", "std::time::", "std::net::Tcp"],
        "the core is pure: no clock, no io, no async",
    ),
    (
        "proxy",
        &["crate::vault", "crate::store", "crate::seal", "crate::ledger"],
        "the road knows a Resolver and nothing behind it",
    ),
    ("store", &["crate::secret", "SecretValue"], "an engine sees sealed bytes and never a plaintext"),
    ("admin", &["crate::proxy"], "a request test asks the core through the vault"),
    ("tls", &["crate::secret"], "certificates know hosts, not secrets"),
];

/// What may stand in these files only, and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    (
        ".expose()",
        &[
            "src/inject/splice.rs",
            "src/inject/redact/needles.rs",
            "src/inject/redact/glance.rs",
            "src/seal/",
            "src/secret/value.rs",
            "src/members/password.rs",
        ],
        "plaintext has one door: values are exposed where they are spliced, looked for in answers or sealed, and the hash \
         of a password where a password is held against it",
    ),
    ("std::env", &["src/cli/", "src/main.rs"], "only the roof reads the environment; hand settings down"),
];

struct Source {
    path: String,
    room: String,
    /// Without comments and without tests.
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.iter().map(|path| source(root, path)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn source(root: &Path, path: &Path) -> Source {
    let relative = path.strip_prefix(root).expect("it lies below the root").to_string_lossy().into_owned();
    let room = relative.split('/').nth(1).expect("it lies in src").trim_end_matches(".rs").to_owned();
    let text = std::fs::read_to_string(path).expect("a source is text");
    let is_test = relative.ends_with("tests.rs") || relative.contains("/tests/");
    Source { path: relative, room, text: if is_test { String::new() } else { without_tests(&text) } }
}

fn without_tests(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms that a text names by `crate::room` or `crate::{room, …}`.
fn named(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let list = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap_or_default());
        let parts: Vec<&str> = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for part in parts {
            rooms.push(part.trim().chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').collect());
        }
    }
    rooms
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// What is wrong with one source, in sentences.
fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(own) = floor(&source.room) {
        for other in named(&source.text).iter().filter(|other| **other != source.room) {
            if floor(other).is_some_and(|other| other <= own) {
                faults.push(format!(
                    "{} names `{other}`, which is not below `{}`: move what is shared down, or hand it in",
                    source.path, source.room
                ));
            }
        }
    }
    for (room, words, why) in NEVER.iter().filter(|(room, ..)| *room == source.room) {
        faults.extend(
            words
                .iter()
                .filter(|word| source.text.contains(**word))
                .map(|word| format!("{} names `{word}`, which {room} never does: {why}", source.path)),
        );
    }
    for (word, places, why) in ONLY_IN {
        if source.text.contains(word) && !places.iter().any(|place| source.path.starts_with(place)) {
            faults.push(format!("{} holds `{word}`, which may stand in {} only: {why}", source.path, places.join(", ")));
        }
    }
    faults
}

#[test]
fn every_arrow_goes_down() {
    let faults: Vec<String> = sources().iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_room_has_a_floor() {
    let rooms: BTreeSet<String> = sources().into_iter().map(|source| source.room).collect();
    for room in rooms.iter().filter(|room| !["lib", "main"].contains(&room.as_str())) {
        assert!(
            floor(room).is_some(),
            "the room `{room}` stands on no floor: give it one in tests/floors.rs and in docs/architecture.md"
        );
    }
}

#[test]
fn a_wrong_arrow_would_be_noticed() {
    let made_up = |path: &str, text: &str| {
        let room = path.split('/').nth(1).expect("in src").trim_end_matches(".rs").to_owned();
        faults(&Source { path: path.into(), room, text: without_tests(text) }).len()
    };
    assert_eq!(made_up("src/inject/x.rs", "use crate::proxy::Door;"), 1);
    assert_eq!(made_up("src/vault/x.rs", "use crate::{identity, ledger};"), 1);
    assert_eq!(made_up("src/inject/x.rs", "fn f() { tokio::spawn(x) }"), 1);
    assert_eq!(made_up("src/proxy/x.rs", "let v = value.expose();"), 1);
    assert_eq!(
        made_up("src/proxy/x.rs", "// crate::vault\nuse crate::inject::Code;\n#[cfg(test)]\nmod tests { use crate::cli; }"),
        0
    );
}
