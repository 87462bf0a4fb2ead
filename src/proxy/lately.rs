//! Which secrets were lately sent where, so that an echo in a later answer is noticed: a bounded set for
//! each organization and origin. Values stay sealed in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::inject::{Once, Sent};
use crate::origin::Origin;
use crate::secret::{OrganizationName, SecretName};

/// Origins that are kept for an organization, those that were used last: about 500 bytes each, and what the
/// secrets take that were changed since. No organization has another forget.
const ORIGINS: usize = 256;
/// Secrets of one origin. Each costs every answer of that origin some microseconds.
const SECRETS: usize = 16;
/// How long one is looked for after it was sent last.
const SPAN: Duration = Duration::from_mins(10);
/// So often what is too old is let go.
const SWEEP: Duration = Duration::from_mins(1);

/// What was lately sent.
#[derive(Default)]
pub struct Lately {
    /// Without this, nothing was sent, and nobody waits for the lock.
    is_used: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    organizations: HashMap<OrganizationName, LruCache<Origin, Pair>>,
    swept_at: Option<Instant>,
}

/// What was sent to one origin, with when; what was sent last comes last.
type Pair = Vec<(Sent, Instant)>;

impl Lately {
    /// These go to `origin` for `organization`.
    pub(super) fn sends(&self, organization: &OrganizationName, origin: &Origin, sent: &[Sent]) {
        if !sent.is_empty() {
            self.sends_at(Instant::now(), (organization, origin), sent);
        }
    }

    fn sends_at(&self, now: Instant, (organization, origin): (&OrganizationName, &Origin), sent: &[Sent]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.sweep(now);
        if !kept.organizations.contains_key(organization) {
            kept.organizations.insert(organization.clone(), LruCache::unbounded());
        }
        let Some(origins) = kept.organizations.get_mut(organization) else { return };
        let pair = origins.get_or_insert_mut_ref(origin, Vec::new);
        pair.retain(|(other, at)| !sent.contains(other) && now.duration_since(*at) < SPAN);
        pair.extend(sent.iter().map(|sent| (sent.clone(), now)));
        let surplus = pair.len().saturating_sub(SECRETS);
        pair.drain(..surplus);
        if origins.len() > ORIGINS {
            origins.pop_lru();
        }
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// Adds to `sent` what was lately sent there and `may` be known to whoever is answered. A secret that was
    /// changed since stands there with both values.
    pub(super) fn add_to(
        &self,
        sent: &mut Once<Sent>,
        (organization, origin): (&OrganizationName, &Origin),
        may: impl Fn(&SecretName) -> bool,
    ) {
        if self.is_used.load(Ordering::Relaxed) {
            self.add_at(Instant::now(), sent, (organization, origin), may);
        }
    }

    fn add_at(
        &self,
        now: Instant,
        sent: &mut Once<Sent>,
        (organization, origin): (&OrganizationName, &Origin),
        may: impl Fn(&SecretName) -> bool,
    ) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.sweep(now) && kept.organizations.is_empty() {
            self.is_used.store(false, Ordering::Relaxed);
        }
        let Some(pair) = kept.organizations.get_mut(organization).and_then(|origins| origins.get(origin)) else { return };
        for (other, at) in pair.iter().rev() {
            if now.duration_since(*at) < SPAN && may(&other.name) {
                sent.add(other.clone());
            }
        }
    }
}

