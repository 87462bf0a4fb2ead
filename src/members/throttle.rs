//! Slowing down whoever guesses passwords, without locking out whoever knows them.
//!
//! Failures are counted for each pair of account and address, and for each account over all
//! addresses that are strange to it. After a few free ones the wait doubles with each further
//! failure. A neighbour behind the same address is another account, and is not slowed down; and
//! from an address where somebody signed in lately, only failures from that address count, so
//! that strangers elsewhere cannot lock anybody out. Pure: the time is passed in. Memory is
//! bounded, and what is forgotten first is what was touched longest ago.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use lru::LruCache;

use super::Login;

/// Failures without a wait: for one pair, people mistype; for an account, many places do.
const FREE_FOR_PAIR: u32 = 5;
const FREE_FOR_ACCOUNT: u32 = 20;
/// The first wait, doubled with each failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_mins(15);
/// After so long without a failure all is forgotten.
const MEMORY: Duration = Duration::from_hours(1);
/// How long an address stays known where somebody signed in.
const KNOWN: Duration = Duration::from_hours(30 * 24);
/// Counters and known addresses that are kept: about 100 bytes each. To make one forgotten a guesser
/// needs as many failures elsewhere, which the work behind each makes slower than waiting.
const COUNTERS: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");
const KNOWN_PAIRS: NonZeroUsize = NonZeroUsize::new(1 << 13).expect("not zero");

/// Where somebody comes from: an IPv4 address, or the /64 that one subscriber has of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(IpAddr);

impl Place {
    /// The place of an address.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// Too many failures; the wait that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany(pub(super) Duration);

/// Every counter.
pub(super) struct Throttle {
    failures: LruCache<(Login, Option<Place>), Failures>,
    known: LruCache<(Login, Place), SystemTime>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: SystemTime,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { failures: LruCache::new(COUNTERS), known: LruCache::new(KNOWN_PAIRS) }
    }
}

impl Throttle {
    /// Counts an attempt as failed before it is made, so that many at once gain nothing; or says
    /// how long to wait. An attempt that is refused here is not counted.
    pub(super) fn attempt(&mut self, login: &Login, place: Place, now: SystemTime) -> Result<(), TooMany> {
        let pair = (login.clone(), Some(place));
        let account = (login.clone(), None);
        let mut wait = self.wait(&pair, FREE_FOR_PAIR, now);
        let is_known = self.known.get_mut(&(login.clone(), place)).is_some_and(|since| {
            *since = now.min(*since);
            elapsed(*since, now) < KNOWN
        });
        if !is_known {
            wait = wait.max(self.wait(&account, FREE_FOR_ACCOUNT, now));
        }
        if !wait.is_zero() {
            return Err(TooMany(wait));
        }
        self.count(pair, now);
        if !is_known {
            self.count(account, now);
        }
        Ok(())
    }

    /// The attempt that was counted last was not made.
    pub(super) fn withdrawn(&mut self, login: &Login, place: Place) {
        for key in [(login.clone(), Some(place)), (login.clone(), None)] {
            if let Some(failures) = self.failures.peek_mut(&key) {
                failures.count = failures.count.saturating_sub(1);
            }
        }
    }

    /// The attempt that was counted last succeeded.
    pub(super) fn succeeded(&mut self, login: &Login, place: Place, now: SystemTime) {
        self.failures.pop(&(login.clone(), Some(place)));
        // The attempt itself was no failure; those before it stay.
        if let Some(account) = self.failures.peek_mut(&(login.clone(), None)) {
            account.count = account.count.saturating_sub(1);
        }
        self.known.put((login.clone(), place), now);
    }

    fn wait(&mut self, key: &(Login, Option<Place>), free: u32, now: SystemTime) -> Duration {
        let Some(failures) = self.failures.get_mut(key) else { return Duration::ZERO };
        // The clock was set back: the wait is counted from now, or it would last until that time.
        failures.last = failures.last.min(now);
        let since = elapsed(failures.last, now);
        let Some(beyond) = failures.count.checked_sub(free) else { return Duration::ZERO };
        let wait = FIRST_WAIT.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX)).min(LONGEST_WAIT);
        if since >= MEMORY { Duration::ZERO } else { wait.saturating_sub(since) }
    }

    fn count(&mut self, key: (Login, Option<Place>), now: SystemTime) {
        let failures = self.failures.get_or_insert_mut(key, || Failures { count: 0, last: now });
        let forgotten = elapsed(failures.last, now) >= MEMORY;
        let count = if forgotten { 0 } else { failures.count };
        *failures = Failures { count: count.saturating_add(1), last: now };
    }
}

