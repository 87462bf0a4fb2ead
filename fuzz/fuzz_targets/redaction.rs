//! However an answer is cut into pieces, the same is found in it, and no value is left; without values nothing changes.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use subrosa::inject::{Found, Instead, Needles, Passed, Readable, Redaction, Resolver, Sent};
use subrosa::secret::SecretName;
use subrosa_fuzz::{Book, fields, holds};

const TYPES: [&str; 4] = ["text/plain", "application/json", "text/event-stream", "text/html"];

fn needles(values: &[&[u8]]) -> Needles {
    let sent: Vec<Sent> = values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let name = SecretName::parse(&format!("k{index}")).expect("a name");
            let secret = Book::of(value).find(&name).unwrap_or_else(|_| panic!("it is there"));
            Sent::new(name, Arc::clone(&secret))
        })
        .collect();
    Needles::of(&sent, sent.len(), &|_| None).expect("they open")
}

fn through(needles: &Needles, media_type: &str, instead: Instead, text: &[u8], lengths: &[u8]) -> (Vec<u8>, Found) {
    let readable = Readable::of(&fields(media_type)).unwrap_or_else(|_| panic!("it is looked through"));
    let mut redaction = Redaction::new(&readable, needles, instead);
    let (mut out, mut found, mut rest) = (Vec::new(), Found::default(), text);
    for (index, length) in lengths.iter().chain(&[u8::MAX]).enumerate() {
        let is_last = index == lengths.len();
        let (piece, after) = rest.split_at(if is_last { rest.len() } else { usize::from(*length % 17).min(rest.len()) });
        rest = after;
        match redaction.push(needles, piece, is_last, &mut found).expect("it is in no coding") {
            Passed::AsItIs(length) => out.extend_from_slice(&piece[..length]),
            Passed::Written(written) => out.extend_from_slice(&written),
        }
        out.extend_from_slice(&redaction.flush());
    }
    (out, found)
}

fuzz_target!(|data: &[u8]| {
    let [kind, cuts, first, second, rest @ ..] = data else { return };
    let (lengths, rest) = rest.split_at((*cuts as usize).min(rest.len()));
    let (one, rest) = rest.split_at((8 + *first as usize % 24).min(rest.len()));
    let (two, text) = rest.split_at((8 + *second as usize % 24).min(rest.len()));
    if one.is_empty() || two.is_empty() {
        return;
    }
    let media_type = TYPES[*kind as usize % TYPES.len()];
    let instead = if kind & 0x80 == 0 { Instead::Reference } else { Instead::Stars };
    let values = needles(&[one, two]);
    // The values themselves, once: what a fuzzer hardly guesses.
    let text = [text, one, b"|", two].concat();
    let whole = through(&values, media_type, instead, &text, &[]);
    assert_eq!(whole, through(&values, media_type, instead, &text, lengths), "{media_type}");
    if instead == Instead::Stars {
        assert_eq!(whole.0.len(), text.len());
    }
    for value in [one, two] {
        // What takes its place, and what is left on both sides, may look like one anew only if it resembles that.
        // What is base64 may be another value's, and is that first.
        let base64 = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte));
        let plain = !base64 && !value.iter().any(|byte| b"{}%*\"ksecrets.01SECRT7BD".contains(byte));
        if value.len() >= subrosa::inject::LEAST && plain && media_type == "text/plain" {
            assert!(!holds(&whole.0, value), "{}", String::from_utf8_lossy(value));
        }
    }
    assert_eq!(through(&needles(&[]), media_type, instead, &text, lengths), (text.clone(), Found::default()));
});
