//! Long lists in pages: sorted, searched, and gone on with where the page before ended.
//!
//! A cursor says behind which entry to go on, not how many entries there were before, so nothing is
//! shown twice or left out when others write in between.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// Entries of a page unless it is said how many.
const USUAL: usize = 100;
/// Entries of a page at most: about a megabyte of answer.
pub(super) const MOST: usize = 1000;

/// How much, and from where.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Window {
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
}

/// One page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    /// What is on it.
    pub(super) entries: Vec<T>,
    /// The cursor of the next page; `None` on the last one.
    pub(super) next: Option<String>,
    /// How many entries all pages have.
    pub(super) total: usize,
}

/// The page that `window` means, of `all` in the order of `key`. No two entries have one key.
pub(super) fn page<T, K>(mut all: Vec<T>, window: &Window, key: impl Fn(&T) -> K) -> Result<Page<T>, Problem>
where
    K: Ord + Serialize + DeserializeOwned,
{
    let limit = window.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid("limit", format!("a page has 1 to {MOST} entries")));
    }
    all.sort_by_cached_key(&key);
    let total = all.len();
    if let Some(cursor) = &window.cursor {
        let behind = decode::<K>(cursor)?;
        all.drain(..all.partition_point(|entry| key(entry) <= behind));
    }
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(|last| encode(&key(last)));
    Ok(Page { entries: all, next, total })
}

fn encode<K: Serialize>(key: &K) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).expect("a key is numbers and texts"))
}

fn decode<K: DeserializeOwned>(cursor: &str) -> Result<K, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| {
        Problem::invalid("cursor", "this is no cursor of this list; take `next` of the page before, with the same sort")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(limit: usize, cursor: Option<String>) -> Window {
        Window { limit: Some(limit), cursor }
    }

    #[test]
    fn pages_follow_each_other_and_nothing_is_lost_when_others_write() {
        let key = |entry: &(i64, &'static str)| (-entry.0, entry.1.to_owned());
        let mut all = vec![(1, "a"), (3, "c"), (2, "b"), (3, "d")];
        let first = page(all.clone(), &window(2, None), key).expect("a page");
        assert_eq!((first.entries, first.total), (vec![(3, "c"), (3, "d")], 4));
        all.extend([(3, "aa"), (0, "z")]);
        let second = page(all.clone(), &window(2, first.next), key).expect("a page");
        assert_eq!(second.entries, [(2, "b"), (1, "a")]);
        let third = page(all, &window(2, second.next), key).expect("a page");
        assert_eq!((third.entries, third.next), (vec![(0, "z")], None));
    }

    #[test]
    fn what_is_no_page_is_told() {
        let key = |entry: &u8| *entry;
        for bad in [window(0, None), window(MOST + 1, None), window(1, Some("%".to_owned())), window(1, Some("InQi".to_owned()))]
        {
            assert!(page(vec![1_u8], &bad, key).is_err(), "{bad:?}");
        }
    }
}
