//! What an upstream sends on a WebSocket whose messages are looked at: values that were sent to it are
//! taken out of text messages, across their fragments.
//!
//! A frame of up to 16 KiB goes on as one frame; of a longer one, what is decided goes on as it comes, in
//! fragments of its message. Binary messages, and frames that no upstream may send (masked ones), are passed on
//! as they are. Whoever stops it finds it between two frames.

use std::sync::{Mutex, PoisonError};

use bytes::{Buf, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use super::context::Shared;
use super::late::Told;
use super::socket_frames::{self as frames, Head, Opcode};
use crate::inject::{Found, Needles, Part, Passed, Redaction, Sent};
use crate::secret::SecretName;

/// One read, and the longest frame that is waited for, in bytes.
const READ: usize = 16 * 1024;
/// Secrets of one connection that are looked for: as many as of an origin, and those of its handshake.
const MOST: usize = 32;

/// The secrets that went out on one connection.
#[derive(Default)]
pub(super) struct Values(Mutex<Vec<Sent>>);

impl Values {
    pub(super) fn add(&self, sent: &[Sent]) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.retain(|known| !sent.contains(known));
        values.extend_from_slice(sent);
        let surplus = values.len().saturating_sub(MOST);
        values.drain(..surplus);
    }

    fn all(&self) -> Vec<Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    needles: Needles,
    redaction: Redaction,
    has_begun: bool,
}

/// One direction of a connection.
struct Inward<'s, C, U> {
    echoes: Echoes<'s>,
    upstream: ReadHalf<U>,
    client: WriteHalf<C>,
    bytes: BytesMut,
    message: Option<Message>,
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
    let mut inward = Inward { echoes, upstream, client, bytes: BytesMut::new(), message: None, found: Found::default() };
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
        self.upstream.read_buf(&mut self.bytes).await.ok()
    }

    /// The rest of a frame that has to be whole.
    async fn more(&mut self) -> Option<()> {
        (self.read().await? > 0).then_some(())
    }

    async fn frame(&mut self, head: Head) -> Option<()> {
        if head.opcode == Opcode::Text && head.mask.is_none() {
            let needles = (self.echoes.needles)(self.echoes.values.all())?;
            let message = Message { needles, redaction: Redaction::of_text(), has_begun: false };
            self.message = Some(message).filter(|message| !message.needles.is_empty());
        }
        let is_text = matches!(head.opcode, Opcode::Text | Opcode::Continuation) && self.message.is_some();
        if is_text && head.mask.is_none() { self.text(head).await } else { self.pass(head).await }
    }

    /// Passes a frame on as it comes.
    async fn pass(&mut self, head: Head) -> Option<()> {
        let mut left = head.payload.saturating_add(head.length as u64);
        while left > 0 {
            if self.bytes.is_empty() {
                self.more().await?;
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.bytes.len());
            self.client.write_all(&self.bytes[..count]).await.ok()?;
            self.bytes.advance(count);
            left -= count as u64;
        }
        self.client.flush().await.ok()
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
            if let Some(frame) = self.redacted(&piece, is_last) {
                self.client.write_all(&frame).await.ok()?;
                self.client.flush().await.ok()?;
            }
            if left == 0 {
                return Some(());
            }
        }
    }

    /// The frame for a piece of the message that is open, if anything is to be sent.
    fn redacted(&mut self, piece: &[u8], is_last: bool) -> Option<Vec<u8>> {
        let message = self.message.as_mut()?;
        let (before, known) = (self.found.count, self.found.names.len());
        // A text without codings decodes.
        let passed = message.redaction.push(&message.needles, piece, is_last, &mut self.found).ok()?;
        let payload = match &passed {
            Passed::AsItIs(length) => &piece[..*length],
            Passed::Written(written) => written,
        };
        let frame = (is_last || !payload.is_empty()).then(|| frames::unmasked_text(payload, !message.has_begun, is_last));
        message.has_begun |= frame.is_some();
        if is_last {
            self.message = None;
        }
        self.echoes.shared.measures.redacted(Part::Message, self.found.count - before);
        self.tell(known);
        frame
    }

    /// Writes down what was found, each secret once for a connection.
    fn tell(&self, known: usize) {
        let names: Vec<(SecretName, Part)> = self.found.names[known..].iter().map(|name| (name.clone(), Part::Message)).collect();
        if !names.is_empty() {
            self.echoes.told.echoed(self.echoes.shared, &names, StatusCode::SWITCHING_PROTOCOLS);
        }
    }
}
