//! The content of a response on its way to the client: our own text, or what the upstream sends, as it
//! comes, held, or looked through.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::fields;
use super::gate::Control;
use super::outgoing::{BoxError, Outgoing};
use super::redacting::Redacting;
use super::right::Right;
use crate::inject;
use crate::upstream::Returning;

/// The content of a response. Tells the gate when it has ended, whichever way.
pub(super) struct Answer {
    kind: Kind,
    control: Option<Arc<Control>>,
    /// As long as it holds, this comes from the upstream.
    right: Option<Box<Right>>,
}

enum Kind {
    Own(Option<Bytes>),
    Upstream(Box<Returning<Outgoing>>),
    Held(Box<Held>),
    Redacting(Box<Redacting>),
}

/// A content of the upstream that was read whole.
struct Held {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    /// A text of ours; may be empty.
    pub(super) fn own(text: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Own(Some(text.into()).filter(|text: &Bytes| !text.is_empty())), control: None, right: None }
    }

    /// What the upstream sends, as it comes.
    pub(super) fn upstream(content: Returning<Outgoing>) -> Self {
        Self { kind: Kind::Upstream(Box::new(content)), control: None, right: None }
    }

    /// What the upstream sent, read whole.
    pub(super) fn held(pieces: Vec<Bytes>, trailers: Option<HeaderMap>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { kind: Kind::Held(Box::new(Held { pieces, trailers })), control: None, right: None }
    }

    /// What the upstream sends, looked through.
    pub(super) fn redacting(content: Redacting) -> Self {
        Self { kind: Kind::Redacting(Box::new(content)), control: None, right: None }
    }

    /// The same, for as long as `right` holds: then it breaks off.
    pub(super) fn by(mut self, right: Right) -> Self {
        let lasts = matches!(&self.kind, Kind::Upstream(_) | Kind::Redacting(_)) && !self.is_end_stream();
        self.right = lasts.then(|| Box::new(right));
        self
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
            Self::Held(held) => {
                let data = held.pieces.pop_front().map(Frame::data);
                Poll::Ready(data.or_else(|| held.trailers.take().map(Frame::trailers)).map(Ok))
            }
            Self::Redacting(content) => content.poll_frame(cx),
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
        let mut polled = self.kind.poll_frame(cx);
        let waits = polled.is_pending();
        if let Some(refusal) = self.right.as_mut().and_then(|right| right.poll_lost(cx, waits)) {
            // The upstream is let go too.
            self.kind = Kind::Own(None);
            self.right = None;
            polled = Poll::Ready(Some(Err(refusal.into())));
        }
        if let Some(turn) = self.control.as_ref().and_then(|control| control.turn()) {
            if polled.is_ready() { turn.is_the_clients() } else { turn.is_ours() }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(text) => text.is_none(),
            Kind::Upstream(content) => content.is_end_stream(),
            Kind::Held(held) => held.pieces.is_empty() && held.trailers.is_none(),
            Kind::Redacting(content) => content.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Upstream(content) => content.size_hint(),
            Kind::Held(held) => SizeHint::with_exact(held.pieces.iter().map(|piece| piece.len() as u64).sum()),
            Kind::Redacting(content) => content.size_hint(),
        }
    }
}

fn cleaned_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    frame.into_trailers().map_or_else(|frame| frame, |trailers| Frame::trailers(cleaned(trailers)))
}

/// What an upstream says is not a reference, nor a word of ours, in trailers either.
pub(super) fn cleaned(mut trailers: HeaderMap) -> HeaderMap {
    fields::strip_response_trailers(&mut trailers);
    inject::escape_response_fields(&trailers).unwrap_or(trailers)
}
