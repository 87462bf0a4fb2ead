//! Usage in the store: one sealed record for each secret and runner, written now and then.
//!
//! ```text
//! usage/{node}/{organization}/{secret or runner}/{name}
//! usage-through/{node}      entries up to this number are in all of the above
//! ```
//! What came after that number is read from the batches at the next start. Each record says up to
//! which entry it counts, so nothing is counted twice wherever writing was interrupted.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::node::NodeName;
use super::trail::{self, Trail};
use super::usage::{Book, Subject, Tracked, Usage};
use crate::seal::{Envelope, SealError, Sealer};
use crate::secret::{OrganizationName, RunnerName, SecretName};
use crate::store::{Backend, Expect, StoreError, Stored, Write};

/// What the keys of all usage begin with.
pub(super) const KEYS: &str = "usage";
const PREFIX: &str = "usage/";
const THROUGH: &str = "usage-through/";
const FORMAT: u32 = 1;
const KIND: &str = "usage";
/// Records are read so many at a time when the book is made.
const PAGE: usize = 256;

/// Versions of the store, by its keys.
pub(super) type Versions = HashMap<String, u64>;

/// Says of a record where it belongs.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    kind: String,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    through: u64,
    #[serde(default)]
    usage: Usage,
}

/// What all nodes saw, as far as it is stored and in the batches.
pub(super) struct Loaded {
    pub(super) own: Book,
    /// What other nodes saw.
    pub(super) others: Book,
    /// Of the node's own records.
    pub(super) versions: Versions,
    pub(super) through: u64,
}

/// Reads what is stored, and what the batches hold beyond that.
pub(super) async fn load(backend: &dyn Backend, sealer: &Sealer, node: &NodeName, trail: &Trail) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded { own: Book::default(), others: Book::default(), versions: Versions::new(), through: 0 };
    let mut books: HashMap<NodeName, (Book, u64)> = HashMap::new();
    for stored in backend.load(&[THROUGH]).await?.stored {
        let Some(of) = stored.key.strip_prefix(THROUGH).and_then(|name| NodeName::parse(name).ok()) else { continue };
        if of == *node {
            loaded.versions.insert(stored.key.clone(), stored.version);
        }
        let through = open(sealer, &stored).map_or(0, |payload| payload.through);
        books.entry(of).or_default().1 = through;
    }
    each(backend, |stored| {
        let Some((of, organization, subject)) = parse(&stored.key) else { return };
        if of == *node {
            loaded.versions.insert(stored.key.clone(), stored.version);
        }
        let Some(Payload { through, usage }) = open(sealer, &stored) else {
            return tracing::warn!(key = stored.key, "a record of usage is damaged and was left out");
        };
        books.entry(of).or_default().0.put(&organization, subject, Tracked { usage, through, changed: false });
    })
    .await?;
    for of in trail.nodes() {
        books.entry(of.clone()).or_default();
    }
    for (of, (mut book, through)) in books {
        replay(backend, sealer, (&of, through), trail, &mut book).await?;
        if of == *node {
            (loaded.own, loaded.through) = (book, through);
        } else {
            loaded.others.merge(book);
        }
    }
    Ok(loaded)
}

/// Hands on every record, some at a time.
async fn each(backend: &dyn Backend, mut take: impl FnMut(Stored)) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    loop {
        let page = backend.page(PREFIX, after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|last| last.key.clone());
        page.into_iter().for_each(&mut take);
        if is_last {
            return Ok(());
        }
    }
}

/// The removal of everything that is stored of a node.
pub(super) async fn removals(backend: &dyn Backend, node: &NodeName) -> Result<Vec<Write>, StoreError> {
    let versions = versions(backend, node).await?;
    Ok(versions.into_iter().map(|(key, version)| Write::Remove { key, version }).collect())
}

