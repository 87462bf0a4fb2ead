//! What values left on a thread's stack is overwritten before the thread waits.
//!
//! Freed memory is wiped by the allocator, but ciphers, searches and copies leave pieces of what they
//! worked on in frames that have returned and in vector registers. Nobody wipes those, and a thread that
//! has nothing to do keeps them for as long as it waits. So whoever has a value in hand [marks](mark) the
//! thread, and a marked thread [sweeps](sweep) before it parks.

use std::cell::Cell;
use std::hint::black_box;

/// How far below the executor's own frame calls reach. Without optimisation frames are several times as
/// large.
const DEPTH: usize = if cfg!(debug_assertions) { 768 * 1024 } else { 128 * 1024 };

thread_local! {
    static MARKED: Cell<bool> = const { Cell::new(false) };
}

/// Says that this thread has a value in hand, in whatever form.
#[inline]
pub fn mark() {
    MARKED.set(true);
}

/// Overwrites what has returned above this frame if this thread was [marked](mark). To be called from as
/// few calls deep as can be.
pub fn sweep() {
    if MARKED.replace(false) {
        overwrite();
    }
}

#[inline(never)]
#[allow(clippy::large_stack_arrays, reason = "the stack is what it is for")]
fn overwrite() {
    let mut frames = [0_u8; DEPTH];
    let (from, to) = black_box(&mut frames).split_at_mut(DEPTH / 2);
    // A copy of each size class passes through the registers that copies of that class leave pieces in.
    for length in [16, 32, 64, 128, 256, 512, 1024, 4096] {
        to[..length].copy_from_slice(black_box(&from[..length]));
    }
    black_box(to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_sweeps_once_for_each_time_it_was_marked() {
        sweep();
        mark();
        assert!(MARKED.get());
        sweep();
        assert!(!MARKED.get());
    }
}
