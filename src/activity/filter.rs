//! Which entries are wanted.

use crate::audit::{Change, Exchange, Outcome, Recorded, What};
use crate::secret::{OrganizationName, RunnerName, SecretName};

/// Which entries of an organization are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// That concern this secret.
    pub secret: Option<SecretName>,
    /// Of this runner.
    pub runner: Option<RunnerName>,
    /// Towards this host; with `*.` before it, towards every host below it.
    pub host: Option<String>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// With this code.
    pub code: Option<String>,
    /// Whether a value stood in the answer.
    pub echoed: Option<bool>,
    /// Exchanges only (`Some(false)`), or changes only (`Some(true)`).
    pub changes: Option<bool>,
    /// Not before this, in unix milliseconds.
    pub from: Option<i64>,
    /// Before this, in unix milliseconds.
    pub to: Option<i64>,
    /// That hold this text somewhere, whatever its case.
    pub text: Option<String>,
}

impl Filter {
    /// Whether `entry` belongs to `organization` and is wanted.
    pub fn wants(&self, organization: &OrganizationName, entry: &Recorded) -> bool {
        belongs(organization, entry)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
            && match &entry.what {
                What::Exchange(exchange) => self.changes != Some(true) && self.wants_exchange(exchange),
                What::Change(change) => self.changes != Some(false) && self.wants_change(change),
            }
    }

    /// Whether entries that happened between the two may be wanted.
    pub(super) fn may_want(&self, from: i64, to: i64) -> bool {
        self.from.is_none_or(|wanted| to >= wanted) && self.to.is_none_or(|wanted| from < wanted)
    }

    fn wants_exchange(&self, exchange: &Exchange) -> bool {
        self.secret.as_ref().is_none_or(|secret| names_of(exchange).any(|name| name == secret))
            && self.runner.as_ref().is_none_or(|runner| exchange.runner.as_ref() == Some(runner))
            && self.outcome.is_none_or(|outcome| exchange.outcome == outcome)
            && self.echoed.is_none_or(|echoed| exchange.redacted.is_empty() != echoed)
            && self.code.as_ref().is_none_or(|code| exchange.code.as_deref() == Some(code))
            && self.host.as_ref().is_none_or(|host| exchange.host.as_ref().is_some_and(|seen| is_host(host, seen)))
            && self.text.as_ref().is_none_or(|text| texts_of(exchange).any(|part| holds(part, text)))
    }

    fn wants_change(&self, change: &Change) -> bool {
        let about = |object: &str, name: Option<&str>| {
            name.is_none_or(|name| change.object == object && (change.name == name || change.renamed_to.as_deref() == Some(name)))
        };
        about("secret", self.secret.as_ref().map(SecretName::as_str))
            && about("runner", self.runner.as_ref().map(RunnerName::as_str))
            && self.outcome.is_none()
            && self.echoed != Some(true)
            && self.code.is_none()
            && self.host.is_none()
            && self.text.as_ref().is_none_or(|text| texts_of_change(change).any(|part| holds(part, text)))
    }
}

/// Nobody is known to have sent some requests (a wrong token): these are told to those who look
/// after the whole instance.
fn belongs(organization: &OrganizationName, entry: &Recorded) -> bool {
    entry.organization.as_ref().map_or_else(|| *organization == OrganizationName::default(), |of| of == organization)
}

fn is_host(wanted: &str, seen: &str) -> bool {
    match wanted.strip_prefix("*.") {
        Some(above) => seen.strip_suffix(above).is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        None => wanted == seen,
    }
}

/// Those that were used, and those that the answer held.
fn names_of(exchange: &Exchange) -> impl Iterator<Item = &SecretName> {
    let used = exchange.secrets.iter().map(|(name, _)| name);
    used.chain(exchange.redacted.iter().map(|(name, _)| name))
}

fn texts_of(exchange: &Exchange) -> impl Iterator<Item = &str> {
    let names = names_of(exchange).map(SecretName::as_str);
    let fixed = [exchange.url.as_str(), exchange.method.as_str(), exchange.request_id.as_str()];
    let others = [exchange.origin.as_deref(), exchange.detail.as_deref(), exchange.code.as_deref(), exchange.hint.as_deref()];
    let runner = exchange.runner.as_ref().map(RunnerName::as_str);
    fixed.into_iter().chain(others.into_iter().flatten()).chain(runner).chain(names)
}

fn texts_of_change(change: &Change) -> impl Iterator<Item = &str> {
    let fixed = [change.actor.as_str(), change.action.as_ref(), change.object.as_ref(), change.name.as_str()];
    fixed.into_iter().chain(change.renamed_to.as_deref()).chain(change.detail.as_deref())
}

