//! The bytes to an upstream before TLS and HTTP: a connection of our own, or a tunnel that another
//! proxy made.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::own_ends::OwnEnd;

/// A connection to an upstream.
pub struct Stream {
    io: Io,
    _own_end: Option<OwnEnd>,
}

enum Io {
    /// Dialled by ourselves.
    Direct(TcpStream),
    /// Made by the proxy that `egress.upstream_proxy` names.
    Through(Box<dyn Tunnel>),
}

impl Stream {
    pub(super) fn direct(stream: TcpStream, own_end: Option<OwnEnd>) -> Self {
        Self { io: Io::Direct(stream), _own_end: own_end }
    }

    pub(super) fn through(tunnel: Box<dyn Tunnel>, own_end: Option<OwnEnd>) -> Self {
        Self { io: Io::Through(tunnel), _own_end: own_end }
    }

    #[cfg(test)]
    pub(super) fn as_tcp(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Direct(stream) => Some(stream),
            Io::Through(_) => None,
        }
    }
}

/// What a tunnel through another proxy can do, whatever it is made of.
pub(super) trait Tunnel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Tunnel for S {}

/// Hands a call on to whichever it is.
macro_rules! either {
    ($this:expr, $stream:ident => $call:expr) => {
        match &mut $this.get_mut().io {
            Io::Direct($stream) => $call,
            Io::Through($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Direct(stream) => stream.is_write_vectored(),
            Io::Through(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
