//! HTTP/2 inside a tunnel: each stream is one request on the same road as those of HTTP/1.1.
//!
//! ```text
//! frames (floods, waits) -> the library (framing, compression, flow control) -> stream_head (judged, reshaped)
//!   -> service::Visitor: the road
//! ```
//! A client that asks for too much at once waits; one that floods, or leaves a wait unfinished, is cut off.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::answer::Answer;
use super::context::Door;
use super::frames::{Frames, PREFACE, Patience};
use super::gate::Control;
use super::received::Received;
use super::service::{Asked, Place, Visitor};
use super::streams::Streams;
use crate::upstream::Speech;

/// Streams at a time, and streams that a client has reset and the proxy has not seen yet.
const MAX_STREAMS: u32 = 100;
/// What a client may send on one stream before it was passed on. Clients are near: 256 MB a second
/// over a round trip of a millisecond.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for a whole connection, and thereby what is held of it for slow upstreams.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is taken from an upstream before the client took it, on each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// A head takes room of the budget for held bytes from this size on: a hundred of them on each of many connections
/// must not fill the memory.
const LARGE_HEAD: usize = 2 * 1024;

/// Whether bytes are, or may become, the beginning of HTTP/2.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())])
}

/// Whether bytes begin HTTP/2.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFACE)
}

/// Serves the HTTP/2 requests inside a tunnel until it ends. `speech` is how an upstream is spoken to.
pub(super) async fn serve<S>(door: Door, stream: S, place: Place, speech: Speech)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = door.shared.settings.load_full();
    let frames = Frames::new(stream, Patience { head: settings.client_head, body: settings.body });
    let streams = Streams::new();
    let visitor = Arc::new(Visitor::streams(door.clone(), place, speech));
    let opened = streams.clone();
    let service = service_fn(move |request| {
        // At once, so that the task which is asked for next is known to be this stream's.
        let control = control(&visitor, &request, &opened);
        answer(Arc::clone(&visitor), request, control)
    });
    let most = usize::try_from(MAX_STREAMS).unwrap_or(usize::MAX);
    let connection = Builder::new(streams.clone())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(most)
        .max_local_error_reset_streams(most)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        // Ours is the limit that is met. Heads over four times this end the connection.
        .max_header_list_size(u32::try_from(settings.head_bytes.saturating_mul(2)).unwrap_or(u32::MAX))
        .enable_connect_protocol()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(frames), service);
    let mut connection = std::pin::pin!(connection);
    let mut ends = None;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = door.shared.drain.begun(), if ends.is_none() => {
                // How long those under way may take is the drain's to say.
                ends = Some(Instant::now() + Duration::from_hours(24));
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(settings.idle.min(settings.body) / 4) => {
                streams.end_stalled(settings.body);
                let is_idle = streams.idle().is_some_and(|idle| idle >= settings.idle);
                match ends {
                    Some(end) if end <= Instant::now() => return,
                    None if is_idle => {
                        // Who is sending a request at this moment gets its answer still.
                        ends = Some(Instant::now() + settings.body);
                        connection.as_mut().graceful_shutdown();
                    }
                    _ => {}
                }
            }
        }
    };
    if let Err(fault) = ended {
        use std::error::Error as _;
        tracing::debug!(%fault, source = fault.source().map(tracing::field::display), "a client's HTTP/2 connection ended early");
    }
}

/// What the stream of a request and its contents tell each other. A large head takes room, or is refused.
fn control(visitor: &Visitor, request: &Request<Incoming>, streams: &Streams) -> Arc<Control> {
    let size = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let room = if size > LARGE_HEAD { visitor.room(size as u64) } else { Ok(None) };
    let (room, refusal) = room.map_or_else(|refusal| (None, Some(refusal)), |room| (room, None));
    let control = Arc::new(Control::of_stream(streams.open(room)));
    if let Some(refusal) = refusal {
        control.store_refusal(refusal);
    }
    control
}

async fn answer(
    visitor: Arc<Visitor>,
    request: Request<Incoming>,
    control: Arc<Control>,
) -> Result<Response<Answer>, Infallible> {
    let (mut parts, content) = request.into_parts();
    let judged = control.take_refusal().map_or_else(|| visitor.judge(&mut parts), Err);
    let (websocket, refused) = judged.map_or_else(|refusal| (None, Some(refusal)), |key| (key, None));
    let content = Received::stream(content, &control, visitor.patience());
    let asked = Asked { control: &control, refused, websocket };
    Ok(visitor.answer(Request::from_parts(parts, content), asked).await)
}
