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

/// How many bytes an upstream has sent so far, TLS taken off.
#[derive(Clone, Default)]
pub(super) struct Received(Arc<AtomicU64>);

impl Received {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
        let received = Received::default();
        (Self { transport, received: received.clone(), listener: None }, received)
    }

    /// The same, and what the server says first, in HTTP/2.
    pub(super) fn greeted(transport: Transport) -> (Self, watch::Receiver<Greeting>) {
        let (listener, greeting) = Listener::new();
        (Self { transport, received: Received::default(), listener: Some(listener) }, greeting)
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
        self.received.0.fetch_add(read.len() as u64, Ordering::Relaxed);
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
        either!(&mut self.transport, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
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
