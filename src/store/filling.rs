//! Filling a store that is empty, and holding what it has then against what it was given.

use std::collections::HashMap;

use super::{Backend, COMMIT_BYTES, Expect, StoreError, Stored, Write};

/// Keys in one commit; etcd takes 128.
const MOST: usize = 64;

/// Puts everything into `store`, where nothing may be, and reads it back. `last` comes last: without it what was begun
/// and not finished is no store that opens.
pub async fn fill(store: &dyn Backend, stored: &[Stored], last: &str) -> Result<(), StoreError> {
    if let Some(first) = store.page("", None, 1).await?.first() {
        let key = &first.key;
        return Err(StoreError::Failed(format!(
            "what is to be filled is not empty (its first key is `{key}`); nothing was changed"
        )));
    }
    let unfinished = |fault: StoreError| {
        StoreError::Failed(format!("{fault}; what was put there so far is no store yet: remove it, and begin again"))
    };
    let mut ordered: Vec<&Stored> = stored.iter().filter(|entry| entry.key != last).collect();
    ordered.extend(stored.iter().filter(|entry| entry.key == last));
    let (mut writes, mut bytes) = (Vec::new(), 0);
    for entry in ordered {
        if writes.len() >= MOST || entry.key == last || (bytes + entry.bytes.len() > COMMIT_BYTES && !writes.is_empty()) {
            commit(store, std::mem::take(&mut writes)).await.map_err(unfinished)?;
            bytes = 0;
        }
        bytes += entry.bytes.len();
        writes.push(Write::Put { key: entry.key.clone(), expect: Expect::Absent, bytes: entry.bytes.clone() });
    }
    commit(store, writes).await.map_err(unfinished)?;
    verify(store, stored).await.map_err(unfinished)
}

async fn commit(store: &dyn Backend, writes: Vec<Write>) -> Result<(), StoreError> {
    if writes.is_empty() {
        return Ok(());
    }
    store.commit(writes).await.map(drop)
}

/// That `store` has these entries, byte for byte, and no others.
async fn verify(store: &dyn Backend, stored: &[Stored]) -> Result<(), StoreError> {
    let differs = |key: &str| StoreError::Failed(format!("`{key}` does not read back as it was written"));
    let found = store.load(&[""]).await?.stored;
    let mut wanted: HashMap<&str, &[u8]> = stored.iter().map(|entry| (entry.key.as_str(), entry.bytes.as_slice())).collect();
    for entry in &found {
        if wanted.remove(entry.key.as_str()) != Some(&entry.bytes) {
            return Err(differs(&entry.key));
        }
    }
    wanted.keys().next().map_or(Ok(()), |key| Err(differs(key)))
}

#[cfg(test)]
mod tests {
    use super::super::{Engine, open};
    use super::*;

    #[tokio::test]
    async fn what_is_empty_is_filled_in_pieces_and_what_is_not_is_left_alone() {
        let store = open(Engine::Memory).await.expect("opens");
        let entry = |key: String, size: usize| Stored { key, version: 7, bytes: vec![1; size] };
        let mut stored: Vec<_> = (0..200).map(|index| entry(format!("record/{index:03}"), 20_000)).collect();
        stored.insert(0, entry("manifest".to_owned(), 3));
        fill(&*store, &stored, "manifest").await.expect("fills");
        let found = store.load(&[""]).await.expect("loads").stored;
        assert_eq!(found.len(), 201);
        let last = found.iter().max_by_key(|entry| entry.version).expect("one");
        assert_eq!(last.key, "manifest", "nothing opens before everything is there");
        assert!(found.iter().map(|entry| entry.version).collect::<std::collections::BTreeSet<_>>().len() > 4);
        let refused = fill(&*store, &stored, "manifest").await.expect_err("not empty").to_string();
        assert!(refused.contains("not empty") && refused.contains("nothing was changed"), "{refused}");
        assert_eq!(store.load(&[""]).await.expect("loads").stored, found);
        let fault = verify(&*store, &stored[1..]).await.expect_err("one more is there").to_string();
        assert!(fault.contains("`manifest`"), "{fault}");
        stored.push(entry("missing".to_owned(), 1));
        assert!(verify(&*store, &stored).await.expect_err("one is missing").to_string().contains("`missing`"));
    }
}
