//! One sign-in under way: what the browser keeps in its cookie, and what is derived from it.
//!
//! `state` in the callback proves that the same browser began it; `nonce` ties the token to it; the
//! PKCE verifier ties the code to it. All three are hashes of the cookie under labels of their own: who
//! sees one of them learns neither the cookie nor the others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::members::{MembersError, Token};
use crate::token::TokenHash;

/// How long a sign-in may take.
const LASTS: Duration = Duration::from_mins(15);

/// A sign-in under way.
pub(in crate::admin) struct Flow {
    /// As it stands in the cookie.
    cookie: String,
    told: Told,
}

/// What the cookie says.
#[derive(Serialize, Deserialize)]
struct Told {
    secret: String,
    began_at: u64,
    next: String,
    invitation: Option<String>,
}

impl Flow {
    /// Begins one that goes on to `next`, perhaps with an invitation.
    pub(in crate::admin) fn begin(next: &str, invitation: Option<&str>, now: SystemTime) -> Result<Self, MembersError> {
        let secret = Token::random("")?.show_once().to_owned();
        let told = Told { secret, began_at: unix(now), next: next.to_owned(), invitation: invitation.map(str::to_owned) };
        let cookie = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&told).expect("texts and a number"));
        Ok(Self { cookie, told })
    }

    /// The one of a cookie, if `state` is its own and it was begun lately.
    pub(in crate::admin) fn resume(cookie: &str, state: &str, now: SystemTime) -> Option<Self> {
        let told: Told = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cookie).ok()?).ok()?;
        let flow = Self { cookie: cookie.to_owned(), told };
        let lately = unix(now).checked_sub(flow.told.began_at).is_some_and(|age| age < LASTS.as_secs());
        // Hashes are compared, so that the time tells nothing.
        let own = TokenHash::of(flow.state().as_bytes()) == TokenHash::of(state.as_bytes());
        (lately && own).then_some(flow)
    }

    pub(in crate::admin) fn cookie(&self) -> &str {
        &self.cookie
    }

    pub(in crate::admin) fn next(&self) -> &str {
        &self.told.next
    }

    pub(in crate::admin) fn invitation(&self) -> Option<&str> {
        self.told.invitation.as_deref()
    }

    pub(super) fn state(&self) -> String {
        self.derived("state")
    }

    pub(super) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    pub(super) fn verifier(&self) -> String {
        self.derived("verifier")
    }

    fn derived(&self, label: &str) -> String {
        let hash = Sha256::new().chain_update("subrosa sign-in v1\0").chain_update(label).chain_update("\0");
        URL_SAFE_NO_PAD.encode(hash.chain_update(&self.cookie).finalize())
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_browser_that_began_it_resumes_it_and_in_time() {
        let now = UNIX_EPOCH + Duration::from_hours(500_000);
        let flow = Flow::begin("/next", Some("link"), now).expect("random");
        let other = Flow::begin("/next", Some("link"), now).expect("random");
        let resumed = Flow::resume(flow.cookie(), &flow.state(), now + Duration::from_secs(899)).expect("its own");
        assert_eq!((resumed.next(), resumed.invitation(), resumed.nonce()), ("/next", Some("link"), flow.nonce()));
        assert!(Flow::resume(flow.cookie(), &other.state(), now).is_none());
        assert!(Flow::resume(other.cookie(), &flow.state(), now).is_none());
        assert!(Flow::resume(flow.cookie(), &flow.state(), now + LASTS).is_none());
        assert!(Flow::resume(flow.cookie(), &flow.state(), now - Duration::from_secs(1)).is_none());
        assert!(Flow::resume("e30", "", now).is_none() && Flow::resume("%", "", now).is_none());
        let derived = [flow.state(), flow.nonce(), flow.verifier()];
        assert!(derived[0] != derived[1] && derived[1] != derived[2] && derived[0] != derived[2]);
    }
}