/// Whether `text` holds `wanted`, whatever the case of ASCII letters.
fn holds(text: &str, wanted: &str) -> bool {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    wanted.is_empty() || text.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Surface;

    fn exchange() -> Recorded {
        let exchange = Exchange {
            request_id: "id-1".to_owned(),
            runner: RunnerName::parse("billing").ok(),
            method: "GET".to_owned(),
            url: "https://api.crm.test/v1?k={secrets.crm.key}".to_owned(),
            origin: Some("https://api.crm.test".to_owned()),
            host: Some("api.crm.test".to_owned()),
            secrets: vec![(SecretName::parse("crm.key").expect("a name"), Surface::Query)],
            redacted: Vec::new(),
            outcome: Outcome::Refused,
            code: Some("domain_restricted".into()),
            detail: Some("Not there.".to_owned()),
            hint: None,
            status: Some(403),
            duration_us: 5,
        };
        Recorded { at: 1_000, organization: Some(OrganizationName::default()), what: What::Exchange(Box::new(exchange)) }
    }

    #[test]
    fn each_part_of_a_filter_counts() {
        let (home, entry) = (OrganizationName::default(), exchange());
        let secret = |name| SecretName::parse(name).ok();
        let text = |text: &str| Filter { text: Some(text.to_owned()), ..Filter::default() };
        let host = |host: &str| Filter { host: Some(host.to_owned()), ..Filter::default() };
        for (filter, wanted) in [
            (Filter::default(), true),
            (Filter { secret: secret("crm.key"), ..Filter::default() }, true),
            (Filter { secret: secret("crm"), ..Filter::default() }, false),
            (Filter { runner: RunnerName::parse("billing").ok(), ..Filter::default() }, true),
            (Filter { runner: RunnerName::parse("other").ok(), ..Filter::default() }, false),
            (Filter { outcome: Some(Outcome::Refused), ..Filter::default() }, true),
            (Filter { outcome: Some(Outcome::Forwarded), ..Filter::default() }, false),
            (Filter { code: Some("domain_restricted".to_owned()), ..Filter::default() }, true),
            (Filter { code: Some("domain".to_owned()), ..Filter::default() }, false),
            (Filter { changes: Some(true), ..Filter::default() }, false),
            (Filter { changes: Some(false), ..Filter::default() }, true),
            (Filter { from: Some(1_000), to: Some(1_001), ..Filter::default() }, true),
            (Filter { from: Some(1_001), ..Filter::default() }, false),
            (Filter { to: Some(1_000), ..Filter::default() }, false),
            (host("api.crm.test"), true),
            (host("*.crm.test"), true),
            (host("*.api.crm.test"), false),
            (host("*.test"), true),
            (host("crm.test"), false),
            (host("*.m.test"), false),
            (text("V1?k="), true),
            (text("not THERE"), true),
            (text("id-1"), true),
            (text("nowhere"), false),
            (text(""), true),
        ] {
            assert_eq!(filter.wants(&home, &entry), wanted, "{filter:?}");
        }
    }

    #[test]
    fn a_value_in_an_answer_is_found_by_that_and_by_its_name() {
        let (home, mut entry) = (OrganizationName::default(), exchange());
        let by = |name, echoed| Filter { secret: SecretName::parse(name).ok(), echoed, ..Filter::default() };
        assert!(!by("crm.key", Some(true)).wants(&home, &entry) && by("crm.key", Some(false)).wants(&home, &entry));
        let What::Exchange(exchange) = &mut entry.what else { panic!("an exchange") };
        exchange.redacted = vec![(SecretName::parse("crm.other").expect("a name"), crate::inject::Part::Body)];
        assert!(by("crm.other", Some(true)).wants(&home, &entry) && by("crm.key", None).wants(&home, &entry));
        assert!(!by("crm.other", Some(false)).wants(&home, &entry));
    }

    #[test]
    fn an_organization_sees_its_own_and_default_what_is_nobodys() {
        let (home, other) = (OrganizationName::default(), OrganizationName::parse("acme").expect("a name"));
        let any = Filter::default();
        assert!(!any.wants(&other, &exchange()));
        let nobodys = Recorded { organization: None, ..exchange() };
        assert_eq!((any.wants(&home, &nobodys), any.wants(&other, &nobodys)), (true, false));
    }

    #[test]
    fn changes_are_found_by_what_they_changed() {
        let home = OrganizationName::default();
        let change = Change::new("alice", "renamed", "secret", "crm.key").renaming_to("crm.token");
        let entry = Recorded { at: 1, organization: Some(home.clone()), what: What::Change(Box::new(change)) };
        let by = |name| Filter { secret: SecretName::parse(name).ok(), ..Filter::default() };
        assert!(by("crm.key").wants(&home, &entry) && by("crm.token").wants(&home, &entry) && !by("other").wants(&home, &entry));
        assert!(!Filter { runner: RunnerName::parse("crm.key").ok(), ..Filter::default() }.wants(&home, &entry));
        assert!(Filter { text: Some("ALICE".to_owned()), ..Filter::default() }.wants(&home, &entry));
        assert!(!Filter { outcome: Some(Outcome::Refused), ..Filter::default() }.wants(&home, &entry));
    }
}
