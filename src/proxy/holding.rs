//! Contents that are held before anything is sent, in room that they take as they come.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::Room;
use super::exchange::{Visit, broken};
use super::received::Received;
use crate::inject::Refusal;

/// Room for held content is made in steps that double from here, in bytes.
const STEP: usize = 4 * 1024;
/// A content that comes in drops is held for so many times `injection.hold` altogether: whoever sends it may
/// wait for an answer to what it has sent.
const MOST_HOLDS: u32 = 10;

/// What was held of a content.
pub(super) struct Taken {
    pub(super) bytes: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) room: Room,
}

/// How far a content came while it was held.
pub(super) enum First {
    Whole(Taken),
    /// More of it comes, or may come.
    Begun(Taken),
}

/// Holds a content of a known length until it is whole.
pub(super) async fn whole(visit: &Visit<'_>, mut content: Received) -> Result<Taken, Refusal> {
    let patience = visit.settings.body;
    let mut holding = Holding::new(visit);
    let held = timeout(patience, async {
        while !holding.next(visit, &mut content).await? {}
        Ok::<_, Refusal>(())
    });
    held.await.map_err(|_| slow(patience))??;
    Ok(holding.taken())
}

/// Holds what comes of a content until the buffer is full, nothing came for `injection.hold`, or
/// drops came for too long.
pub(super) async fn first(visit: &Visit<'_>, content: &mut Received) -> Result<First, Refusal> {
    let settings = visit.settings;
    let end = Instant::now() + settings.hold * MOST_HOLDS;
    let mut holding = Holding::new(visit);
    while holding.bytes.len() < settings.buffer {
        let next = Instant::now() + settings.hold;
        match timeout_at(next.min(end), holding.next(visit, content)).await {
            Err(_) => break,
            Ok(has_ended) => {
                if has_ended? {
                    return Ok(First::Whole(holding.taken()));
                }
            }
        }
    }
    Ok(First::Begun(holding.taken()))
}

struct Holding {
    bytes: BytesMut,
    reserved: usize,
    trailers: Option<HeaderMap>,
    room: Room,
}

impl Holding {
    fn new(visit: &Visit<'_>) -> Self {
        Self { bytes: BytesMut::new(), reserved: 0, trailers: None, room: visit.door.room_for(&visit.caller.tenant) }
    }

    /// Takes the next frame; whether the content has ended.
    async fn next(&mut self, visit: &Visit<'_>, content: &mut Received) -> Result<bool, Refusal> {
        let Some(frame) = content.frame().await else { return Ok(true) };
        match frame.map_err(|_| broken(visit))?.into_data() {
            Ok(data) => self.add(&data)?,
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
        Ok(false)
    }

    fn add(&mut self, data: &[u8]) -> Result<(), Refusal> {
        if self.bytes.len() + data.len() > self.reserved {
            let step = data.len().max(self.bytes.len()).max(STEP);
            self.room.grow(step as u64)?;
            self.reserved += step;
            self.bytes.reserve(self.reserved - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn taken(self) -> Taken {
        Taken { bytes: self.bytes.freeze(), trailers: self.trailers, room: self.room }
    }
}

fn slow(patience: Duration) -> Refusal {
    let patience = humantime::format_duration(patience);
    Refusal::malformed(format!(
        "The content may hold secret references, so it is held until it is whole, and it was not within {patience} (timeouts.body)."
    ))
}
