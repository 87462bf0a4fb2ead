//! Between a client's bytes and the HTTP/2 library: frames are counted as they pass, and waits are bounded.
//!
//! The library bounds what it keeps of a client, but not how long it works for one that asks for nothing: PING,
//! SETTINGS, `RST_STREAM`, PRIORITY, `WINDOW_UPDATE`, empty DATA and CONTINUATION frames cost their sender next to
//! nothing. They are paid for from an allowance that grows with what is moved and with time; who has none
//! left is cut off. Nothing is parsed here but the nine bytes before each frame (RFC 9113 section 4.1).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What every HTTP/2 client sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The most that is allowed at once: well above what clients do that give up many requests.
const ALLOWANCE: u64 = 5_000;
/// What grows each second; so much work for nothing cannot be felt.
const A_SECOND: u64 = 1_000;
/// A request that is given up cost the most: it was begun, upstream too.
const RESET: u64 = 10;
/// One more part of a head.
const PART: u64 = 10;
/// Clients acknowledge what they get: one frame is fine for so many bytes, either way.
const BYTES_A_FRAME: u64 = 1_024;
/// A request brings a few frames with it: the room for its answer, its end.
const REQUEST: u64 = 3;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For its first bytes, and for a head.
    pub(super) head: Duration,
    /// To take any byte.
    pub(super) body: Duration,
}

/// A client connection whose frames are counted.
#[derive(Debug)]
pub(super) struct Frames<S> {
    io: S,
    patience: Patience,
    reading: Reading,
    allowance: Allowance,
    /// Runs while the client's first bytes, or the rest of a head, are waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
}

/// Where in the client's bytes we are.
#[derive(Debug, Default)]
struct Reading {
    preface: usize,
    head: [u8; 9],
    have: usize,
    payload: usize,
    /// A head has begun and not ended.
    in_block: bool,
}

/// A frame that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    length: u64,
    kind: u8,
    flags: u8,
}

#[derive(Debug)]
struct Allowance {
    left: u64,
    /// Bytes moved that have not become frames yet.
    bytes: u64,
    since: Instant,
}

impl<S> Frames<S> {
    pub(super) fn new(io: S, patience: Patience) -> Self {
        let alarm = Some(Box::pin(tokio::time::sleep(patience.head)));
        let allowance = Allowance { left: ALLOWANCE, bytes: 0, since: Instant::now() };
        Self { io, patience, reading: Reading::default(), allowance, alarm, stall: None }
    }

    /// Counts what came, and sets the clock of what is waited for.
    fn look_at(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (frame, after) = self.reading.next(rest);
            rest = after;
            if let Some(frame) = frame {
                self.allowance.pay(frame)?;
            }
        }
        let is_waiting = self.reading.preface < PREFACE.len() || self.reading.in_block;
        if !is_waiting {
            self.alarm = None;
        } else if self.alarm.is_none() {
            self.alarm = Some(Box::pin(tokio::time::sleep(self.patience.head)));
        }
        Ok(())
    }
}

impl Reading {
    /// The frame that begins in `bytes`, if its head becomes whole in them, and what is behind what was
    /// looked at.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> (Option<Frame>, &'a [u8]) {
        if self.preface < PREFACE.len() {
            // What is no preface the library will say.
            let count = bytes.len().min(PREFACE.len() - self.preface);
            self.preface += count;
            return (None, &bytes[count..]);
        }
        if self.payload > 0 {
            let count = bytes.len().min(self.payload);
            self.payload -= count;
            return (None, &bytes[count..]);
        }
        let count = bytes.len().min(self.head.len() - self.have);
        self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
        self.have += count;
        let frame = (self.have == self.head.len()).then(|| self.began());
        (frame, &bytes[count..])
    }

    fn began(&mut self) -> Frame {
        let [a, b, c, kind, flags, ..] = self.head;
        self.have = 0;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if kind == HEADERS || kind == CONTINUATION {
            self.in_block = flags & END_HEADERS == 0;
        }
        Frame { length: self.payload as u64, kind, flags }
    }
}

