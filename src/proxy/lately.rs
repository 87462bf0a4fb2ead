//! Which secrets were lately sent where, so that an echo in a later answer is noticed: a bounded set for
//! each organization and origin. Values stay sealed in it.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::inject::Sent;
use crate::origin::Origin;
use crate::secret::{OrganizationName, SecretName};

/// Pairs of an organization and an origin that are kept, those that were used last: about 500 bytes each, and
/// what the secrets take that were changed since.
const PAIRS: usize = 4_096;
/// Secrets of one pair. Each costs every answer of that origin some microseconds.
const SECRETS: usize = 16;
/// How long one is looked for after it was sent last.
const SPAN: Duration = Duration::from_mins(10);

/// What was lately sent.
pub struct Lately {
    /// Without this, nothing was ever sent, and nobody waits for the lock.
    is_used: AtomicBool,
    hasher: RandomState,
    /// By the hash of organization and origin, so that nothing is copied to look one up.
    pairs: Mutex<LruCache<u64, Pair>>,
}

struct Pair {
    organization: OrganizationName,
    origin: Origin,
    /// The one that was sent last comes last.
    sent: Vec<(Sent, Instant)>,
}

impl Pair {
    fn is(&self, organization: &OrganizationName, origin: &Origin) -> bool {
        self.organization == *organization && self.origin == *origin
    }
}

impl Default for Lately {
    fn default() -> Self {
        let pairs = LruCache::new(NonZeroUsize::new(PAIRS).unwrap_or(NonZeroUsize::MIN));
        Self { is_used: AtomicBool::new(false), hasher: RandomState::new(), pairs: Mutex::new(pairs) }
    }
}

impl Lately {
    /// These go to `origin` for `organization`.
    pub(super) fn sends(&self, organization: &OrganizationName, origin: &Origin, sent: &[Sent]) {
        if !sent.is_empty() {
            self.sends_at(Instant::now(), (organization, origin), sent);
        }
    }

    fn sends_at(&self, now: Instant, (organization, origin): (&OrganizationName, &Origin), sent: &[Sent]) {
        self.is_used.store(true, Ordering::Relaxed);
        let key = self.hasher.hash_one((organization, origin));
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Pair { organization: organization.clone(), origin: origin.clone(), sent: Vec::new() };
        let pair = pairs.get_or_insert_mut(key, new);
        if !pair.is(organization, origin) {
            *pair = new();
        }
        pair.sent.retain(|(other, at)| !sent.contains(other) && now.duration_since(*at) < SPAN);
        pair.sent.extend(sent.iter().map(|sent| (sent.clone(), now)));
        let surplus = pair.sent.len().saturating_sub(SECRETS);
        pair.sent.drain(..surplus);
    }

    /// Adds to `sent` what was lately sent there and `may` be known to whoever is answered. A secret that was
    /// changed since stands there with both values.
    pub(super) fn add_to(
        &self,
        sent: &mut Vec<Sent>,
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
        sent: &mut Vec<Sent>,
        (organization, origin): (&OrganizationName, &Origin),
        may: impl Fn(&SecretName) -> bool,
    ) {
        let key = self.hasher.hash_one((organization, origin));
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pair) = pairs.get(&key).filter(|pair| pair.is(organization, origin)) else { return };
        for (other, at) in pair.sent.iter().rev() {
            if now.duration_since(*at) < SPAN && !sent.contains(other) && may(&other.name) {
                sent.push(other.clone());
            }
        }
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
        let mut sent = Vec::new();
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
        for index in 0..PAIRS {
            lately.sends_at(now, (&home, &origin(&format!("h{index}.example"))), &many[..1]);
        }
        assert!(names(&lately, now, (&home, &origin("a.example"))).is_empty());
        assert_eq!(names(&lately, now, (&home, &origin("h0.example"))), ["s0"]);
    }
}
