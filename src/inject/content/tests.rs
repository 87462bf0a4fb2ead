//! Contents in pieces, in codings and in charsets: exact bytes, and the same however they are cut.

use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use proptest::prelude::*;

use super::coding::ContentCoding;
use super::decoding::Decoding;
use super::encoding::Encoding;
use crate::inject::tests::{Book, book, host};
use crate::inject::{Code, Injection, Paused, Receipt, Refusal};
use crate::secret::Surfaces;

pub(super) fn fields(media_type: &str, coding: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in [(CONTENT_TYPE, media_type), (CONTENT_ENCODING, coding)] {
        if !value.is_empty() {
            fields.insert(name, HeaderValue::from_str(value).expect("a field value"));
        }
    }
    fields
}

/// What becomes of a content that comes in pieces of these lengths, the last one what is left.
fn in_pieces(book: &Book, fields: &HeaderMap, content: &[u8], lengths: &[usize]) -> Result<(Vec<u8>, Receipt), Refusal> {
    let host = host();
    let injection = Injection::new(book, &host, Surfaces::ALL);
    let Some(mut rewriting) = injection.rewriting(fields, usize::MAX) else { return Ok((content.to_vec(), Receipt::default())) };
    let (mut written, mut rest) = (Vec::new(), content);
    let mut paused: Paused = injection.pause();
    for &length in lengths {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        let mut injection = paused.resume(book, &host);
        injection.rewrite(&mut rewriting, piece, false, &mut |bytes| {
            written.extend_from_slice(bytes);
            Ok(())
        })?;
        paused = injection.pause();
    }
    let mut injection = paused.resume(book, &host);
    injection.rewrite(&mut rewriting, rest, true, &mut |bytes| {
        written.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok((written, injection.finish()))
}

pub(super) fn whole(book: &Book, fields: &HeaderMap, content: &[u8]) -> Result<(Vec<u8>, Receipt), Refusal> {
    let host = host();
    let mut injection = Injection::new(book, &host, Surfaces::ALL);
    let done = injection.content(fields, content)?;
    Ok((done.map_or(content.to_vec(), |done| done.to_vec()), injection.finish()))
}

const TYPES: [&str; 10] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "text/xml",
    "text/xml; charset=utf-8",
    "multipart/mixed; boundary=B",
    "multipart/form-data; boundary=\"B \"",
    "text/plain",
    "text/plain; charset=shift_jis",
    "application/xml; charset=gbk",
    "",
];

/// Pieces of text that mean something to one of the machines.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"{",
        b"}",
        b"$",
        b"%",
        b"%7B",
        b"%7d",
        b"{secrets.a}",
        b"{secrets.plain}",
        b"{{secrets.plain}}",
        b"${{secrets.plain}}",
        b"%7Bsecrets.plain%7D",
        b"{secrets.cdata}",
        b"{secrets.number}",
        b"{secrets.nobody}",
        b"{secrets.",
        b"secrets.a",
        b"\"",
        b"\\",
        b" ",
        b"\r\n",
        b"<",
        b">",
        b"<a>",
        b"<a k='",
        b"'",
        b"<!--",
        b"-->",
        b"-",
        b"<![CDATA[",
        b"]",
        b"]]>",
        b"<?x",
        b"?>",
        b"<!DOCTYPE a [",
        b"<?xml encoding='",
        b"utf-16",
        b"latin1",
        b"[",
        b"--B",
        b"--B\r\n",
        b"\r\n--B\r\n",
        b"\r\n--B--\r\n",
        b"--",
        b"\r\n\r\n",
        b"Content-Type: application/json\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Type: multipart/mixed; boundary=B2\r\n",
        b"\r\n--B2\r\n",
        b"\r\n--B2--",
        b"x",
        b"=",
        b"&",
        b"\xff",
        b"\x83",
        b"\xe3\x82\xa2",
    ];
    proptest::collection::vec(proptest::sample::select(words), 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn however_a_content_is_cut_the_same_comes_out(text in text(), kind in 0..TYPES.len(), lengths in proptest::collection::vec(0..9_usize, 0..40)) {
        let (book, fields) = (book(), fields(TYPES[kind], ""));
        let one = in_pieces(&book, &fields, &text, &[]);
        let many = in_pieces(&book, &fields, &text, &lengths);
        match (&one, &many) {
            (Ok(one), Ok(many)) => prop_assert_eq!(one, many),
            (Err(one), Err(many)) => prop_assert_eq!(one.code, many.code),
            (one, many) => prop_assert!(false, "{:?} but {:?}", one, many),
        }
        let held = whole(&book, &fields, &text);
        match (&one, &held) {
            (Ok(one), Ok(held)) => prop_assert_eq!(&one.0, &held.0),
            (Err(one), Err(held)) => prop_assert_eq!(one.code, held.code),
            (one, held) => prop_assert!(false, "{:?} but {:?}", one, held),
        }
    }

    #[test]
    fn without_a_reference_nothing_changes(text in "[^{%]{0,200}", kind in 0..TYPES.len(), lengths in proptest::collection::vec(0..9_usize, 0..40)) {
        let (book, fields) = (book(), fields(TYPES[kind], ""));
        let (written, receipt) = in_pieces(&book, &fields, text.as_bytes(), &lengths).expect("nothing to refuse");
        prop_assert_eq!(&written, text.as_bytes());
        prop_assert!(receipt.injected.is_empty());
    }
}

