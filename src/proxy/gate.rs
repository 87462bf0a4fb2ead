//! The gate between a client's bytes and the HTTP library: only whole, unambiguous heads pass.
//!
//! It follows the framing of a connection (head, content, head, …), judges each head on its bytes
//! (`wire`) and watches chunked contents (`chunked`). A head that is refused is replaced by a
//! plain request that the service answers with the stored refusal, so that every refusal is
//! written by one piece of code and in its turn. The gate is also the place of the client-side
//! timeouts, since it alone knows what is being waited for.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::chunked::Chunked;
use super::streams::{Open, Turn};
use super::wire::{self, Framing};
use crate::inject::{Code, Refusal};

/// The field that marks the request put in the place of a refused head. A client that sends it
/// gains nothing: without a stored refusal it means nothing.
pub(super) const REFUSED: &str = "subrosa-refused";
/// What a refused head is replaced by. HEAD stays HEAD, so that no content follows the answer.
const PLACEHOLDER: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nsubrosa-refused: 1\r\nconnection: close\r\n\r\n";
const PLACEHOLDER_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nhost: refused.invalid\r\nsubrosa-refused: 1\r\nconnection: close\r\n\r\n";
/// How much, and for how long, of a client's unread bytes is read after a refusal, so that closing
/// does not reset the connection before the client has read the answer (RFC 9112 section 9.6).
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// A connection on which nothing was asked for so long is at rest.
const REST: Duration = Duration::from_secs(1);

/// How much is read when it ends, in bytes.
const FIRST_BYTES: usize = 8 * 1024;

/// How much of a refused request line is kept for the audit trail, in bytes.
const KEPT_LINE: usize = 2048;

/// The request line of a head that was refused, as far as there is one: for the audit trail, so
/// that what is not text is replaced.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RefusedLine {
    pub(super) method: String,
    pub(super) target: String,
}

impl RefusedLine {
    fn of(raw: &[u8]) -> Self {
        let line = &raw[..raw.len().min(KEPT_LINE)];
        let line = line.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !method.iter().all(u8::is_ascii_uppercase) {
            return Self::default();
        }
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().map(|it| if it.is_control() { '?' } else { it }).collect();
        Self { method: text(method), target: text(target) }
    }
}

/// Bounds on what a client may make us wait for or hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) head_bytes: usize,
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) body: Duration,
}

/// What the service and the gate of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Control {
    inner: Mutex<Shared>,
    /// How many requests were passed on whose answers have not ended.
    under_way: AtomicUsize,
    /// The connection came to rest.
    rests: AtomicBool,
    /// The stream of HTTP/2 that this is all about, as long as either content is on its way.
    stream: Option<Open>,
}

#[derive(Debug, Default)]
struct Shared {
    refusal: Option<Refusal>,
    line: Option<RefusedLine>,
    verdict: Option<Verdict>,
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// The connection stays HTTP/1.1.
    Http,
    /// From here on the bytes are the tunnel's.
    Switched,
}

impl Control {
    /// The same for one stream of HTTP/2, where there is no gate.
    pub(super) fn of_stream(stream: Open) -> Self {
        Self { stream: Some(stream), ..Self::default() }
    }

    /// Whose turn it is on a stream of HTTP/2.
    pub(super) fn turn(&self) -> Option<&Arc<Turn>> {
        self.stream.as_ref().map(Open::turn)
    }

