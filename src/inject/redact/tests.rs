//! Every form in every place, however the text is cut; and a naive model beside it.

use std::io::{Read as _, Write as _};

use ::base64::Engine as _;
use ::base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::forms::{self, Kind};
use super::*;
use crate::inject::tests::Book;
use crate::inject::{Resolver, Unsearched};
use crate::secret::{Limits, SecretName};

/// A value with something for every form to escape.
const VALUE: &str = "Zx/9+=\"<&'s\u{e9}cret~";

fn sent(name: &str, value: &[u8]) -> Sent {
    let book = Book::default().with(name, value);
    let name = SecretName::parse(name).expect("a name");
    let secret = book.find(&name).unwrap_or_else(|_| panic!("it is there"));
    Sent::new(name, secret)
}

fn needles(values: &[(&str, &[u8])]) -> Needles {
    let sent: Vec<_> = values.iter().map(|(name, value)| sent(name, value)).collect();
    Needles::of(&sent, sent.len(), &|_| None).expect("they open")
}

fn readable(media_type: &str, coding: &str) -> Readable {
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).expect("good"));
    if !coding.is_empty() {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_str(coding).expect("good"));
    }
    Readable::of(&fields).expect("it is looked through")
}

/// What goes out for `pieces`, and what was found.
fn through(needles: &Needles, mut redaction: Redaction, pieces: &[&[u8]]) -> (Vec<u8>, Found) {
    let (mut out, mut found) = (Vec::new(), Found::default());
    for (index, piece) in pieces.iter().enumerate() {
        let is_last = index + 1 == pieces.len();
        match redaction.push(needles, piece, is_last, &mut found).expect("it decodes") {
            Passed::AsItIs(length) => out.extend_from_slice(&piece[..length]),
            Passed::Written(written) => out.extend_from_slice(&written),
        }
        out.extend_from_slice(&redaction.flush());
    }
    (out, found)
}

/// What becomes of a text: the same whole, in single bytes and in threes.
fn redacted(needles: &Needles, media_type: &str, text: &[u8]) -> String {
    let new = || Redaction::new(&readable(media_type, ""), needles, Instead::Reference);
    let (whole, found) = through(needles, new(), &[text]);
    for width in [1, 3] {
        let mut pieces: Vec<&[u8]> = text.chunks(width).collect();
        pieces.push(b"");
        assert_eq!(through(needles, new(), &pieces), (whole.clone(), found.clone()), "in pieces of {width}");
    }
    String::from_utf8_lossy(&whole).into_owned()
}

#[test]
fn every_form_gives_way_to_a_reference_that_can_be_sent_again() {
    for value in [VALUE, "plain-token_1234567", "a b+c/d=e%f", "line one\nline two\t\u{7}end"] {
        let needles = needles(&[("crm.key", value.as_bytes())]);
        for form in forms::of(value.as_bytes(), false) {
            let wanted = match form.kind {
                Kind::Text => "<{secrets.crm.key}>",
                Kind::Url => "<%7Bsecrets.crm.key%7D>",
                Kind::Number | Kind::Base64(_) => continue,
            };
            let text = [b"<", form.bytes.as_slice(), b">"].concat();
            assert_eq!(redacted(&needles, "text/html", &text), wanted, "{}", String::from_utf8_lossy(&form.bytes));
        }
    }
}

