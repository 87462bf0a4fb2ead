//! The content of an answer on its way to the client while it still comes in: looked through and written
//! anew, held back only as far as it may become a value.
//!
//! Values are in the clear only while there is something to look through: as soon as the upstream is waited
//! for they are let go. What is found is written down at once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::answer::cleaned;
use super::context::Shared;
use super::late::{Late, Told};
use super::outgoing::{BoxError, Outgoing};
use super::redaction::{needles, remove_digests};
use crate::inject::{self, Found, Needles, Part, Passed, Redaction, Refusal, Sent, Unsearched};
use crate::secret::SecretName;
use crate::upstream::{self, Returning};

/// So much is looked through in one turn, in bytes.
const TURN: usize = 16 * 1024;

/// A content on its way.
pub(super) struct Redacting {
    content: Returning<Outgoing>,
    /// `None`: its type is not looked through.
    redaction: Option<Redaction>,
    keys: Keys,
    report: Report,
    /// What came and was not looked through.
    pending: VecDeque<Bytes>,
    /// What came as long as nothing went out, should it turn out not to be in its coding.
    unsent: Option<Vec<Bytes>>,
    /// What it broke off with, behind what is pending.
    fault: Option<upstream::Error>,
    trailers: Option<HeaderMap>,
    state: State,
    keeps_length: bool,
    found: Found,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// Everything came; what is pending is the rest.
    Read,
    /// Everything went out but trailers.
    Written,
}

/// What is looked for, opened when it is needed.
pub(super) struct Keys {
    sent: Vec<Sent>,
    /// The first so many must open.
    own: usize,
    open: Option<Needles>,
    late: Option<Arc<Late>>,
}

impl Keys {
    pub(super) fn new((sent, own): (Vec<Sent>, usize), needles: Needles, late: Option<Arc<Late>>) -> Self {
        Self { sent, own, open: Some(needles), late }
    }

    fn open(&mut self, report: &Report) -> Result<&Needles, Refusal> {
        if self.late.as_ref().is_some_and(|late| late.add_sent_to(&mut self.sent)) {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(needles((&report.shared, report.told.caller()), &self.sent, self.own)?);
        }
        Ok(self.open.as_ref().expect("it was made a moment ago"))
    }
}

/// Where it is written down that something was found.
pub(super) struct Report {
    pub(super) shared: Arc<Shared>,
    pub(super) told: Told,
    pub(super) status: StatusCode,
}

impl Report {
    fn found(&self, names: &[SecretName], part: Part) {
        let redacted: Vec<_> = names.iter().map(|name| (name.clone(), part)).collect();
        self.told.echoed(&self.shared, &redacted, self.status);
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Redacting {
    pub(super) fn new(content: Returning<Outgoing>, redaction: Option<Redaction>, keys: Keys, report: Report) -> Self {
        Self {
            content,
            redaction,
            keys,
            report,
            pending: VecDeque::new(),
            unsent: Some(Vec::new()),
            fault: None,
            trailers: None,
            state: State::Reading,
            keeps_length: false,
            found: Found::default(),
        }
    }

    /// What goes out is as long as what came.
    pub(super) fn keeping_length(self, keeps_length: bool) -> Self {
        Self { keeps_length, ..self }
    }

    /// The same, of which so much came already, and maybe broke off.
    pub(super) fn begun(mut self, pieces: Vec<Bytes>, fault: Option<upstream::Error>) -> Self {
        self.pending = pieces.into();
        self.fault = fault;
        self
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self.state {
            State::Written => self.trailers.is_none(),
            State::Read => false,
            State::Reading => self.redaction.is_none() && self.content.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let same = self.keeps_length || self.redaction.is_none();
        if same && self.state == State::Reading && self.pending.is_empty() {
            self.content.size_hint()
        } else {
            SizeHint::default()
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(bytes)) if bytes.is_empty() => continue,
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(fault) => return self.break_off(fault),
            }
            if let Some(fault) = self.fault.take() {
                return self.break_off(fault.into());
            }
            if self.state == State::Written {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match Pin::new(&mut self.content).poll_frame(cx) {
                Poll::Pending => return self.wait(),
                Poll::Ready(Some(Err(fault))) => return self.break_off(fault.into()),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.pending.push_back(data);
                        if self.content.is_end_stream() {
                            self.state = State::Read;
                        }
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.state = State::Read;
                    }
                },
                Poll::Ready(None) => self.state = State::Read,
            }
        }
    }

