//! The way out: one request to one origin, over a connection that is reused where that is safe.
//!
//! An [`Upstream`] resolves a name once, checks every address against the [`Rules`], dials what
//! was checked, verifies TLS, and keeps idle connections per tenant. [`Upstream::reserve`] comes
//! first and touches no upstream: it tells whether there is a way and whether the config opened
//! it. [`Lane::send`] then sends exactly one request; the response's content, read to its end,
//! gives the connection back.

mod client_tls;
mod connection;
mod dial;
mod egress;
mod error;
mod exchange;
mod home;
mod lane;
mod lookups;
mod measures;
mod next_proxy;
mod pool;
mod progress;
mod resolve;
mod returning;
mod sending;
mod settings;
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
pub use lane::{Lane, Upstream};
pub use measures::Measures;
pub use next_proxy::{Credentials, Names, NextProxy, NextProxyFault, NextProxyProtocol};
pub use returning::Returning;
pub use settings::{ResolveTo, Settings};
pub use stream::{Stream, Tunnel};
pub use tls_fault::TlsFault;
