//! A store that many nodes share: a real cluster of etcd on loopback, whose members are stopped, cut off and brought back.
//!
//! `make test-fleet` builds with the feature and installs etcd.

mod chaos;
mod cluster;
mod contract;
mod following;
mod history;
mod moving;
mod nodes;
mod refusals;
mod relay;
mod sealed;

use std::sync::Arc;

use subrosa::store::{self, Backend, Engine, EtcdSettings, Expect, Freshness, StoreError, Write};

use cluster::Cluster;

/// Opens what lies in a cluster below this prefix.
async fn open(cluster: &Cluster, prefix: &str) -> Arc<dyn Backend> {
    open_at(cluster.settings(prefix)).await.expect("it opens")
}

async fn open_at(settings: EtcdSettings) -> Result<Arc<dyn Backend>, StoreError> {
    store::open(Engine::Etcd(Box::new(settings))).await
}

fn put(key: &str, expect: Expect, bytes: &[u8]) -> Write {
    Write::Put { key: key.to_owned(), expect, bytes: bytes.to_vec() }
}

/// Waits until the engine says that it is fresh, or that it is not; why it is not.
async fn becomes(store: &dyn Backend, current: bool) -> String {
    let mut freshness = store.freshness();
    let fresh = crate::support::soon(freshness.wait_for(|fresh| (*fresh == Freshness::Current) == current)).await;
    match &*fresh.expect("the engine is there") {
        Freshness::Current => String::new(),
        Freshness::Behind { why, .. } => why.clone(),
    }
}
