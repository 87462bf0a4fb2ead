//! That a value which was typed is found nowhere afterwards: in no answer, log, file of the server, storage
//! or history of the browser, nor in the profile that it leaves on the disk.

use super::browser::{Browser, Page};
use super::stage::files;
use crate::support::World;

/// Looks through what the browser keeps for the page of somebody.
pub async fn is_kept(page: &Page, values: &[&str]) {
    let kept = page.kept().await;
    for store in ["local", "session", "databases", "caches"] {
        assert_eq!(kept[store], serde_json::json!([]), "{store}: {kept}");
    }
    assert_eq!((&kept["workers"], &kept["window"], &kept["state"]), (&0.into(), &"".into(), &"null".into()), "{kept}");
    let cookies = kept["cookies"].as_array().expect("a list");
    // The second is there for a second after a form was sent.
    assert!(cookies.iter().all(|name| name == "subrosa-session" || name == "subrosa-sent"), "{kept}");
    let history = kept["history"].as_array().expect("a list");
    assert!(history.iter().any(|entry| entry.as_str().is_some_and(|entry| entry.contains("/new-secret"))), "{kept}");
    absent("storage or history", kept.to_string().as_bytes(), values);
}

/// Looks through everything that the server and the browser leave behind, both ended.
pub async fn is_left(world: World, browser: Browser, values: &[&str]) {
    let World { mut proxy, .. } = world;
    let (tap, profile) = browser.quit().await;
    proxy.stop().await;
    let answered = tap.answered();
    assert!(find(&answered, b"crm.apiKey"), "the tap keeps what is answered");
    absent("an answer", &answered, values);
    absent("the log", proxy.log().as_bytes(), values);
    let mut told = 0;
    for file in files(&proxy.path("")) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        absent(&file.display().to_string(), &bytes, values);
        told += usize::from(file.starts_with(&profile) && (find(&bytes, b"crm.apiKey") || find(&bytes, &wide("crm.apiKey"))));
    }
    assert!(told > 0, "the profile keeps what may be kept, where this can see it");
}

fn absent(place: &str, bytes: &[u8], values: &[&str]) {
    for value in values {
        assert!(!find(bytes, value.as_bytes()) && !find(bytes, &wide(value)), "{value} is in {place}");
    }
}

/// As browsers write texts: two bytes a letter.
fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}