impl Kept {
    /// Lets go what is too old; whether it was time to look.
    fn sweep(&mut self, now: Instant) -> bool {
        let swept_at = *self.swept_at.get_or_insert(now);
        if now.duration_since(swept_at) < SWEEP {
            return false;
        }
        self.swept_at = Some(now);
        self.organizations.retain(|_, origins| {
            origins.iter_mut().for_each(|(_, pair)| pair.retain(|(_, at)| now.duration_since(*at) < SPAN));
            let empty: Vec<Origin> =
                origins.iter().filter(|(_, pair)| pair.is_empty()).map(|(origin, _)| origin.clone()).collect();
            for origin in &empty {
                origins.pop(origin);
            }
            !origins.is_empty()
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::inject::{Secret, Unavailable};
    use crate::origin::{Authority, Scheme};
    use crate::secret::{AllowedDomains, Limits, SecretValue};

    struct Sealed(AllowedDomains, Limits);

    impl Secret for Sealed {
        fn allowed_domains(&self) -> &AllowedDomains {
            &self.0
        }
        fn limits(&self) -> &Limits {
            &self.1
        }
        fn open(&self) -> Result<SecretValue, Unavailable> {
            Err(Unavailable("nobody opens it here".to_owned()))
        }
    }

    fn sent(name: &str) -> Sent {
        Sent::new(SecretName::parse(name).expect("a name"), Arc::new(Sealed(AllowedDomains::default(), Limits::default())))
    }

    fn origin(host: &str) -> Origin {
        Origin::new(Scheme::Https, Authority::parse(&format!("{host}:443")).expect("good"))
    }

    /// What is looked for, by name.
    fn names(lately: &Lately, now: Instant, place: (&OrganizationName, &Origin)) -> Vec<String> {
        let mut sent = Once::default();
        lately.add_at(now, &mut sent, place, |name| name.as_str() != "theirs");
        sent.iter().map(|one| one.name.to_string()).collect()
    }

    #[test]
    fn it_is_kept_for_its_organization_and_origin_for_a_while() {
        let (lately, now) = (Lately::default(), Instant::now());
        let (home, acme) = (OrganizationName::default(), OrganizationName::parse("acme").expect("a name"));
        let (here, there) = (origin("a.example"), origin("b.example"));
        let (one, two) = (sent("one"), sent("two"));
        lately.sends_at(now, (&home, &here), &[one.clone(), sent("theirs")]);
        lately.sends_at(now + SPAN / 2, (&home, &here), std::slice::from_ref(&two));
        assert_eq!(names(&lately, now + SPAN / 2, (&home, &here)), ["two", "one"]);
        assert!(names(&lately, now, (&acme, &here)).is_empty() && names(&lately, now, (&home, &there)).is_empty());
        assert_eq!(names(&lately, now + SPAN, (&home, &here)), ["two"]);
        // Sent again, it is as new as ever, and stands there once; changed since, it stands there twice.
        lately.sends_at(now + SPAN, (&home, &here), &[two, sent("two")]);
        assert_eq!(names(&lately, now + SPAN, (&home, &here)), ["two", "two"]);
    }

    #[test]
    fn it_is_bounded() {
        let (lately, now, home) = (Lately::default(), Instant::now(), OrganizationName::default());
        let many: Vec<_> = (0..SECRETS + 3).map(|index| sent(&format!("s{index}"))).collect();
        lately.sends_at(now, (&home, &origin("a.example")), &many);
        let kept = names(&lately, now, (&home, &origin("a.example")));
        assert_eq!((kept.len(), kept[0].as_str(), kept[SECRETS - 1].as_str()), (SECRETS, "s18", "s3"));
        for index in 0..ORIGINS {
            lately.sends_at(now, (&home, &origin(&format!("h{index}.example"))), &many[..1]);
        }
        assert!(names(&lately, now, (&home, &origin("a.example"))).is_empty());
        assert_eq!(names(&lately, now, (&home, &origin("h0.example"))), ["s0"]);
    }

    #[test]
    fn no_organization_has_another_forget() {
        let (lately, now, home) = (Lately::default(), Instant::now(), OrganizationName::default());
        let (acme, here) = (OrganizationName::parse("acme").expect("a name"), origin("a.example"));
        lately.sends_at(now, (&home, &here), &[sent("ours")]);
        for index in 0..5_000 {
            lately.sends_at(now, (&acme, &origin(&format!("h{index}.example"))), &[sent("k")]);
        }
        assert_eq!(names(&lately, now, (&home, &here)), ["ours"]);
    }

    #[test]
    fn what_is_too_old_is_let_go() {
        let (lately, now, home) = (Lately::default(), Instant::now(), OrganizationName::default());
        let secret: Arc<dyn Secret> = Arc::new(Sealed(AllowedDomains::default(), Limits::default()));
        let one = Sent::new(SecretName::parse("one").expect("a name"), Arc::clone(&secret));
        lately.sends_at(now, (&home, &origin("a.example")), &[one]);
        // In the answer of somebody else, elsewhere.
        assert!(names(&lately, now + SPAN, (&home, &origin("b.example"))).is_empty());
        assert_eq!(Arc::strong_count(&secret), 1);
        assert!(!lately.is_used.load(Ordering::Relaxed));
    }
}
