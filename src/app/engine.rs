//! The store that the configuration names.

use crate::config::{Config, Engine, Etcd};
use crate::store::{self, EtcdSettings};

/// What `store.engine` says. `is_patient`: whether a shared store is waited for that does not answer yet.
pub(super) fn engine(config: &Config, is_patient: bool) -> store::Engine {
    match (config.store.engine, &config.store.etcd) {
        (Engine::Etcd, Some(etcd)) => store::Engine::Etcd(Box::new(settings(etcd, is_patient))),
        // No configuration is read that says so and not where.
        (Engine::Etcd, None) | (Engine::Sled, _) => store::Engine::Sled { directory: config.data_dir.clone() },
        (Engine::Memory, _) => store::Engine::Memory,
    }
}

/// What the section says.
pub(super) fn settings(etcd: &Etcd, is_patient: bool) -> EtcdSettings {
    EtcdSettings {
        endpoints: etcd.endpoints.clone(),
        prefix: etcd.prefix.clone(),
        user: etcd.user.clone(),
        password_file: etcd.password_file.clone(),
        ca_file: etcd.ca_file.clone(),
        certificate_file: etcd.certificate_file.clone(),
        key_file: etcd.key_file.clone(),
        timeout: etcd.timeout.0,
        is_patient,
    }
}
