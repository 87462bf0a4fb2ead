//! A request's content on the road: held and searched where a reference may be in it, streaming
//! otherwise.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HeaderValue, TRAILER, TRANSFER_ENCODING};
use http_body::Body;
use http_body_util::BodyExt;

use super::budget::Room;
use super::exchange::{Visit, broken};
use super::outgoing::{self, Held, Outgoing, check_trailers};
use super::received::Received;
use crate::inject::{Code, Injection, Refusal};
use crate::secret::Surfaces;

/// Room for held content is made in steps that double from here, in bytes.
const STEP: usize = 4 * 1024;

/// A request's content, ready to go.
pub(super) struct Content {
    pub(super) outgoing: Outgoing,
    /// The new Content-Length, where a rewritten content had one.
    new_length: Option<u64>,
    /// It came chunked.
    chunked: bool,
}

impl Content {
    /// Says how long the content is, the way the client said it. The HTTP library would take a GET
    /// of unknown length for one without content.
    pub(super) fn frame(&self, fields: &mut HeaderMap) {
        if self.chunked {
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

/// Holds and searches the content where a reference may be in it; lets it stream otherwise.
pub(super) async fn take(
    visit: &Visit<'_>,
    injection: &mut Injection<'_>,
    fields: &HeaderMap,
    content: Received,
    surfaces: Surfaces,
) -> Result<Content, Refusal> {
    if content.is_end_stream() {
        let outgoing = Outgoing::empty().within(room_for_head(visit, injection)?);
        return Ok(Content { outgoing, new_length: None, chunked: false });
    }
    let chunked = content.size_hint().exact().is_none();
    if !injection.searches_content(fields) {
        let outgoing = Outgoing::streaming(content, Arc::clone(visit.control), !surfaces.is_empty());
        let outgoing = outgoing.within(room_for_head(visit, injection)?);
        return Ok(Content { outgoing, new_length: None, chunked });
    }
    let mut room = visit.door.room_for(&visit.caller.tenant);
    let patience = visit.door.shared.settings.body;
    let received = tokio::time::timeout(patience, hold(visit, content, &mut room)).await.map_err(|_| slow(patience))?;
    let (received, trailers) = received?;
    if let Some(trailers) = &trailers {
        check_trailers(trailers)?;
    }
    let rewritten = injection.content(fields, &received)?;
    if let (Some(_), Some(trailers)) = (&rewritten, &trailers) {
        injection.check_digests(trailers)?;
    }
    // Room for what the values added, too.
    room.grow(injection.grown())?;
    let room = Arc::new(room);
    let new_length = rewritten.as_ref().filter(|_| !chunked).map(|rewritten| rewritten.len() as u64);
    let content = Some(outgoing::bytes(received, rewritten, &room));
    Ok(Content { outgoing: Outgoing::held(Held { content, trailers, chunked }).within(Some(room)), new_length, chunked })
}

/// Room for a head that grew beyond what heads may be anyway; most need none.
fn room_for_head(visit: &Visit<'_>, injection: &Injection<'_>) -> Result<Option<Arc<Room>>, Refusal> {
    if injection.grown() <= visit.door.shared.settings.head_bytes as u64 {
        return Ok(None);
    }
    let mut room = visit.door.room_for(&visit.caller.tenant);
    room.grow(injection.grown())?;
    Ok(Some(Arc::new(room)))
}

fn slow(patience: Duration) -> Refusal {
    let patience = humantime::format_duration(patience);
    Refusal::malformed(format!(
        "The content may hold secret references, so it is held until it is whole, and it was not within {patience} (timeouts.body)."
    ))
}

/// Reads a whole content of at most `injection.buffer` bytes, making room as they come.
async fn hold(visit: &Visit<'_>, mut content: Received, room: &mut Room) -> Result<(Bytes, Option<HeaderMap>), Refusal> {
    let limit = visit.door.shared.settings.buffer;
    let too_large = || {
        Refusal::new(
            Code::BodyTooLarge,
            format!(
                "The content may hold secret references and is over {limit} bytes long (injection.buffer). Raise injection.buffer, or send `Subrosa-Surfaces: path, query, header` to have it passed on unsearched."
            ),
        )
    };
    if content.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut reserved = 0;
    let mut bytes = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = content.frame().await {
        let frame = frame.map_err(|_| broken(visit))?;
        match frame.into_data() {
            Ok(data) if bytes.len() + data.len() > limit => return Err(too_large()),
            Ok(data) => {
                if bytes.len() + data.len() > reserved {
                    let step = data.len().max(bytes.len()).max(STEP);
                    room.grow(step as u64)?;
                    reserved += step;
                    bytes.reserve(reserved - bytes.len());
                }
                bytes.extend_from_slice(&data);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((bytes.freeze(), trailers))
}