#[test]
fn base64_decodes_to_the_reference_wherever_the_value_stands_in_it() {
    for value in [VALUE, "plain-token_1234567", "\u{fb}\u{ff}\u{fe}\u{bf}\u{ff}\u{fb}", "12345678", "123456789", "1234567890"] {
        let needles = needles(&[("k", value.as_bytes())]);
        for (before, after) in [
            ("", ""),
            ("user:", ""),
            ("user1:", ""),
            ("user12:", ""),
            ("", "x"),
            ("a", "xy"),
            ("ab", "xyz"),
            ("abc", "\u{ff}\u{fb}?>"),
            ("{\"k\":\"", "\"}"),
        ] {
            let plain = format!("{before}{value}{after}");
            let wanted = format!("{before}{{secrets.k}}{after}");
            for engine in [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let encoded = engine.encode(&plain);
                for (left, right) in [("Basic ", ""), ("\"", "\","), ("=", "\r\nnext"), ("", " end")] {
                    let out = redacted(&needles, "text/plain", format!("{left}{encoded}{right}").as_bytes());
                    let inside =
                        out.strip_prefix(left).and_then(|out| out.strip_suffix(right)).unwrap_or_else(|| panic!("{out}"));
                    let decoded = [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD]
                        .iter()
                        .find_map(|engine| engine.decode(inside).ok())
                        .unwrap_or_else(|| panic!("{inside} for {plain}"));
                    assert_eq!(String::from_utf8_lossy(&decoded), wanted, "{encoded} -> {inside}");
                }
            }
        }
    }
}

#[test]
fn base64_in_its_usual_form_stays_in_it() {
    let needles = needles(&[("k", b"plain-token_1234567")]);
    for before in ["", "u:", "us:", "use:"] {
        let encoded = STANDARD.encode(format!("{before}plain-token_1234567"));
        let wanted = STANDARD.encode(format!("{before}{{secrets.k}}"));
        assert_eq!(redacted(&needles, "text/plain", encoded.as_bytes()), wanted);
    }
}

#[test]
fn base64_with_escapes_of_json_decodes_still() {
    // Its own text has a slash and a plus too.
    for value in ["plain-token_1234567", "\u{3ff}>\u{3ff}>\u{3ff}>\u{3ff}>"] {
        let needles = needles(&[("k", value.as_bytes())]);
        for behind in ["", "x", "xy", "?>?>?>?\u{ff}\u{fb}\u{fe}", "abc\u{3ff}>>>\u{fb}\u{ef}\u{be}"] {
            let encoded = STANDARD.encode(format!("{value}{behind}"));
            for escapes in [&[("/", "\\/")][..], &[("+", "\\u002B"), ("=", "\\u003D")], &[("=", "\\u003d")]] {
                let escaped = escapes.iter().fold(encoded.clone(), |text, (from, to)| text.replace(from, to));
                let out = redacted(&needles, "application/json", format!("[\"{escaped}\",\"\\n\"]").as_bytes());
                let read: Vec<String> = serde_json::from_str(&out).unwrap_or_else(|fault| panic!("{fault}: {out}"));
                let decoded = STANDARD.decode(&read[0]).unwrap_or_else(|fault| panic!("{fault}: {out} from {escaped}"));
                assert_eq!(String::from_utf8_lossy(&decoded), format!("{{secrets.k}}{behind}"), "{escaped}");
            }
        }
    }
}

#[test]
fn a_second_value_in_the_same_base64_goes_too() {
    let needles = needles(&[("user", b"user-of-crm"), ("password", b"hunter2-hunter2")]);
    let encoded = STANDARD.encode("user-of-crm:hunter2-hunter2 user-of-crm");
    let out = redacted(&needles, "text/plain", format!("Basic {encoded}\n").as_bytes());
    assert_eq!(out, format!("Basic {}\n", STANDARD.encode("{secrets.user}:{secrets.password} {secrets.user}")));
}

#[test]
fn the_first_counts_and_then_the_longest() {
    let needles = needles(&[("short", b"abcdabcd"), ("long", b"abcdabcdX-and-more"), ("late", b"dabcdX-and-more-still")]);
    for (text, wanted) in [
        ("abcdabcd", "{secrets.short}"),
        ("abcdabcdX-and-mor", "{secrets.short}X-and-mor"),
        ("abcdabcdX-and-more-still", "{secrets.long}-still"),
        ("abcdabcdabcdabcd", "{secrets.short}{secrets.short}"),
        ("aabcdabcdd", "a{secrets.short}d"),
        ("cdabcdX-and-more-still", "c{secrets.late}"),
    ] {
        assert_eq!(redacted(&needles, "text/plain", text.as_bytes()), wanted);
    }
}

