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
        if sent.is_empty() {
            return;
        }
        self.is_used.store(true, Ordering::Relaxed);
        let (key, now) = (self.hasher.hash_one((organization, origin)), Instant::now());
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
        if !self.is_used.load(Ordering::Relaxed) {
            return;
        }
        let (key, now) = (self.hasher.hash_one((organization, origin)), Instant::now());
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pair) = pairs.get(&key).filter(|pair| pair.is(organization, origin)) else { return };
        for (other, at) in pair.sent.iter().rev() {
            if now.duration_since(*at) < SPAN && !sent.contains(other) && may(&other.name) {
                sent.push(other.clone());
            }
        }
    }
}
