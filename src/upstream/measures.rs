//! What is counted on the way out.

use crate::metrics::{Counter, Gauge, Registry};

/// The handles of this room. The default counts unseen.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// Connections that rest in a pool.
    pub(super) resting: Gauge,
    /// Connections that were made, their TLS included.
    pub(super) dialled: Counter,
    /// Requests that went over a connection which had been resting.
    pub(super) reused: Counter,
}

impl Measures {
    /// Registers what this room counts.
    pub fn new(registry: &Registry) -> Self {
        Self {
            resting: registry.gauge("subrosa_upstream_resting", "Upstream connections that rest in the pools"),
            dialled: registry.counter("subrosa_upstream_dialled", "Upstream connections that were made"),
            reused: registry
                .counter("subrosa_upstream_reused", "Requests sent over an upstream connection that had been resting"),
        }
    }
}
