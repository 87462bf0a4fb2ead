//! A request's content on its way out, passed on frame by frame while its progress is noted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::error::BoxError;
use super::progress::Progress;

pin_project! {
    /// The content of one request, or none when a request without content is sent once more.
    pub(super) struct Sending<B> {
        #[pin]
        content: Option<B>,
        end: End,
        stoppable: bool,
    }
}

/// Notes the end when the body is let go: hyper does not always ask for the frame after the last.
struct End(Arc<Progress>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl<B> Sending<B> {
    pub(super) fn new(content: B, progress: Arc<Progress>) -> Self {
        Self { content: Some(content), end: End(progress), stoppable: false }
    }

    pub(super) fn nothing(progress: Arc<Progress>) -> Self {
        Self { content: None, end: End(progress), stoppable: false }
    }

    /// It goes over a connection that others use too, so that closing the connection is no way to end
    /// it: it listens to [`Progress::stop`].
    pub(super) fn may_be_stopped(&mut self) {
        self.stoppable = true;
    }
}

/// Stands in for the content's own error, which waits in [`Progress`] for whoever sent the request. On
/// HTTP/2 the library ends the stream for the reason in here: the request is not wanted any more.
#[derive(Debug, thiserror::Error)]
#[error("the content of the request broke off")]
pub(super) struct BrokeOff(#[source] h2::Error);

impl BrokeOff {
    fn new() -> Self {
        Self(h2::Reason::CANCEL.into())
    }
}

impl<B> Body for Sending<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.project();
        let Some(content) = this.content.as_pin_mut() else { return Poll::Ready(None) };
        let progress = &this.end.0;
        if *this.stoppable && progress.is_stopped(cx.waker()) {
            return Poll::Ready(Some(Err(BrokeOff::new())));
        }
        let polled = content.poll_frame(cx);
        if polled.is_pending() {
            progress.awaits_client();
        }
        match ready!(polled) {
            Some(Ok(frame)) => {
                progress.moved();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                progress.failed(error.into());
                Poll::Ready(Some(Err(BrokeOff::new())))
            }
            None => {
                progress.ended();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.content.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.content.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