/// Writes everything, and ends it.
fn into<W: Write>(mut writer: W, text: &[u8], end: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
    writer.write_all(text).expect("memory");
    end(writer)
}

/// The codings by another hand than the one that is tested.
fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        "gzip" => into(GzEncoder::new(Vec::new(), level), text, |writer| writer.finish().expect("memory")),
        "deflate" => into(ZlibEncoder::new(Vec::new(), level), text, |writer| writer.finish().expect("memory")),
        "raw" => into(DeflateEncoder::new(Vec::new(), level), text, |writer| writer.finish().expect("memory")),
        "br" => into(brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20), text, brotli::CompressorWriter::into_inner),
        "zstd" => ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest),
        other => panic!("{other}"),
    }
}

fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut text = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).expect("gzip"),
        "deflate" => flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut text).expect("zlib"),
        "raw" => flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut text).expect("deflate"),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text).expect("brotli"),
        "zstd" => ruzstd::decoding::StreamingDecoder::new(bytes).expect("zstd").read_to_end(&mut text).expect("zstd"),
        other => panic!("{other}"),
    };
    text
}

#[test]
fn contents_in_a_coding_are_searched_and_otherwise_go_out_as_they_came() {
    let book = book();
    let filler = "x ".repeat(100_000);
    for (coding, named) in
        [("gzip", "gzip"), ("gzip", "X-GZIP"), ("deflate", "deflate"), ("raw", "deflate"), ("br", "br"), ("zstd", "zstd")]
    {
        for (filler, cut) in [("", 1), (filler.as_str(), 777)] {
            let text = format!("{{\"k\": \"{{secrets.plain}}\", \"f\": \"{filler}\", \"l\": \"{{secrets.line}}\"}}");
            let source = coded(coding, text.as_bytes());
            let fields = fields("application/json", named);
            let (done, receipt) = whole(&book, &fields, &source).expect(named);
            let wanted = text.replace("{secrets.plain}", "abc123").replace("{secrets.line}", "a\\r\\nb");
            assert_eq!(String::from_utf8(decoded(coding, &done)).expect("text"), wanted, "{named}");
            assert_eq!(receipt.injected.len(), 2);
            let lengths = vec![cut; source.len() / cut];
            let (pieces, _) = in_pieces(&book, &fields, &source, &lengths).expect(named);
            assert_eq!(String::from_utf8(decoded(coding, &pieces)).expect("text"), wanted, "{named}");
            let untouched = coded(coding, format!("[\"{filler}\"]").as_bytes());
            assert_eq!(whole(&book, &fields, &untouched).expect(named).0, untouched, "{named}");
        }
    }
    let stacked = coded("br", &coded("gzip", b"[\"{secrets.plain}\"]"));
    let (done, _) = whole(&book, &fields("application/json", "gzip, br"), &stacked).expect("both are known");
    assert_eq!(decoded("gzip", &decoded("br", &done)), b"[\"abc123\"]");
    let empty = whole(&book, &fields("application/json", "gzip"), b"").expect("nothing is nothing in any coding");
    assert_eq!(empty.0, b"");
}

