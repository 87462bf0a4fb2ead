//! The way out: one request to one origin, over a connection that is reused where that is safe.
//!
//! An [`Upstream`] resolves a name once, checks every address against the [`Rules`], dials what
//! was checked, verifies TLS, and keeps connections per tenant: HTTP/1.1 ones while they rest, HTTP/2
//! ones for many exchanges at once. [`Upstream::reserve`] comes
//! first and touches no upstream: it tells whether there is a way and whether the config opened
//! it. [`Lane::send`] then sends exactly one request; the response's content, read to its end,
//! gives the connection back.

mod carrier;
mod client_tls;
mod connection;
mod dial;
mod egress;
mod error;
mod exchange;
mod greeting;
mod home;
mod lane;
mod lookups;
mod measures;
mod multiplexed;
mod next_proxy;
mod own_ends;
mod pool;
mod progress;
mod resolve;
mod returning;
mod sending;
mod settings;
mod shape;
mod shared;
mod special;
mod stream;
#[cfg(test)]
mod test_server;
mod tls_fault;
mod watched;

pub use client_tls::{ClientCertificate, ClientTls, HostRoots};
pub use egress::{Allow, AllowError, Denied, Opened, Rules};
pub use error::{BoxError, Error, Kind, Wait};
pub use home::{Pinned, Tenant};
pub use lane::{Lane, Speech, Upstream};
pub use measures::Measures;
pub use next_proxy::{Credentials, Names, NextProxy, NextProxyFault, NextProxyProtocol};
pub use own_ends::OwnEnds;
pub use returning::Returning;
pub use settings::{ResolveTo, Settings};
pub use shape::Agreed;
pub use stream::Stream;
pub use tls_fault::TlsFault;
