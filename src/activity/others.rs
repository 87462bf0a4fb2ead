//! What other nodes of a shared store record: their batches are listed, counted and told as they are written.
//!
//! Whose entries are in the usage of others already is known by the number of the last one, node by node. A change that ends a
//! secret or a runner, or renames it, ends or renames what every node counted of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::batch::{self, Batch};
use super::node::NodeName;
use super::trail::{self, Trail};
use super::usage::Book;
use super::{Found, Inner};
use crate::audit::{Recorded, What};
use crate::store::{Changed, Stored, Told};

/// What other nodes saw.
#[derive(Default)]
pub(super) struct Others {
    pub(super) book: Book,
    /// The last entry of each that is in it.
    pub(super) seen: BTreeMap<NodeName, u64>,
}

/// Follows as long as anybody has the activity.
pub(super) async fn follow(inner: Weak<Inner>, mut told: Receiver<Told>) {
    loop {
        let told = told.recv().await;
        let Some(inner) = inner.upgrade() else { return };
        match told {
            Ok(Told::Commit { revision, changes }) => inner.list(revision, changes),
            Ok(Told::LoadAgain) | Err(RecvError::Lagged(_)) => inner.list_again().await,
            Err(RecvError::Closed) => return,
        }
    }
}

impl Inner {
    /// Lists what one commit changed of the batches of others, and takes in what is new.
    fn list(&self, revision: u64, changes: Vec<Changed>) {
        let of_others = |key: &String| {
            let node = key.strip_prefix(batch::PREFIX).and_then(|rest| rest.split_once('/'));
            node.is_some_and(|(node, _)| node != self.node.as_str())
        };
        let mut put = Vec::new();
        {
            let mut trail = self.trail();
            for Changed { key, now } in changes.into_iter().filter(|change| of_others(&change.key)) {
                match now {
                    Some((version, bytes)) => {
                        let stored = Stored { key, version, bytes };
                        if let Some(batch) = Batch::listed(&stored)
                            && trail.put_newer(batch.clone())
                        {
                            put.push((batch, stored));
                        }
                    }
                    None => trail.remove_older(&key, revision),
                }
            }
        }
        for (batch, stored) in put {
            // What is damaged is told when somebody asks for the entries.
            if let Ok(entries) = batch.open(&self.sealer, &stored) {
                self.take_in(&batch, entries);
            }
        }
    }

    /// Something may have been missed.
    async fn list_again(&self) {
        let fresh = match Trail::load(&*self.backend).await {
            Ok(fresh) => fresh,
            Err(fault) => return tracing::warn!(%fault, "the activity of other nodes cannot be listed at the moment"),
        };
        self.trail().exchange_others(&self.node, fresh);
        let unseen: Vec<Batch> = {
            let (trail, others) = (self.trail(), self.others());
            let of_others = trail.nodes().filter(|of| **of != self.node);
            let unseen = of_others.flat_map(|of| trail.after(of, others.seen.get(of).copied().unwrap_or_default()));
            unseen.filter(|batch| batch.fault.is_none()).cloned().collect()
        };
        for batch in unseen {
            if let Ok(Some(Ok(entries))) = trail::read(&*self.backend, &self.sealer, &batch).await {
                self.take_in(&batch, entries);
            }
        }
    }

    /// Counts and tells the entries of a batch that were not seen before.
    fn take_in(&self, batch: &Batch, entries: Vec<Recorded>) {
        let seen = {
            let mut others = self.others();
            let seen = others.seen.entry(batch.node.clone()).or_default();
            std::mem::replace(seen, batch.last.max(*seen))
        };
        for (number, entry) in (batch.first..).zip(entries).filter(|(number, _)| *number > seen) {
            let mut others = self.others();
            others.book.follow(&entry);
            others.book.forget_gone();
            drop(others);
            if let What::Change(_) = &entry.what {
                self.own().follow(&entry);
            }
            if self.followers.receiver_count() > 0 {
                let found = Found { node: batch.node.clone(), number: Some(number), entry: Arc::new(entry) };
                // Whoever followed may be gone by now.
                let _ = self.followers.send(found);
            }
        }
    }
}
