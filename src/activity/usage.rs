//! Usage: what came of each secret and each runner lately, made from the entries and from nothing else.
//!
//! Bounded: a secret keeps its last uses, its days and its hosts within fixed numbers, and of very
//! many secrets those stay that were used last. Names that do not exist are not kept, so nobody can
//! fill this by making some up.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::audit::{Change, Exchange, Outcome, Recorded, What};
use crate::inject::Code;
use crate::secret::{OrganizationName, RunnerName, SecretName, Surface};

/// Last uses kept of one secret, each for another runner, host and surface.
pub const LAST_USES: usize = 20;
/// Days that are counted.
pub const DAYS: usize = 90;
/// Hosts kept of one secret.
pub const HOSTS: usize = 50;
/// Secrets and runners that usage is kept of: about a kilobyte each, 4 at most.
pub(super) const SUBJECTS: usize = 20_000;

const DAY: i64 = 86_400_000;

/// Who or what usage is kept of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subject {
    Secret(SecretName),
    Runner(RunnerName),
}

/// What came of one secret, or of one runner, lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The newest use for each runner, host and surface, the newest first.
    pub last_uses: Vec<LastUse>,
    /// The last request that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<LastRefusal>,
    /// Requests by day; the key counts days since 1970-01-01 (UTC).
    pub days: BTreeMap<i64, Day>,
    /// Hosts that were meant, the newest first.
    pub hosts: Vec<HostSeen>,
}

/// One use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// When, in unix milliseconds.
    pub at: i64,
    /// By whom; `None` for a client without a name.
    pub runner: Option<RunnerName>,
    /// Towards which host.
    pub host: String,
    /// On which surface; of a runner's own usage the first one, if a secret went out.
    pub surface: Option<Surface>,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefusal {
    /// When, in unix milliseconds.
    pub at: i64,
    /// The code.
    pub code: String,
    /// Whose request it was.
    pub runner: Option<RunnerName>,
    /// Towards which host.
    pub host: Option<String>,
}

/// One day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Requests that went out.
    pub forwarded: u32,
    /// Requests that were refused or broken off.
    pub refused: u32,
}

/// A host that was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSeen {
    /// The host.
    pub host: String,
    /// When last, in unix milliseconds.
    pub at: i64,
    /// A request towards it went out. Of others somebody only asked, so they are to be offered with care.
    pub forwarded: bool,
}

impl Usage {
    /// When something happened last, in unix milliseconds.
    pub fn last_seen(&self) -> Option<i64> {
        let used = self.last_uses.first().map(|last| last.at);
        used.max(self.last_refusal.as_ref().map(|refusal| refusal.at))
    }

    /// `surfaces` are those it stood on; for a runner one, or none.
    fn count(&mut self, at: i64, exchange: &Exchange, surfaces: &[Option<Surface>]) {
        let day = at.div_euclid(DAY);
        let forwarded = exchange.outcome == Outcome::Forwarded;
        let counts = self.days.entry(day).or_default();
        let count = if forwarded { &mut counts.forwarded } else { &mut counts.refused };
        *count = count.saturating_add(1);
        while self.days.len() > DAYS || self.days.first_key_value().is_some_and(|(first, _)| first.abs_diff(day) >= DAYS as u64) {
            self.days.pop_first();
        }
        if let (Outcome::Refused | Outcome::Aborted, Some(code)) = (exchange.outcome, &exchange.code) {
            let (runner, host) = (exchange.runner.clone(), exchange.host.clone());
            self.last_refusal = Some(LastRefusal { at, code: code.to_string(), runner, host });
        }
        let Some(host) = &exchange.host else { return };
        self.saw(host, at, forwarded);
        // What was broken off had begun to go out.
        if exchange.outcome != Outcome::Refused {
            for surface in surfaces {
                self.used(LastUse { at, runner: exchange.runner.clone(), host: host.clone(), surface: *surface });
            }
        }
    }

    fn used(&mut self, last: LastUse) {
        let same = |known: &LastUse| (&known.runner, &known.host, known.surface) == (&last.runner, &last.host, last.surface);
        self.last_uses.retain(|known| !same(known));
        self.last_uses.insert(0, last);
        self.last_uses.truncate(LAST_USES);
    }

