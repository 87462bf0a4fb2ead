//! Where sealed records lie: engines behind one contract.

mod backend;
mod etcd;
mod filling;
mod leased;
mod mark;
mod measured;
mod memory;
mod sled;

use std::path::PathBuf;
use std::sync::Arc;

use crate::metrics::Registry;
use crate::readiness::Readiness;

pub use backend::{Backend, COMMIT_BYTES, Changed, Expect, Freshness, Loaded, Pending, StoreError, Stored, Told, Write};
pub use etcd::EtcdSettings;
pub use filling::fill;
pub use leased::{Lease, LetGo, lease};

/// Which engine, and what it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Files below a data directory, which one process at a time may hold.
    Sled {
        /// The data directory; made, readable by its owner only, when absent.
        directory: PathBuf,
    },
    /// A cluster of etcd, which many processes share.
    Etcd(Box<EtcdSettings>),
    /// This process's memory: gone when it ends.
    Memory,
    /// The same, which says of itself that others write too: for many ledgers over one store in a test.
    SharedMemory,
}

/// Opens a store.
pub async fn open(engine: Engine) -> Result<Arc<dyn Backend>, StoreError> {
    match engine {
        Engine::Sled { directory } => Ok(Arc::new(sled::Sled::open(directory).await?)),
        Engine::Etcd(settings) => Box::pin(etcd::open(*settings)).await,
        Engine::Memory => Ok(Arc::new(memory::Memory::new(false))),
        Engine::SharedMemory => Ok(Arc::new(memory::Memory::new(true))),
    }
}

/// Puts a store of files that holds `stored` in the place of the one below `directory`, which nobody may hold:
/// in one step, and at least as far as that one reached. Where what was there is kept, if something was.
pub async fn replace(directory: PathBuf, stored: Vec<Stored>) -> Result<Option<PathBuf>, StoreError> {
    sled::replace(directory, stored).await
}

/// `store` with its commits counted in `registry`, and with its failures told to `readiness`.
pub fn measured(store: Arc<dyn Backend>, registry: &Registry, readiness: &Readiness) -> Arc<dyn Backend> {
    Arc::new(measured::Measured::new(store, registry, readiness))
}
