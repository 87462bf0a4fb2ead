//! A request's content on the road, by what it may hold and how long it is.
//!
//! ```text
//! nothing in it is searched              -> passed on as it comes
//! up to injection.buffer                 -> held, rewritten, an exact length     (held)
//! longer, of a known length              -> spooled, an exact length             (spool, spooled)
//! of no known length                     -> held for a moment, then streaming    (streaming)
//! ```

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HeaderValue, TRAILER, TRANSFER_ENCODING};
use http_body::Body;
use http_body_util::BodyExt;

use super::budget::Room;
use super::context::Oversize;
use super::exchange::{Visit, broken};
use super::holding::{self, First, Taken};
use super::late::Late;
use super::ongoing::Ongoing;
use super::outgoing::{self, Held, Outgoing, check_trailers};
use super::received::Received;
use super::spool::Spool;
use super::spooled::Spooled;
use super::streaming::{Streaming, Way};
use crate::inject::{Code, Injection, Plaintext, Receipt, Refusal, Rewriting, Search, Unsearched};
use crate::secret::Surfaces;

/// So much of a content in a coding is read in one turn, in bytes.
const TURN: usize = 16 * 1024;

/// A request's content, ready to go.
pub(super) struct Content {
    pub(super) outgoing: Outgoing,
    /// What was put where, where the injection itself does not know.
    pub(super) receipt: Option<Receipt>,
    /// More may come out about it later.
    pub(super) late: Option<Arc<Late>>,
    /// The new Content-Length, where a rewritten content had one.
    new_length: Option<u64>,
    /// It goes out chunked.
    chunked: bool,
}

impl Content {
    fn of(outgoing: Outgoing, chunked: bool) -> Self {
        Self { outgoing, receipt: None, late: None, new_length: None, chunked }
    }

