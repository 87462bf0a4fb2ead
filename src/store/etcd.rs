//! The engine that many nodes share: a cluster of etcd, which decides; nothing is kept here.
//!
//! Every key lies below a prefix. A version is the key's `mod_revision`; a commit is one transaction that holds all
//! expectations against it. Reads are linearizable: nothing that was acknowledged to anybody is missing from them. What others
//! commit is followed on one watch (`following`), which says how fresh it is.
//!
//! A thread of its own runs all of it, so that neither a busy caller nor one that blocks delays what is told.

#[cfg(feature = "etcd")]
mod cluster;
#[cfg(feature = "etcd")]
mod committing;
#[cfg(feature = "etcd")]
mod faults;
#[cfg(feature = "etcd")]
mod following;
#[cfg(feature = "etcd")]
mod reading;
#[cfg(feature = "etcd")]
mod remote;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Backend, StoreError};

/// Where a cluster is, and how it is talked to. Files are read with each new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Its members, as `https://host:port`.
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    pub prefix: String,
    /// Whom to sign in as.
    pub user: Option<String>,
    /// The file with the user's password.
    pub password_file: Option<PathBuf>,
    /// Who signs the members' certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show, PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// How long an answer may take, whichever member gives it.
    pub timeout: Duration,
    /// Whether an opening waits for a cluster that does not answer yet.
    pub is_patient: bool,
}

/// Opens it, and follows it from then on.
#[cfg(feature = "etcd")]
pub(super) async fn open(settings: EtcdSettings) -> Result<Arc<dyn Backend>, StoreError> {
    Ok(Arc::new(remote::Remote::open(settings).await?))
}

/// This program has no such engine.
#[cfg(not(feature = "etcd"))]
pub(super) async fn open(_: EtcdSettings) -> Result<Arc<dyn Backend>, StoreError> {
    let text = "this subrosa was built without etcd; build it with `cargo build --release --features etcd`";
    std::future::ready(Err(StoreError::Failed(text.to_owned()))).await
}
