//! People: who may sign in, and what they may do in which organization.

mod role;

pub use role::{NoRole, Role};
