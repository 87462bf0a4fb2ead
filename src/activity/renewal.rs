//! A rotation, as far as activity goes: batches and usage that lie sealed under a former key are sealed
//! anew under the current one, some at a time, by the keeper, who alone writes them.

use std::time::SystemTime;

use tokio::sync::oneshot;

use super::batch::{self, Batch};
use super::keeper::Keeper;
use super::node::NodeName;
use super::{Activity, Order, claim, stored};
use crate::store::{COMMIT_BYTES, Expect, StoreError, Stored, Write};

/// Looked at in one step; a batch has up to half a MiB.
const STEP: usize = 8;

/// How far it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// How many were sealed anew.
    pub count: u64,
    /// Go on behind this; `None`: all were looked at.
    pub next: Option<String>,
}

/// Why it did not go on.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody keeps anything any more.
    #[error("the keeping of activity has stopped; restart subrosa")]
    NoKeeper,
}

impl Activity {
    /// Seals anew what lies behind `after` and is sealed under a former key, a few at a time. What does not
    /// open stays as it is.
    pub async fn renew(&self, after: Option<String>) -> Result<Renewed, NotRenewed> {
        let (done, told) = oneshot::channel();
        self.orders.send(Order::Renew(after, done)).await.map_err(|_| NotRenewed::NoKeeper)?;
        told.await.map_err(|_| NotRenewed::NoKeeper)?
    }
}

impl Keeper {
    pub(super) async fn renew(&mut self, after: Option<String>) -> Result<Renewed, NotRenewed> {
        // Batches first, then usage: in the order of the keys.
        let of_batches = after.as_deref().is_none_or(|after| after.starts_with(batch::PREFIX));
        let prefix = if of_batches { batch::PREFIX } else { stored::KEYS };
        let page = self.inner.backend.page(prefix, after.as_deref(), STEP).await?;
        let next = match page.last() {
            Some(last) if page.len() == STEP => Some(last.key.clone()),
            _ if of_batches => Some(stored::KEYS.to_owned()),
            _ => None,
        };
        let sealer = &self.inner.sealer;
        // Of a node that runs only its own process knows what it wrote last.
        let others: Vec<NodeName> = if self.inner.backend.is_shared() {
            let running = claim::running(&*self.inner.backend, sealer, SystemTime::now()).await?;
            running.into_iter().map(|running| running.node).filter(|node| *node != self.inner.node).collect()
        } else {
            Vec::new()
        };
        let is_ours = |stored: &Stored| !others.iter().any(|node| stored.key.split('/').nth(1) == Some(node.as_str()));
        let page: Vec<Stored> = page.into_iter().filter(is_ours).collect();
        let former = page.into_iter().filter(|stored| sealer.is_former(&stored.bytes));
        let renewed = former.filter_map(|stored| Some(Stored { bytes: sealer.renew(&stored.bytes).ok()?, ..stored }));
        let renewed: Vec<Stored> = renewed.collect();
        let count = renewed.len() as u64;
        self.put_back(renewed).await?;
        Ok(Renewed { count, next })
    }

    async fn put_back(&mut self, mut renewed: Vec<Stored>) -> Result<(), StoreError> {
        while !renewed.is_empty() {
            let mut bytes = 0;
            let fitting = renewed.iter().take_while(|stored| {
                bytes += stored.bytes.len();
                bytes <= COMMIT_BYTES
            });
            let rest = renewed.split_off(fitting.count().max(1));
            self.put_some_back(renewed).await?;
            renewed = rest;
        }
        Ok(())
    }

    async fn put_some_back(&mut self, renewed: Vec<Stored>) -> Result<(), StoreError> {
        let put = |Stored { key, version, bytes }: &Stored| Write::Put {
            key: key.clone(),
            expect: Expect::Version(*version),
            bytes: bytes.clone(),
        };
        let versions = match self.inner.backend.commit(renewed.iter().map(put).collect()).await {
            // Somebody else sealed it anew; the next round finds what is left.
            Err(StoreError::Conflict { .. }) if self.inner.backend.is_shared() => return Ok(()),
            outcome => outcome?,
        };
        for (stored, version) in renewed.into_iter().zip(versions) {
            let stored = Stored { version, ..stored };
            if let Some(batch) = Batch::listed(&stored) {
                self.inner.trail().put(batch);
            } else if let Some(own) = self.versions.get_mut(&stored.key) {
                *own = version;
            }
        }
        Ok(())
    }
}