    fn saw(&mut self, host: &str, at: i64, forwarded: bool) {
        let before = self.hosts.iter().position(|seen| seen.host == host).map(|place| self.hosts.remove(place));
        let forwarded = forwarded || before.is_some_and(|before| before.forwarded);
        self.hosts.insert(0, HostSeen { host: host.to_owned(), at, forwarded });
        if self.hosts.len() > HOSTS {
            // Whoever only asks cannot push out what was used.
            let goes = self.hosts.iter().rposition(|seen| !seen.forwarded).unwrap_or(HOSTS);
            self.hosts.remove(goes);
        }
    }

    /// Takes in what another node saw.
    fn merge(&mut self, other: &Self) {
        for last in other.last_uses.iter().rev() {
            self.used(last.clone());
        }
        self.last_uses.sort_by_key(|last| std::cmp::Reverse(last.at));
        let newer = |refusal: &&LastRefusal| self.last_refusal.as_ref().is_none_or(|known| known.at < refusal.at);
        if let Some(refusal) = other.last_refusal.as_ref().filter(newer) {
            self.last_refusal = Some(refusal.clone());
        }
        for (day, counts) in &other.days {
            let day = self.days.entry(*day).or_default();
            day.forwarded = day.forwarded.saturating_add(counts.forwarded);
            day.refused = day.refused.saturating_add(counts.refused);
        }
        for seen in other.hosts.iter().rev() {
            self.saw(&seen.host, seen.at, seen.forwarded);
        }
        self.hosts.sort_by_key(|seen| std::cmp::Reverse(seen.at));
    }
}

/// The usage of one subject as one node saw it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracked {
    pub(super) usage: Usage,
    /// Entries up to this number are in it.
    pub(super) through: u64,
    /// It is not stored as it is.
    pub(super) changed: bool,
}

impl Tracked {
    fn lacks(&self, number: Option<u64>) -> bool {
        number.is_none_or(|number| number > self.through)
    }
}

pub(super) type Subjects = HashMap<Subject, Tracked>;

/// The usage of everything as one node saw it.
#[derive(Debug, Default)]
pub(super) struct Book {
    organizations: HashMap<OrganizationName, Subjects>,
    count: usize,
    /// What went and may be stored still.
    gone: Vec<(OrganizationName, Subject)>,
}

impl Book {
    /// Takes in one entry, unless it is in there already. One that is not kept has no number.
    pub(super) fn apply(&mut self, number: Option<u64>, entry: &Recorded) {
        let Some(organization) = &entry.organization else { return };
        match &entry.what {
            What::Exchange(exchange) => self.exchange(organization, number, entry.at, exchange),
            What::Change(change) => self.change(organization, number, change),
        }
    }

    /// Takes in what another node wrote, which is in here neither already nor stored from here.
    pub(super) fn follow(&mut self, entry: &Recorded) {
        self.apply(None, entry);
    }

    /// Nothing of what went is stored from here.
    pub(super) fn forget_gone(&mut self) {
        self.gone.clear();
    }

    fn exchange(&mut self, organization: &OrganizationName, number: Option<u64>, at: i64, exchange: &Exchange) {
        if let Some(runner) = &exchange.runner {
            let surface = [exchange.secrets.first().map(|(_, surface)| *surface)];
            self.count(organization, &Subject::Runner(runner.clone()), number, |usage| usage.count(at, exchange, &surface));
        }
        // These may name what does not exist.
        let made_up = [Code::SecretNotFound, Code::RunnerNotPermitted];
        if exchange.code.as_ref().is_some_and(|code| made_up.iter().any(|made_up| made_up.as_str() == code)) {
            return;
        }
        for (index, (secret, _)) in exchange.secrets.iter().enumerate() {
            // One request is one use, on however many surfaces.
            if exchange.secrets[..index].iter().any(|(before, _)| before == secret) {
                continue;
            }
            let here = exchange.secrets.iter().filter(|(name, _)| name == secret);
            let surfaces: Vec<_> = here.map(|(_, surface)| Some(*surface)).collect();
            self.count(organization, &Subject::Secret(secret.clone()), number, |usage| usage.count(at, exchange, &surfaces));
        }
    }

