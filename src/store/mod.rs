//! Where sealed records lie: engines behind one contract.

mod backend;

pub use backend::{Backend, Changed, Expect, Pending, StoreError, Stored, Write};
