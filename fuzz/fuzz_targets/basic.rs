//! Basic credentials: another decoder sees the pair as it was, with the value in the place of its reference, in every field.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use libfuzzer_sys::fuzz_target;
use subrosa::inject::Injection;
use subrosa::secret::Surfaces;
use subrosa_fuzz::{Book, host, model, split_value};

fn injected(value: &[u8], field: &HeaderValue) -> Option<HeaderValue> {
    let (book, host) = (Book::of(value), host());
    let fields: HeaderMap = [(AUTHORIZATION, field.clone())].into_iter().collect();
    let done = Injection::new(&book, &host, Surfaces::ALL).fields(&fields).ok()?;
    Some(done.map_or_else(|| field.clone(), |done| done[AUTHORIZATION].clone()))
}

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else { return };
    let Some((value, pair)) = split_value(rest) else { return };
    // Whatever stands there, nothing panics.
    if let Ok(field) = HeaderValue::from_bytes(pair) {
        let _ = injected(value, &field);
    }
    let encoded = if how & 1 == 0 { STANDARD.encode(pair) } else { STANDARD_NO_PAD.encode(pair) };
    let scheme = ["Basic ", "basic  ", "BASIC \t"][*how as usize / 2 % 3];
    let Ok(field) = HeaderValue::from_str(&format!("{scheme}{encoded}")) else { return };
    let Some(done) = injected(value, &field) else {
        // The only reason: a colon would end the user's name.
        assert!(value.contains(&b':'));
        return;
    };
    let done = done.as_bytes().strip_prefix(scheme.as_bytes()).expect("the scheme stays as it was written");
    let decoded = STANDARD.decode(done).or_else(|_| STANDARD_NO_PAD.decode(done)).expect("it is base64");
    assert_eq!(decoded, model::replaced(pair, value, false));
});