#[test]
fn a_number_stays_json_and_is_no_part_of_another() {
    let needles = needles(&[("n", b"1234567890")]);
    for (text, wanted) in [
        (r#"{"a":1234567890,"b":"1234567890"}"#, r#"{"a":"{secrets.n}","b":"{secrets.n}"}"#),
        ("[12345678901,91234567890,1234567890.5,-1234567890]", "[12345678901,91234567890,1234567890.5,-1234567890]"),
        (r#"["\"1234567890", 1234567890]"#, r#"["\"{secrets.n}", "{secrets.n}"]"#),
        ("1234567890", "\"{secrets.n}\""),
    ] {
        assert_eq!(redacted(&needles, "application/json", text.as_bytes()), wanted);
    }
    assert_eq!(redacted(&needles, "text/plain", b"=1234567890"), "={secrets.n}");
    let events = b"data: {\"it's\":1234567890}\n\ndata: \"\n\ndata: [1234567890, \"1234567890\"]\n\n";
    let wanted = "data: {\"it's\":\"{secrets.n}\"}\n\ndata: \"\n\ndata: [\"{secrets.n}\", \"{secrets.n}\"]\n\n";
    assert_eq!(redacted(&needles, "text/event-stream", events), wanted);
    // A message, or what names no type.
    for (text, wanted) in [
        (" {\"a\":1234567890,\"b\":12345678901}", " {\"a\":\"{secrets.n}\",\"b\":12345678901}"),
        ("a {1234567890}", "a {{secrets.n}}"),
        ("1234567890", "{secrets.n}"),
    ] {
        let (out, _) = through(&needles, Redaction::of_text(), &[text.as_bytes()]);
        assert_eq!(String::from_utf8_lossy(&out), wanted);
    }
}

#[test]
fn what_cannot_become_a_value_goes_on_at_once() {
    let needles = needles(&[("k", VALUE.as_bytes()), ("plain", b"plain-token_1234567")]);
    let (mut redaction, mut found) =
        (Redaction::new(&readable("text/event-stream", ""), &needles, Instead::Reference), Found::default());
    for (piece, length) in [(&b"data: one\n\n"[..], 11), (b"data: plain-tok", 6)] {
        assert_eq!(redaction.push(&needles, piece, false, &mut found), Ok(Passed::AsItIs(length)));
    }
    assert_eq!(redaction.push(&needles, b"en?\n\n", false, &mut found), Ok(Passed::Written(b"plain-token?\n\n".to_vec())));
    assert_eq!(found, Found::default());
}

#[test]
fn stars_take_the_same_room() {
    let needles = needles(&[("k", VALUE.as_bytes())]);
    let text = format!("a {VALUE} b {} c", STANDARD.encode(VALUE));
    let (out, found) =
        through(&needles, Redaction::new(&readable("text/plain", ""), &needles, Instead::Stars), &[text.as_bytes()]);
    assert_eq!((out.len(), found.count), (text.len(), 2));
    assert!(String::from_utf8_lossy(&out).starts_with(&format!("a {} b *", "*".repeat(VALUE.len()))));
}

#[test]
fn what_is_too_short_is_not_looked_for() {
    assert!(needles(&[("k", b"1234567")]).is_empty());
    assert_eq!(redacted(&needles(&[("k", b"1234567")]), "text/plain", b"1234567 MTIzNDU2Nw=="), "1234567 MTIzNDU2Nw==");
}

#[test]
fn fields_change_where_a_value_stands_and_framing_does_not() {
    let needles = needles(&[("crm.key", VALUE.as_bytes())]);
    let field = |name: &str, value: &str| {
        (HeaderName::try_from(name).expect("good"), HeaderValue::from_bytes(value.as_bytes()).expect("good"))
    };
    let basic = format!("Basic {}", STANDARD.encode(format!("me:{VALUE}")));
    let pairs = [
        field("location", "https://a.example/?k=Zx%2F9%2B%3D%22%3C%26%27s%C3%A9cret~&x=1"),
        field("set-cookie", "a=1"),
        field("set-cookie", &format!("k={VALUE}")),
        field("x-echo", &basic),
        field("content-encoding", VALUE),
    ];
    let fields: HeaderMap = pairs.into_iter().collect();
    let mut found = Found::default();
    let redacted = redact_fields(&needles, &fields, &mut found).expect("there is something");
    let values: Vec<_> = redacted.values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    let wanted = [
        "https://a.example/?k=%7Bsecrets.crm.key%7D&x=1".to_owned(),
        "a=1".to_owned(),
        "k={secrets.crm.key}".to_owned(),
        format!("Basic {}", STANDARD.encode("me:{secrets.crm.key}")),
        VALUE.to_owned(),
    ];
    assert_eq!((values.as_slice(), found.count, found.names.len()), (&wanted[..], 3, 1));
    let mut untouched = fields;
    untouched.remove("location");
    untouched.remove("x-echo");
    untouched.remove("set-cookie");
    assert!(redact_fields(&needles, &untouched, &mut found).is_none());
}

/// A text in a coding, and what a text in it decodes to.
fn encode(coding: &str, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::new(6);
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        }
        "br" => {
            let mut encoded = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut encoded, 4096, 5, 20);
            encoder.write_all(text).expect("memory");
            drop(encoder);
            encoded
        }
        "zstd" => ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest),
        _ => text.to_vec(),
    }
}

