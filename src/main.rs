//! The binary: parse, run, exit code.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Wipes every allocation as it is freed. Types of ours that hold a plaintext wipe themselves; this
/// reaches what libraries copied on the way (hyper's write buffers, rustls's records, serde's
/// scratch space), which nobody else could.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    subrosa::cli::run()
}
