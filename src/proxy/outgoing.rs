//! The content of a request on its way to the upstream: held and maybe rewritten, or streaming.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::context::Share;
use super::gate::Control;
use crate::inject::{Refusal, holds_reference};

/// Any error of a content.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The content of a request as it goes out.
pub struct Outgoing(Kind);

enum Kind {
    Held(Held),
    Streaming { content: Incoming, control: Arc<Control>, search_trailers: bool },
}

/// A content that was read whole.
pub(super) struct Held {
    pub(super) content: Option<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    /// It came chunked and goes out chunked.
    pub(super) chunked: bool,
    /// What it takes of the budget for held contents.
    pub(super) share: Option<Share>,
}

impl Outgoing {
    /// No content.
    pub(super) fn empty() -> Self {
        Self::held(Held { content: None, trailers: None, chunked: false, share: None })
    }

    pub(super) fn held(held: Held) -> Self {
        Self(Kind::Held(held))
    }

    /// Bytes are passed on as they come. A reference in the trailers breaks the exchange off.
    pub(super) fn streaming(content: Incoming, control: Arc<Control>, search_trailers: bool) -> Self {
        Self(Kind::Streaming { content, control, search_trailers })
    }
}

impl Held {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        if let Some(content) = self.content.take().filter(|content| !content.is_empty()) {
            return Some(Frame::data(content));
        }
        self.share = None;
        self.chunked = false;
        self.trailers.take().map(Frame::trailers)
    }
}

/// Trailers may not hold references: they come when the head has long gone.
pub(super) fn check_trailers(trailers: &HeaderMap) -> Result<(), Refusal> {
    if trailers.values().any(|value| holds_reference(value.as_bytes())) {
        return Err(Refusal::malformed(
            "A secret reference stands in a trailer. References may stand in path, query, fields and content only.",
        ));
    }
    Ok(())
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Held(held) => Poll::Ready(held.next().map(Ok)),
            Kind::Streaming { content, control, search_trailers } => {
                let frame = ready!(Pin::new(content).poll_frame(cx));
                if let Some(Ok(frame)) = &frame
                    && let Some(trailers) = frame.trailers_ref().filter(|_| *search_trailers)
                    && let Err(refusal) = check_trailers(trailers)
                {
                    control.store_refusal(refusal.clone());
                    return Poll::Ready(Some(Err(refusal.into())));
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Held(held) => !held.chunked && held.trailers.is_none() && held.content.as_ref().is_none_or(Bytes::is_empty),
            Kind::Streaming { content, .. } => content.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Held(held) if held.chunked || held.trailers.is_some() => SizeHint::default(),
            Kind::Held(held) => SizeHint::with_exact(held.content.as_ref().map_or(0, |content| content.len() as u64)),
            Kind::Streaming { content, .. } => content.size_hint(),
        }
    }
}
