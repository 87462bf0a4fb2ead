//! The audit trail: who, when, which secret, where, with what outcome; never a value.
//!
//! One line per exchange that held a reference, was refused, has a hint to give or was answered with a value, and one per change that somebody
//! made, as tracing events of the target `subrosa::audit`. The same entry is handed over to whoever
//! keeps the trail: without waiting, and not at all when they do not keep up. Then it is counted.

mod recorded;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use recorded::{Change, Exchange, Recorded, What, millis};

use crate::inject::{Code, Part, Reasons};
use crate::metrics::{Counter, Registry};
use crate::origin::Host;
use crate::secret::{OrganizationName, RunnerName, SecretName, Surface};

/// The target of the events, for filters.
pub const TARGET: &str = "subrosa::audit";
/// Entries that may wait to be kept: what comes in a quarter of a second at 30,000 a second, and
/// about 600 bytes each.
const QUEUE: usize = 8_192;
/// Room in the queue that exchanges leave to changes, so that no flood of requests hides one.
const FOR_CHANGES: usize = 512;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Where the client is; unknown of a person who tries a request.
    pub client: Option<SocketAddr>,
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
    /// Each secret whose value stood in the answer and was taken out of it, with where.
    pub redacted: &'a [(SecretName, Part)],
    /// Why its content, or a part of it, was not searched.
    pub unsearched: Reasons,
    /// Why the answer's content was not looked through for values.
    pub answer_unsearched: Reasons,
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

/// Writes the audit log and hands over what it wrote. Shared by everybody.
#[derive(Default)]
pub struct Audit {
    keeper: Option<mpsc::Sender<Recorded>>,
    recorded: Counter,
    dropped: Counter,
}

/// What was handed over, for whoever keeps it.
pub struct Handover {
    entries: mpsc::Receiver<Recorded>,
    dropped: Counter,
}

impl Audit {
    /// An audit that writes its log, and hands nothing over.
    pub fn new() -> Self {
        Self::default()
    }

    /// An audit that hands over what it writes.
    pub fn handing_over(registry: &Registry) -> (Self, Handover) {
        let (keeper, entries) = mpsc::channel(QUEUE);
        let recorded = registry.counter("subrosa_audit_recorded", "Entries of the audit trail, all of which were logged");
        let dropped = registry.counter("subrosa_audit_dropped", "Entries that were logged and could not be kept");
        let handover = Handover { entries, dropped: dropped.clone() };
        (Self { keeper: Some(keeper), recorded, dropped }, handover)
    }

    /// Writes down one exchange. Never waits.
    pub fn record(&self, entry: &Entry<'_>) {
        write(entry);
        self.recorded.add(1);
        if let Some(keeper) = &self.keeper {
            let kept = keeper.capacity() > FOR_CHANGES && keeper.try_send(entry.into()).is_ok();
            self.dropped.add(u64::from(!kept));
        }
    }

    /// Keeps what another process has written down. Waits until there is room.
    pub async fn keep(&self, entry: Recorded) {
        self.recorded.add(1);
        if let Some(keeper) = &self.keeper {
            let kept = keeper.send(entry).await.is_ok();
            self.dropped.add(u64::from(!kept));
        }
    }

    /// Writes down that somebody changed something of `organization`. Never waits.
    pub fn record_change(&self, organization: &OrganizationName, change: Change) {
        write_change(organization, &change);
        self.recorded.add(1);
        if let Some(keeper) = &self.keeper {
            let kept = keeper.try_send(Recorded::change(organization, change, SystemTime::now())).is_ok();
            self.dropped.add(u64::from(!kept));
        }
    }
}

impl Handover {
    /// The next entry; `None` when nobody hands over any more.
    pub async fn next(&mut self) -> Option<Recorded> {
        self.entries.recv().await
    }

    /// The next entry, if one is there.
    pub fn take(&mut self) -> Option<Recorded> {
        self.entries.try_recv().ok()
    }

    /// Counts `count` entries that could not be kept after all.
    pub fn count_dropped(&self, count: usize) {
        self.dropped.add(count as u64);
    }
}

