//! A commit of somebody else, held against the manifest as everything is at the opening: root, pages and records of one
//! commit belong together, and what does not is refused or faulty.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::book::Book;
use super::manifest::{self, Line, Manifest};
use super::open::{self, Judge};
use super::record::{Entry, RecordKey};
use super::writing::is_of_the_ledger;
use super::{LedgerError, Sealer};
use crate::store::Changed;

/// What is new of some keys: their version and bytes, or that they are gone.
type News<'a> = HashMap<&'a str, Option<(u64, &'a [u8])>>;

impl Book {
    /// Takes in what the commit `revision` changed; whether any of it was new. An error: the manifest is not what it should
    /// be, and nothing was taken in.
    pub(super) fn take_in(&mut self, sealer: &Sealer, revision: u64, changes: &[Changed]) -> Result<bool, LedgerError> {
        if revision <= self.loaded || self.own.remove(&revision) {
            return Ok(false);
        }
        let of_the_ledger = changes.iter().filter(|change| is_of_the_ledger(&change.key));
        let news: News<'_> = of_the_ledger
            .filter(|change| self.is_news(revision, change))
            .map(|change| (change.key.as_str(), change.now.as_ref().map(|(version, bytes)| (*version, bytes.as_slice()))))
            .collect();
        if news.is_empty() {
            return Ok(false);
        }
        let manifest = self.manifest_after(sealer, &news)?;
        let (changed, later) = self.entries_after(sealer, &manifest, &news);
        for (key, news) in news {
            match news {
                Some((version, _)) => drop(self.versions.insert(key.to_owned(), version)),
                None => drop(self.versions.remove(key)),
            }
        }
        self.manifest = manifest;
        for (key, now) in changed {
            self.hold(&key, now);
        }
        self.later.extend(later);
        self.seen = self.seen.max(revision);
        Ok(true)
    }

    fn is_news(&self, revision: u64, change: &Changed) -> bool {
        let known = self.versions.get(&change.key);
        match &change.now {
            Some((version, _)) => known.is_none_or(|known| known < version),
            None => known.is_some_and(|known| *known < revision),
        }
    }

    fn manifest_after(&self, sealer: &Sealer, news: &News<'_>) -> Result<Manifest, LedgerError> {
        let put = |key: &str| news.get(key).copied().flatten().map(|(_, bytes)| bytes);
        if news.iter().any(|(key, now)| now.is_none() && !key.starts_with(super::record::RECORDS)) {
            return Err(LedgerError::ManifestMissing);
        }
        if let Some(root) = put(manifest::KEY) {
            return self.manifest.followed_by(sealer, root, put);
        }
        for (key, now) in news {
            if let (Some(page), Some((_, bytes))) = (key.strip_prefix(manifest::PAGES), now) {
                self.manifest.check_renewal(sealer, page, bytes)?;
            }
        }
        Ok(self.manifest.clone())
    }

    /// The entries that are others under `next`, and envelopes that are of use to later versions.
    #[allow(clippy::type_complexity, reason = "two lists by one key")]
    fn entries_after(
        &self,
        sealer: &Sealer,
        next: &Manifest,
        news: &News<'_>,
    ) -> (Vec<(RecordKey, Option<Entry>)>, BTreeMap<RecordKey, Vec<u8>>) {
        let mut keys: BTreeSet<String> = self.manifest.lines_that_differ(next);
        keys.extend(news.keys().map(|key| (*key).to_owned()));
        let known = |key: &RecordKey| self.entries.get(key).cloned();
        let (mut judge, mut changed) = (Judge::new(sealer, &known), Vec::new());
        for text in keys {
            let Some(key) = RecordKey::parse(&text) else { continue };
            let line = next.line(&text);
            let now = match (news.get(text.as_str()), line) {
                (Some(Some((_, bytes))), Some(line)) => Some(judge.judge(key.clone(), line, bytes.to_vec())),
                (Some(Some((_, bytes))), None) => Some(open::unlisted(key.clone(), bytes)),
                (Some(None), None) => None,
                (Some(None), Some(line)) => Some(open::missing_record(key.clone(), line)),
                (None, Some(line)) => Some(not_written(key.clone(), line)),
                (None, None) => self.left_behind(&key, &text),
            };
            changed.push((key, now));
        }
        (changed, judge.later)
    }

    /// What a record is whose line was taken out of the manifest, and which was not removed with it.
    fn left_behind(&self, key: &RecordKey, text: &str) -> Option<Entry> {
        let name = self.entries.get(key).and_then(Entry::held_name).cloned();
        self.versions.contains_key(text).then(|| open::faulty(key.clone(), name, false, open::UNLISTED))
    }
}

/// A record that is listed otherwise than before, and was not written with that.
fn not_written(key: RecordKey, (revision, name): &Line) -> Entry {
    let reason = format!("revision {revision} is listed, and it was not written: an older one is there");
    open::faulty(key, Some(name.clone()), true, &reason)
}
