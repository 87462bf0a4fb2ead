//! The door for runners: one port that takes every form of proxy request, and others for other ways in.
//!
//! ```text
//! Door::welcome -> front (which door?) -> socks | transparent -> tunnel
//!    HTTP -> gate (unambiguous heads only) -> service (which form?) -> client_auth (who?)
//!    CONNECT -> tunnel -> relay (passed through) | intercept (TLS ended) | plain -> service again
//!    the rest -> exchange: THE ROAD, one request in, one response out
//! ```
//! Inside a tunnel HTTP/2 may be spoken: `http2` serves each stream on the same road.
//! Any refusal on the way ends in `error`, which alone writes them.

mod answer;
mod budget;
mod chunked;
mod client_auth;
mod client_stream;
mod content;
mod context;
mod errand;
mod error;
mod exchange;
mod fields;
mod frames;
mod front;
mod gate;
mod grpc;
mod holding;
mod http2;
mod intercept;
mod late;
mod lately;
mod measures;
mod ongoing;
mod outgoing;
mod proxy_protocol;
mod received;
mod redacting;
mod redaction;
mod refused_tunnel;
mod relay;
mod resting;
mod right;
mod service;
mod socket;
mod socket_frames;
mod socket_inward;
mod socks;
mod spool;
mod spooled;
mod stream_head;
mod streaming;
mod streams;
mod transparent;
mod tunnel;
mod ways;
mod websocket;
mod wire;

pub use budget::{Budget, Budgets};
pub use context::{Cleartext, Door, Limits, Narrow, Oversize, Settings, Shared};
pub use front::Entrance;
pub use lately::Lately;
pub use measures::Measures;
pub use outgoing::Outgoing;
pub use transparent::Role;

/// Whether the very bytes of a request head, empty line included, have one meaning. The gate asks this of every
/// head; here it is a door for benches.
pub fn judge_head(head: &[u8]) -> Result<(), crate::inject::Refusal> {
    wire::judge(head).map(drop)
}
