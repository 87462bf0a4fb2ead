//! References in the text messages of a WebSocket (RFC 6455), from the client to the upstream.
//!
//! Only where `injection.websocket` is on; extensions are declined for such a connection, so that a
//! frame is what it says. A message without a reference goes on as it came, frame by frame; one with
//! references goes on as one frame. A refusal closes the connection on both sides, with 1008 and the
//! refusal's code towards the client. What an upstream sends is relayed without the values that were sent to
//! it (`socket_inward`), or as it is where answers are not looked through.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::budget::Room;
use super::client_auth::Caller;
use super::context::Door;
use super::exchange::Visit;
use super::late::{Ending, Told};
use super::redaction;
use super::right::Used;
use super::socket_frames::{self as frames, Broken, Follower, Head, Opcode};
use super::socket_inward::{self, Echoes, Values};
use crate::audit::Outcome;
use crate::inject::{Code, Injection, Needles, Plaintext, Receipt, Refusal, Sent};
use crate::origin::Origin;
use crate::secret::Surfaces;

/// One read, in bytes.
const READ: usize = 16 * 1024;
/// How long an ending connection is waited for, on each of its ways.
const PARTING: Duration = Duration::from_secs(1);
/// RFC 6455 section 7.4.1.
const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;
const INTERNAL: u16 = 1011;

/// Whose messages are looked at, and under which rules.
pub(super) struct Socket {
    door: Door,
    caller: Caller,
    origin: Origin,
    surfaces: Surfaces,
    /// Why no secret may go to this upstream, if none may: it would travel over plain http.
    cleartext: Result<(), Refusal>,
    /// What went out, where it is to be taken out of what the upstream sends.
    values: Option<Values>,
    told: Told,
    /// For whoever looks whether they may go out still.
    used: Used,
}

/// How a client's side came to its end.
enum End {
    /// The client or the upstream has gone.
    Gone,
    /// The connection is to be closed: with which status, and why.
    Close(u16, String),
}

/// A text message that is not whole.
struct Message {
    /// Its frames as they came.
    frames: Vec<u8>,
    text: Vec<u8>,
    room: Room,
    reserved: usize,
}

impl Socket {
    /// For the WebSocket that a request asks for, with which this was `sent`; `cleartext` says why no secret may
    /// go to this upstream.
    pub(super) fn new(
        visit: &Visit<'_>,
        surfaces: Surfaces,
        cleartext: Result<(), Refusal>,
        (sent, used): (&[Sent], Used),
    ) -> Self {
        let (door, caller, origin) = (visit.door.clone(), visit.caller.clone(), visit.origin.clone());
        let values = visit.settings.redacts(&origin.host).then(Values::default);
        if let Some(values) = &values {
            values.add(sent);
        }
        Self { door, caller, origin, surfaces, cleartext, values, told: Told::of(visit), used }
    }

