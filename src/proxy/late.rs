//! What comes out about a request after it was written down: a content that streams may hold
//! secrets, or be refused, when its answer has long begun. It is written down once more at its end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use http::{Method, StatusCode, Uri};

use super::client_auth::Caller;
use super::context::Shared;
use super::exchange::{Seen, Visit};
use crate::audit::{Entry, Outcome};
use crate::inject::{Once, Part, Reasons, Receipt, Refusal, Sent};
use crate::origin::Origin;
use crate::secret::{SecretName, Surface};

/// The request itself, as far as it is written down.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) id: &'a str,
    pub(super) client: Option<SocketAddr>,
    pub(super) began: Instant,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
}

/// The same, kept beyond the road.
pub(super) struct Told {
    request_id: String,
    client: Option<SocketAddr>,
    method: Method,
    url: String,
    began: Instant,
    caller: Caller,
    origin: Origin,
}

impl Told {
    pub(super) fn of(visit: &Visit<'_>) -> Self {
        let About { id, client, began, method, uri } = visit.about;
        Self {
            request_id: id.to_owned(),
            client,
            method: method.clone(),
            url: uri.to_string(),
            began,
            caller: visit.caller.clone(),
            origin: visit.origin.clone(),
        }
    }

    /// Whose request it is.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Writes one more line about it.
    pub(super) fn record(&self, shared: &Shared, receipt: &Receipt, ending: &Ending<'_>) {
        let refused = ending.refusal.and_then(|refusal| refusal.secret.clone().zip(refusal.surface));
        let secrets: Vec<_> = receipt.injected.iter().cloned().chain(refused).collect();
        self.write(shared, &Finding { secrets: &secrets, redacted: &[], unsearched: receipt.unsearched }, ending);
    }

    /// Writes one more line about it: values stood in its answer.
    pub(super) fn echoed(&self, shared: &Shared, redacted: &[(SecretName, Part)], status: StatusCode) {
        let ending = Ending { outcome: Outcome::Forwarded, refusal: None, status };
        self.write(shared, &Finding { secrets: &[], redacted, unsearched: Reasons::default() }, &ending);
    }

    fn write(&self, shared: &Shared, finding: &Finding<'_>, ending: &Ending<'_>) {
        let Finding { secrets, redacted, unsearched } = *finding;
        let Ending { outcome, refusal, status } = *ending;
        let origin = self.origin.to_string();
        shared.audit.record(&Entry {
            request_id: &self.request_id,
            client: self.client,
            runner: self.caller.runner_name(),
            organization: Some(&self.caller.organization),
            method: self.method.as_str(),
            url: &self.url,
            origin: Some(&origin),
            host: Some(&self.origin.host),
            secrets,
            redacted,
            unsearched,
            answer_unsearched: Reasons::default(),
            outcome,
            code: refusal.map(|refusal| refusal.code),
            detail: refusal.map(|refusal| refusal.detail.as_str()),
            hint: None,
            status: Some(status.as_u16()),
            duration: self.began.elapsed(),
            at: SystemTime::now(),
        });
    }
}

/// What came out.
struct Finding<'a> {
    secrets: &'a [(SecretName, Surface)],
    redacted: &'a [(SecretName, Part)],
    unsearched: Reasons,
}

/// How it ended.
pub(super) struct Ending<'a> {
    pub(super) outcome: Outcome,
    pub(super) refusal: Option<&'a Refusal>,
    /// What the runner was answered.
    pub(super) status: StatusCode,
}

/// What is known of one streaming content.
pub(super) struct Late {
    shared: Arc<Shared>,
    told: Told,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    receipt: Receipt,
    refusal: Option<Refusal>,
    /// The client broke it off.
    is_broken: bool,
    has_ended: bool,
    /// It was answered with this, and so many secrets were known then.
    answered: Option<(StatusCode, usize)>,
}

impl Late {
    pub(super) fn new(visit: &Visit<'_>, receipt: Receipt) -> Self {
        let state = Mutex::new(State { receipt, ..State::default() });
        Self { shared: Arc::clone(&visit.door.shared), told: Told::of(visit), state }
    }

    /// Everything that was put where so far.
    pub(super) fn note(&self, receipt: &Receipt) {
        let mut state = self.state();
        if state.receipt != *receipt {
            if receipt.sent.len() > state.receipt.sent.len() {
                self.shared.lately.sends(&self.told.caller.organization, &self.told.origin, &receipt.sent);
            }
            state.receipt = receipt.clone();
        }
    }

    /// Which secrets went out so far, and where they stood.
    pub(super) fn injected(&self) -> Once<(SecretName, Surface)> {
        self.state().receipt.injected.clone()
    }

    /// Nothing more is sent.
    pub(super) fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    /// Adds to `sent` what went out since; whether there was anything.
    pub(super) fn add_sent_to(&self, sent: &mut Once<Sent>) -> bool {
        let (state, before) = (self.state(), sent.len());
        sent.extend(state.receipt.sent.iter().cloned());
        sent.len() > before
    }

    /// It was refused, and the exchange broken off.
    pub(super) fn refused(&self, refusal: Refusal) {
        self.state().refusal = Some(refusal);
    }

    /// The client broke it off.
    pub(super) fn broke_off(&self) {
        self.state().is_broken = true;
    }

    /// Brings what was seen up to date, before it is written down. If the request was answered, what
    /// comes out from now on is written down at the end of its content.
    pub(super) fn bring(&self, seen: &mut Seen, answered: Option<StatusCode>) {
        let mut state = self.state();
        state.answered = answered.map(|status| (status, state.receipt.injected.len())).filter(|_| !state.has_ended);
        seen.take(state.receipt.clone());
    }

    /// Nothing more comes of the content.
    pub(super) fn ended(&self) {
        let mut state = self.state();
        state.has_ended = true;
        let Some((status, known)) = state.answered.take() else { return };
        let is_aborted = state.refusal.is_some() || state.is_broken;
        if is_aborted || state.receipt.injected.len() > known {
            let outcome = if is_aborted { Outcome::Aborted } else { Outcome::Forwarded };
            self.told.record(&self.shared, &state.receipt, &Ending { outcome, refusal: state.refusal.as_ref(), status });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
