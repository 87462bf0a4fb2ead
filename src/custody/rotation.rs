//! One rotation, from the first record to the retirement of the former keys.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, Progress, Retired, State, Stopped, Survey, blocking, fleet};
use crate::seal::KeyId;

/// Records in one commit: of 64 KiB each they make one MiB.
const RECORDS: usize = 16;
/// Whoever prepared a write before the key was changed may carry it out after a round.
const ROUNDS: usize = 4;
/// How often it is looked at what other nodes do, and the pause in between: they take a new key up within half a minute.
const WAITS: usize = 60;
const PAUSE: Duration = Duration::from_secs(5);

/// Runs it, and leaves in the progress how it ended.
pub(super) async fn run(inner: Arc<Inner>) {
    let ended = rotate(&inner).await;
    let mut progress = inner.progress();
    match ended {
        Ok(said) => {
            tracing::info!(sealed_anew = progress.done, "{said}");
            *progress = Progress { state: State::Done, said: Some(said), ..progress.clone() };
        }
        Err(stopped) => {
            tracing::error!(reason = %stopped, "the rotation of the key stopped; it goes on with `subrosa key rotate`, or at the next start");
            *progress = Progress { state: State::Failed, said: Some(stopped.to_string()), ..progress.clone() };
        }
    }
}

async fn rotate(inner: &Inner) -> Result<String, Stopped> {
    let current = inner.ledger.sealer().key_id();
    inner.progress().total = Survey::of(inner).await?.needed;
    let mut otherwise = String::new();
    for round in 0..ROUNDS + WAITS {
        renew(inner).await?;
        let survey = Survey::of(inner).await?;
        if let Some(key) = survey.broken {
            return Err(Stopped::DoesNotOpen(key));
        }
        // As long as somebody seals with a former key, it has to open here.
        otherwise = fleet::who_seals_otherwise(inner, current).await?;
        if survey.needed == 0 && otherwise.is_empty() {
            return retire(inner, current).await;
        }
        if round >= ROUNDS && fleet::others(inner).await?.is_empty() {
            break;
        }
        if round >= ROUNDS {
            tokio::time::sleep(PAUSE).await;
        }
    }
    if !otherwise.is_empty() {
        return Err(Stopped::OthersSeal(otherwise));
    }
    Err(Stopped::StillNeeded(Survey::of(inner).await?.needed))
}

/// Seals everything anew that is sealed under a former key.
async fn renew(inner: &Inner) -> Result<(), Stopped> {
    let mut after = None;
    loop {
        let step = inner.ledger.renew_records(after, RECORDS).await?;
        inner.progress().done += step.count;
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    let parts = inner.ledger.renew_manifest().await?;
    inner.progress().done += parts;
    let mut after = None;
    loop {
        let step = inner.activity.renew(after).await?;
        inner.progress().done += step.count;
        after = step.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Lets go of every key but `current`, the one that all rounds were about. Where they are kept first: should that
/// fail, they still are in this process.
async fn retire(inner: &Inner, current: KeyId) -> Result<String, Stopped> {
    let ring = inner.ledger.sealer().ring();
    if ring.current() != current {
        return Err(Stopped::Overtaken(current));
    }
    let former: Vec<String> = ring.former().map(|id| id.to_string()).collect();
    let Some(sources) = inner.sources.clone() else { return Ok(String::new()) };
    let Retired { kept, by_hand } = blocking(move || sources.retire(current)).await?;
    if !inner.ledger.retire_former_keys(current).await {
        return Err(Stopped::Overtaken(current));
    }
    let mut said = vec![format!("everything is sealed under the key {current}")];
    if !former.is_empty() {
        said.push(format!("{} is retired", former.join(", ")));
    }
    if !kept.is_empty() {
        let kept: Vec<String> = kept.iter().map(|file| file.display().to_string()).collect();
        said.push(format!(
            "for backups that were made before it is kept in {}: delete that once there are none, and keep a copy of the new \
             key apart from the data",
            kept.join(", ")
        ));
    }
    said.extend(by_hand);
    Ok(said.join("; "))
}
