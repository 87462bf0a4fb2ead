//! One leaf certificate: what stands in it, so that the strictest clients accept it.
//!
//! Python 3.13 (`VERIFY_X509_STRICT`), OpenSSL 3, Go, Java and Chromium want, together: both key
//! identifiers, the host as a subject alternative name of its own kind (name or address), a
//! critical key usage, serverAuth, a positive serial number in minimal DER, and a start in the
//! past of clocks that run late (RFC 5280 sections 4.1 and 4.2).

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
};

use crate::origin::Host;

/// Clients' clocks run late now and then; a certificate that starts this instant fails there.
pub(super) const BACK_DATED: Duration = Duration::from_hours(24);

/// Short, so that a stolen leaf key is worth little; a week outlives a runner's longest sleep.
const LIFE: Duration = Duration::from_hours(7 * 24);

/// X.520 bounds a common name at 64 characters (RFC 5280 appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;

/// Why a leaf certificate could not be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The authority's own certificate is not valid now.
    #[error("the certificate authority of this proxy is not valid now (it ends {ends}): replace it, or correct the clock")]
    AuthorityNotValid {
        /// When it ends.
        ends: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for a serial number")]
    NoRandomness,
    /// Signing failed.
    #[error("no certificate for {host} could be issued: {cause}")]
    Failed {
        /// The host.
        host: Host,
        /// What the library said.
        cause: String,
    },
}

/// From when until when a leaf is valid, and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
    /// Two thirds of its life are over: the next request gets a new one.
    pub(super) renew: SystemTime,
}

impl Term {
    /// The term of a leaf made `now` by an authority that is valid from `first` to `last`; `None`
    /// when that is no time at all.
    pub(super) fn new(now: SystemTime, first: SystemTime, last: SystemTime) -> Option<Self> {
        let from = now.checked_sub(BACK_DATED)?.max(first);
        let until = now.checked_add(LIFE)?.min(last);
        let left = until.duration_since(now).ok().filter(|left| !left.is_zero())?;
        (from <= now).then(|| Self { from, until, renew: until - left / 3 })
    }

    /// Whether a leaf of this term may be handed out `now`.
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        self.from <= now && now < self.renew
    }
}

/// The content of a leaf for `host`, but for its key.
pub(super) fn params(host: &Host, term: Term) -> Result<CertificateParams, LeafError> {
    let failed = |cause: rcgen::Error| LeafError::Failed { host: host.clone(), cause: cause.to_string() };
    let (name, alternative) = match host {
        Host::Name(name) => (name.to_string(), SanType::DnsName(name.to_string().try_into().map_err(failed)?)),
        Host::Ip(address) => (IpAddr::to_string(address), SanType::IpAddress(*address)),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Without a common name the subject is empty, and rcgen marks the alternative name critical,
    // as RFC 5280 section 4.2.1.6 wants it.
    if name.len() <= MAX_COMMON_NAME {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.subject_alt_names = vec![alternative];
    params.not_before = term.from.into();
    params.not_after = term.until.into();
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 126 random bits in 16 bytes. The top bit is clear, so the number is positive; the next is set,
/// so the first byte is never zero and the encoding is minimal whatever follows.
pub(super) fn serial() -> Result<SerialNumber, LeafError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| LeafError::NoRandomness)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_term_starts_yesterday_and_never_outlives_the_authority() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let whole = Term::new(now, now - DAY * 100, now + DAY * 100);
        assert_eq!(whole, Some(Term { from: now - DAY, until: now + DAY * 7, renew: now + DAY * 7 - DAY * 7 / 3 }));
        let cut = Term::new(now, now - DAY / 2, now + DAY * 3);
        assert_eq!(cut, Some(Term { from: now - DAY / 2, until: now + DAY * 3, renew: now + DAY * 2 }));
        assert_eq!(Term::new(now, now - DAY, now), None, "ended");
        assert_eq!(Term::new(now, now + DAY, now + DAY * 2), None, "not begun");
    }

    #[test]
    fn serial_numbers_are_positive_minimal_and_different() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2_000 {
            let bytes = serial().expect("randomness").to_bytes();
            assert_eq!(bytes.len(), 16);
            assert_eq!(bytes[0] & 0xc0, 0x40, "positive, and no leading zero");
            assert!(seen.insert(bytes));
        }
    }
}
