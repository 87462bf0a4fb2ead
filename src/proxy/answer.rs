//! The content of a response on its way to the client: our own text, or the upstream's bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::fields;
use super::gate::Control;
use super::outgoing::{BoxError, Outgoing};
use crate::inject;
use crate::upstream::Returning;

/// The content of a response. Tells the gate when it has ended, whichever way.
pub(super) struct Answer {
    kind: Kind,
    control: Option<Arc<Control>>,
}

enum Kind {
    Own(Option<Bytes>),
    Upstream(Box<Returning<Outgoing>>),
}

impl Answer {
    /// A text of ours; may be empty.
    pub(super) fn own(text: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Own(Some(text.into()).filter(|text: &Bytes| !text.is_empty())), control: None }
    }

    /// What the upstream sends, as it comes.
    pub(super) fn upstream(content: Returning<Outgoing>) -> Self {
        Self { kind: Kind::Upstream(Box::new(content)), control: None }
    }

    /// The same; `control` hears of its end.
    pub(super) fn told_to(mut self, control: &Arc<Control>) -> Self {
        self.control = Some(Arc::clone(control));
        self
    }
}

impl Kind {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Upstream(content) => {
                let frame = ready!(Pin::new(content.as_mut()).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map(cleaned_trailers).map_err(Into::into)))
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(control) = &self.control {
            control.exchange_ended();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = self.kind.poll_frame(cx);
        if let Some(turn) = self.control.as_ref().and_then(|control| control.turn()) {
            if polled.is_ready() { turn.is_the_clients() } else { turn.is_ours() }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(text) => text.is_none(),
            Kind::Upstream(content) => content.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Upstream(content) => content.size_hint(),
        }
    }
}

/// What an upstream says is not a reference, nor a word of ours, in trailers either.
fn cleaned_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            fields::strip_response_trailers(&mut trailers);
            Frame::trailers(inject::escape_response_fields(&trailers).unwrap_or(trailers))
        }
        Err(frame) => frame,
    }
}
