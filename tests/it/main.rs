//! The integration tests: the real binary, real sockets, real clients.

mod store;
