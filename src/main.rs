//! The binary: parse, run, exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Wipes every allocation as it is freed. Types of ours that hold a plaintext wipe themselves; this
/// reaches what libraries copied on the way (hyper's write buffers, rustls's records, serde's
/// scratch space), which nobody else could.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    subrosa::cli::run()
}
