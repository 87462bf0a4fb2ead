//! Whose a node's name is: a sealed record that its process renews as long as it runs, so that no two processes record under
//! one name, and so that each knows under which key the others seal.
//!
//! ```text
//! node/{node}      header: {"format":1,"kind":"node","node":…,"instance":…,"key":…,"seen_at":…}; nothing else
//! ```
//! A process that ended is known again by its instance, which lies in its data directory; another one gets the name once it
//! has not been renewed for a while. Clocks of nodes may differ by less than that.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::node::NodeName;
use crate::audit::millis;
use crate::seal::{Envelope, SealError, Sealer};
use crate::store::{Backend, Expect, StoreError, Stored, Write};

/// What the keys of all claims begin with.
const PREFIX: &str = "node/";
const FORMAT: u32 = 1;
const KIND: &str = "node";
/// How often a claim is renewed.
pub const RENEWED: Duration = Duration::from_secs(30);
/// Since so long not renewed, its process is gone.
const HELD: Duration = Duration::from_mins(2);
/// Since so long not renewed, nobody needs to know of it.
const FORGOTTEN: Duration = Duration::from_hours(24);
/// Claims that are read at a time.
const PAGE: usize = 256;

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    kind: String,
    node: NodeName,
    instance: String,
    /// The key that it seals with.
    key: String,
    /// When it was renewed, in unix milliseconds.
    seen_at: i64,
}

/// The claim to a name.
pub struct Claim {
    backend: Arc<dyn Backend>,
    sealer: Sealer,
    node: NodeName,
    instance: String,
}

/// Why a name is not this process's.
#[derive(Debug, thiserror::Error)]
pub enum NotClaimed {
    /// Somebody else has it.
    #[error(
        "another process of this store is called `{0}`: give each its own name (`node`). One that has ended without its data \
         directory lets go of its name within two minutes"
    )]
    Taken(NodeName),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node that runs, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub node: NodeName,
    /// The key that it seals with.
    pub key: String,
}

impl Claim {
    /// A claim by a process that is known by `instance`; nobody else has that.
    pub fn new(backend: Arc<dyn Backend>, sealer: Sealer, node: NodeName, instance: String) -> Self {
        Self { backend, sealer, node, instance }
    }

    /// Makes it, or renews it.
    pub async fn renew(&self, now: SystemTime) -> Result<(), NotClaimed> {
        let key = format!("{PREFIX}{}", self.node);
        let there = self.backend.read(&key).await?;
        let known = there.as_ref().and_then(|stored| read(&self.sealer, stored));
        let is_others = |header: &Header| header.instance != self.instance && is_held(header, now);
        if known.as_ref().is_some_and(is_others) {
            return Err(NotClaimed::Taken(self.node.clone()));
        }
        let header = Header {
            format: FORMAT,
            kind: KIND.to_owned(),
            node: self.node.clone(),
            instance: self.instance.clone(),
            key: self.sealer.key_id().to_string(),
            seen_at: millis(now),
        };
        let header = serde_json::to_vec(&header).expect("a header has text keys only");
        let expect = there.map_or(Expect::Absent, |stored| Expect::Version(stored.version));
        let put = Write::Put { key, expect, bytes: self.sealer.seal_metadata(&header)? };
        match self.backend.commit(vec![put]).await {
            // Whoever was faster has it.
            Err(StoreError::Conflict { .. }) => Err(NotClaimed::Taken(self.node.clone())),
            outcome => outcome.map(drop).map_err(Into::into),
        }
    }
}

