//! The integration tests: the real binary, real sockets, real TLS, real clients. What counts is the
//! bytes an origin received.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking, and its modules are nobody's library"
)]

mod activity;
mod backups;
mod bodies;
mod bounds;
mod chaining;
mod clients;
mod clock;
mod commands;
mod crashes;
mod doctor;
mod documentation;
mod egress;
mod faults;
#[cfg(feature = "etcd")]
mod fleet;
mod framing;
mod front;
mod grpc;
mod heads;
mod hosts;
mod http2_clients;
mod http2_contents;
mod http2_frames;
mod http2_upstream;
mod injection;
mod keys;
mod lifecycle;
mod memory;
mod mishaps;
mod oidc;
mod openapi;
mod operations;
mod pages;
mod people;
mod proxy_protocol;
mod redaction;
mod redaction_bounds;
mod refusals;
mod reload;
mod responses;
mod resting;
mod revocation;
mod runners;
mod secrets_cli;
mod service_manager;
mod soak;
mod sockets;
mod socks;
mod store;
mod streams;
mod support;
mod takeover;
mod transparent;
mod trust;
mod tunnels;
mod upstream_tls;
mod wire;
