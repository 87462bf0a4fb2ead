//! A connection between two requests: what the HTTP library holds of it is let go when its client has asked for nothing
//! for a moment, and made anew when something comes.
//!
//! Most tunnels rest most of the time, and the library's buffers and its room for an exchange are the better part of what
//! one takes. The gate stays: it knows that nothing is under way and nothing waits to be written.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::gate::Gate;

/// A gate that somebody has for a while; it comes back when they let it go.
pub(super) struct Lent<S> {
    /// There until it is taken or goes back.
    gate: Option<Gate<S>>,
    back: Back<S>,
}

/// Where it comes back to.
pub(super) struct Back<S>(Arc<Mutex<Option<Gate<S>>>>);

impl<S> Lent<S> {
    pub(super) fn new(gate: Gate<S>) -> (Self, Back<S>) {
        let place = Arc::new(Mutex::new(None));
        (Self { gate: Some(gate), back: Back(Arc::clone(&place)) }, Back(place))
    }

    /// Keeps it for good.
    pub(super) fn keep(mut self) -> Option<Gate<S>> {
        self.gate.take()
    }
}

impl<S> Back<S> {
    /// The gate, once it came back.
    pub(super) fn take(&self) -> Option<Gate<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        *self.back.0.lock().unwrap_or_else(PoisonError::into_inner) = self.gate.take();
    }
}

impl<S: Unpin> Lent<S> {
    fn gate(&mut self) -> io::Result<Pin<&mut Gate<S>>> {
        self.gate.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.gate()?.poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.gate()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.gate()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.gate.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gate()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gate()?.poll_shutdown(cx)
    }
}
