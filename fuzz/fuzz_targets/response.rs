//! Whatever an upstream says holds no reference once it is escaped, on no surface that it may come back on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::inject::{Injection, escape_text};
use subrosa::secret::Surfaces;
use subrosa_fuzz::{Book, MARK, content, holds, host};

fuzz_target!(|data: &[u8]| {
    let escaped = escape_text(data);
    assert!(escaped.as_ref().is_none_or(|escaped| escaped.len() > data.len()));
    let back = escaped.unwrap_or_else(|| data.to_vec());
    if holds(data, MARK) {
        return;
    }
    if std::str::from_utf8(&back).is_ok() {
        assert!(!holds(&content(MARK, "text/plain", &back).expect("text"), MARK), "{}", String::from_utf8_lossy(&back));
    }
    let (book, host) = (Book::of(MARK), host());
    let target = [b"/?", &back[..]].concat();
    let done = Injection::new(&book, &host, Surfaces::ALL).target(&target).expect("a query");
    assert!(done.is_none_or(|done| !holds(&done, MARK)), "{}", String::from_utf8_lossy(&back));
});
