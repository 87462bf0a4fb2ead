//! A request that a person sends for real, the way a runner's goes.
//!
//! The door for people does not know the road; whoever puts both together hands one in. What comes
//! back is never the response's content, which may hold what was injected.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};

use crate::origin::Origin;
use crate::secret::{OrganizationName, RunnerName};

/// What an errand comes to.
pub type Pending = Pin<Box<dyn Future<Output = Result<Answered, Undone>> + Send>>;

/// Sends requests the way a runner's go: found, permitted, injected, audited.
pub trait Road: Send + Sync {
    /// Sends one.
    fn send(&self, errand: Errand) -> Pending;
}

/// A request to be sent.
pub struct Errand {
    /// For which organization.
    pub organization: OrganizationName,
    /// As which runner; `None`: as one without limits of its own.
    pub runner: Option<RunnerName>,
    /// Where to.
    pub origin: Origin,
    /// The request, its target in origin form.
    pub request: Request<Bytes>,
}

/// What was answered.
pub struct Answered {
    /// The status, of the upstream or of the proxy's refusal.
    pub status: StatusCode,
    /// The code of the refusal, if it is one.
    pub refusal: Option<String>,
    /// Until the response's head.
    pub took: Duration,
}

/// Why nothing was answered, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undone(pub String);
