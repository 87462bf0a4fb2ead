//! What lies in sled: keys as rows of chunks, changed in one transaction or not at all.

use sled::transaction::{ConflictableTransactionError, ConflictableTransactionResult, TransactionalTree};

use crate::store::{Expect, StoreError, Stored, Write};

/// Bytes of a value in one row. A page of sled holds 16 rows and moves to a file of its own at 128 KiB.
const CHUNK: usize = 4096;
/// The version and the count of chunks, before the bytes of the first.
const PREFIX: usize = 12;
/// The row that holds the version given last. No key begins with NUL.
pub(super) const REVISION: &[u8] = b"\0revision";

/// All expectations first, then all writes, under one version that was never given before.
pub(super) fn commit(view: &TransactionalTree, writes: &[Write]) -> ConflictableTransactionResult<u64, String> {
    let mut chunks = Vec::with_capacity(writes.len());
    for write in writes {
        chunks.push(check(view, write)?);
    }
    let revision = version(view.get(REVISION)?) + 1;
    view.insert(REVISION, &revision.to_be_bytes())?;
    for (write, old_chunks) in writes.iter().zip(chunks) {
        let (key, new_chunks) = match write {
            Write::Put { key, bytes, .. } => (key, put(view, key, revision, bytes)?),
            Write::Remove { key, .. } => (key, 0),
        };
        for chunk in new_chunks..old_chunks {
            view.remove(row(key, chunk))?;
        }
    }
    Ok(revision)
}

/// Fills a database that is nobody's yet, as if everything had come with the change `revision`.
pub(super) fn fill(db: &sled::Db, stored: &[Stored], revision: u64) -> sled::transaction::TransactionResult<(), String> {
    for entry in stored {
        db.transaction(|view| put(view, &entry.key, revision, &entry.bytes))?;
    }
    db.insert(REVISION, &revision.to_be_bytes())?;
    Ok(())
}

pub(super) fn version(row: Option<sled::IVec>) -> u64 {
    row.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// How many chunks the key has now, if what the write expects holds.
fn check(view: &TransactionalTree, write: &Write) -> ConflictableTransactionResult<u32, String> {
    let (key, expected) = match write {
        Write::Put { key, expect: Expect::Absent, .. } => (key, None),
        Write::Put { key, expect: Expect::Version(version), .. } | Write::Remove { key, version } => (key, Some(*version)),
    };
    let now = view.get(row(key, 0))?;
    let now = now.as_ref().and_then(|first| prefix_of(first));
    if now.map(|(version, _, _)| version) != expected {
        return Err(ConflictableTransactionError::Abort(key.clone()));
    }
    Ok(now.map_or(0, |(_, chunks, _)| chunks))
}

fn put(view: &TransactionalTree, key: &str, revision: u64, bytes: &[u8]) -> ConflictableTransactionResult<u32, String> {
    let rest = bytes.len().saturating_sub(CHUNK).div_ceil(CHUNK);
    let count = u32::try_from(rest + 1).map_err(|_| ConflictableTransactionError::Abort(key.to_owned()))?;
    let (first, rest) = bytes.split_at(bytes.len().min(CHUNK));
    view.insert(row(key, 0), [&revision.to_be_bytes()[..], &count.to_be_bytes(), first].concat())?;
    for (chunk, bytes) in (1..count).zip(rest.chunks(CHUNK)) {
        view.insert(row(key, chunk), bytes)?;
    }
    Ok(count)
}

/// The first `limit` keys that begin with `prefix` and come behind `after`, in their order, their
/// chunks joined. What is damaged beyond that is found when it is opened.
pub(super) fn page(db: &sled::Db, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Stored>, StoreError> {
    let mut found: Vec<Stored> = Vec::new();
    let from = after.filter(|after| *after >= prefix).map_or_else(|| prefix.as_bytes().to_vec(), |after| row(after, u32::MAX));
    for entry in db.range(from..) {
        let (row, bytes) = entry.map_err(|error| StoreError::Failed(format!("the store cannot be read: {error}")))?;
        let Some((key, chunk)) = parse_row(&row) else { continue };
        if !key.starts_with(prefix) {
            break;
        }
        if chunk == 0 && found.len() == limit {
            break;
        }
        match (chunk, found.last_mut()) {
            (0, _) => {
                let Some((version, _, first)) = prefix_of(&bytes) else { continue };
                found.push(Stored { key: key.to_owned(), version, bytes: first.to_vec() });
            }
            (_, Some(last)) if last.key == key => last.bytes.extend_from_slice(&bytes),
            (_, _) => {}
        }
    }
    Ok(found)
}

/// What is stored under one key.
pub(super) fn read(db: &sled::Db, key: &str) -> Result<Option<Stored>, StoreError> {
    let found = page(db, key, None, 1)?;
    Ok(found.into_iter().find(|stored| stored.key == key))
}

fn row(key: &str, chunk: u32) -> Vec<u8> {
    [key.as_bytes(), &[0], &chunk.to_be_bytes()].concat()
}

fn parse_row(row: &[u8]) -> Option<(&str, u32)> {
    let (key, chunk) = row.split_last_chunk::<4>()?;
    let key = std::str::from_utf8(key.strip_suffix(&[0])?).ok().filter(|key| !key.is_empty())?;
    Some((key, u32::from_be_bytes(*chunk)))
}

fn prefix_of(first: &[u8]) -> Option<(u64, u32, &[u8])> {
    let (version, rest) = first.split_first_chunk::<8>()?;
    let (chunks, bytes) = rest.split_first_chunk::<{ PREFIX - 8 }>()?;
    Some((u64::from_be_bytes(*version), u32::from_be_bytes(*chunks), bytes))
}
