//! A tunnel that was refused where nobody could be answered in HTTP: it stands in the audit log and in the
//! figures as a refused CONNECT does.

use std::time::{Instant, SystemTime};

use super::client_auth::Caller;
use super::context::Door;
use super::front::Client;
use crate::audit;
use crate::inject::{Reasons, Refusal};
use crate::origin::{Authority, Origin, Scheme};

/// What is known of it.
pub(super) struct RefusedTunnel<'a> {
    pub(super) client: &'a Client,
    pub(super) caller: Option<&'a Caller>,
    /// What was asked for, as it was written.
    pub(super) target: &'a str,
    pub(super) began: Instant,
}

impl RefusedTunnel<'_> {
    /// Writes it down and counts it.
    pub(super) fn write_down(&self, door: &Door, refusal: &Refusal) {
        let (outcome, status, took) = (audit::Outcome::Refused, refusal.code.status(), self.began.elapsed());
        door.shared.measures.exchange(outcome, Some(refusal.code), status, took);
        let origin = Authority::parse(self.target).ok().map(|authority| Origin::new(Scheme::Https, authority));
        let secrets: Vec<_> = refusal.secret.clone().zip(refusal.surface).into_iter().collect();
        door.shared.audit.record(&audit::Entry {
            request_id: &door.request_id(),
            client: Some(self.client.address),
            runner: self.caller.and_then(Caller::runner_name),
            organization: self.caller.map(|caller| &caller.organization),
            method: "CONNECT",
            url: self.target,
            origin: origin.as_ref().map(ToString::to_string).as_deref(),
            host: origin.as_ref().map(|origin| &origin.host),
            secrets: &secrets,
            redacted: &[],
            unsearched: Reasons::default(),
            answer_unsearched: Reasons::default(),
            outcome,
            code: Some(refusal.code),
            detail: Some(&refusal.detail),
            hint: None,
            status: None,
            duration: took,
            at: SystemTime::now(),
        });
    }
}
