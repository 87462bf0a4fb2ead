//! Reading what is stored: at one revision however many pieces it takes, and never more at once than fits.

use etcd_client::{GetOptions, KeyValue};

use super::cluster::{Cluster, Trouble, kv, signed, unsigned};
use crate::store::{Loaded, Stored};

/// Keys in the first piece; values can be a MiB each.
const FIRST: usize = 32;
/// Keys in any piece.
const MOST: usize = 4096;
/// What a piece should have, about.
const ENOUGH: usize = 2 << 20;
/// How often it is begun anew when etcd compacts meanwhile.
const ATTEMPTS: usize = 5;

/// Everything that begins with one of `prefixes`, as it was at one revision.
pub(super) async fn load(cluster: &Cluster, prefixes: &[String]) -> Result<Loaded, Trouble> {
    let mut prefixes = prefixes.to_vec();
    prefixes.sort();
    // One that begins with another adds nothing.
    prefixes.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
    at_one_revision(|| async {
        let mut loaded = Loaded { revision: cluster.revision().await?, stored: Vec::new() };
        for prefix in &prefixes {
            let (from, to) = range(cluster, prefix, None);
            loaded.stored.extend(go_through(cluster, (from, to), usize::MAX, loaded.revision).await?);
        }
        Ok(loaded)
    })
    .await
}

/// The first `limit` keys that begin with `prefix` and come behind `after`.
pub(super) async fn page(cluster: &Cluster, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Stored>, Trouble> {
    let (from, to) = range(cluster, prefix, after);
    if limit == 0 || from >= to {
        return Ok(Vec::new());
    }
    at_one_revision(|| async {
        let revision = if limit > FIRST { cluster.revision().await? } else { 0 };
        go_through(cluster, (from.clone(), to.clone()), limit, revision).await
    })
    .await
}

/// What is stored under one key.
pub(super) async fn read(cluster: &Cluster, key: &str) -> Result<Option<Stored>, Trouble> {
    let full = &cluster.full(key);
    let mut answer = cluster.ask(|client| async move { kv(&client).get(full.as_str(), None).await }).await?;
    Ok(answer.take_kvs().into_iter().next().map(|found| stored(cluster, found)))
}

/// Once more if the revision is compacted away meanwhile.
async fn at_one_revision<T, F: Future<Output = Result<T, Trouble>>>(attempt: impl Fn() -> F) -> Result<T, Trouble> {
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(Trouble::Compacted) => {}
            outcome => return outcome,
        }
    }
    attempt().await
}

/// Piece by piece; at `revision`, or as it is if that is 0 and one piece is enough.
async fn go_through(
    cluster: &Cluster,
    (mut from, to): (Vec<u8>, Vec<u8>),
    limit: usize,
    revision: u64,
) -> Result<Vec<Stored>, Trouble> {
    let (mut found, mut piece) = (Vec::new(), FIRST);
    loop {
        let wanted = piece.min(limit - found.len());
        let options = GetOptions::new().with_range(to.clone()).with_limit(signed(wanted as u64)).with_revision(signed(revision));
        let (from_here, options) = (&from, &options);
        let mut answer =
            cluster.ask(|client| async move { kv(&client).get(from_here.clone(), Some(options.clone())).await }).await?;
        let (more, kvs) = (answer.more(), answer.take_kvs());
        let size: usize = kvs.iter().map(|found| found.key().len() + found.value().len()).sum();
        if let Some(last) = kvs.last() {
            from = [last.key(), &[0]].concat();
            piece = (ENOUGH / (size / kvs.len()).max(1)).clamp(1, MOST);
        }
        found.extend(kvs.into_iter().map(|found| stored(cluster, found)));
        if !more || found.len() >= limit {
            return Ok(found);
        }
    }
}

fn stored(cluster: &Cluster, found: KeyValue) -> Stored {
    let version = unsigned(found.mod_revision());
    let (key, bytes) = found.into_key_value();
    Stored { key: cluster.short(&key), version, bytes }
}

/// From the first key to behind the last.
fn range(cluster: &Cluster, prefix: &str, after: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let full = cluster.full(prefix).into_bytes();
    let from = match after {
        Some(after) if after >= prefix => [cluster.full(after).as_bytes(), &[0]].concat(),
        _ => full.clone(),
    };
    (from, behind(full))
}

/// The first key that is behind all that begin with `prefix`, which is not empty and ASCII.
pub(super) fn behind(mut prefix: Vec<u8>) -> Vec<u8> {
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}
