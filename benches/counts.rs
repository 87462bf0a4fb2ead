//! Each case of the road a fixed number of times, for an instrument that counts instructions: `scripts/instructions`
//! runs this under callgrind, which counts what happens within `counted` and writes it down at each return from it.
//! Without arguments it prints the names, one a line, in the order in which they are counted.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a program for a script; it may panic")]

mod cases;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// As the binary has it: wiping belongs to the cost.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

/// So that what happens at a first time only is over.
const BEFORE: usize = 20;

fn main() {
    let times: Option<usize> = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    for mut case in cases::all() {
        println!("{}", case.name);
        let Some(times) = times else { continue };
        for _ in 0..BEFORE {
            (case.work)();
        }
        counted(times, &mut case.work);
    }
}

/// The name stays as it is in the symbol table, so that the instrument finds it.
#[inline(never)]
fn counted(times: usize, work: &mut dyn FnMut()) {
    for _ in 0..times {
        work();
    }
}
