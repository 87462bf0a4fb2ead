//! The store and what lies in it: the contract of the engines, durability, and tampering.

mod contract;
mod durability;
mod tampering;

use std::path::Path;
use std::sync::Arc;

use subrosa::ledger::Ledger;
use subrosa::seal::{KeyEncryptionKey, Sealer};
use subrosa::secret::{AllowedDomains, Description, DomainPattern, Limits, OrganizationName, SecretName, SecretValue};
use subrosa::store::{self, Backend, Engine, StoreError};
use subrosa::vault::{NewSecret, Vault};

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

fn new_secret(called: &str, bytes: &str, allowed: &[&str]) -> NewSecret {
    NewSecret {
        name: name(called),
        value: value(bytes),
        description: Description::default(),
        allowed_domains: domains(allowed),
        limits: Limits::default(),
    }
}