    /// The upstream is waited for: whatever can be read goes out first, and no value stays in the clear.
    fn wait(&mut self) -> Polled {
        let flushed = self.redaction.as_mut().map(Redaction::flush).unwrap_or_default();
        if flushed.is_empty() {
            self.keys.open = None;
            return Poll::Pending;
        }
        self.unsent = None;
        Poll::Ready(Some(Ok(Frame::data(flushed.into()))))
    }

    fn break_off(&mut self, fault: BoxError) -> Polled {
        self.state = State::Written;
        self.trailers = None;
        self.pending.clear();
        Poll::Ready(Some(Err(fault)))
    }

    /// What goes out for a part of what came; `None` if nothing is left of it.
    fn turn(&mut self) -> Result<Option<Bytes>, BoxError> {
        let piece = match self.pending.front_mut() {
            Some(front) if front.len() > TURN && self.redaction.is_some() => front.split_to(TURN),
            Some(_) => self.pending.pop_front().unwrap_or_default(),
            None if self.state == State::Read => Bytes::new(),
            None => return Ok(None),
        };
        let is_last = self.state == State::Read && self.pending.is_empty();
        if is_last {
            self.state = State::Written;
        }
        let bytes = match self.redaction {
            Some(_) => self.look(piece, is_last)?,
            None => piece,
        };
        if is_last {
            self.end()?;
        }
        Ok(Some(bytes))
    }

    fn look(&mut self, piece: Bytes, is_last: bool) -> Result<Bytes, BoxError> {
        let needles = self.keys.open(&self.report)?;
        let Some(redaction) = &mut self.redaction else { return Ok(piece) };
        let (before, known) = (self.found.count, self.found.names.len());
        let passed = redaction.push(needles, &piece, is_last, &mut self.found);
        if self.found.count > before {
            self.report.shared.measures.redacted(Part::Body, self.found.count - before);
        }
        if self.found.names.len() > known {
            self.report.found(&self.found.names[known..], Part::Body);
        }
        if let Some(unsent) = &mut self.unsent {
            unsent.push(piece.clone());
        }
        let bytes = match passed {
            Ok(Passed::AsItIs(length)) => piece.slice(..length),
            Ok(Passed::Written(written)) => written.into(),
            Err(_) => return self.as_it_came(),
        };
        if !bytes.is_empty() {
            self.unsent = None;
        }
        Ok(bytes)
    }

    /// A content that is not in its coding goes on as it came, as long as nothing of it was written anew.
    fn as_it_came(&mut self) -> Result<Bytes, BoxError> {
        let Some(unsent) = self.unsent.take() else {
            let detail =
                "The upstream's answer is not in the coding that its Content-Encoding names, or decodes to far too much.";
            return Err(Refusal::new(inject::Code::UpstreamProtocol, detail).into());
        };
        self.report.shared.measures.unredacted(Unsearched::Coding);
        self.redaction = None;
        Ok(unsent.concat().into())
    }

    /// Cleans the trailers, once the content is through.
    fn end(&mut self) -> Result<(), BoxError> {
        if let Some(mut trailers) = self.trailers.take() {
            let mut found = Found::default();
            trailers = cleaned(trailers);
            trailers = inject::redact_fields(self.keys.open(&self.report)?, &trailers, &mut found).unwrap_or(trailers);
            if self.found.count > 0 {
                remove_digests(&mut trailers);
            }
            self.report.shared.measures.redacted(Part::Head, found.count);
            if found.count > 0 {
                self.report.found(&found.names, Part::Head);
            }
            self.trailers = Some(trailers);
        }
        self.keys.open = None;
        Ok(())
    }
}
