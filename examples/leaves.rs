//! A million hosts against the cache of leaf certificates, without connections: `cargo run --release --example leaves [HOSTS]`.
//!
//! Prints, as JSON, how long it took, of how many hosts a leaf is kept, and the process's memory after the first of them and at the end.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use subrosa::origin::Host;
use subrosa::tls::{Authority, Leaves};

/// As many as the proxy keeps.
const KEPT: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let hosts: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let place = tempfile::tempdir()?;
    let (authority, _) =
        Authority::load_or_create(&place.path().join("ca.pem"), &place.path().join("ca-key.pem"), SystemTime::now())?;
    let leaves = Leaves::new(Arc::new(authority), KEPT, SystemTime::now);
    let first = hosts.min(2 * KEPT as u64);
    let (began, mut first_mib) = (Instant::now(), 0);
    for number in 0..hosts {
        leaves.server_config(&Host::parse(&format!("host-{number:08}.example.com"))?)?;
        if number + 1 == first {
            first_mib = resident()?;
        }
    }
    println!(
        "{{\"hosts\": {hosts}, \"seconds\": {}, \"kept\": {}, \"first\": {first}, \"first_mib\": {first_mib}, \"mib\": {}}}",
        began.elapsed().as_secs(),
        leaves.kept(),
        resident()?
    );
    Ok(())
}

/// MiB that this process has resident.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
