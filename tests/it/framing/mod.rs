//! Framing attacks: whatever a client or an upstream sends, at most one meaning comes out, and what stands behind it is
//! never taken for another message.

mod answers;
mod entries;
mod http2_answers;
mod poison;
mod requests;
mod streams;
