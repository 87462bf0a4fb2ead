//! The audit log: who, when, which secret, where, with what outcome; never a value.
//!
//! One line per exchange that held a reference or was refused, as a tracing event of the target
//! `subrosa::audit`; and the last use of each secret, so that whoever deletes one can be told what
//! still uses it. The last uses are kept in memory only, the most recent [`LAST_USES`] of them.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use lru::LruCache;

use crate::inject::Code;
use crate::origin::Host;
use crate::secret::{OrganizationName, RunnerName, SecretName, Surface};

/// The target of the events, for filters.
pub const TARGET: &str = "subrosa::audit";
/// Of how many secrets the last use is kept: about 300 bytes each.
pub const LAST_USES: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request went upstream with its secrets in place.
    Forwarded,
    /// Nothing was sent.
    Refused,
    /// The request had begun to go out and was broken off.
    Aborted,
}

impl Outcome {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Aborted => "aborted",
        }
    }
}

/// What is told of one exchange.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Names the request in logs and in the answer.
    pub request_id: &'a str,
    /// Who asked; `None` for a client without a name.
    pub runner: Option<&'a RunnerName>,
    /// For whom, once that is known.
    pub organization: Option<&'a OrganizationName>,
    /// The method.
    pub method: &'a str,
    /// The URL as the runner sent it, references included.
    pub url: &'a str,
    /// The origin, once that is known, as `scheme://host[:port]`.
    pub origin: Option<&'a str>,
    /// The host of the origin.
    pub host: Option<&'a Host>,
    /// Each secret with the surface it stood on.
    pub secrets: &'a [(SecretName, Surface)],
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the refusal.
    pub code: Option<Code>,
    /// The sentence of the refusal.
    pub detail: Option<&'a str>,
    /// The status the runner got.
    pub status: Option<u16>,
    /// How long it took.
    pub duration: Duration,
    /// When it was.
    pub at: SystemTime,
}

/// When and how a secret was used last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub at: SystemTime,
    /// By whom; `None` for a client without a name.
    pub runner: Option<RunnerName>,
    /// Towards which host.
    pub host: Host,
    /// On which surface.
    pub surface: Surface,
}

/// Writes the audit log and remembers last uses. Shared by everybody.
pub struct Audit {
    last_uses: Mutex<LruCache<(OrganizationName, SecretName), LastUse>>,
}

impl Default for Audit {
    fn default() -> Self {
        Self { last_uses: Mutex::new(LruCache::new(LAST_USES)) }
    }
}

impl Audit {
    /// An audit that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes one line, and remembers the use of each secret that went out.
    pub fn record(&self, entry: &Entry<'_>) {
        write(entry);
        if entry.outcome != Outcome::Refused {
            self.remember(entry);
        }
    }

    /// When and how a secret was used last, since the start of this process.
    pub fn last_use(&self, organization: &OrganizationName, name: &SecretName) -> Option<LastUse> {
        let uses = self.last_uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.peek(&(organization.clone(), name.clone())).cloned()
    }

    fn remember(&self, entry: &Entry<'_>) {
        let (Some(organization), Some(host)) = (entry.organization, entry.host) else { return };
        let mut uses = self.last_uses.lock().unwrap_or_else(PoisonError::into_inner);
        for (secret, surface) in entry.secrets {
            let last = LastUse { at: entry.at, runner: entry.runner.cloned(), host: host.clone(), surface: *surface };
            uses.put((organization.clone(), secret.clone()), last);
        }
    }
}

fn write(entry: &Entry<'_>) {
    let secrets: Vec<_> = entry.secrets.iter().map(|(name, surface)| format!("{name}@{surface}")).collect();
    tracing::info!(
        target: TARGET,
        request_id = entry.request_id,
        runner = entry.runner.map(RunnerName::as_str),
        organization = entry.organization.map(OrganizationName::as_str),
        method = entry.method,
        url = entry.url,
        origin = entry.origin,
        secrets = secrets.join(" "),
        outcome = entry.outcome.as_str(),
        code = entry.code.map(Code::as_str),
        detail = entry.detail,
        status = entry.status,
        duration_ms = u64::try_from(entry.duration.as_millis()).unwrap_or(u64::MAX),
    );
}
