//! A connection's bytes, plain or through TLS, with a count of those that came back.
//!
//! The count tells whether an upstream said anything at all before it closed: only a request that
//! was met with silence may be sent once more. The first frame of HTTP/2 is overheard on the way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;

use super::greeting::{Greeting, Listener};
use super::stream::Stream;
use crate::stack;

/// What HTTP is spoken over.
pub(super) enum Transport {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

impl Transport {
    /// Whether HTTP/2 was agreed on during the TLS handshake.
    pub(super) fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(crate::tls::ALPN_HTTP_2),
        }
    }
}

/// The most bytes that may come before the head of a response is whole. The head itself is bounded elsewhere; interim
/// responses (1xx) are not, and a flood of them would keep a worker busy that has others to serve. Three times what the HTTP
/// library reads at once, so that a content right behind the head does not count.
const BEFORE_HEAD: u64 = 384 * 1024;

/// How many bytes an upstream has sent so far, TLS taken off, and how many it may send.
#[derive(Clone)]
pub(super) struct Received(Arc<Counts>);

struct Counts {
    received: AtomicU64,
    limit: AtomicU64,
}

impl Received {
    fn new() -> Self {
        Self(Arc::new(Counts { received: AtomicU64::new(0), limit: AtomicU64::new(u64::MAX) }))
    }

    pub(super) fn count(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// The head of a response is waited for.
    pub(super) fn expect_head(&self) {
        self.0.limit.store(self.count() + BEFORE_HEAD, Ordering::Relaxed);
    }

    /// It came.
    pub(super) fn head_came(&self) {
        self.0.limit.store(u64::MAX, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) -> io::Result<()> {
        let received = self.0.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if received > self.0.limit.load(Ordering::Relaxed) {
            return Err(io::Error::other("over 384 KiB came before the head of a response was whole"));
        }
        Ok(())
    }
}

/// A transport that counts.
pub(super) struct Watched {
    transport: Transport,
    received: Received,
    listener: Option<Listener>,
}

impl Watched {
    pub(super) fn new(transport: Transport) -> (Self, Received) {
        let received = Received::new();
        (Self { transport, received: received.clone(), listener: None }, received)
    }

    /// The same, and what the server says first, in HTTP/2.
    pub(super) fn greeted(transport: Transport) -> (Self, watch::Receiver<Greeting>) {
        let (listener, greeting) = Listener::new();
        (Self { transport, received: Received::new(), listener: Some(listener) }, greeting)
    }
}

/// Hands a call on to whichever stream it is.
macro_rules! either {
    ($this:expr, $stream:ident => $call:expr) => {
        match $this {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = either!(&mut self.transport, stream => Pin::new(stream).poll_read(cx, buffer));
        let read = &buffer.filled()[before..];
        self.received.add(read.len())?;
        if let Some(listener) = &mut self.listener
            && (listener.hear(read) || (read.is_empty() && polled.is_ready()))
        {
            self.listener = None;
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Nobody here knows what stands in them.
        stack::mark();
        either!(&mut self.transport, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        stack::mark();
        either!(&mut self.transport, stream => Pin::new(stream).poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        either!(&self.transport, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.transport, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.transport, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
