//! A value in a target leaves it one target: decoded, path and query hold the value where the reference stood, no segment
//! and no parameter is added, and the rest is byte for byte what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::inject::Injection;
use subrosa::secret::Surfaces;
use subrosa_fuzz::parsers::percent_decoded;
use subrosa_fuzz::{Book, MARK, holds, host, marked, split_value};

fn injected(value: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let (book, host) = (Book::of(value), host());
    let done = Injection::new(&book, &host, Surfaces::ALL).target(target).ok()?;
    Some(done.map_or_else(|| target.to_vec(), |done| done.to_vec()))
}

/// How often each byte stands there that parts a target.
fn shape(target: &[u8]) -> Vec<usize> {
    b"/?&=#; \r\n\\".iter().map(|wanted| target.iter().filter(|byte| *byte == wanted).count()).collect()
}

fuzz_target!(|data: &[u8]| {
    let Some((value, text)) = split_value(data) else { return };
    let target = [b"/", text].concat();
    if holds(&percent_decoded(&target, false), MARK) || holds(value, MARK) {
        return;
    }
    let Some(plain) = injected(MARK, &target) else { return };
    // A percent sign that is left without its digits may get them from a value: whoever wrote it wrote both.
    let is_open = |before: &[u8]| before.ends_with(b"%") || (before.len() > 1 && before[before.len() - 2] == b'%');
    if plain.windows(MARK.len()).enumerate().any(|(at, part)| part == MARK && is_open(&plain[..at])) {
        return;
    }
    let Some(done) = injected(value, &target) else {
        // A segment would be `.` or `..`, to somebody for whom it ends where a value begins.
        assert!(value.iter().any(|byte| b".%2eE/;?\\".contains(byte)), "{value:?}");
        return;
    };
    assert_eq!(shape(&done), shape(&plain));
    let decode = |bytes: &[u8]| percent_decoded(bytes, false);
    assert_eq!(decode(&done), marked(&decode(&plain), value));
    // What is written for a value is written of unreserved characters and their like.
    let encoded: Vec<u8> = value
        .iter()
        .flat_map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => vec![*byte],
            byte => format!("%{byte:02X}").into_bytes(),
        })
        .collect();
    assert_eq!(done, marked(&plain, &encoded));
});