    /// The refusal of the head that was replaced, or of the content that broke off.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        self.lock().refusal.take()
    }

    /// What the head that was replaced asked for.
    pub(super) fn take_line(&self) -> Option<RefusedLine> {
        self.lock().line.take()
    }

    /// The switch that a head asked for was not made: the next head follows.
    pub(super) fn stays_http(&self) {
        self.decide(Verdict::Http);
    }

    /// The switch was made.
    pub(super) fn switched(&self) {
        self.decide(Verdict::Switched);
    }

    /// Resolves when nothing is under way and nothing was asked for a while. Whoever waits for it has the gate read, in the
    /// same task, whenever this is looked at: that an exchange ended wakes nobody.
    pub(super) async fn rests(&self) {
        while !self.rests.swap(false, Ordering::Relaxed) {
            tokio::time::sleep(REST).await;
        }
    }

    /// The answer of an exchange has ended.
    pub(super) fn exchange_ended(&self) {
        // Without a gate nobody has counted.
        if self.stream.is_none() {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn exchange_begins(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
    }

    fn decide(&self, verdict: Verdict) {
        let mut shared = self.lock();
        shared.verdict = Some(verdict);
        if let Some(waker) = shared.waiting.take() {
            waker.wake();
        }
    }

    /// Keeps the reason why a content broke off.
    pub(super) fn store_refusal(&self, refusal: Refusal) {
        self.lock().refusal = Some(refusal);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
enum State {
    Head {
        scanned: usize,
    },
    Length(u64),
    Chunked(Chunked),
    /// A head asked to leave HTTP; the service has not decided.
    Undecided,
    Switched,
    /// A head or content was refused: nothing of the client is passed on any more.
    Refused,
}

/// What is being waited for, each with its own bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Nothing,
    Idle,
    Head,
    Body,
}

/// A client connection whose heads were judged.
#[derive(Debug)]
pub(super) struct Gate<S> {
    io: S,
    control: Arc<Control>,
    bounds: Bounds,
    state: State,
    /// Read and not yet judged.
    raw: BytesMut,
    /// Judged and not yet passed on.
    passed: BytesMut,
    wait: Wait,
    alarm: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
    lingered: usize,
    is_first: bool,
    /// It was said of this wait that the connection rests.
    at_rest: bool,
}

impl<S> Gate<S> {
    pub(super) fn new(io: S, early: BytesMut, bounds: Bounds) -> (Self, Arc<Control>) {
        let control = Arc::new(Control::default());
        let gate = Self {
            io,
            control: Arc::clone(&control),
            bounds,
            state: State::Head { scanned: 0 },
            raw: early,
            passed: BytesMut::new(),
            wait: Wait::Nothing,
            alarm: None,
            stall: None,
            lingered: 0,
            is_first: true,
            at_rest: false,
        };
        (gate, control)
    }

    /// The connection itself and what was read ahead of the switch.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.io, self.raw)
    }

    fn refuse(&mut self, refusal: Refusal) {
        let placeholder = if self.raw.starts_with(b"HEAD ") { PLACEHOLDER_HEAD } else { PLACEHOLDER };
        self.control.lock().line = Some(RefusedLine::of(&self.raw));
        self.control.store_refusal(refusal);
        self.control.exchange_begins();
        self.raw.clear();
        self.passed.extend_from_slice(placeholder);
        self.state = State::Refused;
    }

    /// Judges what is in `raw` as far as it goes; whether something is ready to be passed on.
    fn judge_head(&mut self) -> bool {
        let State::Head { scanned } = self.state else { return false };
        if scanned == 0 {
            // RFC 9112 section 2.2: empty lines before a request line are to be ignored.
            while self.raw.starts_with(b"\r\n") {
                self.raw.advance(2);
            }
            if let Some(first) = self.raw.first().filter(|byte| !byte.is_ascii_alphabetic() && **byte != b'\r') {
                let what = if *first == 0x16 { "TLS" } else { "neither HTTP nor TLS" };
                self.refuse(Refusal::malformed(format!("The bytes here are {what}; this connection speaks HTTP/1.1.")));
                return true;
            }
        }
        let end = match wire::head_end(&self.raw, scanned) {
            Err(refusal) => return self.refused(refusal),
            Ok(end) => end,
        };
        if end.unwrap_or(self.raw.len()) > self.bounds.head_bytes {
            let limit = self.bounds.head_bytes;
            return self.refused(Refusal::new(
                Code::HeadTooLarge,
                format!("The request head is over {limit} bytes long (limits.head)."),
            ));
        }
        let Some(end) = end else {
            // A line end may be split: look at the last three bytes again.
            self.state = State::Head { scanned: self.raw.len().saturating_sub(3) };
            return false;
        };
        match wire::judge(&self.raw[..end]) {
            Err(refusal) => self.refused(refusal),
            Ok(head) => {
                self.passed.unsplit(self.raw.split_to(end));
                self.state = after(head);
                if head.may_switch {
                    // What was decided on an earlier head says nothing about this one.
                    self.control.lock().verdict = None;
                }
                self.control.exchange_begins();
                self.control.rests.store(false, Ordering::Relaxed);
                self.wait = Wait::Nothing;
                self.is_first = false;
                true
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) -> bool {
        self.refuse(refusal);
        true
    }

    /// Passes on what the content's framing allows of `raw`.
    fn pass_content(&mut self) -> io::Result<bool> {
        let (count, ended) = match &mut self.state {
            State::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.raw.len());
                *left -= count as u64;
                (count, *left == 0)
            }
            State::Chunked(watcher) => match watcher.watch(&self.raw) {
                Ok(seen) => seen,
                Err(refusal) => {
                    self.control.store_refusal(refusal);
                    self.state = State::Refused;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "broken chunked content"));
                }
            },
            _ => return Ok(false),
        };
        self.passed.unsplit(self.raw.split_to(count));
        if ended {
            self.state = State::Head { scanned: 0 };
        }
        Ok(count > 0)
    }

    /// The service's decision on a switch, if it has made one.
    fn decided(&mut self, cx: &Context<'_>) -> bool {
        let mut shared = self.control.lock();
        match shared.verdict.take() {
            Some(Verdict::Http) => self.state = State::Head { scanned: 0 },
            Some(Verdict::Switched) => self.state = State::Switched,
            None => {
                shared.waiting = Some(cx.waker().clone());
                return false;
            }
        }
        true
    }

    fn due(&self) -> Wait {
        match self.state {
            State::Head { .. } if !self.raw.is_empty() => Wait::Head,
            State::Head { .. } if self.control.under_way.load(Ordering::Relaxed) > 0 => Wait::Nothing,
            State::Head { .. } if self.is_first => Wait::Head,
            State::Head { .. } => Wait::Idle,
            State::Length(_) | State::Chunked(_) => Wait::Body,
            State::Undecided | State::Switched | State::Refused => Wait::Nothing,
        }
    }

    /// Whether what is being waited for has taken too long.
    fn overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.due();
        if due != self.wait {
            (self.wait, self.at_rest) = (due, false);
            let bound = match due {
                Wait::Nothing => None,
                Wait::Idle => Some(self.bounds.idle.min(REST)),
                Wait::Head => Some(self.bounds.head),
                Wait::Body => Some(self.bounds.body),
            };
            arm(&mut self.alarm, bound);
        }
        let mut is_over = || self.alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(cx).is_ready());
        if due == Wait::Nothing || !is_over() {
            return false;
        }
        if due != Wait::Idle || self.at_rest || self.bounds.idle <= REST {
            return true;
        }
        self.at_rest = true;
        // What is not written yet lies with whoever reads heads here.
        self.control.rests.store(self.stall.is_none(), Ordering::Relaxed);
        arm(&mut self.alarm, Some(self.bounds.idle.saturating_sub(REST)));
        self.alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(cx).is_ready())
    }

    /// Bytes came. A content's wait begins anew when the next one is waited for, and not before:
    /// while nobody asks for bytes the client is not to blame. A head's goes on.
    fn heard(&mut self) {
        if self.wait == Wait::Body {
            self.wait = Wait::Nothing;
        }
    }

    /// What is done when a bound was reached.
    fn give_up(&mut self) -> io::Result<bool> {
        match self.wait {
            Wait::Head if !self.raw.is_empty() => {
                let bound = humantime::format_duration(self.bounds.head);
                self.refuse(Refusal::malformed(format!(
                    "The request head was not complete within {bound} (timeouts.client_head)."
                )));
                Ok(true)
            }
            Wait::Body => {
                let bound = humantime::format_duration(self.bounds.body);
                self.control
                    .store_refusal(Refusal::malformed(format!("No byte of the content came for {bound} (timeouts.body).")));
                self.state = State::Refused;
                Err(io::ErrorKind::TimedOut.into())
            }
            _ => Ok(false),
        }
    }
}

