//! A spooled content on its way to the upstream: read back, and rewritten once more where its first
//! reading found something to replace. It is as long as was said, or it breaks off.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::ongoing::Ongoing;
use super::outgoing::BoxError;
use super::spool::Spool;
use crate::inject::{Code, Plaintext, Refusal};

/// A content that lies on disk.
pub(super) struct Spooled {
    spool: Spool,
    /// How it is rewritten, if it is.
    ongoing: Option<Ongoing>,
    /// How much is still to come of what goes out.
    left: u64,
    trailers: Option<HeaderMap>,
    /// The last bytes, until it is sure that they are the last.
    last: Option<Bytes>,
    has_ended: bool,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Spooled {
    /// A content that becomes `length` bytes long.
    pub(super) fn new(spool: Spool, ongoing: Option<Ongoing>, length: u64, trailers: Option<HeaderMap>) -> Self {
        Self { spool, ongoing, left: length, trailers, last: None, has_ended: false }
    }

    /// How much is still to go out.
    pub(super) fn left(&self) -> u64 {
        self.left + self.last.as_ref().map_or(0, |last| last.len() as u64)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.left == 0 && self.last.is_none() && self.trailers.is_none()
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if self.has_ended {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let piece = match ready!(self.spool.poll_read(cx)) {
                Ok(piece) => piece,
                Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
            };
            match self.take(&piece) {
                Err(refusal) => return self.break_off(refusal),
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            }
        }
    }

    /// What goes out for the next piece; an empty one is the end.
    fn take(&mut self, piece: &Bytes) -> Result<Bytes, Refusal> {
        let is_last = piece.is_empty();
        let bytes = self.rewritten(piece)?;
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(changed)?;
        if is_last {
            self.has_ended = true;
            if self.left > 0 {
                return Err(changed());
            }
            // Either of them is empty.
            return Ok(self.last.take().unwrap_or(bytes));
        }
        if self.left == 0 && self.last.is_none() {
            // Whoever has as much as was said takes it for everything.
            self.last = Some(bytes);
            return Ok(Bytes::new());
        }
        Ok(bytes)
    }

    fn rewritten(&mut self, piece: &Bytes) -> Result<Bytes, Refusal> {
        let Some(ongoing) = &mut self.ongoing else { return Ok(piece.clone()) };
        let mut written = Plaintext::new(Vec::with_capacity(piece.len()));
        ongoing.push(piece, piece.is_empty(), &mut |bytes| {
            written.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(Bytes::from_owner(written))
    }

    fn break_off(&mut self, refusal: Refusal) -> Polled {
        self.has_ended = true;
        self.trailers = None;
        Poll::Ready(Some(Err(refusal.into())))
    }
}

/// A secret was given another value between the two readings, or the file is not what it was.
fn changed() -> Refusal {
    Refusal::new(
        Code::StoreUnavailable,
        "A secret in the content was changed while the request went out, so its length does not hold any more. Send it again.",
    )
}