fn decode(coding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "gzip" => flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text).expect("gzip"),
        "deflate" => flate2::read::ZlibDecoder::new(bytes).read_to_string(&mut text).expect("zlib"),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text).expect("brotli"),
        "zstd" => ruzstd::decoding::StreamingDecoder::new(bytes).expect("zstd").read_to_string(&mut text).expect("zstd"),
        _ => {
            text.push_str(std::str::from_utf8(bytes).expect("text"));
            bytes.len()
        }
    };
    text
}

#[test]
fn every_coding_is_taken_off_and_put_on_again() {
    let needles = needles(&[("k", VALUE.as_bytes())]);
    let filler = "0123456789 ".repeat(3_000);
    for coding in ["", "gzip", "deflate", "br", "zstd"] {
        let encoded = encode(coding, format!("{filler}{VALUE}{filler}").as_bytes());
        for width in [1, 1000, usize::MAX] {
            let mut pieces: Vec<&[u8]> = encoded.chunks(width).collect();
            pieces.push(b"");
            let redaction = Redaction::new(&readable("application/json", coding), &needles, Instead::Reference);
            let (out, found) = through(&needles, redaction, &pieces);
            assert_eq!(decode(coding, &out), format!("{filler}{{secrets.k}}{filler}"), "{coding} in {width}");
            assert_eq!(found.count, 1);
        }
        let redaction = Redaction::new(&readable("application/json", coding), &needles, Instead::Reference);
        assert_eq!(through(&needles, redaction, &[b""]).0, b"", "nothing is nothing in {coding:?}");
    }
}

#[test]
fn a_long_value_may_come_byte_by_byte() {
    let long: Vec<u8> = (0..60_000_u32).flat_map(|index| format!("{index} ").into_bytes()).take(60_000).collect();
    let needles = needles(&[("long", &long), ("within", b"1000 1001 1002")]);
    for (text, wanted) in [
        ([&long, &b"!"[..]].concat(), "{secrets.long}!".to_owned()),
        (long[..20_000].to_vec(), String::from_utf8_lossy(&long[..20_000]).replace("1000 1001 1002", "{secrets.within}")),
    ] {
        let mut pieces: Vec<&[u8]> = text.chunks(1).collect();
        pieces.push(b"");
        let redaction = Redaction::new(&readable("text/plain", ""), &needles, Instead::Reference);
        assert_eq!(String::from_utf8_lossy(&through(&needles, redaction, &pieces).0), wanted);
    }
}