fn write(entry: &Entry<'_>) {
    let secrets: Vec<_> = entry.secrets.iter().map(|(name, surface)| format!("{name}@{surface}")).collect();
    let redacted: Vec<_> = entry.redacted.iter().map(|(name, part)| format!("{name}@{}", part.as_str())).collect();
    tracing::info!(
        target: TARGET,
        request_id = entry.request_id,
        client = entry.client.map(tracing::field::display),
        runner = entry.runner.map(RunnerName::as_str),
        organization = entry.organization.map(OrganizationName::as_str),
        method = entry.method,
        url = entry.url,
        origin = entry.origin,
        secrets = secrets.join(" "),
        redacted = (!redacted.is_empty()).then(|| redacted.join(" ")),
        unsearched = (!entry.unsearched.is_empty()).then(|| entry.unsearched.to_string()),
        answer_unsearched = entry.answer_unsearched.is_notable().then(|| entry.answer_unsearched.to_string()),
        outcome = entry.outcome.as_str(),
        code = entry.code.map(Code::as_str),
        detail = entry.detail,
        hint = entry.hint,
        status = entry.status,
        duration_ms = u64::try_from(entry.duration.as_millis()).unwrap_or(u64::MAX),
        "exchange"
    );
}

fn write_change(organization: &OrganizationName, change: &Change) {
    tracing::info!(
        target: TARGET,
        organization = organization.as_str(),
        actor = change.actor,
        action = change.action.as_ref(),
        object = change.object.as_ref(),
        name = change.name,
        renamed_to = change.renamed_to,
        detail = change.detail,
        "change"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::Unsearched;
    use std::io;
    use std::sync::{Arc, Mutex};

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
            client: Some(SocketAddr::from(([127, 0, 0, 1], 4711))),
            runner: Some(&names.runner),
            organization: Some(&names.organization),
            method: "GET",
            url: "https://a.example/?k={secrets.crm.apiKey}",
            origin: Some("https://a.example"),
            host: Some(&names.host),
            secrets,
            redacted: &[],
            unsearched: Reasons::default(),
            answer_unsearched: Reasons::default(),
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
                "message": "exchange", "request_id": "01ab", "client": "127.0.0.1:4711", "runner": "billing", "organization": "default", "method": "GET",
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
    fn what_was_not_searched_is_said_with_its_reason() {
        let names = names();
        let mut unsearched = Reasons::default();
        unsearched.add(Unsearched::Charset);
        let fields = lines(|| Audit::new().record(&Entry { unsearched, ..entry(&names, &[]) })).remove(0)["fields"].take();
        assert_eq!(fields["unsearched"], "charset");
    }

    #[test]
    fn what_is_written_is_handed_over_and_a_change_finds_room_when_exchanges_do_not() {
        let (registry, names, secrets) = (Registry::new(), names(), [(name("a"), Surface::Query)]);
        let (audit, mut handover) = Audit::handing_over(&registry);
        lines(|| {
            for _ in 0..QUEUE {
                audit.record(&entry(&names, &secrets));
            }
            for _ in 0..=FOR_CHANGES {
                audit.record_change(&names.organization, Change::new("alice", "edited", "secret", "a"));
            }
        });
        let text = registry.text();
        let (all, dropped) = (QUEUE + FOR_CHANGES + 1, FOR_CHANGES + 1);
        assert!(text.contains(&format!("subrosa_audit_recorded_total {all}\n")), "{text}");
        assert!(text.contains(&format!("subrosa_audit_dropped_total {dropped}\n")), "{text}");
        let handed: Vec<_> = std::iter::from_fn(|| handover.take()).collect();
        assert_eq!(handed.len(), QUEUE);
        let What::Exchange(first) = &handed[0].what else { panic!("{:?}", handed[0]) };
        assert_eq!((handed[0].at, first.duration_us, first.secrets.as_slice()), (5_000, 12_900, &secrets[..]));
        let changes = handed.iter().filter(|entry| matches!(entry.what, What::Change(_))).count();
        assert_eq!(changes, FOR_CHANGES);
    }

    #[test]
    fn a_change_is_one_event() {
        let change = Change::new("alice", "renamed", "secret", "a").renaming_to("b").saying("name");
        let fields = lines(|| Audit::new().record_change(&OrganizationName::default(), change)).remove(0)["fields"].take();
        let expected = serde_json::json!({
            "message": "change", "organization": "default", "actor": "alice", "action": "renamed", "object": "secret",
            "name": "a", "renamed_to": "b", "detail": "name",
        });
        assert_eq!(fields, expected);
    }
}
