//! The right of an exchange that lasts, looked at every second: a stream, a long content or a WebSocket goes
//! on only as long as it might begin anew.
//!
//! A request is judged when it comes. What goes on afterwards has no next request at which a revoked
//! runner, or a secret that was deleted or may not go there any more, would be noticed. A new value of a
//! secret, or a new description, takes no right away.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::client_auth::Caller;
use super::context::Shared;
use super::exchange::{Seen, Visit};
use super::late::Late;
use crate::inject::{Injection, Once, Refusal};
use crate::origin::Host;
use crate::secret::{SecretName, Surface, Surfaces};

/// How often it is looked at: so long somebody may go on whose right was taken away.
const STILL: Duration = Duration::from_secs(1);

/// Secrets that went out, and where they stood; more may come.
#[derive(Clone, Default)]
pub(super) struct Used(Arc<Mutex<Once<(SecretName, Surface)>>>);

impl Used {
    /// These went out too.
    pub(super) fn add(&self, injected: &[(SecretName, Surface)]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(injected.iter().cloned());
    }

    fn all(&self) -> Once<(SecretName, Surface)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What lets an exchange go on.
pub(super) struct Right {
    shared: Arc<Shared>,
    caller: Caller,
    host: Host,
    used: Used,
    /// More secrets may go out in its content.
    late: Option<Arc<Late>>,
    looked: Instant,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Right {
    /// That of a caller to be connected with a host.
    pub(super) fn to_reach(shared: &Arc<Shared>, caller: Caller, host: Host) -> Self {
        Self { shared: Arc::clone(shared), caller, host, used: Used::default(), late: None, looked: Instant::now(), waits: None }
    }

    /// That of an exchange in which these secrets were seen.
    pub(super) fn of(visit: &Visit<'_>, seen: &Seen, late: Option<Arc<Late>>) -> Self {
        let right = Self::to_reach(&visit.door.shared, visit.caller.clone(), visit.origin.host.clone());
        right.used.add(&seen.injected);
        Self { late, ..right }
    }

    /// What went out, for whoever adds to it.
    pub(super) fn used(&self) -> Used {
        self.used.clone()
    }

    /// Whether it still holds.
    fn check(&self) -> Result<(), Refusal> {
        let caller = self.caller.refreshed(&self.shared)?;
        caller.may_reach(&self.host)?;
        let mut used = self.used.all();
        if let Some(late) = &self.late {
            used.extend(late.injected().iter().cloned());
        }
        if used.is_empty() {
            return Ok(());
        }
        let resolver = self.shared.secrets.resolver(&caller.organization, caller.names());
        let injection = Injection::new(resolver.as_ref(), &self.host, Surfaces::ALL);
        used.iter().try_for_each(|(name, surface)| injection.may_use(name, *surface))
    }

    /// Looks at it if it is time to; why it does not hold any more. `waits`: whoever asks has nothing else to
    /// be woken by for a while.
    pub(super) fn poll_lost(&mut self, cx: &mut Context<'_>, waits: bool) -> Option<Refusal> {
        if self.looked.elapsed() >= STILL {
            self.looked = Instant::now();
            self.waits = None;
            if let Err(refusal) = self.check() {
                return Some(self.told(refusal));
            }
        }
        if waits {
            let again = self.looked + STILL;
            let sleep = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(again.into())));
            if let Poll::Ready(()) = sleep.as_mut().poll(cx) {
                // It is time: the next turn looks.
                self.waits = None;
                cx.waker().wake_by_ref();
            }
        }
        None
    }

    /// Does `work` to its end, or for as long as this holds.
    pub(super) async fn lets(&self, work: impl Future<Output = ()>) {
        let mut work = std::pin::pin!(work);
        loop {
            if let Err(refusal) = self.check() {
                self.told(refusal);
                return;
            }
            if tokio::time::timeout(STILL, work.as_mut()).await.is_ok() {
                return;
            }
        }
    }

    fn told(&self, refusal: Refusal) -> Refusal {
        let runner = self.caller.runner_name().map(ToString::to_string).unwrap_or_default();
        let code = refusal.code.as_str();
        tracing::info!(target: "subrosa::proxy", host = %self.host, runner, code, detail = %refusal.detail, "an exchange was ended: its right was taken away while it lasted");
        refusal
    }
}
