//! The content of an answer on its way to the client while it still comes in: looked through and written
//! anew, held back only as far as it may become a value.
//!
//! Values are in the clear only while there is something to look through: they are let go as soon as the upstream
//! is waited for, and within two seconds where the client is. What is found is written down at once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::answer::cleaned;
use super::context::Shared;
use super::late::{Late, Told};
use super::outgoing::{BoxError, Outgoing};
use super::redaction::{needles, remove_digests};
use crate::inject::{self, Found, Needles, Once, Part, Passed, Redaction, Refusal, Sent, Unsearched};
use crate::secret::SecretName;
use crate::stack;
use crate::upstream::{self, Returning};

/// So much is looked through in one turn, in bytes.
const TURN: usize = 16 * 1024;
/// So much of what is in a coding, as it may be many times as long.
const CODED_TURN: usize = 2 * 1024;
/// After so much has been decoded, others have their turn.
const DECODED: u64 = 1024 * 1024;
/// So much is kept of what came as long as nothing goes out, in bytes.
const UNSENT: usize = 64 * 1024;
/// Values that nobody looked for in this time are let go.
const IDLE: Duration = Duration::from_secs(1);

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
    unsent: Unsent,
    /// What it broke off with, behind what is pending.
    fault: Option<upstream::Error>,
    trailers: Option<HeaderMap>,
    state: State,
    keeps_length: bool,
    found: Found,
    /// So much had been decoded when others had their turn.
    gave_way: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// Everything came; what is pending is the rest.
    Read,
    /// Everything went out but trailers.
    Written,
}

/// What came in a coding as long as nothing went out; `None` once something did, or too much came.
struct Unsent(Option<Vec<u8>>);

impl Unsent {
    fn of(redaction: Option<&Redaction>) -> Self {
        Self(redaction.filter(|redaction| redaction.is_coded()).map(|_| Vec::new()))
    }

    fn add(&mut self, piece: &[u8]) {
        match &mut self.0 {
            Some(bytes) if bytes.len() + piece.len() <= UNSENT => bytes.extend_from_slice(piece),
            _ => self.0 = None,
        }
    }
}

/// What is looked for, opened when it is needed.
pub(super) struct Keys {
    sent: Once<Sent>,
    /// The first so many must open.
    own: usize,
    open: Arc<Mutex<Open>>,
    late: Option<Arc<Late>>,
}

/// Values in the clear.
#[derive(Default)]
struct Open {
    needles: Option<Needles>,
    /// Somebody sees to it that they are let go.
    is_watched: bool,
    /// They were looked for since he looked.
    is_used: bool,
}

impl Keys {
    pub(super) fn new((sent, own): (Once<Sent>, usize), needles: Option<Needles>, late: Option<Arc<Late>>) -> Self {
        Self { sent, own, open: Arc::new(Mutex::new(Open { needles, ..Open::default() })), late }
    }

    /// Does something with them.
    fn with<T>(&mut self, report: &Report, work: impl FnOnce(&Needles) -> T) -> Result<T, Refusal> {
        let is_more = self.late.as_ref().is_some_and(|late| late.add_sent_to(&mut self.sent));
        let mut open = lock(&self.open);
        open.is_used = true;
        stack::mark();
        let needles = match open.needles.take().filter(|_| !is_more) {
            Some(needles) => needles,
            None => needles((&report.shared, report.told.caller()), &self.sent, self.own)?,
        };
        Ok(work(open.needles.insert(needles)))
    }

    fn let_go(&self) {
        lock(&self.open).needles = None;
    }

