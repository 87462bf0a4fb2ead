//! However a content is cut into pieces, the same goes out, or it is refused for the same reason; and so it is whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::inject::{Code, Injection};
use subrosa::secret::Surfaces;
use subrosa_fuzz::{Book, fields, host, split_value};

const TYPES: [&str; 8] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "text/xml",
    "multipart/form-data; boundary=B",
    "multipart/mixed; boundary=\"B \"",
    "text/plain",
    "text/plain; charset=shift_jis",
    "",
];

fn in_pieces(book: &Book, media_type: &str, content: &[u8], lengths: &[u8]) -> Result<Vec<u8>, Code> {
    let host = host();
    let mut injection = Injection::new(book, &host, Surfaces::ALL);
    let Some(mut rewriting) = injection.rewriting(&fields(media_type), usize::MAX) else { return Ok(content.to_vec()) };
    let (mut written, mut rest) = (Vec::new(), content);
    for (index, length) in lengths.iter().chain(&[u8::MAX]).enumerate() {
        let is_last = index == lengths.len();
        let (piece, after) = rest.split_at(if is_last { rest.len() } else { usize::from(*length % 9).min(rest.len()) });
        rest = after;
        let mut sink = |bytes: &[u8]| {
            written.extend_from_slice(bytes);
            Ok(())
        };
        injection.rewrite(&mut rewriting, piece, is_last, &mut sink).map_err(|refusal| refusal.code)?;
    }
    Ok(written)
}

fuzz_target!(|data: &[u8]| {
    let [kind, cuts, rest @ ..] = data else { return };
    let (lengths, rest) = rest.split_at((*cuts as usize).min(rest.len()));
    let Some((value, text)) = split_value(rest) else { return };
    let (book, media_type) = (Book::of(value), TYPES[*kind as usize % TYPES.len()]);
    let one = in_pieces(&book, media_type, text, &[]);
    assert_eq!(one, in_pieces(&book, media_type, text, lengths), "{media_type}");
    let host = host();
    let whole = Injection::new(&book, &host, Surfaces::ALL).content(&fields(media_type), text);
    let whole = whole.map(|done| done.map_or_else(|| text.to_vec(), |done| done.to_vec())).map_err(|refusal| refusal.code);
    assert_eq!(one, whole, "{media_type}");
});
