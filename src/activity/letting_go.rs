//! What goes: batches of this node that are over its bounds, and what nodes left that are gone for good.

use std::time::SystemTime;

use super::keeper::{KeepError, Keeper};
use super::{stored, trail};
use crate::audit::millis;
use crate::store::{StoreError, Write};

impl Keeper {
    /// Now, for what is too old to be kept: no later than this process has lived. A clock that jumps ahead takes nothing away; one
    /// that was wrong at the start counts from the next one.
    pub(super) fn age_counts_until(&self) -> i64 {
        let (wall, monotonic) = self.began;
        millis(SystemTime::now().min(wall + monotonic.elapsed()))
    }

    /// What is over the bounds, of this node and of nodes that are gone.
    pub(super) async fn let_the_old_go(&mut self) -> Result<(), KeepError> {
        loop {
            let outdated = self.inner.trail().outdated(&self.inner.node, self.inner.bounds(), (self.age_counts_until(), 0));
            if outdated.is_empty() {
                break;
            }
            self.inner.backend.commit(outdated.iter().map(trail::removal).collect()).await?;
            let mut trail = self.inner.trail();
            for batch in &outdated {
                trail.remove(batch);
            }
        }
        self.let_the_abandoned_go().await
    }

    /// What nodes left that are gone for good: whoever looks first removes it, and who is second finds it gone.
    async fn let_the_abandoned_go(&mut self) -> Result<(), KeepError> {
        loop {
            let abandoned = self.inner.trail().abandoned(&self.inner.node, self.inner.bounds(), self.age_counts_until());
            if abandoned.is_empty() {
                return Ok(());
            }
            let mut writes: Vec<Write> = abandoned.iter().map(trail::removal).collect();
            // With the last of what it recorded goes what was counted from it.
            let left = self.inner.trail().nodes_without(&abandoned);
            for of in left {
                writes.extend(stored::removals(&*self.inner.backend, &of).await?);
            }
            for some in writes.chunks(trail::GO) {
                match self.inner.backend.commit(some.to_vec()).await {
                    Ok(_) => {}
                    Err(StoreError::Conflict { .. }) => return Ok(()),
                    Err(fault) => return Err(fault.into()),
                }
            }
            let mut trail = self.inner.trail();
            for batch in &abandoned {
                trail.remove(batch);
            }
        }
    }
}