fn after(head: wire::Head) -> State {
    match head.framing {
        _ if head.may_switch => State::Undecided,
        Framing::Length(0) => State::Head { scanned: 0 },
        Framing::Length(length) => State::Length(length),
        Framing::Chunked => State::Chunked(Chunked::new()),
    }
}

fn arm(alarm: &mut Option<Pin<Box<Sleep>>>, bound: Option<Duration>) {
    let Some(bound) = bound else { return };
    match alarm {
        Some(alarm) => alarm.as_mut().reset(Instant::now() + bound),
        None => *alarm = Some(Box::pin(tokio::time::sleep(bound))),
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    /// Reads from the client into `raw`; 0 is the end of the stream.
    fn fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut scratch = [std::mem::MaybeUninit::<u8>::uninit(); 16 * 1024];
        let room = room.clamp(1, scratch.len());
        let mut buffer = ReadBuf::uninit(&mut scratch[..room]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        self.raw.extend_from_slice(buffer.filled());
        self.heard();
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// While nobody reads heads: whether the client sends something before its time is up.
    pub(super) async fn wakes(&mut self) -> bool {
        poll_fn(|cx| match self.fill(cx, FIRST_BYTES) {
            Poll::Ready(read) => Poll::Ready(read.is_ok_and(|count| count > 0)),
            Poll::Pending if self.overdue(cx) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Content of a known length goes straight into the caller's buffer.
    fn read_length(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, left: u64) -> Poll<io::Result<()>> {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buf.remaining());
        let mut inner = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut inner))?;
        let count = inner.filled().len();
        buf.advance(count);
        let left = left - count as u64;
        self.state = if left == 0 { State::Head { scanned: 0 } } else { State::Length(left) };
        self.heard();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.passed.is_empty() {
                let count = this.passed.len().min(buf.remaining());
                buf.put_slice(&this.passed[..count]);
                this.passed.advance(count);
                if this.passed.is_empty() {
                    this.passed = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            let moved = match &this.state {
                State::Undecided => {
                    if this.decided(cx) {
                        true
                    } else {
                        return Poll::Pending;
                    }
                }
                State::Refused => return Poll::Pending,
                State::Switched if this.raw.is_empty() => return Pin::new(&mut this.io).poll_read(cx, buf),
                State::Switched => {
                    this.passed = this.raw.split();
                    true
                }
                State::Head { .. } => !this.raw.is_empty() && this.judge_head(),
                State::Length(_) | State::Chunked(_) => !this.raw.is_empty() && this.pass_content()?,
            };
            if moved {
                continue;
            }
            if this.raw.is_empty() {
                // An idle connection holds no buffer.
                this.raw = BytesMut::new();
            }
            // What came in time counts, also if nobody looked for it in time.
            let read = match this.state {
                State::Length(left) => this.read_length(cx, buf, left).map_ok(|()| None),
                _ => this.fill(cx, buf.remaining()).map_ok(Some),
            };
            match read {
                Poll::Ready(Ok(Some(1..))) => {}
                Poll::Ready(read) => return Poll::Ready(read.map(drop)),
                Poll::Pending if !this.overdue(cx) => return Poll::Pending,
                Poll::Pending if this.give_up()? => {}
                Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    /// Bounds how long a client may refuse to take bytes.
    fn stalled<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stall = None;
            return polled;
        }
        let bound = self.bounds.body;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(bound)));
        if stall.as_mut().poll(cx).is_ready() { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }

    /// Reads and drops what the client still sends, for a while.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if alarm.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0_u8; 4096];
        while self.lingered < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.lingered += buffer.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.stalled(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.stalled(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.stalled(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        let unread = matches!(self.state, State::Refused | State::Length(_) | State::Chunked(_));
        if unread {
            ready!(self.linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BOUNDS: Bounds =
        Bounds { head_bytes: 256, head: Duration::from_secs(1), idle: Duration::from_secs(5), body: Duration::from_secs(2) };

    fn gate() -> (tokio::io::DuplexStream, Gate<tokio::io::DuplexStream>, Arc<Control>) {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (gate, control) = Gate::new(server, BytesMut::new(), BOUNDS);
        (client, gate, control)
    }

    async fn read_some(gate: &mut Gate<tokio::io::DuplexStream>) -> Vec<u8> {
        let mut buffer = vec![0; 4096];
        let count = gate.read(&mut buffer).await.expect("no fault of io");
        buffer.truncate(count);
        buffer
    }

    #[tokio::test(start_paused = true)]
    async fn passes_heads_and_contents_on_unchanged_however_they_arrive() {
        let stream: &[u8] = b"\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for step in [1, 2, 3, 7, 50, stream.len()] {
            let (mut client, mut gate, control) = gate();
            let send = async {
                for part in stream.chunks(step) {
                    client.write_all(part).await.expect("the gate reads");
                    tokio::task::yield_now().await;
                }
            };
            let receive = async {
                let mut got = Vec::new();
                while got.len() < stream.len() - 2 {
                    got.extend(read_some(&mut gate).await);
                }
                got
            };
            let ((), got) = tokio::join!(send, receive);
            assert_eq!(got, stream[2..], "in steps of {step}");
            assert_eq!(control.take_refusal(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn replaces_a_refused_head_and_passes_nothing_on_after_it() {
        let (mut client, mut gate, control) = gate();
        client.write_all(b"HEAD / HTTP/1.1\r\nX : y\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("room");
        assert_eq!(read_some(&mut gate).await, PLACEHOLDER_HEAD);
        assert_eq!(control.take_refusal().map(|refusal| refusal.code), Some(Code::MalformedRequest));
        assert_eq!(control.take_line(), Some(RefusedLine { method: "HEAD".to_owned(), target: "/".to_owned() }));
        let more = tokio::time::timeout(Duration::from_mins(1), gate.read(&mut [0; 10])).await;
        assert!(more.is_err(), "nothing more is read");
    }

    #[tokio::test(start_paused = true)]
    async fn holds_everything_back_until_a_switch_is_decided() {
        let (mut client, mut gate, control) = gate();
        client.write_all(b"CONNECT h:1 HTTP/1.1\r\n\r\n\x16early").await.expect("room");
        assert_eq!(read_some(&mut gate).await, b"CONNECT h:1 HTTP/1.1\r\n\r\n");
        assert!(tokio::time::timeout(Duration::from_mins(1), gate.read(&mut [0; 10])).await.is_err());
        control.switched();
        assert_eq!(read_some(&mut gate).await, b"\x16early");
    }

    #[tokio::test(start_paused = true)]
    async fn goes_on_with_the_next_head_when_no_switch_is_made() {
        let (mut client, mut gate, control) = gate();
        client.write_all(b"CONNECT h:1 HTTP/1.1\r\n\r\nCONNECT i:1 HTTP/1.1\r\n\r\n").await.expect("room");
        assert_eq!(read_some(&mut gate).await, b"CONNECT h:1 HTTP/1.1\r\n\r\n");
        control.stays_http();
        assert_eq!(read_some(&mut gate).await, b"CONNECT i:1 HTTP/1.1\r\n\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn bounds_every_wait_and_no_exchange() {
        // Half a head.
        let (mut client, mut half, control) = gate();
        client.write_all(b"GET / HT").await.expect("room");
        assert_eq!(read_some(&mut half).await, PLACEHOLDER);
        assert!(control.take_refusal().is_some_and(|refusal| refusal.detail.contains("client_head")));
        // A content that stalls.
        let (mut client, mut stalled, control) = gate();
        client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab").await.expect("room");
        read_some(&mut stalled).await;
        assert_eq!(read_some(&mut stalled).await, b"ab");
        assert!(stalled.read(&mut [0; 10]).await.is_err());
        assert!(control.take_refusal().is_some_and(|refusal| refusal.detail.contains("timeouts.body")));
        // An exchange may take as long as it takes; idling after it may not.
        let (mut client, mut idle, control) = gate();
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("room");
        read_some(&mut idle).await;
        assert!(tokio::time::timeout(Duration::from_mins(10), idle.read(&mut [0; 10])).await.is_err());
        control.exchange_ended();
        assert_eq!(idle.read(&mut [0; 10]).await.ok(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_a_head_over_its_limit_and_foreign_bytes_at_once() {
        for (bytes, code) in [
            (vec![b'a'; 300], Code::HeadTooLarge),
            (vec![0x16, 3, 1], Code::MalformedRequest),
            (vec![0xff], Code::MalformedRequest),
        ] {
            let (mut client, mut gate, control) = gate();
            client.write_all(&bytes).await.expect("room");
            assert_eq!(read_some(&mut gate).await, PLACEHOLDER);
            assert_eq!(control.take_refusal().map(|refusal| refusal.code), Some(code));
        }
    }
}
