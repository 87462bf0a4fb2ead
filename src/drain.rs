//! Stopping in order: who listens stops, who is busy finishes, and one place knows when all did.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Shared by everybody who must stop: a signal, and a count of those still busy.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    stop: CancellationToken,
    rest: CancellationToken,
    cut: CancellationToken,
    busy: TaskTracker,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resolves when draining begins; at once if it already has.
    pub async fn begun(&self) {
        self.stop.cancelled().await;
    }

    /// Whether draining has begun.
    pub fn has_begun(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when connections on which nothing is asked may close; at once if that time has come.
    pub async fn rest_over(&self) {
        self.rest.cancelled().await;
    }

    /// Counts the holder as busy until the token is dropped.
    pub fn busy(&self) -> TaskTrackerToken {
        self.busy.token()
    }

    /// Tells everybody to stop: who listens at once, who is busy when that is done. A connection at rest stays for what its
    /// client may have sent already.
    pub fn begin(&self) {
        self.stop.cancel();
        self.busy.close();
    }

    /// Resolves when nothing may be finished any more.
    pub async fn cut_off(&self) {
        self.cut.cancelled().await;
    }

    /// Says that nothing may be finished any more: by which rules is not known.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Tells connections at rest to close.
    pub fn end_rest(&self) {
        self.rest.cancel();
    }

    /// Waits until nobody is busy, for `grace` at most; whether all had finished by then.
    pub async fn finished(&self, grace: Duration) -> bool {
        tokio::time::timeout(grace, self.busy.wait()).await.is_ok()
    }
}
