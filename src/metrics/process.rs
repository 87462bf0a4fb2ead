//! The process itself, in the names that every Prometheus library uses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::Registry;

/// Registers start, processor time, memory and descriptors of this process.
pub(super) fn register(registry: &Registry) {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    registry.observe("process_start_time_seconds", "When the process started, in unix seconds", move || started);
    registry.observe_counter("process_cpu_seconds", "Processor time used, in seconds", processor_seconds);
    registry.observe("process_resident_memory_bytes", "Memory that is resident", resident_bytes);
    registry.observe("process_open_fds", "Descriptors that are open", open_descriptors);
}

fn processor_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let whole = Duration::from_secs(u64::try_from(used.tv_sec).unwrap_or_default());
    (whole + Duration::from_nanos(u64::try_from(used.tv_nsec).unwrap_or_default())).as_secs_f64()
}

/// What `/proc` says; 0 where there is none.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default();
    kib * 1024.0
}

#[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 descriptors")]
fn open_descriptors() -> f64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64
}
