//! The keys of several nodes over one store. Each seals with the key that it was given, so a key is retired once every node
//! that runs seals with the new one; and a node that meets what is sealed under another key looks at what it is given now.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Custody, CustodyError, Inner, State, blocking};
use crate::activity::{self, Running};
use crate::audit::Change;
use crate::ledger::Standing;
use crate::seal::{Envelope, KeyId};
use crate::store::StoreError;

/// How often a node looks under which key the others seal, where it hears of nothing.
const LOOKS: Duration = Duration::from_secs(30);
/// Where the root of the manifest lies, which each write seals anew.
const ROOT: &str = "manifest";

/// The other nodes that run, where the store is shared.
pub(super) async fn others(inner: &Inner) -> Result<Vec<Running>, StoreError> {
    if !inner.backend.is_shared() {
        return Ok(Vec::new());
    }
    let running = activity::running(&*inner.backend, inner.ledger.sealer(), SystemTime::now()).await?;
    Ok(running.into_iter().filter(|running| running.node != *inner.activity.node()).collect())
}

/// The nodes that seal with another key than `current`, in words; empty: none does.
pub(super) async fn who_seals_otherwise(inner: &Inner, current: KeyId) -> Result<String, StoreError> {
    let others = others(inner).await?;
    let otherwise = others.iter().filter(|running| running.key != current.to_string());
    Ok(otherwise.map(|running| format!("{} with {}", running.node, running.key)).collect::<Vec<_>>().join(", "))
}

impl Custody {
    /// That a new key may be made here: not where other nodes would not have it.
    pub(super) async fn refuse_where_others_run(&self) -> Result<(), CustodyError> {
        let others = others(&self.inner).await?;
        if others.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = others.iter().map(|running| running.node.to_string()).collect();
        Err(CustodyError::OthersRun(names.join(", ")))
    }

    /// Looks after the keys as long as the store is shared: see the room.
    pub fn follow(self: &Arc<Self>) {
        if !self.inner.backend.is_shared() || self.inner.sources.is_none() {
            return;
        }
        let (custody, mut standing) = (Arc::downgrade(self), self.inner.ledger.standing());
        tokio::spawn(async move {
            let mut told = None;
            loop {
                tokio::select! {
                    changed = standing.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(LOOKS) => {}
                }
                let Some(custody) = custody.upgrade() else { return };
                let Some(wanted) = custody.wanted().await else { continue };
                if let Err(why) = custody.take_up(wanted).await
                    && told.replace(wanted) != Some(wanted)
                {
                    tracing::error!(key = %wanted, %why, "other nodes seal with a key that is not given here; give it to this node as well");
                }
            }
        });
    }

    /// The key that others seal with, if it is another than this node's.
    async fn wanted(&self) -> Option<KeyId> {
        let ledger = &self.inner.ledger;
        if let Standing::Astray { sealed_with, .. } = &*ledger.standing().borrow() {
            return *sealed_with;
        }
        let root = self.inner.backend.read(ROOT).await.ok()??;
        let sealed_with = Envelope::parse(&root.bytes).ok()?.key_id();
        (sealed_with != ledger.key_id()).then_some(sealed_with)
    }

    /// Takes up the keys that are given now, if `wanted` is among them; and seals everything anew of this node under the
    /// current one of them.
    async fn take_up(self: &Arc<Self>, wanted: KeyId) -> Result<(), CustodyError> {
        let _one = self.deciding.lock().await;
        let sources = self.inner.sources.clone().ok_or(CustodyError::NothingKept)?;
        let given = blocking(move || sources.read()).await?;
        let held = self.inner.ledger.sealer().ring();
        if !given.holds(wanted) {
            return Err(CustodyError::NotGiven { given: given.current(), held: wanted });
        }
        let is_new = given.current() != held.current();
        if !is_new && held.holds(wanted) {
            return Ok(());
        }
        tracing::info!(key = %given.current(), "keys that other nodes seal with are given here now, and were taken up");
        if is_new {
            self.record(Change::new("another node", "rotated", "key", &given.current().to_string()));
        }
        self.inner.ledger.sealer().set_ring(given.with_all(&held));
        self.inner.ledger.load_again();
        if is_new && self.inner.progress().state != State::Running {
            self.begin();
        }
        Ok(())
    }
}