    fn change(&mut self, organization: &OrganizationName, number: Option<u64>, change: &Change) {
        let subject = |name: &str| match change.object.as_ref() {
            "secret" => SecretName::parse(name).ok().map(Subject::Secret),
            "runner" => RunnerName::parse(name).ok().map(Subject::Runner),
            _ => None,
        };
        let Some(before) = subject(&change.name) else { return };
        let renamed = change.renamed_to.as_deref().and_then(subject);
        // What comes after it is another of the same name.
        let ends = matches!(change.action.as_ref(), "deleted" | "revoked") || renamed.is_some();
        if !ends || self.get(organization, &before).is_none_or(|known| !known.lacks(number)) {
            return;
        }
        let Some(tracked) = self.take(organization, &before) else { return };
        if let Some(after) = renamed.filter(|after| self.get(organization, after).is_none_or(|known| known.lacks(number))) {
            let through = number.unwrap_or(tracked.through);
            self.put(organization, after, Tracked { through, changed: true, ..tracked });
        }
    }

    fn count(&mut self, organization: &OrganizationName, subject: &Subject, number: Option<u64>, count: impl FnOnce(&mut Usage)) {
        if self.get(organization, subject).is_none() {
            self.put(organization, subject.clone(), Tracked::default());
        }
        let subjects = self.organizations.get_mut(organization);
        if let Some(tracked) = subjects.and_then(|subjects| subjects.get_mut(subject)).filter(|tracked| tracked.lacks(number)) {
            count(&mut tracked.usage);
            tracked.through = number.unwrap_or(tracked.through);
            tracked.changed = true;
        }
    }

    pub(super) fn get(&self, organization: &OrganizationName, subject: &Subject) -> Option<&Tracked> {
        self.organizations.get(organization)?.get(subject)
    }

    pub(super) fn put(&mut self, organization: &OrganizationName, subject: Subject, tracked: Tracked) {
        if self.count >= SUBJECTS {
            self.let_the_oldest_go();
        }
        self.gone.retain(|(of, gone)| (of, gone) != (organization, &subject));
        let before = self.organizations.entry(organization.clone()).or_default().insert(subject, tracked);
        self.count += usize::from(before.is_none());
    }

    fn take(&mut self, organization: &OrganizationName, subject: &Subject) -> Option<Tracked> {
        let tracked = self.organizations.get_mut(organization)?.remove(subject)?;
        self.count -= 1;
        self.gone.push((organization.clone(), subject.clone()));
        Some(tracked)
    }

    /// A tenth at a time, so that looking for them is rare.
    fn let_the_oldest_go(&mut self) {
        let all = self.organizations.iter().flat_map(|(of, subjects)| subjects.iter().map(move |one| (of, one)));
        let mut ages: Vec<_> =
            all.map(|(of, (subject, tracked))| (tracked.usage.last_seen(), of.clone(), subject.clone())).collect();
        ages.sort();
        for (_, organization, subject) in ages.into_iter().take(SUBJECTS / 10) {
            self.take(&organization, &subject);
        }
    }

    /// What has to be stored, or removed, for the store to hold this book; it counts as stored from now on.
    pub(super) fn changes(&mut self) -> Vec<(OrganizationName, Subject, Option<Tracked>)> {
        let gone = std::mem::take(&mut self.gone).into_iter().map(|(of, subject)| (of, subject, None));
        let mut changes: Vec<_> = gone.collect();
        for (organization, subjects) in &mut self.organizations {
            for (subject, tracked) in subjects.iter_mut().filter(|(_, tracked)| tracked.changed) {
                tracked.changed = false;
                changes.push((organization.clone(), subject.clone(), Some(tracked.clone())));
            }
        }
        changes
    }

    /// These could not be stored after all.
    pub(super) fn unchanged(&mut self, changes: Vec<(OrganizationName, Subject, Option<Tracked>)>) {
        for (organization, subject, change) in changes {
            let known = self.organizations.get_mut(&organization).and_then(|subjects| subjects.get_mut(&subject));
            match (known, change) {
                (Some(tracked), _) => tracked.changed = true,
                (None, None) => self.gone.push((organization, subject)),
                (None, Some(_)) => {}
            }
        }
    }

