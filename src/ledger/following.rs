//! Following what other processes write: each of their commits is taken into the book, or, where one may have been missed,
//! everything is loaded again. What does not authenticate is not taken in: the book stays as it was, and says so.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch::Receiver;

use super::{Inner, LedgerError, open};
use crate::seal::KeyId;
use crate::staleness::Staleness;
use crate::store::{Freshness, Told};

/// Between two attempts to load what could not be.
const AGAIN: Duration = Duration::from_secs(2);

/// Whether the book follows what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What others write is in it a moment later.
    Sound,
    /// It stays as it was.
    Astray {
        /// Everything up to then is in it.
        since: Instant,
        /// Why, in a clause that can follow a colon.
        why: String,
        /// The key that is missing, if it is one.
        sealed_with: Option<KeyId>,
    },
}

/// Follows as long as anybody has the ledger.
pub(super) async fn follow(inner: Weak<Inner>, mut told: broadcast::Receiver<Told>) {
    let Some(load) = inner.upgrade().map(|inner| Arc::clone(&inner.load)) else { return };
    let mut tried = tokio::time::Instant::now();
    loop {
        let is_astray = inner.upgrade().is_none_or(|inner| *inner.standing.borrow() != Standing::Sound);
        let load_again = tokio::select! {
            told = told.recv() => match (told, inner.upgrade()) {
                (Ok(Told::Commit { revision, changes }), Some(inner)) => match inner.take_in(revision, &changes) {
                    Ok(()) => continue,
                    Err(fault) => {
                        inner.goes_astray(&fault);
                        true
                    }
                },
                (Ok(Told::LoadAgain) | Err(RecvError::Lagged(_)), Some(_)) => true,
                (Err(RecvError::Closed), _) | (_, None) => return,
            },
            () = load.notified() => true,
            () = tokio::time::sleep_until(tried + AGAIN), if is_astray => true,
        };
        if let (true, Some(inner)) = (load_again, inner.upgrade()) {
            inner.load_again().await;
            tried = tokio::time::Instant::now();
        }
    }
}

/// Tells how far behind the book is: as far as the engine, and from when on nothing is taken in any more.
pub(super) async fn tell(staleness: Staleness, mut freshness: Receiver<Freshness>, mut standing: Receiver<Standing>) {
    loop {
        let behind = match &*freshness.borrow_and_update() {
            Freshness::Behind { since, why } => Some((*since, why.clone())),
            Freshness::Current => None,
        };
        let astray = match &*standing.borrow_and_update() {
            Standing::Astray { since, why, .. } => Some((*since, why.clone())),
            Standing::Sound => None,
        };
        match astray.into_iter().chain(behind).min_by_key(|(since, _)| *since) {
            Some((since, why)) => staleness.behind(since, &why),
            None => staleness.current(),
        }
        tokio::select! {
            // An engine that is the truth itself never changes.
            Ok(()) = freshness.changed() => {}
            Ok(()) = standing.changed() => {}
            else => return,
        }
    }
}

impl Inner {
    /// Takes in what one commit changed. Where it is refused, nothing is changed.
    fn take_in(&self, revision: u64, changes: &[crate::store::Changed]) -> Result<(), LedgerError> {
        // While the book is astray, only loading everything sets it right.
        if *self.standing.borrow() != Standing::Sound {
            return Ok(());
        }
        let mut book = self.book();
        if book.take_in(&self.sealer, revision, changes)? {
            self.tell_seen(&book);
        }
        Ok(())
    }

    /// Loads everything, and takes in what differs.
    async fn load_again(&self) {
        let fresh = open::loaded(&*self.backend, &self.sealer, |key| self.book().entries.get(key).cloned()).await;
        let outcome = fresh.and_then(|fresh| {
            let mut book = self.book();
            let exchanged = book.exchange(fresh)?;
            self.tell_seen(&book);
            Ok(exchanged)
        });
        match outcome {
            Ok(true) => {
                if self.standing.send_replace(Standing::Sound) != Standing::Sound {
                    tracing::info!("what is stored can be followed again");
                }
            }
            // Something was written meanwhile, and is in the book.
            Ok(false) => self.load_soon(),
            // The engine tells by itself that it cannot be reached.
            Err(LedgerError::Store(fault)) => {
                tracing::warn!(%fault, "what is stored cannot be loaded at the moment");
                self.goes_astray(&LedgerError::Store(fault));
            }
            Err(fault) => self.goes_astray(&fault),
        }
    }

    /// The book cannot follow any more, and why. It goes on from what it holds.
    fn goes_astray(&self, fault: &LedgerError) {
        let sealed_with = match fault {
            LedgerError::WrongKey { sealed_with, .. } => Some(*sealed_with),
            _ => None,
        };
        let why = fault.to_string();
        self.standing.send_if_modified(|standing| match standing {
            Standing::Astray { why: known, sealed_with: key, .. } => {
                let is_news = *known != why;
                (*known, *key) = (why.clone(), sealed_with);
                is_news
            }
            Standing::Sound => {
                tracing::error!(reason = %why, "what other processes store cannot be followed; this one goes on with what it knows");
                *standing = Standing::Astray { since: Instant::now(), why: why.clone(), sealed_with };
                true
            }
        });
    }

    /// Has everything loaded again, soon.
    pub(super) fn load_soon(&self) {
        self.load.notify_one();
    }
}