    /// The client may not ask for more for long.
    fn watch(&self) {
        let mut open = lock(&self.open);
        if open.needles.as_ref().is_some_and(|needles| !needles.is_empty()) && !open.is_watched {
            open.is_watched = true;
            tokio::spawn(let_go_when_idle(Arc::downgrade(&self.open)));
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn let_go_when_idle(open: Weak<Mutex<Open>>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(open) = open.upgrade() else { return };
        let mut open = lock(&open);
        if open.needles.is_none() || !std::mem::take(&mut open.is_used) {
            (open.needles, open.is_watched) = (None, false);
            return;
        }
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

/// Everybody else of this worker has a turn first, what the system has for them included: whoever is only woken again is
/// asked again before that.
fn give_way(cx: &mut Context<'_>) -> Polled {
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
    Poll::Pending
}

impl Redacting {
    pub(super) fn new(content: Returning<Outgoing>, redaction: Option<Redaction>, keys: Keys, report: Report) -> Self {
        Self {
            content,
            unsent: Unsent::of(redaction.as_ref()),
            redaction: redaction.map(Redaction::streaming),
            keys,
            report,
            pending: VecDeque::new(),
            fault: None,
            trailers: None,
            state: State::Reading,
            keeps_length: false,
            found: Found::default(),
            gave_way: 0,
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
            // Whoever writes this asks for the next piece at once, and bytes decode to a thousand times as many.
            if self.decoded() - self.gave_way > DECODED && self.state != State::Written {
                self.gave_way = self.decoded();
                return give_way(cx);
            }
            match self.turn() {
                Ok(None) => {}
                Ok(Some(bytes)) if bytes.is_empty() => continue,
                Ok(Some(bytes)) => {
                    self.keys.watch();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
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
        self.keys.let_go();
        if flushed.is_empty() {
            return Poll::Pending;
        }
        self.unsent.0 = None;
        Poll::Ready(Some(Ok(Frame::data(flushed.into()))))
    }

    fn decoded(&self) -> u64 {
        self.redaction.as_ref().map_or(0, Redaction::decoded)
    }

    fn break_off(&mut self, fault: BoxError) -> Polled {
        self.state = State::Written;
        self.trailers = None;
        self.pending.clear();
        Poll::Ready(Some(Err(fault)))
    }

    /// What goes out for a part of what came; `None` if nothing is left of it.
    fn turn(&mut self) -> Result<Option<Bytes>, BoxError> {
        let most = match &self.redaction {
            Some(redaction) if redaction.is_coded() => CODED_TURN,
            Some(_) => TURN,
            None => usize::MAX,
        };
        let piece = match self.pending.front_mut() {
            Some(front) if front.len() > most => front.split_to(most),
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
        let Some(redaction) = &mut self.redaction else { return Ok(piece) };
        let (before, known, found) = (self.found.count, self.found.names.len(), &mut self.found);
        let passed = self.keys.with(&self.report, |needles| redaction.push(needles, &piece, is_last, found))?;
        if self.found.count > before {
            self.report.shared.measures.redacted(Part::Body, self.found.count - before);
        }
        if self.found.names.len() > known {
            self.report.found(&self.found.names[known..], Part::Body);
        }
        self.unsent.add(&piece);
        let bytes = match passed {
            Ok(Passed::AsItIs(length)) => piece.slice(..length),
            Ok(Passed::Written(written)) => written.into(),
            Err(_) => return self.as_it_came(),
        };
        if !bytes.is_empty() {
            self.unsent.0 = None;
        }
        Ok(bytes)
    }

    /// A content that is not in its coding goes on as it came, as long as nothing of it was written anew.
    fn as_it_came(&mut self) -> Result<Bytes, BoxError> {
        let Some(unsent) = self.unsent.0.take() else {
            let detail =
                "The upstream's answer is not in the coding that its Content-Encoding names, or decodes to far too much.";
            return Err(Refusal::new(inject::Code::UpstreamProtocol, detail).into());
        };
        self.report.shared.measures.unredacted(Unsearched::Coding);
        self.redaction = None;
        Ok(unsent.into())
    }

    /// Cleans the trailers, once the content is through.
    fn end(&mut self) -> Result<(), BoxError> {
        if let Some(mut trailers) = self.trailers.take() {
            let mut found = Found::default();
            trailers = cleaned(trailers);
            let redacted = self.keys.with(&self.report, |needles| inject::redact_fields(needles, &trailers, &mut found))?;
            trailers = redacted.unwrap_or(trailers);
            if self.found.count > 0 || self.redaction.as_ref().is_some_and(Redaction::is_coded) {
                remove_digests(&mut trailers);
            }
            self.report.shared.measures.redacted(Part::Head, found.count);
            if found.count > 0 {
                self.report.found(&found.names, Part::Head);
            }
            self.trailers = Some(trailers);
        }
        self.keys.let_go();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::{Secret, Unavailable};
    use crate::secret::{AllowedDomains, Limits, SecretValue};

    struct Opens(AllowedDomains, Limits);

    impl Secret for Opens {
        fn allowed_domains(&self) -> &AllowedDomains {
            &self.0
        }
        fn limits(&self) -> &Limits {
            &self.1
        }
        fn open(&self) -> Result<SecretValue, Unavailable> {
            Ok(SecretValue::new(b"value-of-once".to_vec()).expect("a value"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn values_are_let_go_where_nobody_asks_for_more() {
        let secret = Arc::new(Opens(AllowedDomains::default(), Limits::default()));
        let sent = vec![Sent::new(SecretName::parse("k").expect("a name"), secret)];
        let needles = Needles::of(&sent, 1, &|_| None).expect("it opens");
        let keys = Keys::new((sent.into_iter().collect(), 1), Some(needles), None);
        lock(&keys.open).is_used = true;
        keys.watch();
        tokio::time::sleep(IDLE / 2).await;
        assert!(lock(&keys.open).needles.is_some());
        tokio::time::sleep(IDLE * 2).await;
        assert!(lock(&keys.open).needles.is_none() && !lock(&keys.open).is_watched);
    }
}