    /// Takes in what another node saw, for reading only.
    pub(super) fn merge(&mut self, other: Self) {
        for (organization, subjects) in other.organizations {
            for (subject, tracked) in subjects {
                let mine = self.organizations.get_mut(&organization).and_then(|subjects| subjects.get_mut(&subject));
                match mine {
                    Some(mine) => mine.usage.merge(&tracked.usage),
                    None => self.put(&organization, subject, Tracked { changed: false, ..tracked }),
                }
            }
        }
    }
}

/// One usage out of two nodes'.
pub(super) fn merged(mine: Option<&Usage>, theirs: Option<&Usage>) -> Option<Usage> {
    match (mine, theirs) {
        (Some(mine), Some(theirs)) => {
            let mut both = mine.clone();
            both.merge(theirs);
            Some(both)
        }
        (one, other) => one.or(other).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> OrganizationName {
        OrganizationName::default()
    }

    fn secret(name: &str) -> SecretName {
        SecretName::parse(name).expect("a name")
    }

    fn entry(at: i64, host: &str, secrets: &[(&str, Surface)], code: Option<&'static str>) -> Recorded {
        let exchange = Exchange {
            request_id: "1".to_owned(),
            runner: Some(RunnerName::parse("billing").expect("a name")),
            method: "GET".to_owned(),
            url: format!("https://{host}/"),
            origin: Some(format!("https://{host}")),
            host: Some(host.to_owned()),
            secrets: secrets.iter().map(|(name, surface)| (secret(name), *surface)).collect(),
            redacted: Vec::new(),
            outcome: if code.is_some() { Outcome::Refused } else { Outcome::Forwarded },
            code: code.map(Into::into),
            detail: None,
            hint: None,
            status: None,
            duration_us: 1,
        };
        Recorded { at, organization: Some(home()), what: What::Exchange(Box::new(exchange)) }
    }

    fn change(action: &'static str, name: &str, renamed_to: Option<&str>) -> Recorded {
        let change = Change::new("alice", action, "secret", name);
        let change = renamed_to.map_or(change.clone(), |to| change.renaming_to(to));
        Recorded { at: 9, organization: Some(home()), what: What::Change(Box::new(change)) }
    }

    fn of(book: &Book, name: &str) -> Usage {
        book.get(&home(), &Subject::Secret(secret(name))).map(|tracked| tracked.usage.clone()).unwrap_or_default()
    }

    #[test]
    fn the_newest_use_of_each_kind_is_kept_and_a_request_is_counted_once() {
        let mut book = Book::default();
        let twice = [("a", Surface::Header), ("a", Surface::Query), ("b", Surface::Query)];
        book.apply(Some(1), &entry(10, "x.test", &twice, None));
        book.apply(Some(2), &entry(20, "y.test", &[("a", Surface::Header)], None));
        book.apply(Some(3), &entry(30 + DAY, "x.test", &[("a", Surface::Header)], None));
        book.apply(Some(4), &entry(40 + DAY, "z.test", &[("a", Surface::Header)], Some("domain_restricted")));
        let usage = of(&book, "a");
        let uses: Vec<_> = usage.last_uses.iter().map(|last| (last.at, last.host.as_str(), last.surface)).collect();
        let (header, query) = (Some(Surface::Header), Some(Surface::Query));
        assert_eq!(uses, [(30 + DAY, "x.test", header), (20, "y.test", header), (10, "x.test", query)]);
        let days: Vec<_> = usage.days.iter().map(|(day, counts)| (*day, counts.forwarded, counts.refused)).collect();
        assert_eq!(days, [(0, 2, 0), (1, 1, 1)]);
        let hosts: Vec<_> = usage.hosts.iter().map(|seen| (seen.host.as_str(), seen.forwarded)).collect();
        assert_eq!(hosts, [("z.test", false), ("x.test", true), ("y.test", true)]);
        assert_eq!(
            usage.last_refusal.map(|refusal| (refusal.at, refusal.code)),
            Some((40 + DAY, "domain_restricted".to_owned()))
        );
        let runner = book.get(&home(), &Subject::Runner(RunnerName::parse("billing").expect("a name"))).expect("it is known");
        assert_eq!((runner.usage.last_seen(), runner.usage.days[&1].forwarded), (Some(40 + DAY), 1));
    }

    #[test]
    fn entries_that_are_in_it_already_are_not_counted_again() {
        let mut book = Book::default();
        for _ in 0..3 {
            for number in [1, 2] {
                book.apply(Some(number), &entry(10, "x.test", &[("a", Surface::Header), ("a", Surface::Body)], None));
            }
        }
        assert_eq!(of(&book, "a").days[&0].forwarded, 2);
    }

    #[test]
    fn everything_stays_within_its_bound() {
        let mut book = Book::default();
        for number in 0..200_u32 {
            let at = i64::from(number) * DAY;
            let code = (number % 2 == 0).then_some("domain_restricted");
            book.apply(Some(u64::from(number) + 1), &entry(at, &format!("h{number}.test"), &[("a", Surface::Header)], code));
        }
        let usage = of(&book, "a");
        assert_eq!((usage.last_uses.len(), usage.days.len(), usage.hosts.len()), (LAST_USES, DAYS, HOSTS));
        assert_eq!(usage.days.first_key_value().map(|(day, _)| *day), Some(110));
        assert!(usage.hosts.iter().skip(1).all(|seen| seen.forwarded), "asking pushes nothing out: {:?}", usage.hosts);
    }

    #[test]
    fn of_very_many_secrets_those_stay_that_were_used_last() {
        let mut book = Book::default();
        for number in 0..SUBJECTS + 10 {
            let (name, at) = (format!("s{number}"), i64::try_from(number).expect("small"));
            let mut one = entry(at, "x.test", &[(name.as_str(), Surface::Header)], None);
            if let What::Exchange(exchange) = &mut one.what {
                exchange.runner = None;
            }
            book.apply(Some(number as u64 + 1), &one);
        }
        assert!(book.count <= SUBJECTS && of(&book, "s0") == Usage::default());
        assert_ne!(of(&book, &format!("s{}", SUBJECTS + 9)), Usage::default());
        assert_eq!(book.gone.len(), SUBJECTS / 10);
    }

    #[test]
    fn names_that_may_be_made_up_are_not_kept() {
        let mut book = Book::default();
        for code in ["secret_not_found", "runner_not_permitted"] {
            book.apply(Some(1), &entry(1, "x.test", &[("a", Surface::Header)], Some(code)));
        }
        assert_eq!(of(&book, "a"), Usage::default());
    }

    #[test]
    fn a_deleted_secret_takes_its_usage_along_and_a_renamed_one_too() {
        let mut book = Book::default();
        let used = |at| entry(at, "x.test", &[("a", Surface::Header)], None);
        book.apply(Some(1), &used(1));
        book.apply(Some(2), &change("renamed", "a", Some("b")));
        assert_eq!((of(&book, "a"), of(&book, "b").last_seen()), (Usage::default(), Some(1)));
        book.apply(Some(3), &used(3));
        book.apply(Some(4), &change("deleted", "a", None));
        assert_eq!(of(&book, "a"), Usage::default());
        assert_eq!(book.gone, [(home(), Subject::Secret(secret("a")))]);
        book.apply(Some(5), &used(5));
        // Read again after a restart, the deletion does not reach what came later.
        book.apply(Some(4), &change("deleted", "a", None));
        assert_eq!((of(&book, "a").last_seen(), book.gone.len()), (Some(5), 0));
    }

    #[test]
    fn what_two_nodes_saw_is_added_up() {
        let (mut mine, mut theirs) = (Book::default(), Book::default());
        mine.apply(Some(1), &entry(10, "x.test", &[("a", Surface::Header)], None));
        theirs.apply(Some(1), &entry(20, "x.test", &[("a", Surface::Header)], None));
        theirs.apply(Some(2), &entry(30, "y.test", &[("a", Surface::Header)], Some("target_denied")));
        let usage = merged(Some(&of(&mine, "a")), Some(&of(&theirs, "a"))).expect("both");
        assert_eq!((usage.last_uses.len(), usage.last_uses[0].at, usage.days[&0]), (1, 20, Day { forwarded: 2, refused: 1 }));
        assert_eq!((usage.hosts.len(), usage.last_refusal.map(|refusal| refusal.at)), (2, Some(30)));
    }
}
