//! The audit log: who, when, which secret, where, with what outcome; never a value.
//!
//! One line per exchange that held a reference, was refused or has a hint to give, as a tracing event of the target
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
    /// Each secret with the surface it stood on; of a refused request those that are known.
    pub secrets: &'a [(SecretName, Surface)],
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the refusal.
    pub code: Option<Code>,
    /// The sentence of the refusal.
    pub detail: Option<&'a str>,
    /// What the request probably did not mean.
    pub hint: Option<&'a str>,
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
        hint = entry.hint,
        status = entry.status,
        duration_ms = u64::try_from(entry.duration.as_millis()).unwrap_or(u64::MAX),
        "exchange"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The JSON lines that `work` makes.
    fn lines(work: impl FnOnce()) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().without_time().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn name(text: &str) -> SecretName {
        SecretName::parse(text).expect("a good name")
    }

    fn entry<'a>(names: &'a Names, secrets: &'a [(SecretName, Surface)]) -> Entry<'a> {
        Entry {
            request_id: "01ab",
            runner: Some(&names.runner),
            organization: Some(&names.organization),
            method: "GET",
            url: "https://a.example/?k={secrets.crm.apiKey}",
            origin: Some("https://a.example"),
            host: Some(&names.host),
            secrets,
            outcome: Outcome::Forwarded,
            code: None,
            detail: None,
            hint: None,
            status: Some(200),
            duration: Duration::from_micros(12_900),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
        }
    }

    struct Names {
        runner: RunnerName,
        organization: OrganizationName,
        host: Host,
    }

    fn names() -> Names {
        Names {
            runner: RunnerName::parse("billing").expect("a good name"),
            organization: OrganizationName::default(),
            host: Host::parse("a.example").expect("a good host"),
        }
    }

    #[test]
    fn an_exchange_is_one_event_with_every_field() {
        let (names, secrets) = (names(), [(name("crm.apiKey"), Surface::Header), (name("x"), Surface::Body)]);
        let lines = lines(|| Audit::new().record(&entry(&names, &secrets)));
        let expected = serde_json::json!({
            "level": "INFO", "target": "subrosa::audit",
            "fields": {
                "message": "exchange", "request_id": "01ab", "runner": "billing", "organization": "default", "method": "GET",
                "url": "https://a.example/?k={secrets.crm.apiKey}", "origin": "https://a.example",
                "secrets": "crm.apiKey@header x@body", "outcome": "forwarded", "status": 200, "duration_ms": 12,
            },
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn a_refusal_has_its_code_and_its_sentence() {
        let names = names();
        let refused = Entry {
            runner: None,
            origin: None,
            outcome: Outcome::Refused,
            code: Some(Code::DomainRestricted),
            detail: Some("not there"),
            status: Some(403),
            ..entry(&names, &[])
        };
        let fields = lines(|| Audit::new().record(&refused)).remove(0)["fields"].take();
        assert_eq!(
            (&fields["outcome"], &fields["code"], &fields["detail"]),
            (&"refused".into(), &"domain_restricted".into(), &"not there".into())
        );
        assert!(fields.get("runner").is_none() && fields.get("origin").is_none());
    }

    #[test]
    fn the_last_use_is_remembered_and_a_refusal_is_none() {
        let (audit, names, secrets) = (Audit::new(), names(), [(name("a"), Surface::Query)]);
        let home = OrganizationName::default();
        audit.record(&Entry { outcome: Outcome::Refused, ..entry(&names, &secrets) });
        assert_eq!(audit.last_use(&home, &name("a")), None);
        audit.record(&entry(&names, &secrets));
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(6);
        audit.record(&Entry { at: later, outcome: Outcome::Aborted, ..entry(&names, &secrets) });
        let expected =
            LastUse { at: later, runner: Some(names.runner.clone()), host: names.host.clone(), surface: Surface::Query };
        assert_eq!(audit.last_use(&home, &name("a")), Some(expected));
        let other = OrganizationName::parse("other").expect("a good name");
        assert_eq!((audit.last_use(&other, &name("a")), audit.last_use(&home, &name("b"))), (None, None));
    }

    #[test]
    fn last_uses_stay_within_their_bound() {
        let (audit, names, home) = (Audit::new(), names(), OrganizationName::default());
        for index in 0..=LAST_USES.get() {
            let secrets = [(name(&format!("s{index}")), Surface::Header)];
            audit.remember(&entry(&names, &secrets));
        }
        assert_eq!(audit.last_use(&home, &name("s0")), None, "the oldest went");
        assert!(audit.last_use(&home, &name("s1")).is_some());
    }
}