/// None by a clock that was set back.
fn elapsed(since: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(since).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn ada() -> Login {
        Login::parse("ada").expect("a login")
    }

    fn place(text: &str) -> Place {
        Place::of(text.parse().expect("an address"))
    }

    /// Fails until it has to wait; how often it could, and how long it then has to wait.
    fn exhaust(throttle: &mut Throttle, login: &Login, place: Place, now: SystemTime) -> (u32, Duration) {
        let mut count = 0;
        loop {
            match throttle.attempt(login, place, now) {
                Ok(()) => count += 1,
                Err(TooMany(wait)) => return (count, wait),
            }
        }
    }

    #[test]
    fn the_wait_doubles_with_each_failure_up_to_its_bound_and_ends() {
        let mut throttle = Throttle::default();
        let (free, mut wait) = exhaust(&mut throttle, &ada(), place("192.0.2.1"), START);
        assert_eq!((free, wait), (FREE_FOR_PAIR, FIRST_WAIT));
        let mut now = START;
        for expected in [4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            now += wait;
            assert_eq!(throttle.attempt(&ada(), place("192.0.2.1"), now), Ok(()));
            let TooMany(next) = throttle.attempt(&ada(), place("192.0.2.1"), now).expect_err("again");
            assert_eq!(next.as_secs(), expected);
            wait = next;
        }
        assert_eq!(exhaust(&mut throttle, &ada(), place("192.0.2.1"), now + MEMORY).0, FREE_FOR_PAIR, "it is forgotten");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_wait_longer() {
        let mut throttle = Throttle::default();
        let ahead = START + Duration::from_hours(365 * 24);
        let (_, wait) = exhaust(&mut throttle, &ada(), place("192.0.2.1"), ahead);
        assert_eq!(throttle.attempt(&ada(), place("192.0.2.1"), START), Err(TooMany(wait)));
        assert_eq!(throttle.attempt(&ada(), place("192.0.2.1"), START + wait), Ok(()));
    }

    #[test]
    fn a_neighbour_behind_one_address_is_not_slowed_down() {
        let mut throttle = Throttle::default();
        exhaust(&mut throttle, &ada(), place("192.0.2.1"), START);
        let bob = Login::parse("bob").expect("a login");
        assert_eq!(throttle.attempt(&bob, place("192.0.2.1"), START), Ok(()));
    }

    #[test]
    fn strangers_elsewhere_cannot_lock_out_whoever_signed_in_here() {
        let mut throttle = Throttle::default();
        let home = place("192.0.2.1");
        throttle.attempt(&ada(), home, START).expect("free");
        throttle.succeeded(&ada(), home, START);
        let strangers = (0..=255).map(|last| place(&format!("198.51.100.{last}")));
        let waited = strangers.filter(|stranger| throttle.attempt(&ada(), *stranger, START).is_err()).count();
        assert_eq!(waited, 256 - FREE_FOR_ACCOUNT as usize, "together they have as many as one account has");
        assert_eq!(throttle.attempt(&ada(), home, START), Ok(()));
        assert!(throttle.attempt(&ada(), place("203.0.113.9"), START).is_err(), "a new address waits");
        assert!(throttle.attempt(&ada(), home, START + KNOWN).is_ok(), "strangers' failures are forgotten by then");
    }

    #[test]
    fn whoever_knows_the_password_starts_anew() {
        let mut throttle = Throttle::default();
        for _ in 0..100 {
            throttle.attempt(&ada(), place("192.0.2.1"), START).expect("never too many");
            throttle.succeeded(&ada(), place("192.0.2.1"), START);
        }
    }

    #[test]
    fn one_subscriber_is_one_place() {
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:1"));
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_eq!(place("::ffff:192.0.2.1"), place("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for number in 0..(1 << 16) {
            let login = Login::parse(&format!("u{number}")).expect("a login");
            throttle.attempt(&login, place("192.0.2.1"), START).expect("free");
        }
        assert_eq!(throttle.failures.len(), COUNTERS.get());
    }
}
