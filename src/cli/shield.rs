//! What the system should do for this process: keep its memory to itself, and give it the file
//! descriptors it may need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::app;
use crate::config::Config;

/// No core dump, and no other process of this user may read the memory or the environment.
pub(super) fn keep_memory() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(fault) = setrlimit(Resource::Core, none) {
        tracing::debug!(%fault, "core dumps could not be forbidden");
    }
    #[cfg(target_os = "linux")]
    if let Err(fault) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::debug!(%fault, "the memory could not be closed to other processes");
    }
}

/// Nothing of the memory is written to swap, where the system lets this process lock as much as it likes. A
/// smaller limit would be met at some moment, and allocations fail from then on; so it is left alone.
pub(super) fn keep_memory_out_of_swap() {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::MlockAllFlags as Flags;
        if getrlimit(Resource::Memlock).current.is_some() {
            return;
        }
        // What is reserved and never touched takes no memory: pages are locked once they are there.
        if let Err(fault) = rustix::mm::mlockall(Flags::CURRENT | Flags::FUTURE | Flags::ONFAULT) {
            tracing::debug!(%fault, "the memory could not be kept out of swap");
        }
    }
}

/// As many descriptors as the system lets this process have; said if they are too few for `limits.connections`, of which fewer
/// count then.
pub(super) fn raise_descriptors(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(fault) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%fault, "the limit on file descriptors could not be raised");
    }
    let (wanted, has) = (config.limits.connections as u64, getrlimit(Resource::Nofile).current);
    // A few connections less are not worth a word.
    if has.is_some_and(|has| has < wanted * 2) {
        let served = app::connections_within(has);
        tracing::warn!(
            has,
            wanted,
            served,
            "the system gives fewer file descriptors than limits.connections may need, so that fewer connections are served: raise its limit (ulimit -n, LimitNOFILE=), or lower limits.connections"
        );
    }
}
