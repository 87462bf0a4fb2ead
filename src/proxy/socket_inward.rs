//! What an upstream sends on a WebSocket whose messages are looked at: values that were sent to it are
//! taken out of text messages, across their fragments.
//!
//! A frame of up to 16 KiB goes on as one frame; of a longer one, what is decided goes on as it comes, in
//! fragments of its message. Binary messages, and frames that no upstream may send (masked ones), are passed on
//! as they are. Whoever stops it finds it between two frames. Values are in the clear only while there is something
//! to look through, and neither side is waited for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use super::context::Shared;
use super::late::Told;
use super::socket_frames::{self as frames, Head, Opcode};
use crate::inject::{Found, LEAST, Needles, Part, Passed, Redaction, Sent};
use crate::secret::SecretName;

/// One read, and the longest frame that is waited for, in bytes.
const READ: usize = 16 * 1024;
/// Secrets of one connection that are looked for: as many as of an origin, and those of its handshake.
const MOST: usize = 32;

/// The secrets that went out on one connection.
#[derive(Default)]
pub(super) struct Values(Mutex<Known>);

#[derive(Default)]
struct Known {
    sent: Vec<Sent>,
    /// How often there were more.
    revision: u64,
}

impl Values {
    pub(super) fn add(&self, sent: &[Sent]) {
        let mut known = self.known();
        known.sent.retain(|one| !sent.contains(one));
        known.sent.extend_from_slice(sent);
        let surplus = known.sent.len().saturating_sub(MOST);
        known.sent.drain(..surplus);
        known.revision += 1;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is looked for, and where it is written down that it was found.
pub(super) struct Echoes<'s> {
    pub(super) values: &'s Values,
    pub(super) shared: &'s Shared,
    pub(super) told: &'s Told,
    /// Opens these and what was lately sent there; `None` if one does not open.
    pub(super) needles: &'s Opening<'s>,
}

/// Opens values.
pub(super) type Opening<'s> = dyn Fn(Vec<Sent>) -> Option<Needles> + Sync + 's;

/// A text message on its way.
struct Message {
    redaction: Redaction,
    has_begun: bool,
}

/// Values in the clear, and of which revision they are.
type Open = Option<(Needles, u64)>;

/// One direction of a connection.
struct Inward<'s, C, U> {
    echoes: Echoes<'s>,
    upstream: ReadHalf<U>,
    client: WriteHalf<C>,
    bytes: BytesMut,
    message: Option<Message>,
    open: Open,
    found: Found,
}

/// Passes on what an upstream sends, without values; told to stop, it ends between two frames and hands the
/// client's side back.
pub(super) async fn inward<C, U>(
    echoes: Echoes<'_>,
    upstream: ReadHalf<U>,
    client: WriteHalf<C>,
    stop: &Notify,
) -> Option<WriteHalf<C>>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (bytes, found) = (BytesMut::new(), Found::default());
    let mut inward = Inward { echoes, upstream, client, bytes, message: None, open: None, found };
    loop {
        let Some(head) = Head::read(&inward.bytes).ok()? else {
            let more = tokio::select! {
                () = stop.notified() => return Some(inward.client),
                more = inward.read() => more?,
            };
            if more == 0 {
                let _ = inward.client.shutdown().await;
                return None;
            }
            continue;
        };
        inward.frame(head).await?;
    }
}

