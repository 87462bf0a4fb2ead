//! A store that takes the place of another: no start takes it for one that was only begun, and what failed is told as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use subrosa::store::{self, Stored};

use super::open_sled;

fn stored() -> Vec<Stored> {
    vec![Stored { key: "key".to_owned(), version: 1, bytes: b"restored".to_vec() }]
}

fn named(directory: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("there").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning)).map(|entry| entry.path()).collect()
}

/// sled cannot read its settings.
fn in_the_way(settings: &Path) {
    fs::remove_file(settings).expect("removed");
    fs::create_dir(settings).expect("made");
}

#[tokio::test]
async fn a_restored_store_that_does_not_open_is_refused_and_not_begun_anew() {
    for was_begun in [true, false] {
        let place = tempfile::tempdir().expect("a directory");
        if was_begun {
            // And nothing was ever acknowledged in it.
            drop(open_sled(place.path()).await.expect("opens"));
        }
        store::replace(place.path().to_owned(), stored()).await.expect("replaced");
        let settings = place.path().join("store/conf");
        let sound = fs::read(&settings).expect("there");
        in_the_way(&settings);
        let said = open_sled(place.path()).await.err().expect("it does not open").to_string();
        assert!(said.contains("cannot be opened"), "{said}");
        fs::remove_dir(&settings).expect("removed");
        fs::write(&settings, sound).expect("written");
        let opened = open_sled(place.path()).await.expect("mended");
        assert_eq!(opened.load(&[""]).await.expect("read").stored[0].bytes, b"restored");
    }
}

#[tokio::test]
async fn a_store_that_was_only_begun_is_begun_once_more_and_its_files_are_kept() {
    let place = tempfile::tempdir().expect("a directory");
    drop(open_sled(place.path()).await.expect("opens"));
    in_the_way(&place.path().join("store/conf"));
    let log = fs::read(place.path().join("store/db")).expect("there");
    drop(open_sled(place.path()).await.expect("begun once more"));
    let kept = named(place.path(), "store.begun-anew-");
    assert!(fs::read(kept[0].join("db")).expect("kept") == log);
    drop(open_sled(place.path()).await.expect("opens"));
    assert_eq!(named(place.path(), "store.begun-anew-"), kept);
}

#[tokio::test]
async fn what_fails_once_the_new_store_is_in_place_is_not_told_as_if_nothing_had_changed() {
    let place = tempfile::tempdir().expect("a directory");
    drop(open_sled(place.path()).await.expect("opens"));
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    for second in now..now + 120 {
        // In the way of the name that the old store is to have at last.
        fs::create_dir_all(place.path().join(format!("store.before-restore-{second}/full"))).expect("made");
    }
    let said = store::replace(place.path().to_owned(), stored()).await.expect_err("something failed").to_string();
    let kept = named(place.path(), "store.restoring-");
    assert!(said.contains("was replaced by the one that is restored") && said.contains(&kept[0].display().to_string()), "{said}");
    assert!(!said.contains("as it was") && kept[0].join("store/db").exists(), "{said}");
    let opened = open_sled(place.path()).await.expect("opens");
    assert_eq!(opened.load(&[""]).await.expect("read").stored[0].bytes, b"restored");
}
