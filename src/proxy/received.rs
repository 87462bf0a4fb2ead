//! The content of a request as it comes from a client: what was cut short is an error and never an end.
//!
//! In HTTP/1.1 the gate sees to that, and to the clock. A stream of HTTP/2 that was reset without an error reads like
//! one that ended, and nobody else notices that a client has fallen silent in the middle of one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::gate::Control;
use super::outgoing::BoxError;
use crate::inject::Refusal;

/// The content of a request.
pub(super) struct Received {
    content: Incoming,
    stream: Option<Box<Stream>>,
}

/// What a stream needs beyond its frames.
struct Stream {
    control: Arc<Control>,
    patience: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    is_silent: bool,
}

impl Received {
    /// Content behind the gate.
    pub(super) fn gated(content: Incoming) -> Self {
        Self { content, stream: None }
    }

    /// Content of an HTTP/2 stream, whose client may be silent for `patience`.
    pub(super) fn stream(content: Incoming, control: &Arc<Control>, patience: Duration) -> Self {
        let stream = (!content.is_end_stream())
            .then(|| Box::new(Stream { control: Arc::clone(control), patience, silence: None, is_silent: false }));
        Self { content, stream }
    }
}

impl Stream {
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let patience = self.patience;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if !self.is_silent {
            self.is_silent = true;
            silence.as_mut().reset(Instant::now() + patience);
        }
        if silence.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let bound = humantime::format_duration(patience);
        Poll::Ready(Some(Err(self.broken(format!("No byte of the content came for {bound} (timeouts.body).")))))
    }

    fn broken(&self, detail: String) -> BoxError {
        let refusal = Refusal::malformed(detail);
        self.control.store_refusal(refusal.clone());
        refusal.into()
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.content).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        let Some(stream) = &mut this.stream else { return polled };
        match polled {
            Poll::Pending => stream.poll_silence(cx),
            Poll::Ready(None) if !this.content.is_end_stream() => {
                Poll::Ready(Some(Err(stream.broken("The content ended before it was complete.".to_owned()))))
            }
            ready @ Poll::Ready(_) => {
                stream.is_silent = false;
                ready
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
