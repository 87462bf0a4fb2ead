//! Whatever an upstream says holds no reference once it is escaped.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::inject::{escape_text, holds_reference};

fuzz_target!(|data: &[u8]| {
    match escape_text(data) {
        Some(escaped) => assert!(escaped.len() > data.len() && holds_reference(data)),
        None => {}
    }
});
