//! Going through the trail, newest first, over all nodes, one batch of each in memory at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::filter::Filter;
use super::node::NodeName;
use super::{Found, Inner};
use crate::audit::Recorded;
use crate::secret::OrganizationName;
use crate::store::StoreError;

/// Entries that one page looks at: what takes some tens of milliseconds. Fewer in tests, which make them all.
const LOOKED_AT: u64 = if cfg!(test) { 2_000 } else { 20_000 };
/// How often the list is looked at for a batch that is gone, a millisecond apart.
const LISTED_SOON: usize = 20;

/// Where a page ended. Opaque to whoever hands it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Of each node, the entries below this number come next.
    below: BTreeMap<NodeName, u64>,
}

/// A text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor; take it as `next` gave it, or begin without one")]
pub struct NoCursor;

impl Cursor {
    /// Reads a cursor.
    pub fn parse(text: &str) -> Result<Self, NoCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoCursor)?;
        serde_json::from_slice(&bytes).map_err(|_| NoCursor)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = serde_json::to_vec(self).map_err(|_| std::fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// One page of entries.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries, newest first.
    pub entries: Vec<Found>,
    /// Where the next page begins; `None` when there is nothing more.
    pub next: Option<Cursor>,
    /// Enough was looked at before the page was full: go on with `next`.
    pub stopped_early: bool,
    /// What cannot be read or is missing, in sentences.
    pub notices: Vec<String>,
}

/// A way through the trail.
pub struct Walk {
    inner: Arc<Inner>,
    organization: OrganizationName,
    filter: Filter,
    sources: Vec<Source>,
    looked_at: u64,
    notices: Vec<String>,
}

/// The entries of one node that are still to come.
struct Source {
    node: NodeName,
    /// Only entries below this number.
    below: u64,
    /// The newest first.
    batches: Vec<Batch>,
    /// Of one batch, the newest last.
    open: Vec<(u64, Recorded)>,
}

impl Walk {
    pub(super) fn new(inner: Arc<Inner>, organization: OrganizationName, filter: Filter, from: Option<&Cursor>) -> Self {
        let (mut sources, mut notices) = (Vec::new(), Vec::new());
        {
            let trail = inner.trail();
            notices.extend(trail.notices());
            for node in trail.nodes() {
                let below = match from {
                    None => u64::MAX,
                    // Nodes that began after the first page are newer than all of it.
                    Some(cursor) => cursor.below.get(node).copied().unwrap_or(0),
                };
                let batches = trail.before(node, below).cloned().collect();
                sources.push(Source { node: node.clone(), below, batches, open: Vec::new() });
            }
        }
        Self { inner, organization, filter, sources, looked_at: 0, notices }
    }

    /// The next entry that is wanted; `None` when there is none.
    pub async fn next(&mut self) -> Result<Option<Found>, StoreError> {
        self.next_within(u64::MAX).await
    }

    /// What cannot be read or is missing so far, in sentences.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    pub(super) async fn page(mut self, limit: usize) -> Result<Page, StoreError> {
        let mut entries = Vec::new();
        while entries.len() < limit {
            match self.next_within(LOOKED_AT).await? {
                Some(found) => entries.push(found),
                None => break,
            }
        }
        let more = self.sources.iter().any(Source::has_more);
        let stopped_early = more && entries.len() < limit;
        let next = more.then(|| self.cursor());
        Ok(Page { entries, next, stopped_early, notices: self.notices })
    }

    fn cursor(&self) -> Cursor {
        Cursor { below: self.sources.iter().map(|source| (source.node.clone(), source.below)).collect() }
    }

    async fn next_within(&mut self, looks: u64) -> Result<Option<Found>, StoreError> {
        loop {
            let newest = self.sources.iter_mut().filter(|source| source.has_more()).max_by_key(|source| source.newest());
            let Some(source) = newest else { return Ok(None) };
            match source.open.pop() {
                Some((number, entry)) => {
                    source.below = number;
                    if self.filter.wants(&self.organization, &entry) {
                        return Ok(Some(Found { node: source.node.clone(), number: Some(number), entry: Arc::new(entry) }));
                    }
                }
                None if self.looked_at >= looks => return Ok(None),
                None => {
                    let batch = source.batches.remove(0);
                    if self.filter.may_want(batch.from, batch.to) {
                        self.looked_at += batch.count();
                        source.read(&self.inner, &batch, &mut self.notices).await?;
                    } else {
                        source.below = source.below.min(batch.first);
                    }
                }
            }
        }
    }
}

impl Source {
    fn has_more(&self) -> bool {
        !self.open.is_empty() || !self.batches.is_empty()
    }

    /// When the next entry happened, as far as is known.
    fn newest(&self) -> i64 {
        self.open.last().map(|(_, entry)| entry.at).or(self.batches.first().map(|batch| batch.to)).unwrap_or(i64::MIN)
    }

    async fn read(&mut self, inner: &Inner, batch: &Batch, notices: &mut Vec<String>) -> Result<(), StoreError> {
        if batch.fault.is_some() {
            self.below = self.below.min(batch.first);
            return Ok(());
        }
        match inner.backend.read(&batch.key()).await? {
            Some(stored) if stored.version == batch.version => match batch.open(&inner.sealer, &stored) {
                Ok(entries) => {
                    let numbered = (batch.first..).zip(entries);
                    self.open = numbered.take_while(|(number, _)| *number < self.below).collect();
                }
                Err(reason) => {
                    let Batch { first, last, node, .. } = batch;
                    notices.push(format!("Entries {first} to {last} of node {node} cannot be read: {reason}."));
                    self.below = self.below.min(batch.first);
                }
            },
            // It took others in meanwhile.
            Some(stored) => self.batches.splice(..0, Batch::listed(&stored)).for_each(drop),
            None => self.look_again(inner, batch, notices).await,
        }
        Ok(())
    }

    /// The batch is gone: another took it in meanwhile, or its time was over.
    async fn look_again(&mut self, inner: &Inner, gone: &Batch, notices: &mut Vec<String>) {
        // What another node wrote is listed as soon as that is told.
        let soon = if self.node == inner.node { LISTED_SOON } else { LISTED_SOON * 100 };
        for _ in 0..soon {
            self.batches = inner.trail().before(&self.node, self.below).cloned().collect();
            if self.batches.first() != Some(gone) {
                return;
            }
            // What was committed is listed a moment later.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let Batch { first, last, node, .. } = gone;
        notices.push(format!("Entries {first} to {last} of node {node} are missing: somebody took them away."));
        self.batches.remove(0);
        self.below = self.below.min(gone.first);
    }
}