    /// Relays until either side has ended, or a message is refused.
    pub(super) async fn relay<C, U>(&self, client: C, upstream: U)
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_upstream, to_upstream) = tokio::io::split(upstream);
        let stop = Notify::new();
        let mut inward = std::pin::pin!(self.inward(from_upstream, to_client, &stop));
        let ended = tokio::select! {
            ended = self.outward(from_client, to_upstream) => ended,
            // The other way has nowhere to go.
            _ = inward.as_mut() => return,
        };
        match ended {
            (End::Gone, _, mut to_upstream) => {
                let _ = to_upstream.shutdown().await;
                inward.await;
            }
            (End::Close(status, reason), from_client, mut to_upstream) => {
                let _ = to_upstream.write_all(&frames::close(GOING_AWAY, "", Some(key()))).await;
                let _ = to_upstream.flush().await;
                stop.notify_one();
                if let Ok(Some(to_client)) = timeout(PARTING, inward).await {
                    let _ = timeout(PARTING, part(from_client, to_client, status, &reason)).await;
                }
            }
        }
    }

    /// Passes on what an upstream sends; told to stop, it ends between two frames and hands the client's side
    /// back.
    async fn inward<C, U>(&self, upstream: ReadHalf<U>, client: WriteHalf<C>, stop: &Notify) -> Option<WriteHalf<C>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(values) = &self.values else { return inward(upstream, client, stop).await };
        let needles = |sent| self.needles(sent);
        let echoes = Echoes { values, shared: &self.door.shared, told: &self.told, needles: &needles };
        socket_inward::inward(echoes, upstream, client, stop).await
    }

    /// The values of what was sent here, and of what was lately sent there and this caller may use.
    fn needles(&self, sent: Vec<Sent>) -> Option<Needles> {
        let (shared, own) = (&self.door.shared, sent.len());
        let sent = redaction::with_lately(shared, (&self.caller, &self.origin), sent.into_iter().collect());
        redaction::needles((shared, &self.caller), &sent, own).ok()
    }

    /// Passes on what a client sends.
    async fn outward<C, U>(&self, mut client: ReadHalf<C>, mut upstream: WriteHalf<U>) -> (End, ReadHalf<C>, WriteHalf<U>)
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let end = match self.messages(&mut client, &mut upstream).await {
            Ok(()) | Err(Fault::Gone) => End::Gone,
            Err(Fault::Broken(Broken(why))) => End::Close(PROTOCOL_ERROR, why.to_owned()),
            Err(Fault::Refused(refusal)) => {
                let status = match refusal.code {
                    Code::BodyTooLarge => TOO_BIG,
                    Code::Overloaded | Code::StoreUnavailable => INTERNAL,
                    _ => POLICY,
                };
                self.record(&Receipt::default(), Some(&refusal));
                End::Close(status, refusal.to_string())
            }
        };
        (end, client, upstream)
    }

    async fn messages<C, U>(&self, client: &mut C, upstream: &mut U) -> Result<(), Fault>
    where
        C: AsyncRead + Unpin,
        U: AsyncWrite + Unpin,
    {
        let mut bytes = BytesMut::new();
        let mut message: Option<Message> = None;
        loop {
            let Some(head) = head(client, &mut bytes).await? else { return Ok(()) };
            match (head.opcode, &message) {
                (Opcode::Text | Opcode::Binary, Some(_)) => {
                    return Err(Fault::Broken(Broken("a message begins within another")));
                }
                (Opcode::Text, None) => message = Some(Message::new(&self.door, &self.caller)),
                (Opcode::Continuation, Some(_)) => {}
                // A binary message, or the rest of one, or a control frame.
                _ => {
                    pass(client, upstream, &mut bytes, head).await?;
                    continue;
                }
            }
            let Some(open) = &mut message else { continue };
            open.take(client, &mut bytes, head, self.door.shared.settings.load().buffer).await?;
            if let Some(whole) = message.take_if(|_| head.is_final) {
                self.send(upstream, whole).await?;
            }
        }
    }

    /// Sends a whole text message on, with its references replaced.
    async fn send<U: AsyncWrite + Unpin>(&self, upstream: &mut U, message: Message) -> Result<(), Fault> {
        match self.rewritten(&message.text).map_err(Fault::Refused)? {
            Some(text) => upstream.write_all(&Plaintext::new(frames::text(&text, key()))).await.map_err(Fault::gone)?,
            None => upstream.write_all(&message.frames).await.map_err(Fault::gone)?,
        }
        upstream.flush().await.map_err(Fault::gone)
    }

    /// The text with its references replaced; `None` if there are none. The rules are those of this
    /// moment.
    fn rewritten(&self, text: &[u8]) -> Result<Option<Plaintext>, Refusal> {
        let shared = &self.door.shared;
        if memchr::memmem::find(text, b"{secrets.").is_none() {
            return Ok(None);
        }
        let caller = self.caller.refreshed(shared)?;
        let resolver = shared.secrets.resolver(&caller.organization, caller.names());
        let settings = shared.settings.load();
        // Turned off since, a message is what it says, as on a connection that is opened now.
        let allowed = if settings.websocket { settings.surfaces_for(&self.origin.host) } else { Surfaces::NONE };
        let surfaces = self.surfaces.and(allowed);
        let mut injection = Injection::new(resolver.as_ref(), &self.origin.host, surfaces).with_max_growth(settings.max_growth);
        let rewritten = injection.content(&fields(text), text)?;
        let receipt = injection.finish();
        if let (Some((secret, surface)), Err(refusal)) = (receipt.injected.first(), &self.cleartext) {
            return Err(refusal.clone().about(secret, *surface));
        }
        if rewritten.as_deref().is_some_and(|text| std::str::from_utf8(text).is_err()) {
            let detail = "With its secrets in place a text message would be no UTF-8.";
            let secret = receipt.injected.first().map(|(secret, _)| secret.clone());
            return Err(Refusal::new(Code::SecretNotEncodable, detail).about_any(secret, crate::secret::Surface::Body));
        }
        if rewritten.is_some() {
            self.record(&receipt, None);
            self.used.add(&receipt.injected);
        }
        if let Some(values) = self.values.as_ref().filter(|_| !receipt.sent.is_empty()) {
            values.add(&receipt.sent);
            shared.lately.sends(&self.caller.organization, &self.origin, &receipt.sent);
        }
        Ok(rewritten)
    }

    fn record(&self, receipt: &Receipt, refusal: Option<&Refusal>) {
        let outcome = if refusal.is_some() { Outcome::Aborted } else { Outcome::Forwarded };
        let ending = Ending { outcome, refusal, status: StatusCode::SWITCHING_PROTOCOLS };
        self.told.record(&self.door.shared, receipt, &ending);
    }
}

/// A message names no type: what begins like JSON is JSON, everything else is text.
fn fields(text: &[u8]) -> HeaderMap {
    let start = text.trim_ascii_start();
    let is_json = match start {
        [b'[', ..] => true,
        [b'{', rest @ ..] => rest.trim_ascii_start().first() == Some(&b'"'),
        _ => false,
    };
    let media_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
    [(CONTENT_TYPE, HeaderValue::from_static(media_type))].into_iter().collect()
}