    /// Says how long the content is, the way the client said it. The HTTP library would take a GET
    /// of unknown length for one without content.
    pub(super) fn frame(&self, fields: &mut HeaderMap) {
        if self.chunked {
            fields.remove(CONTENT_LENGTH);
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        } else if let Some(length) = self.new_length {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let (Some(trailers), false) = (self.outgoing.trailers(), fields.contains_key(TRAILER)) {
            // Trailers that no field announces would be left out.
            for name in trailers.keys() {
                fields.append(TRAILER, HeaderValue::from_name(name.clone()));
            }
        }
    }
}

/// Takes a content in the way that its type and length ask for.
pub(super) async fn take(
    visit: &Visit<'_>,
    injection: &mut Injection<'_>,
    fields: &HeaderMap,
    content: Received,
    surfaces: Surfaces,
) -> Result<Content, Refusal> {
    if content.is_end_stream() {
        return Ok(Content::of(Outgoing::empty().within(room_for_head(visit, injection)?), false));
    }
    let length = content.size_hint().exact();
    if !injection.searches_content(fields) {
        let outgoing = Outgoing::streaming(content, Arc::clone(visit.control), !surfaces.is_empty());
        return Ok(Content::of(outgoing.within(room_for_head(visit, injection)?), length.is_none()));
    }
    let settings = visit.settings;
    match length {
        Some(length) if length > settings.buffer as u64 => match settings.oversize {
            Oversize::Refuse => Err(too_large(settings.buffer)),
            Oversize::Stream => stream(visit, injection, fields, content).await,
            Oversize::Spool => spool(visit, injection, fields, content).await,
        },
        Some(_) => {
            let received = holding::whole(visit, content).await?;
            whole(injection, fields, received, false).await
        }
        None => stream(visit, injection, fields, content).await,
    }
}

fn too_large(buffer: usize) -> Refusal {
    let detail = format!(
        "The content may hold secret references and is over {buffer} bytes long (injection.buffer), which injection.oversize forbids. Raise injection.buffer, or send `Subrosa-Surfaces: path, query, header` to have it passed on unsearched."
    );
    Refusal::new(Code::BodyTooLarge, detail)
}

/// Room for a head that grew beyond what heads may be anyway; most need none.
fn room_for_head(visit: &Visit<'_>, injection: &Injection<'_>) -> Result<Option<Arc<Room>>, Refusal> {
    if injection.grown() <= visit.settings.head_bytes as u64 {
        return Ok(None);
    }
    let mut room = visit.door.room_for(&visit.caller.tenant);
    room.grow(injection.grown())?;
    Ok(Some(Arc::new(room)))
}

/// Searches a content that was read whole.
async fn whole(injection: &mut Injection<'_>, fields: &HeaderMap, received: Taken, chunked: bool) -> Result<Content, Refusal> {
    let Taken { bytes, trailers, mut room } = received;
    if let Some(trailers) = &trailers {
        check_trailers(trailers)?;
    }
    let rewritten = rewritten(injection, fields, &bytes, &mut room).await?;
    if let (Some(_), Some(trailers)) = (&rewritten, &trailers) {
        injection.check_digests(trailers)?;
    }
    let room = Arc::new(room);
    let new_length = rewritten.as_ref().filter(|_| !chunked).map(|rewritten| rewritten.len() as u64);
    let content = Some(outgoing::bytes(bytes, rewritten, &room));
    let outgoing = Outgoing::held(Held { content, trailers, chunked }).within(Some(room));
    Ok(Content { new_length, ..Content::of(outgoing, chunked) })
}

/// A held content, rewritten, in room of its own.
async fn rewritten(
    injection: &mut Injection<'_>,
    fields: &HeaderMap,
    received: &[u8],
    room: &mut Room,
) -> Result<Option<Plaintext>, Refusal> {
    let Some(mut search) = injection.search(fields).filter(Search::is_coded) else {
        let rewritten = injection.content(fields, received)?;
        // Room for what the values added, those in the head too.
        room.grow(injection.grown())?;
        return Ok(rewritten);
    };
    look(&mut search, received).await?;
    search.push(b"", true)?;
    if !finds(&search, injection) {
        return Ok(None);
    }
    let Some(mut rewriting) = injection.rewriting(fields, 0) else { return Ok(None) };
    let mut written = Plaintext::default();
    room.grow(injection.grown())?;
    // What stood in a good coding may be longer in another.
    let mut left = 0;
    let mut sink = |bytes: &[u8]| {
        if bytes.len() > left {
            let step = bytes.len().max(TURN);
            room.grow(step as u64)?;
            left += step;
        }
        left -= bytes.len();
        written.extend_from_slice(bytes);
        Ok(())
    };
    for piece in received.chunks(TURN) {
        injection.rewrite(&mut rewriting, piece, false, &mut sink)?;
        tokio::task::yield_now().await;
    }
    injection.rewrite(&mut rewriting, b"", true, &mut sink)?;
    Ok(injection.has_changed(&rewriting).then_some(written))
}

/// Looks through a part of a content in a coding. Decoded it may be a hundred times as long: others get
/// their turn in between.
async fn look(search: &mut Search, received: &[u8]) -> Result<(), Refusal> {
    for piece in received.chunks(TURN) {
        search.push(piece, false)?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Whether a content that was looked through holds anything to replace.
fn finds(search: &Search, injection: &mut Injection<'_>) -> bool {
    if !search.is_text() {
        injection.skip(Unsearched::NotText);
    }
    search.found() && search.is_text()
}

/// Goes on with a content when the road has gone on.
fn ongoing(visit: &Visit<'_>, injection: &Injection<'_>, rewriting: Rewriting) -> Ongoing {
    let resolver = visit.door.shared.secrets.resolver(&visit.caller.organization, visit.caller.names());
    Ongoing::new(injection, rewriting, resolver, visit.origin.host.clone())
}

/// Holds what comes for a moment, and has the rest stream.
async fn stream(
    visit: &Visit<'_>,
    injection: &mut Injection<'_>,
    fields: &HeaderMap,
    mut content: Received,
) -> Result<Content, Refusal> {
    let Taken { bytes, room, .. } = match holding::first(visit, &mut content).await? {
        First::Whole(received) => return whole(injection, fields, received, true).await,
        First::Begun(received) => received,
    };
    let mut search = injection.search(fields).ok_or_else(|| broken(visit))?;
    look(&mut search, &bytes).await?;
    let room = Arc::new(room);
    let (way, first) = if search.is_coded() && !search.found() {
        (Way::Watched(Box::new(search)), outgoing::bytes(bytes, None, &room))
    } else {
        let rewriting = injection.rewriting(fields, bytes.len()).ok_or_else(|| broken(visit))?;
        let mut ongoing = ongoing(visit, injection, rewriting);
        let written = begun(&mut ongoing, &bytes).await?;
        (Way::Rewritten(Box::new(ongoing)), outgoing::bytes(Bytes::new(), Some(written), &room))
    };
    let receipt = match &way {
        Way::Rewritten(ongoing) => ongoing.receipt().clone(),
        Way::Watched(_) => injection.receipt().clone(),
    };
    let late = Arc::new(Late::new(visit, receipt.clone()));
    let more = visit.door.room_for(&visit.caller.tenant);
    let streaming = Streaming::new(content, way, first, more, Arc::clone(&late));
    let outgoing = Outgoing::rewriting(streaming).within(room_for_head(visit, injection)?);
    Ok(Content { receipt: Some(receipt), late: Some(late), ..Content::of(outgoing, true) })
}

/// What goes out for the first part of a content.
async fn begun(ongoing: &mut Ongoing, received: &[u8]) -> Result<Plaintext, Refusal> {
    let mut written = Plaintext::new(Vec::with_capacity(received.len()));
    let mut sink = |bytes: &[u8]| {
        written.extend_from_slice(bytes);
        Ok(())
    };
    for piece in received.chunks(TURN) {
        ongoing.push(piece, false, &mut sink)?;
        tokio::task::yield_now().await;
    }
    ongoing.flush(&mut sink)?;
    Ok(written)
}

/// Spools a content, and reads it once to know how long it becomes.
async fn spool(
    visit: &Visit<'_>,
    injection: &mut Injection<'_>,
    fields: &HeaderMap,
    content: Received,
) -> Result<Content, Refusal> {
    let mut search = injection.search(fields).ok_or_else(|| broken(visit))?;
    let (mut spool, trailers) = fill(visit, &mut search, content).await?;
    if let Some(trailers) = &trailers {
        check_trailers(trailers)?;
    }
    spool.rewind().await?;
    let mut rewriting = None;
    let mut length = spool.length();
    let mut receipt = None;
    if finds(&search, injection)
        && let (Some(first), Some(second)) = (injection.rewriting(fields, 0), injection.rewriting(fields, 0))
    {
        let mut counted = ongoing(visit, injection, first);
        let new_length = count(&mut spool, &mut counted).await?;
        spool.rewind().await?;
        if let Some(trailers) = &trailers {
            counted.check_digests(trailers)?;
        }
        receipt = Some(counted.receipt().clone());
        if counted.has_changed() {
            length = new_length;
            rewriting = Some(ongoing(visit, injection, second));
        }
    }
    let new_length = rewriting.is_some().then_some(length);
    let spooled = Spooled::new(spool, rewriting, length, trailers);
    let outgoing = Outgoing::spooled(spooled).within(room_for_head(visit, injection)?);
    Ok(Content { receipt, new_length, ..Content::of(outgoing, false) })
}

/// Writes a content to disk as it comes, and looks through it.
async fn fill(visit: &Visit<'_>, search: &mut Search, mut content: Received) -> Result<(Spool, Option<HeaderMap>), Refusal> {
    let room = visit.door.spool_room_for(&visit.caller.tenant);
    let mut spool = Spool::create(&visit.settings.spool, room).await?;
    let mut trailers = None;
    while let Some(frame) = content.frame().await {
        match frame.map_err(|_| broken(visit))?.into_data() {
            Ok(data) => {
                look(search, &data).await?;
                spool.append(&data).await?;
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    search.push(b"", true)?;
    Ok((spool, trailers))
}

/// How long a spooled content becomes, everything resolved and permitted; no value is kept.
async fn count(spool: &mut Spool, ongoing: &mut Ongoing) -> Result<u64, Refusal> {
    let mut length = 0;
    let mut sink = |bytes: &[u8]| {
        length += bytes.len() as u64;
        Ok(())
    };
    loop {
        let piece = spool.read().await?;
        let is_last = piece.is_empty();
        for piece in piece.chunks(TURN) {
            ongoing.push(piece, false, &mut sink)?;
        }
        if is_last {
            ongoing.push(b"", true, &mut sink)?;
            return Ok(length);
        }
        tokio::task::yield_now().await;
    }
}