/// The versions of everything that is stored of a node.
pub(super) async fn versions(backend: &dyn Backend, node: &NodeName) -> Result<Versions, StoreError> {
    let through = backend.read(&format!("{THROUGH}{node}")).await?;
    let mut stored: Versions = through.into_iter().map(|stored| (stored.key, stored.version)).collect();
    let (prefix, mut after) = (format!("{PREFIX}{node}/"), None::<String>);
    loop {
        let page = backend.page(&prefix, after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|last| last.key.clone());
        stored.extend(page.into_iter().map(|stored| (stored.key, stored.version)));
        if is_last {
            return Ok(stored);
        }
    }
}

/// Takes in what is in the batches of a node beyond what is stored.
async fn replay(
    backend: &dyn Backend,
    sealer: &Sealer,
    (node, through): (&NodeName, u64),
    trail: &Trail,
    book: &mut Book,
) -> Result<(), StoreError> {
    for batch in trail.after(node, through).filter(|batch| batch.fault.is_none()) {
        // What is damaged is told when somebody asks for the entries.
        if let Some(Ok(entries)) = trail::read(backend, sealer, batch).await? {
            (batch.first..).zip(&entries).for_each(|(number, entry)| book.apply(Some(number), entry));
        }
    }
    Ok(())
}

/// The write that stores a subject's usage, or removes it. `None` where there is nothing to remove.
pub(super) fn write(
    sealer: &Sealer,
    node: &NodeName,
    (organization, subject, tracked): &(OrganizationName, Subject, Option<Tracked>),
    versions: &Versions,
) -> Result<Option<Write>, SealError> {
    let key = key(node, organization, subject);
    let version = versions.get(&key).copied();
    let Some(tracked) = tracked else { return Ok(version.map(|version| Write::Remove { key, version })) };
    let payload = Payload { through: tracked.through, usage: tracked.usage.clone() };
    put(sealer, key, version, &payload).map(Some)
}

/// The write that says up to which entry everything is stored.
pub(super) fn write_through(sealer: &Sealer, node: &NodeName, through: u64, versions: &Versions) -> Result<Write, SealError> {
    let key = format!("{THROUGH}{node}");
    let version = versions.get(&key).copied();
    put(sealer, key, version, &Payload { through, usage: Usage::default() })
}

fn put(sealer: &Sealer, key: String, version: Option<u64>, payload: &Payload) -> Result<Write, SealError> {
    let header = Header { format: FORMAT, kind: KIND.to_owned(), key };
    let bytes = serde_json::to_vec(&header).expect("a header has text keys only");
    let payload = serde_json::to_vec(payload).expect("usage has keys that are text or numbers");
    let expect = version.map_or(Expect::Absent, Expect::Version);
    Ok(Write::Put { expect, bytes: sealer.seal(&bytes, &payload)?, key: header.key })
}

/// What is stored, if it is sound and lies where it belongs.
fn open(sealer: &Sealer, stored: &Stored) -> Option<Payload> {
    let payload = sealer.open(&stored.bytes).ok()?;
    let header: Header = serde_json::from_slice(Envelope::parse(&stored.bytes).ok()?.unverified_header()).ok()?;
    let belongs = header.format == FORMAT && header.kind == KIND && header.key == stored.key;
    serde_json::from_slice(&payload).ok().filter(|_| belongs)
}

fn key(node: &NodeName, organization: &OrganizationName, subject: &Subject) -> String {
    match subject {
        Subject::Secret(name) => format!("{PREFIX}{node}/{organization}/secret/{name}"),
        Subject::Runner(name) => format!("{PREFIX}{node}/{organization}/runner/{name}"),
    }
}

fn parse(key: &str) -> Option<(NodeName, OrganizationName, Subject)> {
    let mut parts = key.strip_prefix(PREFIX)?.split('/');
    let (node, organization) = (NodeName::parse(parts.next()?).ok()?, OrganizationName::parse(parts.next()?).ok()?);
    let subject = match (parts.next()?, parts.next()?) {
        ("secret", name) => Subject::Secret(SecretName::parse(name).ok()?),
        ("runner", name) => Subject::Runner(RunnerName::parse(name).ok()?),
        _ => return None,
    };
    parts.next().is_none().then_some((node, organization, subject))
}
