//! What the documents say of tests: each that they name is there.

use std::collections::BTreeSet;
use std::path::Path;

/// The documents that say which test shows what.
const DOCUMENTS: [&str; 2] = ["docs/security.md", "docs/reliability.md"];

/// Every test by its path, and every room and module with a test in it: as files lie, without `tests` for those of a file itself.
fn there() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for folder in ["src", "tests/it"] {
        collect(&root.join(folder), &root.join(folder), &mut found);
    }
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let module = path.strip_prefix(root).expect("below it").with_extension("");
            let module = module.to_string_lossy().replace('/', "::");
            let module = module.trim_end_matches("::mod");
            found.insert(module.to_owned());
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                // Those that `proptest!` makes have their attribute as well.
                let name = line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_test);
                if let Some(name) = name {
                    let name: String = name.chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').collect();
                    found.insert(format!("{module}::{name}"));
                    found.insert(format!("{module}::tests::{name}"));
                    is_test = false;
                }
            }
        }
    }
}

/// Whether `text` has the form of a test's or a module's path; a part of it may be left out (`…`).
fn is_path(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || "_…".contains(char))
    };
    text.contains("::") && text.split("::").all(is_word)
}

/// Whether `path` begins, ends and goes on as `named` says.
fn is_meant(named: &str, path: &str) -> bool {
    let mut parts = named.split('…');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || named.ends_with('…')
}

#[test]
fn every_test_that_the_documents_name_is_there() {
    let there = there();
    let mut named = 0;
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).expect("it is there");
        // What stands between backticks, line by line: names are not broken.
        let names = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|name| is_path(name));
        for name in names {
            named += 1;
            assert!(
                there.iter().any(|path| is_meant(name, path)),
                "{document} names `{name}`, and there is no such test or module"
            );
        }
    }
    assert!(named > 50, "{named}");
}

#[test]
fn a_name_that_is_wrong_would_be_noticed() {
    assert!(
        is_path("store::bytes::…what_is_sealed…")
            && is_path("keys::a_rotation…")
            && !is_path("key.rotate")
            && !is_path("seal::Resident")
    );
    assert!(is_meant("a::b…", "a::bc") && is_meant("a::…c…", "a::bcd") && is_meant("a::b", "a::b"));
    assert!(!is_meant("a::b", "a::bc") && !is_meant("a::c…", "a::bc"));
}
