//! A batch: consecutive entries of one node, sealed as one, under a key that its header repeats.
//!
//! ```text
//! activity/{node}/{number of the first entry, 20 digits}
//! header:  {"format":1,"kind":"activity","node":"local","first":101,"last":164,"from":…,"to":…}
//! payload: the entries, a JSON list
//! ```
//! Entries of a node are numbered without gaps, so a batch that was taken away from between others
//! is missed; and a batch says of itself where it belongs, so none can stand in another's place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::node::NodeName;
use crate::audit::Recorded;
use crate::seal::{Envelope, SealError, Sealer};
use crate::store::Stored;

/// What the keys of all batches begin with.
pub(super) const PREFIX: &str = "activity/";
const FORMAT: u32 = 1;
const KIND: &str = "activity";

/// What is known of a batch without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) node: NodeName,
    /// The numbers of its first and last entry.
    pub(super) first: u64,
    pub(super) last: u64,
    /// When the first and last of them happened, in unix milliseconds.
    pub(super) from: i64,
    pub(super) to: i64,
    /// The store's version of it.
    pub(super) version: u64,
    /// Why it cannot be read, if its key or header says so already.
    pub(super) fault: Option<&'static str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    kind: String,
    node: NodeName,
    first: u64,
    last: u64,
    from: i64,
    to: i64,
}

impl Batch {
    /// Its key in the store.
    pub(super) fn key(&self) -> String {
        format!("{PREFIX}{}/{:020}", self.node, self.first)
    }

    /// How many entries it holds.
    pub(super) fn count(&self) -> u64 {
        if self.fault.is_some() { 0 } else { self.last - self.first + 1 }
    }

    /// What a stored batch says of itself, unverified. `None` for a key that is none of ours.
    pub(super) fn listed(stored: &Stored) -> Option<Self> {
        let (node, first) = stored.key.strip_prefix(PREFIX)?.split_once('/')?;
        let (node, first) = (NodeName::parse(node).ok()?, first.parse().ok()?);
        let faulty = |fault| Self { node: node.clone(), first, last: first, from: 0, to: 0, version: stored.version, fault };
        let Ok(envelope) = Envelope::parse(&stored.bytes) else { return Some(faulty(Some("it is damaged"))) };
        let header = serde_json::from_slice::<Header>(envelope.unverified_header()).ok();
        let Some(header) = header.filter(|header| header.format == FORMAT && header.kind == KIND) else {
            return Some(faulty(Some("it is of a later version of subrosa, or damaged")));
        };
        if header.node != node || header.first != first || first == 0 || first > header.last {
            return Some(faulty(Some("it belongs elsewhere: another batch was put in its place")));
        }
        Some(Self { last: header.last, from: header.from, to: header.to, ..faulty(None) })
    }

    /// Opens what is stored of this batch: its entries, the first first.
    pub(super) fn open(&self, sealer: &Sealer, stored: &Stored) -> Result<Vec<Recorded>, String> {
        let payload = sealer.open(&stored.bytes).map_err(|fault| fault.to_string())?;
        // Authenticated now, so what it says of itself counts.
        let sound = Self::listed(stored).ok_or("its key is none")?;
        if let Some(fault) = sound.fault {
            return Err(fault.to_owned());
        }
        let entries: Vec<Recorded> =
            serde_json::from_slice(&payload).map_err(|_| "its entries are of a later version of subrosa".to_owned())?;
        let as_said = (sound.first, sound.last) == (self.first, self.last) && entries.len() as u64 == self.count();
        if as_said { Ok(entries) } else { Err("it holds other entries than it was listed with".to_owned()) }
    }
}

/// Seals `entries`, the first of which has the number `first`. There is one at least.
pub(super) fn seal(
    sealer: &Sealer,
    node: &NodeName,
    first: u64,
    entries: &[Arc<Recorded>],
) -> Result<(Batch, Vec<u8>), SealError> {
    let times = || entries.iter().map(|entry| entry.at);
    let (from, to) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
    let last = first + entries.len() as u64 - 1;
    let header = Header { format: FORMAT, kind: KIND.to_owned(), node: node.clone(), first, last, from, to };
    let header = serde_json::to_vec(&header).expect("a header has text keys only");
    let payload = serde_json::to_vec(entries).expect("an entry has text keys only");
    let sealed = sealer.seal(&header, &payload)?;
    Ok((Batch { node: node.clone(), first, last, from, to, version: 0, fault: None }, sealed))
}
