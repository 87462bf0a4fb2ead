//! The integration tests: the real binary, real sockets, real TLS, real clients. What counts is the
//! bytes an origin received.

mod clients;
mod injection;
mod refusals;
mod responses;
mod runners;
mod secrets_cli;
mod store;
mod support;
mod tunnels;
