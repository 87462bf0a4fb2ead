//! What values left on a thread's stack is overwritten before the thread waits.
//!
//! Freed memory is wiped by the allocator, but ciphers, searches and copies leave pieces of what they
//! worked on in frames that have returned and in vector registers. Nobody wipes those, and a thread that
//! has nothing to do keeps them for as long as it waits. So whoever has a value in hand [marks](mark) the
//! thread, and a marked thread [sweeps](sweep) before it parks. One that parks between requests all the time puts it off for a
//! moment ([`sweep_when_due`]), so that it does not write that much for each of them.

use std::cell::Cell;
use std::hint::black_box;

/// How far below the executor's own frame calls reach. Without optimisation frames are several times as
/// large.
const DEPTH: usize = if cfg!(debug_assertions) { 768 * 1024 } else { 128 * 1024 };

thread_local! {
    static MARKED: Cell<bool> = const { Cell::new(false) };
    static PUT_OFF: Cell<PutOff> = const { Cell::new(PutOff::Not) };
}

/// Whether a marked thread waits before it sweeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PutOff {
    Not,
    /// Until somebody says that it is due.
    Until,
    Over,
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

/// The same for a thread that has much to do: it sweeps once that is [`due`], and `ask` is called for it to become so.
pub fn sweep_when_due(ask: impl Fn()) {
    if !MARKED.get() {
        return;
    }
    match PUT_OFF.get() {
        PutOff::Not => {
            PUT_OFF.set(PutOff::Until);
            ask();
        }
        PutOff::Until => {}
        PutOff::Over => {
            PUT_OFF.set(PutOff::Not);
            sweep();
        }
    }
}

/// This thread has put it off for long enough.
pub fn due() {
    PUT_OFF.set(PutOff::Over);
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

    #[test]
    fn what_is_put_off_is_asked_for_once_and_done_when_due() {
        let asked = Cell::new(0);
        let park = || sweep_when_due(|| asked.set(asked.get() + 1));
        park();
        assert_eq!(asked.get(), 0);
        mark();
        park();
        park();
        assert_eq!((asked.get(), MARKED.get()), (1, true));
        due();
        park();
        assert_eq!((asked.get(), MARKED.get()), (1, false));
        mark();
        park();
        assert_eq!((asked.get(), MARKED.get()), (2, true));
    }
}