/// What ends the client's side.
enum Fault {
    Gone,
    Broken(Broken),
    Refused(Refusal),
}

impl Fault {
    fn gone(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl Message {
    fn new(door: &Door, caller: &Caller) -> Self {
        Self { frames: Vec::new(), text: Vec::new(), room: door.room_for(&caller.tenant), reserved: 0 }
    }

    /// Takes a frame that stands at the beginning of `bytes` or is on its way.
    async fn take<C: AsyncRead + Unpin>(
        &mut self,
        client: &mut C,
        bytes: &mut BytesMut,
        head: Head,
        limit: usize,
    ) -> Result<(), Fault> {
        let payload = usize::try_from(head.payload).unwrap_or(usize::MAX);
        if payload > limit.saturating_sub(self.text.len()) {
            let detail = format!("A text message is over {limit} bytes long (injection.buffer), so it cannot be searched.");
            return Err(Fault::Refused(Refusal::new(Code::BodyTooLarge, detail)));
        }
        let length = head.length + payload;
        while bytes.len() < length {
            self.make_room(bytes.len())?;
            if client.read_buf(bytes).await.map_err(Fault::gone)? == 0 {
                return Err(Fault::Gone);
            }
        }
        self.make_room(length)?;
        let frame = bytes.split_to(length);
        self.frames.extend_from_slice(&frame);
        let start = self.text.len();
        self.text.extend_from_slice(&frame[head.length..]);
        frames::mask(&mut self.text[start..], head.mask.unwrap_or_default(), 0);
        Ok(())
    }

    /// Room for what there is, twice (as it came and unmasked), and for so many bytes more.
    fn make_room(&mut self, more: usize) -> Result<(), Fault> {
        let wanted = self.frames.len() + self.text.len() + 2 * more;
        if wanted > self.reserved {
            let step = (wanted - self.reserved).max(READ);
            self.room.grow(step as u64).map_err(Fault::Refused)?;
            self.reserved += step;
        }
        Ok(())
    }
}

/// The head of the next frame; `None` if the client has ended between two.
async fn head<C: AsyncRead + Unpin>(client: &mut C, bytes: &mut BytesMut) -> Result<Option<Head>, Fault> {
    loop {
        if let Some(head) = Head::read(bytes).map_err(Fault::Broken)? {
            return match head.mask {
                Some(_) => Ok(Some(head)),
                None => Err(Fault::Broken(Broken("a client's frame is not masked"))),
            };
        }
        bytes.reserve(READ);
        if client.read_buf(bytes).await.map_err(Fault::gone)? == 0 {
            return if bytes.is_empty() { Ok(None) } else { Err(Fault::Gone) };
        }
    }
}

/// Passes a frame on as it comes.
async fn pass<C, U>(client: &mut C, upstream: &mut U, bytes: &mut BytesMut, head: Head) -> Result<(), Fault>
where
    C: AsyncRead + Unpin,
    U: AsyncWrite + Unpin,
{
    let mut left = head.payload.saturating_add(head.length as u64);
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        upstream.write_all(&bytes[..count]).await.map_err(Fault::gone)?;
        bytes.advance(count);
        left -= count as u64;
        if left > 0 && client.read_buf(bytes).await.map_err(Fault::gone)? == 0 {
            return Err(Fault::Gone);
        }
    }
    upstream.flush().await.map_err(Fault::gone)
}

/// Passes on what an upstream sends; told to stop, it ends between two frames and hands the client's
/// side back.
async fn inward<C, U>(mut upstream: ReadHalf<U>, mut client: WriteHalf<C>, stop: &Notify) -> Option<WriteHalf<C>>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut follower = Follower::default();
    let mut bytes = vec![0; READ];
    let mut stopping = false;
    loop {
        if stopping && follower.is_between() {
            return Some(client);
        }
        let count = tokio::select! {
            () = stop.notified(), if !stopping => {
                stopping = true;
                continue;
            }
            count = upstream.read(&mut bytes) => count.ok()?,
        };
        if count == 0 {
            let _ = client.shutdown().await;
            return None;
        }
        let passed = follower.pass(&bytes[..count], stopping).ok()?;
        client.write_all(&bytes[..passed]).await.ok()?;
        client.flush().await.ok()?;
    }
}

/// Says goodbye to a client, and reads what it still sends, so that it hears it.
async fn part<C>(mut from: ReadHalf<C>, mut to: WriteHalf<C>, status: u16, reason: &str)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let said = to.write_all(&frames::close(status, reason, None)).await;
    if said.is_ok() && to.shutdown().await.is_ok() {
        let mut rest = vec![0; READ];
        while from.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    }
}

/// A key for a frame of ours. Nobody has to guess it: it keeps caches on the way from being fooled
/// (RFC 6455 section 10.3), and a client that wrote the text knows what is masked anyway.
fn key() -> [u8; 4] {
    getrandom::u32().unwrap_or_default().to_ne_bytes()
}
