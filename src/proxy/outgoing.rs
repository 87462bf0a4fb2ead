//! The content of a request on its way to the upstream: held and maybe rewritten, spooled, or
//! streaming.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http_body::{Body, Frame, SizeHint};

use super::budget::Room;
use super::gate::Control;
use super::received::Received;
use super::right::Right;
use super::spooled::Spooled;
use super::streaming::Streaming;
use crate::inject::{Plaintext, Refusal, first_reference};
use crate::secret::Surface;

/// Any error of a content.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The content of a request as it goes out.
pub struct Outgoing {
    kind: Kind,
    /// What the request takes of the budgets for held bytes.
    _room: Option<Arc<Room>>,
    /// As long as it holds, this goes out.
    right: Option<Box<Right>>,
}

enum Kind {
    Held(Held),
    Streaming { content: Received, control: Arc<Control>, search_trailers: bool },
    Rewriting(Box<Streaming>),
    Spooled(Box<Spooled>),
}

/// A content that was read whole.
pub(super) struct Held {
    pub(super) content: Option<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    /// It came chunked and goes out chunked.
    pub(super) chunked: bool,
}

/// A content's bytes, which hold their room until the last reader has let go of them.
struct Roomy {
    bytes: Text,
    _room: Arc<Room>,
}

enum Text {
    Received(Bytes),
    Rewritten(Plaintext),
}

impl AsRef<[u8]> for Roomy {
    fn as_ref(&self) -> &[u8] {
        match &self.bytes {
            Text::Received(bytes) => bytes,
            Text::Rewritten(bytes) => bytes,
        }
    }
}

/// The bytes that go out: the rewritten ones, or those that came.
pub(super) fn bytes(received: Bytes, rewritten: Option<Plaintext>, room: &Arc<Room>) -> Bytes {
    let bytes = rewritten.map_or(Text::Received(received), Text::Rewritten);
    Bytes::from_owner(Roomy { bytes, _room: Arc::clone(room) })
}

impl Outgoing {
    /// No content.
    pub(super) fn empty() -> Self {
        Self::held(Held { content: None, trailers: None, chunked: false })
    }

    pub(super) fn held(held: Held) -> Self {
        Self { kind: Kind::Held(held), _room: None, right: None }
    }

    /// The same, holding `room` as long as it is on its way.
    pub(super) fn within(self, room: Option<Arc<Room>>) -> Self {
        Self { _room: room, ..self }
    }

    /// Whether it goes out while it still comes in, or lies on disk.
    pub(super) fn lasts(&self) -> bool {
        !matches!(&self.kind, Kind::Held(_)) && !self.is_end_stream()
    }

    /// Goes out for as long as `right` holds; then it breaks off.
    pub(super) fn by(&mut self, right: Right) {
        self.right = Some(Box::new(right));
    }

    /// Remembers why it breaks off, for whoever answers.
    fn refused(&self, refusal: &Refusal) {
        match &self.kind {
            Kind::Rewriting(content) => content.refused(refusal),
            Kind::Streaming { control, .. } => control.store_refusal(refusal.clone()),
            Kind::Held(_) | Kind::Spooled(_) => {}
        }
    }

    /// The trailers of a held content.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        match &self.kind {
            Kind::Held(held) => held.trailers.as_ref(),
            _ => None,
        }
    }

    /// Bytes are searched as they come.
    pub(super) fn rewriting(content: Streaming) -> Self {
        Self { kind: Kind::Rewriting(Box::new(content)), _room: None, right: None }
    }

    /// Bytes are read back from disk.
    pub(super) fn spooled(content: Spooled) -> Self {
        Self { kind: Kind::Spooled(Box::new(content)), _room: None, right: None }
    }

    /// Bytes are passed on as they come. A reference in the trailers breaks the exchange off.
    pub(super) fn streaming(content: Received, control: Arc<Control>, search_trailers: bool) -> Self {
        Self { kind: Kind::Streaming { content, control, search_trailers }, _room: None, right: None }
    }
}

impl Held {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        if let Some(content) = self.content.take().filter(|content| !content.is_empty()) {
            return Some(Frame::data(content));
        }
        self.chunked = false;
        self.trailers.take().map(Frame::trailers)
    }
}

impl Kind {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Kind::Held(held) => Poll::Ready(held.next().map(Ok)),
            Kind::Rewriting(content) => content.poll_frame(cx),
            Kind::Spooled(content) => content.poll_frame(cx),
            Kind::Streaming { content, control, search_trailers } => {
                let frame = ready!(Pin::new(content).poll_frame(cx));
                if let Some(Ok(frame)) = &frame
                    && let Some(trailers) = frame.trailers_ref()
                    && let Err(refusal) = if *search_trailers { check_trailers(trailers) } else { check_framing(trailers) }
                {
                    control.store_refusal(refusal.clone());
                    return Poll::Ready(Some(Err(refusal.into())));
                }
                Poll::Ready(frame)
            }
        }
    }
}

/// Trailers may not hold references: they come when the head has long gone.
pub(super) fn check_trailers(trailers: &HeaderMap) -> Result<(), Refusal> {
    check_framing(trailers)?;
    match trailers.values().find_map(|value| first_reference(value.as_bytes())) {
        Some(secret) => {
            let detail = "A secret reference stands in a trailer. References may stand in path, query, fields and content only.";
            Err(Refusal::malformed(detail).about(&secret, Surface::Header))
        }
        None => Ok(()),
    }
}

/// Nor what rules how a message is read or where it goes: it was read long ago (RFC 9110 section 6.5.1).
fn check_framing(trailers: &HeaderMap) -> Result<(), Refusal> {
    let framing = [CONTENT_LENGTH, TRANSFER_ENCODING, HOST, CONNECTION, TRAILER, UPGRADE, TE];
    match framing.iter().find(|name| trailers.contains_key(*name)) {
        Some(name) => Err(Refusal::malformed(format!("`{name}` stands in a trailer, where it means nothing."))),
        None => Ok(()),
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = self.kind.poll_frame(cx);
        let waits = polled.is_pending();
        if let Some(refusal) = self.right.as_mut().and_then(|right| right.poll_lost(cx, waits)) {
            self.refused(&refusal);
            self.right = None;
            return Poll::Ready(Some(Err(refusal.into())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Held(held) => !held.chunked && held.trailers.is_none() && held.content.as_ref().is_none_or(Bytes::is_empty),
            Kind::Streaming { content, .. } => content.is_end_stream(),
            Kind::Rewriting(content) => content.is_end_stream(),
            Kind::Spooled(content) => content.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Held(held) if held.chunked || held.trailers.is_some() => SizeHint::default(),
            Kind::Held(held) => SizeHint::with_exact(held.content.as_ref().map_or(0, |content| content.len() as u64)),
            Kind::Streaming { content, .. } => content.size_hint(),
            Kind::Rewriting(_) => SizeHint::default(),
            Kind::Spooled(content) => SizeHint::with_exact(content.left()),
        }
    }
}
