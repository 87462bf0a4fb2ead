//! A commit as one transaction: all of it or nothing, once, whichever answers are lost.
//!
//! Whoever loses the answer sends the very same transaction again. If it was carried out, its expectations do not hold any
//! more, and what it put is found there; so it counts as done. That it is carried out twice cannot be: every
//! expectation of a version holds once at most. Where it only expects keys to be absent somebody could have removed them in
//! between, so it is not sent again, and only looked for.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Trouble, give_up, kv, signed, unsigned};
use super::faults::Fault;
use super::reading::read;
use crate::store::{Expect, StoreError, Write};

/// What etcd takes in one transaction (its --max-txn-ops).
const MOST: usize = 128;

/// Carries out all writes, or none, within `wait`.
pub(super) async fn commit(cluster: &Cluster, writes: Vec<Write>, wait: Duration) -> Result<Vec<u64>, StoreError> {
    let puts = writes.iter().filter(|write| matches!(write, Write::Put { .. })).count();
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    if writes.len() > MOST {
        let count = writes.len();
        return Err(StoreError::Failed(format!(
            "a change of {count} keys is more than etcd takes at once ({MOST}); nothing was changed"
        )));
    }
    let revision = Commit::new(cluster, &writes).carry_out(Instant::now() + wait).await?;
    Ok(vec![revision; puts])
}

struct Commit<'a> {
    cluster: &'a Cluster,
    writes: &'a [Write],
    transaction: Txn,
    /// What became of an answer that was lost, if one was.
    lost: Option<String>,
}

impl<'a> Commit<'a> {
    fn new(cluster: &'a Cluster, writes: &'a [Write]) -> Self {
        Self { cluster, writes, transaction: transaction(cluster, writes), lost: None }
    }

    /// At which revision it was.
    async fn carry_out(mut self, until: Instant) -> Result<u64, StoreError> {
        loop {
            let mut faults = Vec::new();
            for member in self.cluster.in_turn() {
                if self.lost.is_some() && !self.can_be_sent_again() {
                    return self.look_for_it().await;
                }
                let transaction = &self.transaction;
                let asked = self.cluster.ask_one(member, until, |client| {
                    let transaction = transaction.clone();
                    async move { kv(&client).txn(transaction).await }
                });
                match asked.await {
                    Ok(answer) if answer.succeeded() => {
                        return Ok(answer.header().map_or(0, |header| unsigned(header.revision())));
                    }
                    Ok(_) if self.lost.is_some() => return self.look_for_it().await,
                    Ok(answer) => return Err(self.conflict(&answer)),
                    Err(Fault::Refused(why)) => return Err(self.given_up(Trouble::Refused(why))),
                    Err(fault) => {
                        if let Fault::Lost(why) = &fault {
                            self.lost = Some(why.clone());
                        }
                        faults.push(fault);
                    }
                }
            }
            give_up(&faults, until).map_err(|trouble| self.given_up(trouble))?;
            sleep(super::cluster::AGAIN).await;
        }
    }

    fn can_be_sent_again(&self) -> bool {
        self.writes.iter().any(|write| !matches!(write, Write::Put { expect: Expect::Absent, .. }))
    }

    /// Nobody does it, or says whether it was done.
    fn given_up(&self, trouble: Trouble) -> StoreError {
        match &self.lost {
            None => trouble.into(),
            Some(why) => StoreError::Unknown { why: format!("etcd did not answer: {why}") },
        }
    }

    /// The revision of what this put, if that is what lies there. What was sealed is like nothing else.
    async fn look_for_it(&self) -> Result<u64, StoreError> {
        let unknown = |why: &str| StoreError::Unknown { why: why.to_owned() };
        for write in self.writes {
            let Write::Put { key, bytes, .. } = write else { continue };
            match read(self.cluster, key).await {
                Ok(Some(found)) if found.bytes == *bytes => return Ok(found.version),
                Ok(_) => {}
                Err(trouble) => return Err(self.given_up(trouble)),
            }
        }
        let lost = self.lost.as_deref().unwrap_or_default();
        Err(unknown(&format!("its answer was lost ({lost}), and what it changed is not there, or was changed again since")))
    }

    /// Which key is not as it was expected.
    fn conflict(&self, answer: &TxnResponse) -> StoreError {
        let found = answer.op_responses();
        let now = found.iter().map(|found| match found {
            TxnOpResponse::Get(found) => found.kvs().first().map_or(0, |found| unsigned(found.mod_revision())),
            _ => 0,
        });
        let failed = self.writes.iter().zip(now).find(|(write, now)| expected(write) != *now).map(|(write, _)| write);
        let key = failed.or(self.writes.first()).map(key_of).unwrap_or_default().to_owned();
        StoreError::Conflict { key }
    }
}

/// Its expectations, its writes, and a look at what is there instead.
fn transaction(cluster: &Cluster, writes: &[Write]) -> Txn {
    let full = |write: &Write| cluster.full(key_of(write));
    let expected = |write: &Write| Compare::mod_revision(full(write), CompareOp::Equal, signed(expected(write)));
    let done = |write: &Write| match write {
        Write::Put { bytes, .. } => TxnOp::put(full(write), bytes.clone(), None),
        Write::Remove { .. } => TxnOp::delete(full(write), None),
    };
    let seen = |write: &Write| TxnOp::get(full(write), Some(GetOptions::new().with_keys_only()));
    Txn::new()
        .when(writes.iter().map(expected).collect::<Vec<_>>())
        .and_then(writes.iter().map(done).collect::<Vec<_>>())
        .or_else(writes.iter().map(seen).collect::<Vec<_>>())
}

fn key_of(write: &Write) -> &str {
    match write {
        Write::Put { key, .. } | Write::Remove { key, .. } => key,
    }
}

/// The revision that a key must have; what is not there has 0.
fn expected(write: &Write) -> u64 {
    match write {
        Write::Put { expect: Expect::Absent, .. } => 0,
        Write::Put { expect: Expect::Version(version), .. } | Write::Remove { version, .. } => *version,
    }
}