impl Allowance {
    fn pay(&mut self, frame: Frame) -> io::Result<()> {
        let price = match frame {
            Frame { kind: DATA, length: 1.., .. } => {
                self.moved(frame.length);
                return Ok(());
            }
            Frame { kind: DATA, flags, .. } if flags & END_STREAM != 0 => return Ok(()),
            Frame { kind: HEADERS, .. } => {
                self.grow(REQUEST);
                return Ok(());
            }
            Frame { kind: RST_STREAM, .. } => RESET,
            Frame { kind: CONTINUATION, .. } => PART,
            _ => 1,
        };
        if self.left < price {
            self.wait_pays();
        }
        let Some(left) = self.left.checked_sub(price) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a flood of frames that ask for nothing"));
        };
        self.left = left;
        Ok(())
    }

    fn moved(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.grow(self.bytes / BYTES_A_FRAME);
        self.bytes %= BYTES_A_FRAME;
    }

    fn wait_pays(&mut self) {
        let waited = self.since.elapsed();
        self.since = Instant::now();
        self.grow(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX).saturating_mul(A_SECOND) / 1_000);
    }

    fn grow(&mut self, by: u64) {
        self.left = self.left.saturating_add(by).min(ALLOWANCE);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(this.look_at(&buf.filled()[before..])),
            Poll::Pending if this.alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(cx).is_ready()) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    /// Bounds how long a client may refuse to take bytes.
    fn stalled<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stall = None;
            return polled;
        }
        let bound = self.patience.body;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(bound)));
        if stall.as_mut().poll(cx).is_ready() { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }

    fn wrote(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = polled {
            self.allowance.moved(count as u64);
        }
        self.stalled(cx, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.wrote(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.stalled(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(1), body: Duration::from_secs(5) };

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// How many of `count` frames pass.
    async fn passed(preface: bool, part: &[u8], count: usize) -> usize {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut frames = Frames::new(server, PATIENCE);
        let sent = [if preface { PREFACE } else { b"" }, &part.repeat(count)].concat();
        let sending = tokio::spawn(async move {
            let _ = client.write_all(&sent).await;
        });
        let (mut buffer, mut bytes) = ([0; 999], 0);
        while let Ok(count @ 1..) = frames.read(&mut buffer).await {
            bytes += count;
        }
        drop(frames);
        sending.await.expect("it ends");
        (bytes - PREFACE.len()) / part.len()
    }

    #[tokio::test(start_paused = true)]
    async fn floods_end_and_requests_do_not() {
        for (name, part, may_go_on) in [
            ("PING", frame(6, 0, &[0; 8]), false),
            ("SETTINGS", frame(4, 0, &[]), false),
            ("WINDOW_UPDATE", frame(8, 0, &[0, 0, 0, 1]), false),
            ("PRIORITY", frame(2, 0, &[0; 5]), false),
            ("empty DATA", frame(0, 0, &[]), false),
            ("unknown", frame(77, 0, &[]), false),
            ("CONTINUATION", frame(9, 0, &[]), false),
            ("rapid reset", [frame(1, 5, b"x"), frame(3, 0, &[0; 4])].concat(), false),
            ("requests", [frame(1, 5, b"x"), frame(8, 0, &[0, 0, 0, 1])].concat(), true),
            ("uploads", [frame(0, 0, &[0; 4096]), frame(8, 0, &[0, 0, 0, 1])].concat(), true),
        ] {
            let count = 20_000;
            let passed = passed(true, &part, count).await;
            assert_eq!(passed == count, may_go_on, "{name}: {passed}");
            // The last of them were read with those that were too many.
            assert!(passed >= 350, "{name}: {passed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_pays_for_what_is_rare() {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut frames = Frames::new(server, PATIENCE);
        client.write_all(PREFACE).await.expect("room");
        frames.read_exact(&mut [0; 24]).await.expect("passed");
        for _ in 0..20_000 {
            client.write_all(&frame(6, 0, &[0; 8])).await.expect("room");
            frames.read_exact(&mut [0; 17]).await.expect("passed");
            tokio::time::advance(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bounds_the_wait_for_the_first_bytes_and_for_the_rest_of_a_head() {
        let begun = frame(1, 0, b"x");
        for sent in [&PREFACE[..10], &[PREFACE, &begun].concat()] {
            let (mut client, server) = tokio::io::duplex(1024);
            let mut frames = Frames::new(server, PATIENCE);
            client.write_all(sent).await.expect("room");
            frames.read_exact(&mut vec![0; sent.len()]).await.expect("passed");
            let fault = frames.read(&mut [0; 10]).await.expect_err("too late");
            assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
        }
        // Between heads nothing is waited for here.
        let (mut client, server) = tokio::io::duplex(1024);
        let mut frames = Frames::new(server, PATIENCE);
        let whole = [PREFACE, &begun, &frame(9, END_HEADERS, b"y")].concat();
        client.write_all(&whole).await.expect("room");
        frames.read_exact(&mut vec![0; whole.len()]).await.expect("passed");
        assert!(tokio::time::timeout(Duration::from_mins(5), frames.read(&mut [0; 10])).await.is_err());
    }
}