#[test]
fn codings_that_are_not_known_go_out_untouched_and_the_receipt_says_so() {
    for (media_type, coding, reason) in [
        ("application/json", "compress", "coding"),
        ("application/json", "aws-chunked, gzip", "coding"),
        ("application/json", "gzip, gzip, gzip, gzip", "coding"),
        ("image/png", "gzip", "binary"),
        ("text/plain; charset=utf-16le", "", "charset"),
    ] {
        let (done, receipt) = whole(&book(), &fields(media_type, coding), b"{secrets.nobody}").expect(coding);
        assert_eq!(
            (done.as_slice(), receipt.unsearched.to_string().as_str()),
            (&b"{secrets.nobody}"[..], reason),
            "{media_type} {coding}"
        );
    }
    let (_, receipt) = whole(&book(), &fields("", ""), b"{secrets.nobody}\xff").expect("binary");
    assert_eq!(receipt.unsearched.to_string(), "not_text");
    let part = b"--B\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n--B\r\nContent-Disposition: form-data; filename=f\r\n\r\ny\r\n--B--";
    let (_, receipt) = whole(&book(), &fields("multipart/mixed; boundary=B", ""), part).expect("nothing to refuse");
    assert_eq!(receipt.unsearched.to_string(), "binary encoded_part");
}

#[test]
fn contents_that_do_not_decode_are_refused() {
    let code = |coding: &str, bytes: &[u8]| {
        whole(&book(), &fields("text/plain", coding), bytes).map(|_| ()).map_err(|refusal| refusal.code)
    };
    for (coding, named) in [("gzip", "gzip"), ("deflate", "deflate"), ("raw", "deflate"), ("br", "br"), ("zstd", "zstd")] {
        let good = coded(coding, &b"no reference in here. ".repeat(30));
        assert_eq!(code(named, &good), Ok(()), "{coding}");
        assert_eq!(code(named, &good[..good.len() - 5]), Err(Code::MalformedRequest), "{coding} cut");
        assert_eq!(code(named, &[&good[..], b"more"].concat()), Err(Code::MalformedRequest), "{coding} and more");
        assert_eq!(code(named, b"{\"plain\": \"text\"}"), Err(Code::MalformedRequest), "{coding} not at all");
    }
    let two = [coded("gzip", b"{secrets."), coded("gzip", b"plain}")].concat();
    let (done, _) = whole(&book(), &fields("text/plain", "gzip"), &two).expect("two members are one content");
    assert_eq!(decoded("gzip", &done), b"abc123");
}

#[test]
fn bombs_are_refused_before_they_grow() {
    let zeros = vec![b'0'; 8 * 1024 * 1024];
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let bomb = coded(coding, &zeros);
        let refusal = whole(&book(), &fields("application/json", coding), &bomb).expect_err(coding);
        assert_eq!(refusal.code, Code::BodyTooLarge, "{coding}: {} bytes", bomb.len());
    }
    let twice = coded("gzip", &coded("gzip", &zeros));
    let refusal = whole(&book(), &fields("application/json", "gzip, gzip"), &twice).expect_err("twice");
    assert_eq!(refusal.code, Code::BodyTooLarge);
    // A block of zstd that is repeated: 4 bytes for 128 KiB.
    let mut blocks = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for _ in 0..10_000 {
        blocks.extend_from_slice(&(((128 * 1024) << 3 | 2) as u32).to_le_bytes()[..3]);
        blocks.push(b'0');
    }
    let refusal = whole(&book(), &fields("application/json", "zstd"), &blocks).expect_err("10,000 blocks");
    assert_eq!(refusal.code, Code::BodyTooLarge);
}