/// Removes claims of processes that have been gone for a day.
pub async fn prune(backend: &dyn Backend, sealer: &Sealer, now: SystemTime) -> Result<(), StoreError> {
    let oldest = millis(now).saturating_sub(i64::try_from(FORGOTTEN.as_millis()).unwrap_or(i64::MAX));
    for stored in backend.page(PREFIX, None, PAGE).await? {
        if read(sealer, &stored).is_none_or(|header| header.seen_at < oldest) {
            match backend.commit(vec![Write::Remove { key: stored.key, version: stored.version }]).await {
                // Somebody else was faster.
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(())
}

/// The nodes that run, as they say themselves.
pub async fn running(backend: &dyn Backend, sealer: &Sealer, now: SystemTime) -> Result<Vec<Running>, StoreError> {
    let stored = backend.page(PREFIX, None, PAGE).await?;
    let held = stored.iter().filter_map(|stored| read(sealer, stored)).filter(|header| is_held(header, now));
    Ok(held.map(|header| Running { node: header.node, key: header.key }).collect())
}

fn is_held(header: &Header, now: SystemTime) -> bool {
    let since = millis(now).saturating_sub(header.seen_at);
    since < i64::try_from(HELD.as_millis()).unwrap_or(i64::MAX)
}

/// What a claim says, if it is sound and lies where it belongs. One under a key that is not at hand is believed as it stands:
/// to take it for none would be worse.
fn read(sealer: &Sealer, stored: &Stored) -> Option<Header> {
    let envelope = Envelope::parse(&stored.bytes).ok()?;
    match sealer.open(&stored.bytes) {
        Ok(_) | Err(SealError::WrongKey { .. }) => {}
        Err(_) => return None,
    }
    let header: Header = serde_json::from_slice(envelope.unverified_header()).ok()?;
    let belongs = header.format == FORMAT && header.kind == KIND && stored.key == format!("{PREFIX}{}", header.node);
    belongs.then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{KeyEncryptionKey, KeyRing};
    use crate::store::{self, Engine};

    #[tokio::test]
    async fn a_name_is_one_process_s_until_it_has_been_gone_for_a_while() {
        let store = store::open(Engine::SharedMemory).await.expect("opens");
        let sealer = Sealer::new(KeyEncryptionKey::from_bytes(&[1; 32]));
        let claim = |node: &str, instance: &str| {
            Claim::new(Arc::clone(&store), sealer.clone(), NodeName::parse(node).expect("a name"), instance.to_owned())
        };
        let now = SystemTime::now();
        claim("n", "one").renew(now).await.expect("it is free");
        claim("n", "one").renew(now).await.expect("it is its own, after a restart too");
        let taken = claim("n", "two").renew(now + HELD / 2).await.expect_err("it is taken");
        assert!(matches!(&taken, NotClaimed::Taken(node) if node.as_str() == "n"), "{taken}");
        claim("m", "two").renew(now).await.expect("another name");
        claim("n", "two").renew(now + HELD).await.expect("whoever had it is gone");
        assert!(claim("n", "one").renew(now + HELD).await.is_err());
        // Under which key each seals is known.
        sealer.set_ring(KeyRing::new(KeyEncryptionKey::from_bytes(&[2; 32])).with(KeyEncryptionKey::from_bytes(&[1; 32])));
        claim("n", "two").renew(now + HELD).await.expect("its own");
        let keys: Vec<_> =
            running(&*store, &sealer, now + HELD / 2).await.expect("reads").into_iter().map(|one| one.key).collect();
        assert_eq!(keys, [KeyEncryptionKey::from_bytes(&[1; 32]).id().to_string(), sealer.key_id().to_string()]);
        prune(&*store, &sealer, now + FORGOTTEN).await.expect("pruned");
        assert_eq!(store.page("node/", None, 9).await.expect("reads").len(), 2);
        prune(&*store, &sealer, now + FORGOTTEN + Duration::from_secs(1)).await.expect("pruned");
        assert_eq!(store.page("node/", None, 9).await.expect("reads").len(), 1, "of the one that is gone nothing is left");
        // What somebody bent is nobody's claim.
        let stored = store.read("node/n").await.expect("reads").expect("there");
        let bytes = [&stored.bytes[..stored.bytes.len() - 1], &[stored.bytes[stored.bytes.len() - 1] ^ 1]].concat();
        let put = Write::Put { key: "node/n".to_owned(), expect: Expect::Version(stored.version), bytes };
        store.commit(vec![put]).await.expect("put");
        claim("n", "three").renew(now + HELD).await.expect("it is free");
    }
}
