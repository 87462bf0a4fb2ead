//! One HTTP/1.1 connection to an upstream, and the task that drives it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::carrier::{Again, Sent};
use super::egress::Opened;
use super::error::BoxError;
use super::sending::Sending;
use super::watched::{Received, Transport, Watched};

/// Bounds what is buffered per connection and direction, and thereby a response's head.
const MAX_BUFFER: usize = 128 * 1024;

/// Fields of a response. hyper's own limit, 100, is met by real servers with many cookies or
/// policies.
const MAX_FIELDS: usize = 256;

/// hyper is done with an exchange before its content was read to the end, or a moment later; a
/// connection that takes longer is stuck in something.
const READY_WITHIN: Duration = Duration::from_millis(50);

/// A connection. Let go while an exchange is under way, it is closed at once; otherwise in order.
pub(super) struct Connection<B> {
    sender: SendRequest<Sending<B>>,
    received: Received,
    task: AbortHandle,
    opened: Opened,
    busy: bool,
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Begins HTTP on a transport. The task this spawns ends with the connection.
    pub(super) async fn begin(transport: Transport, opened: Opened) -> hyper::Result<Self> {
        let (io, received) = Watched::new(transport);
        let (sender, connection) = Builder::new()
            .preserve_header_case(true)
            .max_buf_size(MAX_BUFFER)
            .max_headers(MAX_FIELDS)
            .handshake(TokioIo::new(io))
            .await?;
        let driven = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, "an upstream connection ended with an error");
            }
        });
        Ok(Self { sender, received, task: driven.abort_handle(), opened, busy: false })
    }

    /// Sends one request and waits for the head of its response.
    pub(super) async fn send(&mut self, request: Request<Sending<B>>) -> Sent<B> {
        self.busy = true;
        let before = self.received.count();
        self.received.expect_head();
        match self.sender.try_send_request(request).await {
            Ok(response) => {
                self.received.head_came();
                Sent::Answered(response)
            }
            Err(mut refused) => {
                if let Some(request) = refused.take_message() {
                    return Sent::Unsent(request);
                }
                let silent = self.received.count() == before;
                let again = if silent { Again::IfIdempotent } else { Again::Never };
                Sent::Failed { error: refused.into_error(), again }
            }
        }
    }
}

impl<B> Connection<B> {
    /// Whether it can take a request now, or will in a moment.
    pub(super) async fn is_ready_soon(&mut self) -> bool {
        matches!(tokio::time::timeout(READY_WITHIN, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Whether either side has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// By whose leave its address was dialled.
    pub(super) fn opened(&self) -> Opened {
        self.opened
    }

    /// The exchange is over: the connection may be kept, or closed in order.
    pub(super) fn rest(&mut self) {
        self.busy = false;
    }
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        // Without this, hyper would go on sending a request's content after its response had
        // ended, or whatever is left of it to a peer that nobody listens to any more.
        if self.busy {
            self.task.abort();
        }
    }
}
