//! The door for runners: one port that takes every form of proxy request.
//!
//! ```text
//! Door::welcome -> gate (unambiguous heads only) -> service (which form?) -> client_auth (who?)
//!    CONNECT -> tunnel -> relay (passed through) | intercept (TLS ended) | plain -> service again
//!    the rest -> exchange: THE ROAD, one request in, one response out
//! ```
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
mod front;
mod gate;
mod intercept;
mod measures;
mod outgoing;
mod relay;
mod service;
mod tunnel;
mod wire;

pub use budget::{Budget, Budgets};
pub use context::{Cleartext, Door, Narrow, Settings, Shared};
pub use front::Entrance;
pub use measures::Measures;
pub use outgoing::Outgoing;