proptest! {
    #[test]
    fn codings_come_off_and_go_on_again(text in proptest::collection::vec(any::<u8>(), 0..3000), lengths in proptest::collection::vec(0..900_usize, 0..8), noise in any::<u64>()) {
        for coding in [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli, ContentCoding::Zstd] {
            for is_raw in [false, true] {
                let mut encoding = Encoding::of(&[(coding, is_raw)]);
                let mut rest = text.as_slice();
                let mut bytes = Vec::new();
                for length in &lengths {
                    let (piece, after) = rest.split_at(rest.len().min(*length));
                    rest = after;
                    bytes.extend_from_slice(&encoding.push(piece));
                    bytes.extend_from_slice(&encoding.flush());
                }
                bytes.extend_from_slice(&encoding.push(rest));
                bytes.extend_from_slice(&encoding.finish());
                let mut back = Vec::new();
                let mut collect = |bytes: &[u8], _| { back.extend_from_slice(bytes); Ok(()) };
                Decoding::of(&[coding]).push(&bytes, true, &mut collect).expect("what we encode, we decode");
                prop_assert_eq!(&back, &text);
                // Anything else is refused or read, and never more.
                let mut spoilt = bytes.clone();
                let at = usize::try_from(noise).unwrap_or(usize::MAX) % spoilt.len();
                spoilt[at] ^= 1 << (noise % 8);
                let _ = Decoding::of(&[coding]).push(&spoilt, true, &mut |_, _| Ok(()));
            }
        }
    }
}

#[test]
fn values_are_written_in_the_charset_of_the_text_or_refused() {
    let book = Book::default().with("e", "\u{e9}").with("euro", "\u{20ac}").with("bytes", vec![0xff]).with("a", "a&b");
    let run = |media_type: &str, text: &[u8]| {
        whole(&book, &fields(media_type, ""), text).map(|done| done.0).map_err(|refusal| refusal.code)
    };
    let refused = Err(Code::SecretNotEncodable);
    for (media_type, given, wanted) in [
        ("text/plain; charset=iso-8859-1", &b"{secrets.e}\xe9"[..], Ok(&b"\xe9\xe9"[..])),
        ("text/plain; charset=windows-1252", b"{secrets.euro}", Ok(b"\x80")),
        ("text/plain; charset=iso-8859-2", b"{secrets.euro}", refused),
        ("text/plain; charset=latin1", b"{secrets.bytes}", refused),
        ("text/plain; charset=x-unknown", b"{secrets.e}", refused),
        ("text/plain; charset=x-unknown", b"{secrets.a}", Ok(b"a&b")),
        ("text/plain; charset=shift_jis", b"\x83{secrets.a} {secrets.a}", Ok(b"\x83{secrets.a} a&b")),
        ("text/plain; charset=shift_jis", b"\xb1{secrets.a}", Ok(b"\xb1a&b")),
        ("text/plain; charset=utf-8", b"{secrets.e}", Ok(b"\xc3\xa9")),
        ("application/json; charset=iso-8859-1", b"[\"{secrets.e}{secrets.euro}\"]", Ok(b"[\"\\u00E9\\u20AC\"]")),
        ("application/x-www-form-urlencoded; charset=iso-8859-1", b"k={secrets.e}", Ok(b"k=%E9")),
        ("application/x-www-form-urlencoded", b"k={secrets.e}", Ok(b"k=%C3%A9")),
        ("text/xml; charset=iso-8859-1", b"<a>{secrets.e}{secrets.a}</a>", Ok(b"<a>&#233;a&amp;b</a>")),
        ("text/xml; charset=iso-8859-1", b"<![CDATA[{secrets.e}]]>", Ok(b"<![CDATA[\xe9]]>")),
        (
            "text/xml",
            b"<?xml version='1.0' encoding='iso-8859-1'?><a b='{secrets.e}'><![CDATA[{secrets.e}]]></a>",
            Ok(b"<?xml version='1.0' encoding='iso-8859-1'?><a b='&#233;'><![CDATA[\xe9]]></a>"),
        ),
        (
            "text/xml",
            b"\xef\xbb\xbf<?xml version='1.0'  encoding = \"utf-16\"?><a>{secrets.e}</a>",
            Ok(b"\xef\xbb\xbf<?xml version='1.0'  encoding = \"utf-16\"?><a>&#233;</a>"),
        ),
        ("text/xml", b"<?xml version='1.0' encoding='utf-16'?><![CDATA[{secrets.e}]]>", refused),
        ("text/xml; charset=utf-8", b"<?xml version='1.0' encoding='iso-8859-1'?><![CDATA[{secrets.e}]]>", refused),
        (
            "text/xml; charset=utf-8",
            b"<?xml version='1.0' encoding='iso-8859-1'?><a>{secrets.e}</a>",
            Ok(b"<?xml version='1.0' encoding='iso-8859-1'?><a>&#233;</a>"),
        ),
        (
            "multipart/mixed; boundary=B",
            b"--B\r\nContent-Type: text/plain; charset=latin1\r\n\r\n{secrets.e}\r\n--B--",
            Ok(b"--B\r\nContent-Type: text/plain; charset=latin1\r\n\r\n\xe9\r\n--B--"),
        ),
    ] {
        let wanted = wanted.map(<[u8]>::to_vec);
        assert_eq!(run(media_type, given), wanted, "{media_type}: {}", String::from_utf8_lossy(given));
    }
}