#[test]
fn an_event_that_is_a_frame_of_zstd_goes_on_at_once() {
    let needles = needles(&[("k", VALUE.as_bytes())]);
    let mut redaction = Redaction::new(&readable("text/event-stream", "zstd"), &needles, Instead::Reference).streaming();
    for text in ["data: one\n\n", "d\n"] {
        // One segment of a known size, without a checksum; one last block as it is.
        let size = u8::try_from(text.len()).expect("short");
        let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, size, size << 3 | 1, 0, 0][..], text.as_bytes()].concat();
        let Ok(Passed::Written(mut out)) = redaction.push(&needles, &frame, false, &mut Found::default()) else {
            panic!("coded")
        };
        out.extend_from_slice(&redaction.flush());
        assert!(out.ends_with(text.as_bytes()), "{out:?}");
    }
}

#[test]
fn what_streams_may_decode_to_any_length() {
    let needles = needles(&[("k", VALUE.as_bytes())]);
    let text = format!("{}{VALUE}", "0".repeat(5_000_000));
    let encoded = encode("gzip", text.as_bytes());
    let new = || Redaction::new(&readable("text/plain", "gzip"), &needles, Instead::Reference);
    assert_eq!(new().push(&needles, &encoded, true, &mut Found::default()), Err(Undecodable), "what is held is bounded");
    let (out, _) = through(&needles, new().streaming(), &encoded.chunks(2_048).chain([&b""[..]]).collect::<Vec<_>>());
    assert!(decode("gzip", &out).ends_with("00{secrets.k}"));
}

