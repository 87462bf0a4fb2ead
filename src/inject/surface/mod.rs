//! The surfaces of a request's head: path, query, header and authentication.

mod authentication;
mod field;
mod target;

pub(super) use field::{check_framing, fields};
pub(super) use target::target;