impl<C, U> Inward<'_, C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    async fn read(&mut self) -> Option<usize> {
        self.bytes.reserve(READ);
        waited(&mut self.open, self.upstream.read_buf(&mut self.bytes)).await.ok()
    }

    /// The rest of a frame that has to be whole.
    async fn more(&mut self) -> Option<()> {
        (self.read().await? > 0).then_some(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        waited(&mut self.open, self.client.write_all(bytes)).await.ok()
    }

    async fn flush(&mut self) -> Option<()> {
        waited(&mut self.open, self.client.flush()).await.ok()
    }

    async fn frame(&mut self, head: Head) -> Option<()> {
        if head.opcode == Opcode::Text && head.mask.is_none() {
            self.message = Some(Message { redaction: Redaction::of_text(), has_begun: false });
        }
        let is_text = matches!(head.opcode, Opcode::Text | Opcode::Continuation) && self.message.is_some();
        if is_text && head.mask.is_none() && !self.holds_nothing(head)? {
            return self.text(head).await;
        }
        self.pass(head).await
    }

    /// Whether a frame of the message that is open came whole and holds no value: nothing was sent, or it is too
    /// short for any.
    fn holds_nothing(&mut self, head: Head) -> Option<bool> {
        let is_whole = self.bytes.len() as u64 >= head.payload.saturating_add(head.length as u64);
        if !is_whole || self.message.as_ref().is_none_or(|message| !message.redaction.is_idle()) {
            return Some(false);
        }
        let is_short = head.opcode == Opcode::Text && head.is_final && head.payload < LEAST as u64;
        if !is_short {
            self.open()?;
            if self.open.as_ref().is_none_or(|(needles, _)| !needles.is_empty()) {
                return Some(false);
            }
        }
        self.message = self.message.take().filter(|_| !head.is_final).map(|message| Message { has_begun: true, ..message });
        Some(true)
    }

    /// Passes a frame on as it comes.
    async fn pass(&mut self, head: Head) -> Option<()> {
        let mut left = head.payload.saturating_add(head.length as u64);
        while left > 0 {
            if self.bytes.is_empty() {
                self.more().await?;
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.bytes.len());
            let piece = self.bytes.split_to(count);
            self.write(&piece).await?;
            left -= count as u64;
        }
        self.flush().await
    }

    /// Sends what is decided of a text message on.
    async fn text(&mut self, head: Head) -> Option<()> {
        self.bytes.advance(head.length);
        let mut left = head.payload;
        loop {
            let whole = usize::try_from(left).unwrap_or(usize::MAX).min(READ);
            while self.bytes.len() < whole {
                self.more().await?;
            }
            let piece = self.bytes.split_to(whole);
            left -= whole as u64;
            let is_last = left == 0 && head.is_final;
            let frame = self.redacted(&piece, is_last)?;
            if !frame.is_empty() {
                self.write(&frame).await?;
                self.flush().await?;
            }
            if left == 0 {
                return Some(());
            }
        }
    }

    /// Opens what is looked for, unless that was done a moment ago and nothing went out since.
    fn open(&mut self) -> Option<()> {
        let known = self.echoes.values.known();
        if self.open.as_ref().is_none_or(|(_, revision)| *revision != known.revision) {
            let (sent, revision) = (known.sent.clone(), known.revision);
            drop(known);
            self.open = Some(((self.echoes.needles)(sent)?, revision));
        }
        Some(())
    }

    /// The frame for a piece of the message that is open, empty if nothing is to be sent; `None` if it cannot be
    /// looked through.
    fn redacted(&mut self, piece: &[u8], is_last: bool) -> Option<Vec<u8>> {
        self.open()?;
        let ((needles, _), message) = (self.open.as_ref()?, self.message.as_mut()?);
        let (before, known) = (self.found.count, self.found.names.len());
        // A text without codings decodes.
        let passed = message.redaction.push(needles, piece, is_last, &mut self.found).ok()?;
        let payload = match &passed {
            Passed::AsItIs(length) => &piece[..*length],
            Passed::Written(written) => written,
        };
        let mut frame = Vec::new();
        if is_last || !payload.is_empty() {
            frame = frames::unmasked_text(payload, !message.has_begun, is_last);
            message.has_begun = true;
        }
        if is_last {
            self.message = None;
        }
        self.echoes.shared.measures.redacted(Part::Message, self.found.count - before);
        self.tell(known);
        Some(frame)
    }

    /// Writes down what was found, each secret once for a connection.
    fn tell(&self, known: usize) {
        let names: Vec<(SecretName, Part)> = self.found.names[known..].iter().map(|name| (name.clone(), Part::Message)).collect();
        if !names.is_empty() {
            self.echoes.told.echoed(self.echoes.shared, &names, StatusCode::SWITCHING_PROTOCOLS);
        }
    }
}

/// Waits for `work`, with no value in the clear meanwhile.
async fn waited<T>(open: &mut Open, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            *open = None;
        }
        polled
    })
    .await
}
