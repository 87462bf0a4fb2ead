//! A value changes nothing of a content but the texts in which its reference stood: what independent parsers read with a
//! plain value in its place is what they read with any other, with that value there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa_fuzz::parsers::{Part, form, json, json_lines, multipart, xml};
use subrosa_fuzz::{MARK, content, holds, marked, split_value};

type Read = fn(&[u8]) -> Option<Vec<Part>>;

const TYPES: [(&str, Read); 6] = [
    ("application/json", json),
    ("application/x-ndjson", json_lines),
    ("application/x-www-form-urlencoded", form),
    ("application/xml", xml),
    ("multipart/mixed; boundary=B", |content| multipart(content, "B")),
    ("text/plain", |content| Some(vec![Part::Text(content.to_vec())])),
];

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let Some((value, text)) = split_value(rest) else { return };
    let (media_type, read) = TYPES[*kind as usize % TYPES.len()];
    // A reference within the value is text; here it would be hard to tell from others.
    if holds(text, MARK) || holds(value, MARK) {
        return;
    }
    // `curl -d` calls JSON a form.
    let starts = text.trim_ascii_start().first();
    if media_type.ends_with("urlencoded") && matches!(starts, Some(b'{' | b'[')) {
        return;
    }
    let (Some(plain), Some(done)) = (content(MARK, media_type, text), content(value, media_type, text)) else { return };
    // A percent sign that is left without its digits may get them from a value: whoever wrote it wrote both.
    let is_open = |before: &[u8]| before.ends_with(b"%") || (before.len() > 1 && before[before.len() - 2] == b'%');
    let mut marks = plain.windows(MARK.len()).enumerate().filter(|(_, part)| *part == MARK);
    if media_type.ends_with("urlencoded") && marks.any(|(at, _)| is_open(&plain[..at])) {
        return;
    }
    let Some(plain) = read(&plain) else { return };
    let done = read(&done).unwrap_or_else(|| panic!("it was {media_type}, and is it no more"));
    let wanted: Vec<Part> = plain
        .into_iter()
        .map(|part| match part {
            Part::Text(text) => Part::Text(marked(&text, value)),
            Part::Structure(text) => Part::Structure(text),
        })
        .collect();
    assert_eq!(done, wanted, "{media_type}");
});