#[test]
fn what_was_flushed_can_be_read_and_what_is_broken_is_told() {
    let needles = needles(&[("k", VALUE.as_bytes())]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(b"data: one\n\n").expect("memory");
    encoder.flush().expect("memory");
    let mut redaction = Redaction::new(&readable("text/event-stream", "gzip"), &needles, Instead::Reference);
    let mut found = Found::default();
    let Ok(Passed::Written(mut out)) = redaction.push(&needles, encoder.get_ref(), false, &mut found) else { panic!("coded") };
    out.extend_from_slice(&redaction.flush());
    let mut read = [0; 11];
    flate2::read::GzDecoder::new(out.as_slice()).read_exact(&mut read).expect("it can be read");
    assert_eq!(&read, b"data: one\n\n");
    assert!(redaction.flush().is_empty());
    let mut broken = Redaction::new(&readable("text/plain", "gzip"), &needles, Instead::Reference);
    assert_eq!(broken.push(&needles, b"no gzip at all", true, &mut found), Err(Undecodable));
}

#[test]
fn types_are_looked_through_as_in_requests() {
    let of = |fields: &[(HeaderName, &'static str)]| {
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        Readable::of(&fields).map(|readable| readable.is_coded())
    };
    assert_eq!(of(&[]), Ok(false));
    assert_eq!(of(&[(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_ENCODING, "br")]), Ok(true));
    assert_eq!(of(&[(CONTENT_TYPE, "image/png")]), Err(Unsearched::Binary));
    assert_eq!(of(&[(CONTENT_TYPE, "application/grpc")]), Err(Unsearched::Binary));
    assert_eq!(of(&[(CONTENT_TYPE, "text/plain"), (CONTENT_ENCODING, "compress")]), Err(Unsearched::Coding));
    assert_eq!(of(&[(CONTENT_TYPE, "text/plain; charset=utf-16")]), Err(Unsearched::Charset));
}

#[test]
fn a_secret_that_went_out_is_the_one_of_then() {
    let (one, other) = (sent("k", b"value-of-once"), sent("k", b"value-of-now"));
    assert!(one != other && one == one.clone());
    assert_eq!(format!("{one:?}"), "Sent(k)");
    let needles = Needles::of(&[one, other], 2, &|_| None).expect("they open");
    assert_eq!(redacted(&needles, "text/plain", b"value-of-once value-of-now"), "{secrets.k} {secrets.k}");
}

#[test]
fn one_that_does_not_open_any_more_is_looked_for_as_it_is_now() {
    // An empty value does not open.
    let (gone, now) = (sent("k", b""), sent("k", b"value-of-now"));
    let names = |must, current: &dyn Fn(&SecretName) -> Option<Sent>| {
        let needles = Needles::of(&[gone.clone(), sent("other", b"value-of-other")], must, current);
        needles.map(|needles| redacted(&needles, "text/plain", b"value-of-now value-of-other"))
    };
    assert_eq!(names(2, &|_| Some(now.clone())), Ok("{secrets.k} {secrets.other}".to_owned()));
    assert_eq!(names(0, &|_| None), Ok("value-of-now {secrets.other}".to_owned()));
    assert!(names(1, &|_| None).is_err());
}

/// The same, by trying every form at every place.
fn model(values: &[(String, Vec<u8>)], text: &[u8]) -> Vec<u8> {
    let forms: Vec<_> =
        values.iter().flat_map(|(name, value)| forms::of(value, false).into_iter().map(move |form| (name, form))).collect();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let here = forms.iter().filter(|(_, form)| text[at..].starts_with(&form.bytes));
        // Of two of one length the first.
        if let Some((name, form)) = here.rev().max_by_key(|(_, form)| form.bytes.len()) {
            out.extend_from_slice(format!("{{secrets.{name}}}").as_bytes());
            at += form.bytes.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// Values by name, a text, and how it is cut.
type Case = (Vec<(String, Vec<u8>)>, Vec<u8>, Vec<usize>);

/// Values of few characters, so that they overlap, and texts made of parts of them.
fn overlapping() -> impl Strategy<Value = Case> {
    let value = prop_oneof![
        proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b')], 8..14),
        // Beyond what is held against a text by trying.
        (250..270_usize).prop_map(|length| [b"ab".repeat(length / 2), b"c".to_vec()].concat()),
    ];
    let values = proptest::collection::vec(value, 1..4);
    let parts = proptest::collection::vec(
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        0..8,
    );
    (values, parts, proptest::collection::vec(1..12_usize, 1..40)).prop_map(|(values, parts, cuts)| {
        let part = |(which, one, other): &(prop::sample::Index, prop::sample::Index, prop::sample::Index)| {
            let value = which.get(&values);
            let (one, other) = (one.index(value.len() + 1), other.index(value.len() + 1));
            value[one.min(other)..one.max(other)].to_vec()
        };
        let text = parts.iter().map(part).collect::<Vec<_>>().concat();
        let named = values.into_iter().enumerate().map(|(index, value)| (format!("k{index}"), value)).collect();
        (named, text, cuts)
    })
}

/// A text in pieces of these lengths, over and over.
fn cut<'t>(text: &'t [u8], widths: &[usize]) -> Vec<&'t [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    for width in widths.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*width));
        pieces.push(piece);
        rest = after;
        if piece.is_empty() {
            break;
        }
    }
    pieces
}

proptest! {
    #[test]
    fn however_it_is_cut_a_naive_search_finds_the_same((values, text, widths) in overlapping()) {
        let borrowed: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let needles = needles(&borrowed);
        let wanted = model(&values, &text);
        for pieces in [vec![text.as_slice()], cut(&text, &widths), cut(&text, &[1])] {
            let redaction = Redaction::new(&readable("text/plain", ""), &needles, Instead::Reference);
            let (out, _) = through(&needles, redaction, &pieces);
            prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&wanted));
        }
    }

    #[test]
    fn no_form_of_a_value_is_left_and_what_decodes_decodes_still(
        value in proptest::collection::vec(any::<u8>(), 8..40), before in proptest::collection::vec(any::<u8>(), 0..5),
        after in proptest::collection::vec(any::<u8>(), 0..5), widths in proptest::collection::vec(1..9_usize, 1..9),
    ) {
        let needles = needles(&[("k", &value)]);
        let encoded = STANDARD.encode([before.as_slice(), &value, &after].concat());
        let text = format!("\"{encoded}\"");
        let redaction = || Redaction::new(&readable("text/plain", ""), &needles, Instead::Reference);
        let (whole, _) = through(&needles, redaction(), &[text.as_bytes()]);
        let (pieces, found) = through(&needles, redaction(), &cut(text.as_bytes(), &widths));
        prop_assert_eq!(&whole, &pieces);
        prop_assert!(found.count > 0);
        let inside = &whole[1..whole.len() - 1];
        let decoded = STANDARD.decode(inside).or_else(|_| URL_SAFE.decode(inside)).or_else(|_| URL_SAFE_NO_PAD.decode(inside));
        // A value may stand in itself shifted; then another place counts first.
        if found.count == 1 {
            prop_assert_eq!(decoded.expect("base64"), [before.as_slice(), b"{secrets.k}", &after].concat());
        }
    }
}

