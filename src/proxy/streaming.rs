//! A content on its way to the upstream while it still comes in: searched and rewritten in bounded
//! memory.
//!
//! A refusal found here breaks the exchange off, so that the upstream never takes what it has for
//! complete; the runner gets it if no response has begun. A content in a coding goes out as it came as
//! long as nothing is found: what has gone out cannot be written anew, so a reference found later is
//! refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::budget::Room;
use super::late::Late;
use super::ongoing::Ongoing;
use super::outgoing::{BoxError, check_trailers};
use super::received::Received;
use crate::inject::{Code, Plaintext, Refusal, Search};

/// What a piece may grow by without taking room, in bytes.
const SLACK: usize = 64 * 1024;

/// A content that streams.
pub(super) struct Streaming {
    content: Received,
    way: Way,
    /// What was held before it began to stream.
    first: Option<Bytes>,
    trailers: Option<HeaderMap>,
    has_ended: bool,
    /// For pieces that grow.
    room: Room,
    late: Arc<Late>,
}

/// How it is searched.
pub(super) enum Way {
    Rewritten(Box<Ongoing>),
    /// It goes out as it came.
    Watched(Box<Search>),
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Streaming {
    pub(super) fn new(content: Received, way: Way, first: Bytes, room: Room, late: Arc<Late>) -> Self {
        Self { content, way, first: Some(first).filter(|first| !first.is_empty()), trailers: None, has_ended: false, room, late }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.has_ended && self.first.is_none() && self.trailers.is_none()
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if let Some(first) = self.first.take() {
                return Poll::Ready(Some(Ok(Frame::data(first))));
            }
            if self.has_ended {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let frame = match ready!(Pin::new(&mut self.content).poll_frame(cx)) {
                Some(Ok(frame)) => Some(frame),
                Some(Err(fault)) => {
                    self.has_ended = true;
                    self.late.broke_off();
                    return Poll::Ready(Some(Err(fault)));
                }
                None => None,
            };
            match self.take(frame) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(refusal) => return self.break_off(refusal),
            }
        }
    }

    /// What goes out for the next frame.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<Bytes, Refusal> {
        let piece = match frame.map(Frame::into_data) {
            Some(Ok(data)) => Some(data),
            Some(Err(frame)) => {
                self.trailers = frame.into_trailers().ok();
                None
            }
            None => None,
        };
        self.has_ended = piece.is_none();
        let bytes = self.searched(piece.unwrap_or_default())?;
        if let Some(trailers) = &self.trailers {
            check_trailers(trailers)?;
            if let Way::Rewritten(ongoing) = &mut self.way {
                ongoing.check_digests(trailers)?;
            }
        }
        Ok(bytes)
    }

    fn searched(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        let is_last = self.has_ended;
        match &mut self.way {
            Way::Watched(search) => {
                search.push(&piece, is_last)?;
                if search.found() && search.is_text() { Err(too_late()) } else { Ok(piece) }
            }
            Way::Rewritten(ongoing) => {
                let mut written = Plaintext::new(Vec::with_capacity(piece.len()));
                let mut sink = |bytes: &[u8]| {
                    written.extend_from_slice(bytes);
                    Ok(())
                };
                let pushed = ongoing.push(&piece, is_last, &mut sink).and_then(|()| ongoing.flush(&mut sink));
                self.late.note(ongoing.receipt());
                pushed?;
                let grown = written.len().saturating_sub(piece.len());
                if grown > SLACK {
                    self.room.grow(grown as u64)?;
                }
                Ok(Bytes::from_owner(written))
            }
        }
    }

    /// It breaks off, for a reason that was found elsewhere.
    pub(super) fn refused(&self, refusal: &Refusal) {
        self.late.refused(refusal.clone());
    }

    fn break_off(&mut self, refusal: Refusal) -> Polled {
        self.has_ended = true;
        self.trailers = None;
        self.late.refused(refusal.clone());
        Poll::Ready(Some(Err(refusal.into())))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.late.ended();
    }
}

fn too_late() -> Refusal {
    let detail = "The content streams in a content coding, and a secret reference stands behind what could be held (injection.buffer, injection.hold): what has gone out before it cannot be written anew. Send it with a Content-Length, or uncoded.";
    Refusal::new(Code::BodyTooLarge, detail)
}