#[test]
fn bytes_that_are_no_text_after_a_reference_are_refused_where_no_type_is_named() {
    let book = book();
    let host = host();
    let injection = Injection::new(&book, &host, Surfaces::ALL);
    let mut streamed = injection.rewriting(&HeaderMap::new(), 0).expect("it is searched");
    let mut injection = injection;
    let mut nowhere = |_: &[u8]| Ok(());
    injection.rewrite(&mut streamed, b"{secrets.plain}", false, &mut nowhere).expect("text so far");
    let refusal = injection.rewrite(&mut streamed, b"\xff", false, &mut nowhere).expect_err("no text any more");
    assert_eq!((refusal.code, refusal.secret.map(|name| name.to_string())), (Code::MalformedRequest, Some("plain".into())));
}

#[test]
fn a_part_whose_end_is_a_boundary_with_its_value_is_refused() {
    let book = Book::default().with("line", "x\r\n--B").with("tail", "B");
    for text in ["--B\r\n\r\n{secrets.line}\r\n--B--", "--B\r\nX: y\r\n\r\na\r\n--{secrets.tail}\r\nb\r\n--B--"] {
        let refusal = whole(&book, &fields("multipart/mixed; boundary=B", ""), text.as_bytes()).expect_err(text);
        assert_eq!(refusal.code, Code::SecretNotEncodable, "{text}");
    }
}

#[test]
fn a_part_whose_head_is_as_long_as_may_be_is_the_same_however_it_is_cut() {
    const MOST: usize = 16 * 1024;
    let (book, fields) = (book(), fields("multipart/mixed; boundary=B", ""));
    for length in MOST - 12..MOST + 12 {
        for (end, is_head) in
            [("\r\n\r\n{secrets.plain}\r\n--B--\r\n", true), ("\r\n--B\r\n\r\n{secrets.plain}\r\n--B--\r\n", false)]
        {
            let content = [b"--B\r\n", "x".repeat(length).as_bytes(), end.as_bytes()].concat();
            let outcome = |lengths: &[usize]| {
                in_pieces(&book, &fields, &content, lengths).map(|(written, _)| written).map_err(|refusal| refusal.code)
            };
            let expected = outcome(&[]);
            // With the line end that it begins behind.
            assert_eq!(expected.is_ok(), 2 + length <= MOST, "{length} {is_head} {expected:?}");
            for first in [MOST, length, content.len() - 30] {
                let lengths: Vec<usize> = std::iter::once(first).chain(std::iter::repeat_n(1, content.len() - first)).collect();
                assert_eq!(outcome(&lengths), expected, "{length} {is_head} cut at {first}");
            }
        }
    }
}

#[test]
fn many_parts_cost_as_much_as_each_of_them() {
    let (book, fields) = (book(), fields("multipart/mixed; boundary=B", ""));
    let cost = |parts: usize| {
        let content = format!("{}--B--\r\n", "--B\r\n\r\n{secrets.plain}\r\n".repeat(parts));
        let measured = allocation_counter::measure(|| {
            let (written, _) = whole(&book, &fields, content.as_bytes()).expect("it is well formed");
            assert_eq!(written.len(), content.len() - parts * ("{secrets.plain}".len() - "abc123".len()));
        });
        measured.bytes_total
    };
    let (few, many) = (cost(500), cost(2_000));
    assert!(many < few * 5, "four times as many parts took {few} and {many} bytes");
}

#[test]
fn parts_without_a_head_do_not_make_each_other_dear() {
    // Each of them looked for an empty line to the end of the content once: minutes, for this one.
    let content = "--B\r\n".repeat(200_000);
    let (written, _) =
        in_pieces(&book(), &fields("multipart/mixed; boundary=B", ""), content.as_bytes(), &[]).expect("nothing to refuse");
    assert_eq!(written, content.as_bytes());
}
