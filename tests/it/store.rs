//! The store and what lies in it: the contract of the engines, durability, and tampering.

mod bytes;
pub mod contract;
mod durability;
mod forgetting;
mod formats;
mod replacing;
mod tampering;

use std::path::Path;
use std::sync::Arc;

use subrosa::ledger::Ledger;
use subrosa::seal::{KeyEncryptionKey, Sealer};
use subrosa::secret::{AllowedDomains, Description, DomainPattern, Limits, OrganizationName, SecretName, SecretValue};
use subrosa::store::{self, Backend, Engine, StoreError};
use subrosa::vault::{NewSecret, Vault};

/// How often something is tried that is tried at random: `make soak` has the time for `many`.
pub fn rounds(few: usize, many: usize) -> usize {
    if std::env::var_os("SUBROSA_SOAK").is_some() { many } else { few }
}

/// For `docs/reliability.md`: what was tried, and how often.
#[allow(clippy::print_stderr, reason = "whoever runs it for long wants to know")]
pub fn tried(what: &str) {
    eprintln!("tried: {what}");
}

/// Chance that can be had again: `SUBROSA_TEST_SEED` is what a failure shows.
#[derive(Debug)]
pub struct Chance {
    #[expect(dead_code, reason = "shown by Debug")]
    seed: u64,
    state: u64,
}

impl Chance {
    pub fn new() -> Self {
        let given = std::env::var("SUBROSA_TEST_SEED").ok().map(|text| text.parse().expect("a number"));
        let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| u64::from(elapsed.subsec_nanos()));
        let seed = given.unwrap_or_else(now);
        Self { seed, state: seed }
    }

    /// splitmix64.
    pub fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

async fn open_sled(directory: &Path) -> Result<Arc<dyn Backend>, StoreError> {
    store::open(Engine::Sled { directory: directory.to_owned() }).await
}

async fn open_memory() -> Arc<dyn Backend> {
    store::open(Engine::Memory).await.expect("memory opens")
}

fn sealer() -> Sealer {
    Sealer::new(KeyEncryptionKey::from_bytes(&[42; 32]))
}

async fn ledger(backend: &Arc<dyn Backend>) -> Arc<Ledger> {
    Arc::new(Ledger::open(backend.clone(), sealer()).await.expect("the ledger opens"))
}

async fn vault(backend: &Arc<dyn Backend>) -> Vault {
    Vault::new(ledger(backend).await, Vec::new()).expect("the vault opens")
}

fn organization(text: &str) -> OrganizationName {
    OrganizationName::parse(text).expect("a good name")
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).expect("a good name")
}

fn value(bytes: impl Into<Vec<u8>>) -> SecretValue {
    SecretValue::new(bytes.into()).expect("a good value")
}

fn domains(patterns: &[&str]) -> AllowedDomains {
    let patterns = patterns.iter().map(|text| DomainPattern::parse(text).expect("a good pattern"));
    AllowedDomains::new(patterns.collect()).expect("not too many")
}

pub fn new_secret(called: &str, bytes: &str, allowed: &[&str]) -> NewSecret {
    NewSecret {
        name: name(called),
        value: value(bytes),
        description: Description::default(),
        allowed_domains: domains(allowed),
        limits: Limits::default(),
    }
}