fn glance(values: &[(&str, &[u8])]) -> Glance {
    let sent: Vec<_> = values.iter().map(|(name, value)| sent(name, value)).collect();
    Glance::of(&sent, sent.len(), &|_| None).expect("they open")
}

proptest! {
    /// What a glance does not find is in no form there.
    #[test]
    fn a_piece_of_a_value_stands_in_each_of_its_forms(
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 1..60),
            "[ -~]{1,60}".prop_map(String::into_bytes),
            "[a-z0-9/+]{8,40}".prop_map(String::into_bytes),
            "[a-z]{0,9}(\\{secrets\\.a\\}|%[0-9a-f]{2}|\u{e9}|\"){1,9}[A-Z]{0,9}".prop_map(String::into_bytes),
        ],
        before in prop::collection::vec(any::<u8>(), 0..600),
        behind in "[a-z]{0,9}",
    ) {
        let glance = glance(&[("other", b"another-value-0123"), ("s.v", &value)]);
        for form in forms::of(&value, false) {
            let text = [&before, form.bytes.as_slice(), behind.as_bytes()].concat();
            prop_assert!(glance.may_stand_in(&text), "{:?} of {value:?}", form.kind);
            prop_assert!(glance.may_stand_in(&form.bytes), "{:?} of {value:?} alone", form.kind);
        }
    }
}

#[test]
fn a_glance_finds_nothing_in_what_most_apis_answer() {
    let glance = glance(&[("a", b"sk_live_0123456789abcdefABCDEF"), ("b", b"short"), ("c", VALUE.as_bytes())]);
    assert!(!glance.is_empty());
    let text = br#"{"id":1,"name":"alpha","note":"a small answer of an upstream, sk_live_ and 012345 among it"}"#;
    assert!(!glance.may_stand_in(text) && !glance.may_stand_in(&text.repeat(20)));
}

#[test]
fn a_value_without_a_piece_that_would_do_is_looked_for_everywhere() {
    for value in [&b"++++++++"[..], b"ab-cd-ef-gh", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".as_bytes()] {
        assert!(glance(&[("a", value)]).may_stand_in(b"anything"), "{value:?}");
    }
    // An upstream decodes it, and may echo what it decoded.
    let book = Book::default().limited("hook", "T0%2FB1%2Fx%2Fy", Limits { url_encoded: true, ..Limits::default() });
    let name = SecretName::parse("hook").expect("a name");
    let secret = book.find(&name).unwrap_or_else(|_| panic!("it is there"));
    let glance = Glance::of(&[Sent::new(name, secret)], 1, &|_| None).expect("it opens");
    assert!(glance.may_stand_in(b"T0/B1/x/y"));
}
