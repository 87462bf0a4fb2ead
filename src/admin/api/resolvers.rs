//! Resolvers for request tests: the real rules with other values, or other rules for the rest.

use std::sync::Arc;

use crate::inject::{Absence, Resolver, Secret, Unavailable};
use crate::secret::{AllowedDomains, Limits, SecretName, SecretValue};

/// What stands for a value where a test shows a request.
const SHOWN: &[u8] = b"MASKED";
/// What stands for a value where only the place of a reference matters: it is right on every
/// surface, also as a bare number in JSON.
const FITS_ANYWHERE: &[u8] = b"0";

/// Takes every name for a secret that may stand anywhere.
pub(super) struct Assume;

impl Resolver for Assume {
    fn find(&self, _: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
        Ok(Arc::new(Assumed { allowed_domains: AllowedDomains::default(), limits: Limits::default() }))
    }
}

/// The real secret for one name; every other may stand anywhere.
pub(super) struct OnlyOne<'a> {
    pub(super) name: &'a SecretName,
    pub(super) resolver: &'a dyn Resolver,
}

impl Resolver for OnlyOne<'_> {
    fn find(&self, name: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
        if name == self.name { self.resolver.find(name) } else { Assume.find(name) }
    }
}

/// The real rules, and a mask for every value.
pub(super) struct Masked<'a> {
    pub(super) resolver: &'a dyn Resolver,
}

impl Resolver for Masked<'_> {
    fn find(&self, name: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
        self.resolver.find(name).map(|secret| Arc::new(Mask(secret)) as Arc<dyn Secret>)
    }
}

struct Assumed {
    allowed_domains: AllowedDomains,
    limits: Limits,
}

impl Secret for Assumed {
    fn allowed_domains(&self) -> &AllowedDomains {
        &self.allowed_domains
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn open(&self) -> Result<SecretValue, Unavailable> {
        SecretValue::new(FITS_ANYWHERE.to_vec()).map_err(|fault| Unavailable(fault.to_string()))
    }
}

struct Mask(Arc<dyn Secret>);

impl Secret for Mask {
    fn allowed_domains(&self) -> &AllowedDomains {
        self.0.allowed_domains()
    }

    fn limits(&self) -> &Limits {
        self.0.limits()
    }

    fn open(&self) -> Result<SecretValue, Unavailable> {
        SecretValue::new(SHOWN.to_vec()).map_err(|fault| Unavailable(fault.to_string()))
    }
}
