//! Bytes that nobody looks at: passed-through tunnels, and what follows a protocol switch.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client_stream::ClientStream;
use super::context::Door;
use super::measures::Tunnel;
use super::resting::Lent;
use super::right::Right;
use super::socket::Socket;
use crate::upstream::Stream;

/// One buffer for each direction.
const BUFFER: usize = 64 * 1024;

/// Relays a tunnel that is passed through, to its end.
pub(super) async fn pass_through(door: &Door, client: Prefixed<ClientStream>, upstream: Stream, right: Right) {
    let relayed = relay(client, upstream, door.shared.settings.load().tunnel);
    // No request comes by at which it could be asked.
    right.lets(relayed).await;
}

/// Relays what follows a 101, in a task of its own; what is a WebSocket to be looked at, by `socket`.
pub(super) fn switch(door: Door, client: OnUpgrade, upstream: OnUpgrade, right: Right, socket: Option<Socket>) {
    door.shared.measures.tunnel(Tunnel::Switched);
    let busy = door.shared.drain.busy();
    tokio::spawn(async move {
        let _busy = busy;
        if let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) {
            let (client, upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            let silence = door.shared.settings.load().tunnel;
            match socket {
                None => right.lets(relay(client, upstream, silence)).await,
                Some(socket) => {
                    let moved = Arc::new(AtomicU64::new(0));
                    let client = Counted { io: client, moved: Arc::clone(&moved) };
                    let upstream = Counted { io: upstream, moved: Arc::clone(&moved) };
                    let relayed = until_silent(socket.relay(client, upstream), &moved, silence);
                    right.lets(relayed).await;
                }
            }
        }
    });
}

/// The client's connection once CONNECT was answered, with what it sent early.
pub(super) async fn client_side(upgrade: OnUpgrade) -> Option<(ClientStream, BytesMut)> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Lent<ClientStream>>>().ok()?;
    let (stream, raw) = parts.io.into_inner().keep()?.into_parts();
    let mut early = BytesMut::from(&parts.read_buf[..]);
    early.extend_from_slice(&raw);
    Some((stream, early))
}

/// Copies both ways until both have ended, one fails, or no byte came for `silence`.
async fn relay<A, B>(client: A, upstream: B, silence: Duration)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Arc::new(AtomicU64::new(0));
    let mut client = Counted { io: client, moved: Arc::clone(&moved) };
    let mut upstream = Counted { io: upstream, moved: Arc::clone(&moved) };
    let copy = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);
    until_silent(copy, &moved, silence).await;
}

/// Relays until that has ended, or no byte has `moved` for `silence`.
async fn until_silent<T>(relayed: impl Future<Output = T>, moved: &AtomicU64, silence: Duration) {
    let mut relayed = std::pin::pin!(relayed);
    let mut before = 0;
    loop {
        match tokio::time::timeout(silence, relayed.as_mut()).await {
            Ok(_) => return,
            Err(_) if moved.load(Ordering::Relaxed) == before => return,
            Err(_) => before = moved.load(Ordering::Relaxed),
        }
    }
}

/// Counts reads, so that silence can be told from traffic.
struct Counted<S> {
    io: S,
    moved: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A connection some of whose bytes were read already.
#[derive(Debug)]
pub(super) struct Prefixed<S> {
    early: Bytes,
    io: S,
}

impl<S> Prefixed<S> {
    pub(super) fn new(early: Bytes, io: S) -> Self {
        Self { early, io }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..count]);
        self.early.advance(count);
        if self.early.is_empty() {
            self.early = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
