//! Log lines on their way to standard error: gathered for a moment and written together, so that a
//! request that is written down costs no system call of its own.
//!
//! Warnings and errors go out at once, with everything before them; so does everything when the process
//! ends in order. Nothing is dropped: who writes faster than standard error takes it waits, as without
//! this. A process that is killed loses the lines of its last hundredth of a second.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long the first line after a silence waits for others.
const GATHER: Duration = Duration::from_millis(10);
/// So many bytes are not waited on.
const MANY: usize = 64 * 1024;

/// The lines that wait, and their way out.
pub(super) struct Lines<W> {
    waiting: Mutex<Waiting>,
    came: Condvar,
    /// Held from taking lines until they are written, which keeps their order.
    out: Mutex<Out<W>>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whoever writes them waits to be told.
    is_asleep: bool,
}

struct Out<W> {
    to: W,
    /// The other buffer, empty.
    spare: Vec<u8>,
}

impl<W: Write + Send> Lines<W> {
    /// Lines on their way to `to`; nothing is written but by [`Lines::flush`] and [`Lines::write_out`].
    pub(super) fn new(to: W) -> Self {
        let out = Out { to, spare: Vec::new() };
        Self { waiting: Mutex::default(), came: Condvar::new(), out: Mutex::new(out) }
    }

    /// Writes what comes, for ever.
    pub(super) fn write_out(&self) -> ! {
        loop {
            let mut waiting = locked(&self.waiting);
            while waiting.bytes.is_empty() {
                waiting.is_asleep = true;
                waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            drop(waiting);
            std::thread::sleep(GATHER);
            self.flush();
        }
    }

    /// Writes all that waits. Where nobody reads any more there is nobody to tell.
    pub(super) fn flush(&self) {
        let mut out = locked(&self.out);
        let Out { to, spare } = &mut *out;
        std::mem::swap(&mut locked(&self.waiting).bytes, spare);
        let _ = to.write_all(spare);
        spare.clear();
    }

    fn put(&self, line: &[u8], at_once: bool) {
        let mut waiting = locked(&self.waiting);
        waiting.bytes.extend_from_slice(line);
        let at_once = at_once || waiting.bytes.len() >= MANY;
        let wake = !at_once && std::mem::take(&mut waiting.is_asleep);
        drop(waiting);
        if at_once {
            self.flush();
        } else if wake {
            self.came.notify_one();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where one event is written to.
pub(super) struct Line<'a, W> {
    lines: &'a Lines<W>,
    at_once: bool,
}

impl<W: Write + Send> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.put(line, self.at_once);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, W: Write + Send + 'static> MakeWriter<'a> for &'static Lines<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { lines: self, at_once: true }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Self::Writer {
        Line { lines: self, at_once: *about.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    /// Tells of each write.
    struct Told(mpsc::Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Arc<Lines<Told>>, mpsc::Receiver<Vec<u8>>) {
        let (sender, writes) = mpsc::channel();
        (Arc::new(Lines::new(Told(sender))), writes)
    }

    #[test]
    fn lines_wait_for_each_other_and_a_warning_for_nobody() {
        let (lines, writes) = lines();
        lines.put(b"one\n", false);
        lines.put(b"two\n", false);
        assert!(writes.try_recv().is_err());
        lines.put(b"warning\n", true);
        assert_eq!(writes.try_recv().expect("written"), b"one\ntwo\nwarning\n");
        lines.put(b"last\n", false);
        lines.flush();
        assert_eq!(writes.try_recv().expect("written"), b"last\n");
    }

    #[test]
    fn many_do_not_wait() {
        let (lines, writes) = lines();
        lines.put(&vec![b'x'; MANY], false);
        assert_eq!(writes.try_recv().expect("written").len(), MANY);
    }

    #[test]
    fn what_many_write_is_written_whole_and_each_in_its_order() {
        let (lines, writes) = lines();
        let writer = Arc::clone(&lines);
        // Ends with the test process.
        std::thread::spawn(move || writer.write_out());
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let lines = Arc::clone(&lines);
                std::thread::spawn(move || {
                    for number in 0..500 {
                        lines.put(format!("{thread} {number}\n").as_bytes(), number % 97 == 0);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        let mut text = String::new();
        while text.lines().count() < 2_000 {
            let more = writes.recv_timeout(Duration::from_secs(30)).expect("more comes");
            text.push_str(&String::from_utf8(more).expect("text"));
        }
        for thread in 0..4 {
            let own = text.lines().filter_map(|line| line.strip_prefix(&format!("{thread} ")));
            assert_eq!(own.collect::<Vec<_>>(), (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
        }
    }
}
