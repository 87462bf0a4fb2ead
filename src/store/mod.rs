//! Where sealed records lie: engines behind one contract.

mod backend;
mod mark;
mod memory;
mod sled;

use std::path::PathBuf;
use std::sync::Arc;

pub use backend::{Backend, Changed, Expect, Pending, StoreError, Stored, Write};

/// Which engine, and what it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Files below a data directory, which one process at a time may hold.
    Sled {
        /// The data directory; made, readable by its owner only, when absent.
        directory: PathBuf,
    },
    /// This process's memory: gone when it ends.
    Memory,
}

/// Opens a store.
pub async fn open(engine: Engine) -> Result<Arc<dyn Backend>, StoreError> {
    match engine {
        Engine::Sled { directory } => Ok(Arc::new(sled::Sled::open(directory).await?)),
        Engine::Memory => Ok(Arc::new(memory::Memory::new())),
    }
}
