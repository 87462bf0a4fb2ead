//! The whole core against tables: exact bytes for every surface and type, and every refusal.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::secret::{DomainPattern, SecretValue};

struct Known {
    value: Vec<u8>,
    domains: AllowedDomains,
    limits: Limits,
}

impl Secret for Known {
    fn allowed_domains(&self) -> &AllowedDomains {
        &self.domains
    }
    fn limits(&self) -> &Limits {
        &self.limits
    }
    fn open(&self) -> Result<SecretValue, Unavailable> {
        SecretValue::new(self.value.clone()).map_err(|_| Unavailable("empty".into()))
    }
}

#[derive(Default)]
pub(super) struct Book(HashMap<String, Arc<Known>>);

impl Book {
    pub(super) fn with(self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.limited(name, value, Limits::default())
    }
    pub(super) fn limited(mut self, name: &str, value: impl Into<Vec<u8>>, limits: Limits) -> Self {
        self.0.insert(name.into(), Arc::new(Known { value: value.into(), domains: AllowedDomains::default(), limits }));
        self
    }
    fn only_for(mut self, name: &str, value: &str, domain: &str) -> Self {
        let domains = AllowedDomains::new(vec![DomainPattern::parse(domain).expect("good")]).expect("one");
        self.0.insert(name.into(), Arc::new(Known { value: value.into(), domains, limits: Limits::default() }));
        self
    }
}

impl Resolver for Book {
    fn find(&self, name: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
        match name.as_str() {
            "locked" => Err(Absence::Unavailable(Unavailable("it is locked".into()))),
            "theirs" => Err(Absence::NotPermitted),
            name => self.0.get(name).map(|known| Arc::clone(known) as Arc<dyn Secret>).ok_or(Absence::NotFound),
        }
    }
}

pub(super) fn host() -> Host {
    Host::parse("api.example.com").expect("good")
}

pub(super) fn book() -> Book {
    Book::default()
        .with("a", "v/a +&=\"<\u{e9}")
        .with("plain", "abc123")
        .with("dots", "..")
        .with("dot", ".")
        .with("line", "a\r\nb")
        .with("blank", " x ")
        .with("semi", "a;b")
        .with("colon", "a:b")
        .with("number", "-1.5e3")
        .with("bytes", vec![0xff, 0xfe])
        .with("nested", "{secrets.plain}")
        .with("cdata", "x]]>y")
        .limited("hook", "T0/B1/x%2Fy", Limits { url_encoded: true, ..Limits::default() })
        .limited("badhook", "a#b", Limits { url_encoded: true, ..Limits::default() })
        .limited("dothook", "a/%2e%2E/b", Limits { url_encoded: true, ..Limits::default() })
        .limited("queryonly", "q", Limits { surfaces: Surfaces::NONE.with(Surface::Query), ..Limits::default() })
        .limited("keyonly", "k", Limits { headers: vec!["x-api-key".into()], ..Limits::default() })
        .only_for("elsewhere", "hidden", "other.example.com")
}

/// The text of a part after injection (the same where nothing changes), or the refusal's code.
type Outcome = Result<String, Code>;

fn outcome(result: Result<Option<Plaintext>, Refusal>, source: &str) -> Outcome {
    result
        .map(|done| done.map_or(source.to_owned(), |done| String::from_utf8_lossy(&done).into_owned()))
        .map_err(|refusal| refusal.code)
}

fn target(text: &str) -> Outcome {
    let (book, host) = (book(), host());
    outcome(Injection::new(&book, &host, Surfaces::ALL).target(text.as_bytes()), text)
}

fn field(name: &HeaderName, value: &str) -> Outcome {
    let (book, host) = (book(), host());
    let mut fields = HeaderMap::new();
    fields.insert(name.clone(), HeaderValue::from_str(value).expect("a field value"));
    let done = Injection::new(&book, &host, Surfaces::ALL).fields(&fields).map_err(|refusal| refusal.code)?;
    Ok(String::from_utf8_lossy(done.as_ref().unwrap_or(&fields)[name].as_bytes()).into_owned())
}

fn content(media_type: &str, text: &str) -> Outcome {
    let (book, host) = (book(), host());
    let mut fields = HeaderMap::new();
    if !media_type.is_empty() {
        fields.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).expect("a field value"));
    }
    outcome(Injection::new(&book, &host, Surfaces::ALL).content(&fields, text.as_bytes()), text)
}

fn check(cases: &[(&str, Result<&str, Code>)], run: impl Fn(&str) -> Outcome) {
    for (given, wanted) in cases {
        assert_eq!(run(given), wanted.map(str::to_owned), "{given}");
    }
}

#[test]
fn a_request_without_references_costs_no_allocation() {
    let (book, host) = (book(), host());
    for (media_type, text) in [
        ("application/json; charset=utf-8", "{\"a\": [\"{x}\", {\"b\": \"{secret.x}\"}]}"),
        ("application/x-ndjson", "{}\n{}\n"),
        ("application/x-www-form-urlencoded", "a=%7Bb%7D&c={d}"),
        ("application/xml", "<a b='{c}'>&amp;<![CDATA[{d}]]></a>"),
        ("multipart/form-data; boundary=\"B\"", "--B\r\nContent-Disposition: form-data; name=x\r\n\r\n{y}%7b\r\n--B--\r\n"),
        ("text/plain", "{{nothing}} {secrets"),
        ("application/octet-stream", "{secrets.plain}"),
    ] {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        fields.insert(COOKIE, HeaderValue::from_static("a={b}; c=%7Bd%7D"));
        fields.insert(AUTHORIZATION, HeaderValue::from_static("Basic dXNlcjp7cGFzc3dvcmR9"));
        let allocated = allocation_counter::measure(|| {
            let mut injection = Injection::new(&book, &host, Surfaces::ALL);
            assert!(injection.target(b"/a/{b}?c=%7Bd%7D&e=%7B%7B").is_ok_and(|target| target.is_none()));
            assert_eq!(injection.bare_name(b"/a/{b}?c=%7Bd%7D&e=%7B%7B"), None);
            assert!(injection.fields(&fields).is_ok_and(|fields| fields.is_none()));
            assert!(injection.content(&fields, text.as_bytes()).is_ok_and(|content| content.is_none()));
            drop(injection.finish());
        });
        assert_eq!(allocated.count_total, 0, "{media_type}: {text}");
    }
}

#[test]
fn the_target_takes_values_percent_encoded_and_keeps_the_rest() {
    check(
        &[
            ("/v1/{secrets.plain}/x?b=2&a=1&a=%2f", Ok("/v1/abc123/x?b=2&a=1&a=%2f")),
            ("/{secrets.a}?k={secrets.a}", Ok("/v%2Fa%20%2B%26%3D%22%3C%C3%A9?k=v%2Fa%20%2B%26%3D%22%3C%C3%A9")),
            ("/%7Bsecrets.plain%7D?%7bsecrets%2Eplain%7d", Ok("/abc123?abc123")),
            ("/{secrets.hook}?u={secrets.hook}", Ok("/T0/B1/x%2Fy?u=T0/B1/x%2Fy")),
            ("/?{secrets.badhook}", Err(Code::SecretNotEncodable)),
            ("/{secrets.badhook}", Err(Code::SecretNotEncodable)),
            ("/a/{secrets.dots}/b", Err(Code::SecretNotEncodable)),
            ("/a/.{secrets.dot}", Err(Code::SecretNotEncodable)),
            ("/a/%2e{secrets.dot}?x", Err(Code::SecretNotEncodable)),
            ("/{secrets.dothook}", Err(Code::SecretNotEncodable)),
            ("/a{secrets.dots}/b", Ok("/a../b")),
            ("/?q={secrets.dots}", Ok("/?q=..")),
            ("/%257Bsecrets.plain%257D", Ok("/%257Bsecrets.plain%257D")),
            ("/{{secrets.plain}}?{secrets.nested}", Ok("/{secrets.plain}?%7Bsecrets.plain%7D")),
            ("/{secrets.nobody}", Err(Code::SecretNotFound)),
            ("/{secrets.theirs}", Err(Code::RunnerNotPermitted)),
            ("/{secrets.locked}", Err(Code::StoreUnavailable)),
            ("/{secrets.elsewhere}", Err(Code::DomainRestricted)),
            ("/{secrets.queryonly}", Err(Code::SecretNotEncodable)),
            ("/?{secrets.queryonly}", Ok("/?q")),
        ],
        target,
    );
}

#[test]
fn a_target_over_its_limit_is_refused() {
    let book = Book::default().with("long", vec![b'/'; 30_000]);
    let host = host();
    let refusal = Injection::new(&book, &host, Surfaces::ALL).target(b"/?{secrets.long}").expect_err("90,000 bytes");
    assert_eq!(refusal.code, Code::SecretNotEncodable);
}

#[test]
fn fields_take_values_as_they_are() {
    let name = || HeaderName::from_static("x-api-key");
    check(
        &[
            ("{secrets.plain}", Ok("abc123")),
            ("a {secrets.a} {secrets.plain}", Ok("a v/a +&=\"<\u{e9} abc123")),
            ("{secrets.keyonly}", Ok("k")),
            ("{secrets.line}", Err(Code::SecretNotEncodable)),
            ("{secrets.blank}", Err(Code::SecretNotEncodable)),
            ("x{secrets.blank}", Err(Code::SecretNotEncodable)),
            ("x{secrets.blank}x", Ok("x x x")),
            ("{secrets.queryonly}", Err(Code::SecretNotEncodable)),
            ("%7Bsecrets.plain%7D", Ok("%7Bsecrets.plain%7D")),
            ("%7B%7Bsecrets.plain%7D%7D", Ok("%7Bsecrets.plain%7D")),
            ("{{secrets.plain}} ${{secrets.plain}}", Ok("{secrets.plain} ${{secrets.plain}}")),
        ],
        |value| field(&name(), value),
    );
    assert_eq!(field(&HeaderName::from_static("x-other"), "{secrets.keyonly}"), Err(Code::SecretNotEncodable));
    assert_eq!(field(&COOKIE, "a={secrets.plain}; b=2"), Ok("a=abc123; b=2".into()));
    assert_eq!(field(&COOKIE, "a={secrets.semi}"), Err(Code::SecretNotEncodable));
    assert_eq!(field(&AUTHORIZATION, "Bearer {secrets.plain}"), Ok("Bearer abc123".into()));
    assert_eq!(field(&HeaderName::from_static("host"), "{secrets.plain}"), Err(Code::SecretInAuthority));
    for forbidden in [
        "connection",
        "content-length",
        "content-type",
        "content-encoding",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
    ] {
        assert_eq!(field(&HeaderName::from_static(forbidden), "{secrets.plain}"), Err(Code::MalformedRequest), "{forbidden}");
    }
    for ours in ["proxy-authorization", "subrosa-surfaces"] {
        assert_eq!(field(&HeaderName::from_static(ours), "{secrets.nobody}"), Ok("{secrets.nobody}".into()), "{ours}");
    }
}

#[test]
fn basic_credentials_are_searched_inside_their_base64() {
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for (given, wanted) in [
        ("{secrets.plain}:{secrets.a}", Ok("abc123:v/a +&=\"<\u{e9}")),
        ("user:{secrets.line}", Ok("user:a\r\nb")),
        ("user:{secrets.colon}", Ok("user:a:b")),
        ("{secrets.colon}:x", Err(Code::SecretNotEncodable)),
        ("u:{{secrets.plain}}", Ok("u:{secrets.plain}")),
        ("u:{secrets.nobody}", Err(Code::SecretNotFound)),
    ] {
        for name in ["authorization", "x-upstream-auth"] {
            assert_eq!(field(&HeaderName::from_static(name), &basic(given)), wanted.map(basic), "{given}");
        }
    }
    assert_eq!(field(&AUTHORIZATION, "Basic {secrets.plain}"), Ok("Basic abc123".into()));
    let unpadded = basic("u:{secrets.plain}xy");
    assert_eq!(field(&AUTHORIZATION, unpadded.trim_end_matches('=')), Ok(basic("u:abc123xy")));
}

#[test]
fn fields_of_one_name_keep_their_order_and_number() {
    let (book, host) = (book(), host());
    let mut fields = HeaderMap::new();
    for value in ["1", "{secrets.plain}", "3"] {
        fields.append("x-many", HeaderValue::from_static(value));
    }
    fields.insert("x-one", HeaderValue::from_static("{secrets.plain}"));
    let done = Injection::new(&book, &host, Surfaces::ALL).fields(&fields).expect("permitted").expect("changed");
    assert_eq!(done.get_all("x-many").iter().collect::<Vec<_>>(), ["1", "abc123", "3"]);
    assert_eq!(done["x-one"], "abc123");
    assert!(done["x-one"].is_sensitive());
}

#[test]
fn json_takes_values_with_the_escapes_of_a_string() {
    for media_type in [
        "application/json",
        "application/vnd.x+json",
        "application/x-amz-json-1.1",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
    ] {
        check(
            &[
                ("{\"k\" : \"{secrets.a}\", \"n\":{secrets.number}}", Ok("{\"k\" : \"v/a +&=\\\"<\u{e9}\", \"n\":-1.5e3}")),
                (
                    "{\"k\": \"{secrets.line}\"}\n{\"k\": \"\\\"{secrets.plain}\"}",
                    Ok("{\"k\": \"a\\r\\nb\"}\n{\"k\": \"\\\"abc123\"}"),
                ),
                ("[{secrets.plain}]", Err(Code::SecretNotEncodable)),
                ("[\"\\{secrets.plain}\"]", Err(Code::SecretNotEncodable)),
                ("[\"\\\\{secrets.plain}\"]", Ok("[\"\\\\abc123\"]")),
                ("[\"{secrets.bytes}\"]", Err(Code::SecretNotEncodable)),
                ("[\"{{secrets.plain}} {secrets.nested}\"]", Ok("[\"{secrets.plain} {secrets.plain}\"]")),
            ],
            |text| content(media_type, text),
        );
    }
}

#[test]
fn forms_take_values_percent_encoded() {
    check(
        &[
            ("b=1&k={secrets.a}&k=2", Ok("b=1&k=v%2Fa%20%2B%26%3D%22%3C%C3%A9&k=2")),
            ("k=%7Bsecrets.plain%7D", Ok("k=abc123")),
            ("{secrets.plain}=1", Ok("abc123=1")),
            ("k=%7B%7Bsecrets.plain%7D%7D", Ok("k=%7Bsecrets.plain%7D")),
        ],
        |text| content("application/x-www-form-urlencoded; charset=utf-8", text),
    );
}

#[test]
fn xml_takes_values_as_text_attributes_and_cdata_only() {
    for media_type in ["application/xml", "text/xml; charset=utf-8", "application/soap+xml"] {
        check(
            &[
                ("<a>{secrets.a}</a>", Ok("<a>v/a +&amp;=&quot;&lt;\u{e9}</a>")),
                ("<a k='{secrets.line}'/>", Ok("<a k='a&#13;&#10;b'/>")),
                ("<a k=\"'\">{secrets.plain}</a>", Ok("<a k=\"'\">abc123</a>")),
                ("<![CDATA[{secrets.plain}]]>", Ok("<![CDATA[abc123]]>")),
                ("<![CDATA[{secrets.cdata}]]>", Err(Code::SecretNotEncodable)),
                ("<![CDATA[]{secrets.cdata}]]>", Err(Code::SecretNotEncodable)),
                ("<![CDATA[{secrets.line}]]>", Err(Code::SecretNotEncodable)),
                ("<!-- {secrets.plain} -->", Err(Code::SecretNotEncodable)),
                ("<?x {secrets.plain}?>", Err(Code::SecretNotEncodable)),
                ("<!DOCTYPE a [<!ENTITY b '{secrets.plain}'>]>", Err(Code::SecretNotEncodable)),
                ("<{secrets.plain}/>", Err(Code::SecretNotEncodable)),
                ("<!-- x --><a>{secrets.plain}</a>", Ok("<!-- x --><a>abc123</a>")),
                ("<a>{secrets.bytes}</a>", Err(Code::SecretNotEncodable)),
            ],
            |text| content(media_type, text),
        );
    }
}

#[test]
fn multipart_takes_values_by_the_type_of_each_part() {
    let body = |parts: &[(&str, &str)]| {
        let parts: Vec<String> = parts.iter().map(|(head, text)| format!("--B\r\n{head}\r\n{text}\r\n")).collect();
        let parts = parts.concat();
        format!("preamble {{secrets.nobody}}\r\n{parts}--B--\r\nepilogue")
    };
    let run = |parts: &[(&str, &str)]| content("multipart/form-data; boundary=B", &body(parts));
    let name = "Content-Disposition: form-data; name=\"x\"\r\n";
    let file = "Content-Disposition: form-data; name=\"x\"; filename=\"f\"\r\n";
    let typed = |head: &str, media_type: &str| format!("{head}Content-Type: {media_type}\r\n");
    assert_eq!(run(&[(name, "{secrets.a}")]), Ok(body(&[(name, "v/a +&=\"<\u{e9}")])));
    let json = typed(name, "application/json");
    assert_eq!(run(&[(&json, "[\"{secrets.line}\"]"), (name, "2")]), Ok(body(&[(&json, "[\"a\\r\\nb\"]"), (name, "2")])));
    for untouched in [
        file.to_owned(),
        typed(file, "application/octet-stream"),
        typed(file, "image/png"),
        format!("{name}Content-Transfer-Encoding: base64\r\n"),
    ] {
        let parts = [(untouched.as_str(), "{secrets.nobody}")];
        assert_eq!(run(&parts), Ok(body(&parts)), "{untouched}");
    }
    assert_eq!(run(&[(&typed(file, "text/csv"), "{secrets.plain}")]), Ok(body(&[(&typed(file, "text/csv"), "abc123")])));
    assert_eq!(
        run(&[("Content-Disposition: form-data; name=\"{secrets.plain}\"\r\n", "1")]),
        Ok(body(&[("Content-Disposition: form-data; name=\"abc123\"\r\n", "1")]))
    );
    assert_eq!(run(&[("Content-Disposition: form-data; name=\"{secrets.a}\"\r\n", "1")]), Err(Code::SecretNotEncodable));
    let inner = "multipart/mixed; boundary=C";
    assert_eq!(
        run(&[(&typed(name, inner), "--C\r\n\r\n{secrets.plain}\r\n--C--")]),
        Ok(body(&[(&typed(name, inner), "--C\r\n\r\nabc123\r\n--C--")]))
    );
    assert_eq!(content("multipart/form-data", "{secrets.plain}"), Err(Code::MalformedRequest));
    assert_eq!(content("multipart/form-data; boundary=B", "--B\r\n\r\n{secrets.plain}"), Err(Code::MalformedRequest));
    assert_eq!(content("multipart/form-data; boundary=B", "--B\r\n\r\nnothing"), Ok("--B\r\n\r\nnothing".into()));
}

#[test]
fn a_value_may_not_bring_the_boundary() {
    let book = Book::default().with("evil", "x\r\n--B\r\n\r\ny").with("start", "--B--");
    let host = host();
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("multipart/mixed; boundary=B"));
    for name in ["evil", "start"] {
        let text = format!("--B\r\n\r\n{{secrets.{name}}}\r\n--B--");
        let refusal =
            Injection::new(&book, &host, Surfaces::ALL).content(&fields, text.as_bytes()).expect_err("it brings the boundary");
        assert_eq!(refusal.code, Code::SecretNotEncodable, "{name}");
    }
}

#[test]
fn other_text_takes_values_raw_and_binary_is_never_searched() {
    for text in ["text/plain", "", "application/graphql", "application/yaml", "application/x-unknown; charset=utf-8"] {
        assert_eq!(content(text, "a {secrets.line} {secrets.nested}"), Ok("a a\r\nb {secrets.plain}".into()), "{text}");
    }
    for binary in [
        "application/octet-stream",
        "image/png",
        "application/zip",
        "application/grpc",
        "application/x-protobuf",
        "text/plain; charset=utf-16",
        "application/x-unknown",
    ] {
        assert_eq!(content(binary, "{secrets.nobody}"), Ok("{secrets.nobody}".into()), "{binary}");
    }
    assert_eq!(content("text/plain; charset=iso-8859-1", "{secrets.plain}"), Ok("abc123".into()));
}

#[test]
fn a_digest_of_the_content_forbids_changing_it() {
    let (book, host) = (book(), host());
    for (name, value, is_refused) in [
        ("content-md5", "x", true),
        ("content-digest", "sha-256=:x:", true),
        ("x-amz-content-sha256", "e3b0", true),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD", false),
    ] {
        let mut fields = HeaderMap::new();
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        let done = |text: &[u8]| Injection::new(&book, &host, Surfaces::ALL).content(&fields, text).is_err();
        assert_eq!(
            (done(b"{secrets.plain}"), done(b"{{secrets.plain}}"), done(b"none")),
            (is_refused, is_refused, false),
            "{name}"
        );
    }
}

#[test]
fn a_surface_that_is_off_is_neither_searched_nor_unescaped() {
    let (book, host) = (book(), host());
    let mut fields = HeaderMap::new();
    fields.insert("x", HeaderValue::from_static("{secrets.nobody} {{secrets.x}}"));
    fields.insert(AUTHORIZATION, HeaderValue::from_static("Bearer {secrets.nobody}"));
    let mut none = Injection::new(&book, &host, Surfaces::NONE);
    assert_eq!(none.target(b"/{secrets.nobody}?{{secrets.x}}"), Ok(None));
    assert_eq!(none.fields(&fields), Ok(None));
    assert!(!none.searches_content(&HeaderMap::new()));
    let mut only = Injection::new(&book, &host, Surfaces::NONE.with(Surface::Query));
    assert_eq!(
        only.target(b"/{secrets.nobody}?{secrets.plain}").map(|done| done.map(|done| done.to_vec())),
        Ok(Some(b"/{secrets.nobody}?abc123".to_vec()))
    );
}

#[test]
fn growth_is_bounded() {
    let book = Book::default().with("big", vec![b'x'; 60_000]);
    let host = host();
    let text = "{secrets.big}".repeat(10);
    let mut bounded = Injection::new(&book, &host, Surfaces::ALL).with_max_growth(100_000);
    assert_eq!(bounded.content(&HeaderMap::new(), text.as_bytes()).map_err(|refusal| refusal.code), Err(Code::BodyTooLarge));
}

#[test]
fn the_receipt_names_what_was_put_where() {
    let (book, host) = (book(), host());
    let mut injection = Injection::new(&book, &host, Surfaces::ALL);
    injection.target(b"/{secrets.plain}{secrets.plain}?{secrets.a}{{secrets.x}}").expect("permitted");
    let receipt = injection.finish();
    let named: Vec<_> = receipt.injected.iter().map(|(name, surface)| (name.as_str(), *surface)).collect();
    assert_eq!((named, receipt.unescaped), (vec![("plain", Surface::Path), ("a", Surface::Query)], 1));
}

#[test]
fn what_an_upstream_says_is_no_reference() {
    let mut fields = HeaderMap::new();
    fields.append("set-cookie", HeaderValue::from_static("a={secrets.x}"));
    fields.append("set-cookie", HeaderValue::from_static("b=%7bsecrets.x%7D"));
    fields.insert("location", HeaderValue::from_static("/ok"));
    let escaped = escape_response_fields(&fields).expect("there is something to escape");
    assert_eq!(escaped.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a={{secrets.x}}", "b=%7b%7bsecrets.x%7D%7D"]);
    assert_eq!(
        escape_response_fields(&escaped).expect("escapes are escaped too").get_all("set-cookie").iter().next(),
        Some(&HeaderValue::from_static("a={{{secrets.x}}}"))
    );
    fields.remove("set-cookie");
    assert_eq!(escape_response_fields(&fields), None);
}

fn with_value(value: &[u8], fields: &HeaderMap, text: &str) -> Result<Vec<u8>, Refusal> {
    let (book, host) = (Book::default().with("v", value), host());
    let done = Injection::new(&book, &host, Surfaces::ALL).content(fields, text.as_bytes())?;
    Ok(done.expect("there is a reference").to_vec())
}

fn typed(media_type: &'static str) -> HeaderMap {
    [(CONTENT_TYPE, HeaderValue::from_static(media_type))].into_iter().collect()
}

proptest! {
    #[test]
    fn an_independent_reader_of_json_reads_exactly_the_value(value in "\\PC{1,40}|[\\x00-\\x7f]{1,40}") {
        let done = with_value(value.as_bytes(), &typed("application/json"), "{\"k\":[\"a{secrets.v}b\"]}").expect("any text stands");
        let read: serde_json::Value = serde_json::from_slice(&done).expect("valid JSON");
        let wanted = format!("a{value}b");
        prop_assert_eq!(read["k"][0].as_str(), Some(wanted.as_str()));
    }

    #[test]
    fn an_independent_reader_of_forms_reads_exactly_the_value(value in proptest::collection::vec(any::<u8>(), 1..60)) {
        let done = with_value(&value, &typed("application/x-www-form-urlencoded"), "a=1&k={secrets.v}&b=2").expect("any bytes stand");
        let text = String::from_utf8(done).expect("ASCII");
        let coded = text.strip_prefix("a=1&k=").and_then(|rest| rest.strip_suffix("&b=2")).expect("the rest is untouched");
        prop_assert!(!coded.contains(['&', '=', '+']));
        if let Ok(value) = std::str::from_utf8(&value) {
            let pairs: Vec<_> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
            prop_assert_eq!(&pairs[1], &("k".to_owned(), value.to_owned()));
        }
    }

    #[test]
    fn an_independent_reader_of_queries_reads_exactly_the_value(value in "\\PC{1,40}|[\\x00-\\x7f]{1,40}") {
        let (book, host) = (Book::default().with("v", value.as_bytes()), host());
        let done = Injection::new(&book, &host, Surfaces::ALL).target(b"/p?a=1&k=%7Bsecrets.v%7D").expect("any text stands").expect("changed");
        let url = url::Url::parse(&format!("http://h{}", String::from_utf8_lossy(&done))).expect("a URL");
        prop_assert_eq!(url.query_pairs().nth(1).map(|(_, value)| value.into_owned()), Some(value));
    }

    #[test]
    fn an_independent_reader_of_paths_reads_exactly_the_value_or_it_is_refused(value in "\\PC{1,20}|[./%a]{1,6}") {
        let (book, host) = (Book::default().with("v", value.as_bytes()), host());
        if let Ok(done) = Injection::new(&book, &host, Surfaces::ALL).target(b"/p/{secrets.v}/q") {
            let done = done.expect("changed");
            let url = url::Url::parse(&format!("http://h{}", String::from_utf8_lossy(&done))).expect("a URL");
            let segments: Vec<_> = url.path_segments().expect("a path").collect();
            prop_assert_eq!(segments.len(), 3, "{:?}", segments);
            let pair = format!("v={}", segments[1]);
            let read = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
            prop_assert_eq!(read, Some(value));
        }
    }

    #[test]
    fn an_independent_reader_of_xml_reads_exactly_the_value_or_it_is_refused(value in "\\PC{1,30}|[\\]>\\x09-\\x0d<&'\" a]{1,12}") {
        for (text, is_cdata) in [("<r><t>{secrets.v}</t></r>", false), ("<r><t k=\"{secrets.v}\"/></r>", false), ("<r><t><![CDATA[{secrets.v}]]></t></r>", true)] {
            let Ok(done) = with_value(value.as_bytes(), &typed("application/xml"), text) else {
                let may_be_refused = is_cdata || value.contains(|char: char| char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}'));
                prop_assert!(may_be_refused);
                continue;
            };
            prop_assert_eq!(read_xml(&done), value.clone(), "{}", text);
        }
    }

    #[test]
    fn a_field_holds_exactly_the_value_or_it_is_refused(value in proptest::collection::vec(any::<u8>(), 1..40)) {
        let (book, host) = (Book::default().with("v", value.clone()), host());
        let fields: HeaderMap = [(HeaderName::from_static("x"), HeaderValue::from_static("[{secrets.v}]"))].into_iter().collect();
        let done = Injection::new(&book, &host, Surfaces::ALL).fields(&fields);
        let stands = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
        prop_assert_eq!(done.is_ok(), stands);
        if let Ok(done) = done {
            let (done, wanted) = (done.expect("changed"), [&b"["[..], &value, b"]"].concat());
            prop_assert_eq!(done["x"].as_bytes(), wanted.as_slice());
        }
    }

    #[test]
    fn no_refusal_says_anything_of_the_value(text in "[a-z/?&=\"<>{}\\[\\]\\\\ ]{0,12}\\{secrets\\.v\\}[a-z/?&=\"<>{}\\[\\]\\\\ ]{0,12}", kind in 0..6_usize) {
        let value = b"..hunter2\r\n;:]]>\xff";
        let kinds = ["application/json", "application/xml", "multipart/mixed; boundary=B", "text/plain", "application/x-www-form-urlencoded", "text/plain; charset=latin1"];
        let (book, host) = (Book::default().with("v", &value[..]), host());
        let mut injection = Injection::new(&book, &host, Surfaces::ALL);
        let refusals = [injection.target(text.as_bytes()).err(), injection.content(&typed(kinds[kind]), text.as_bytes()).err()];
        for refusal in refusals.into_iter().flatten() {
            let said = format!("{refusal:?} {refusal}");
            prop_assert!(!said.contains("hunter2"));
        }
    }
}

/// The text or the attribute in an XML document, by another reader of XML.
fn read_xml(document: &[u8]) -> String {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_reader(document);
    let mut read = String::new();
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Eof => return read,
            Event::Text(text) => read.push_str(&text.xml10_content()),
            Event::CData(text) => read.push_str(&text.xml10_content()),
            Event::GeneralRef(entity) => match entity.resolve_char_ref().expect("a character") {
                Some(char) => read.push(char),
                None => read.push_str(quick_xml::escape::resolve_predefined_entity(&entity.xml10_content()).expect("predefined")),
            },
            Event::Empty(tag) | Event::Start(tag) => {
                for attribute in tag.attributes() {
                    let attribute = attribute.expect("an attribute");
                    read.push_str(&quick_xml::escape::unescape(&attribute.value).expect("known entities"));
                }
            }
            _ => {}
        }
    }
}

/// The secret and the surface that a refusal names.
fn named(refusal: Option<Refusal>) -> (Option<String>, Option<Surface>) {
    let refusal = refusal.expect("it is refused");
    (refusal.secret.map(|name| name.to_string()), refusal.surface)
}

#[test]
fn a_refusal_names_the_secret_that_is_at_fault() {
    let (book, host) = (book(), host());
    let injection = || Injection::new(&book, &host, Surfaces::ALL);
    let path = Some(Surface::Path);
    assert_eq!(named(injection().target(b"/a/{secrets.dots}/{secrets.plain}").err()), (Some("dots".into()), path));
    let long = "{secrets.plain}".repeat(12_000);
    assert_eq!(named(injection().target(format!("/{long}").as_bytes()).err()), (Some("plain".into()), path));
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/{secrets.plain}"));
    assert_eq!(named(injection().check_framing(&fields).err()), (Some("plain".into()), Some(Surface::Header)));
    let mut fields = HeaderMap::new();
    fields.insert("content-md5", HeaderValue::from_static("x"));
    assert_eq!(named(injection().content(&fields, b"{secrets.plain}").err()), (Some("plain".into()), Some(Surface::Body)));
    let mut injection = injection();
    assert!(injection.content(&HeaderMap::new(), b"{secrets.plain}").is_ok_and(|content| content.is_some()));
    assert_eq!(named(injection.check_digests(&fields).err()), (Some("plain".into()), Some(Surface::Body)));
}

#[test]
fn a_path_of_very_many_values_is_refused_in_one_go() {
    let slashes = "{secrets.hook}".repeat(7_000);
    assert_eq!(target(&format!("/{slashes}")), Err(Code::SecretNotEncodable));
    let dots = "{secrets.dot}".repeat(4_000);
    assert!(target(&format!("/{dots}")).is_ok(), "many dots are no dot segment");
}

#[test]
fn a_tab_hides_no_reference_from_those_who_drop_it() {
    for planted in
        ["/n?k={secr\tets.plain}", "/n?k={secrets.pl\tain}", "/n?k=%7Bsecr\tets.plain%7D", "/n?k=%7\tBsecrets.plain%7D"]
    {
        let mut fields = HeaderMap::new();
        fields.insert("location", HeaderValue::from_str(planted).expect("a field may hold tabs"));
        let escaped = escape_response_fields(&fields).expect("there is something to escape");
        let location = String::from_utf8_lossy(escaped["location"].as_bytes()).into_owned();
        let joined = url::Url::parse("https://api.example.com/").and_then(|base| base.join(&location)).expect("a URL");
        let target_again = format!("{}?{}", joined.path(), joined.query().unwrap_or_default());
        let out = target(&target_again).expect("no reference is resolved");
        assert!(!out.contains("abc123"), "{planted:?} -> {location} -> {out}");
    }
    let mut fields = HeaderMap::new();
    fields.insert("x-tabs", HeaderValue::from_static("a\tb {secrets}"));
    assert_eq!(escape_response_fields(&fields), None);
}

#[test]
fn types_are_searched_for_what_they_are() {
    for (media_type, given, wanted) in [
        ("application/octet-stream; charset=utf-8", "{secrets.plain}", "{secrets.plain}"),
        ("image/png; charset=utf-8", "{secrets.plain}", "{secrets.plain}"),
        ("image/svg+xml", "<a>{secrets.plain}</a>", "<a>abc123</a>"),
        ("application/grpc+json", "\0\0\0\0\u{15}[\"{secrets.plain}\"]", "\0\0\0\0\u{15}[\"{secrets.plain}\"]"),
        ("application/grpc-web+json", "[\"{secrets.plain}\"]", "[\"{secrets.plain}\"]"),
        ("application/connect+json", "[\"{secrets.plain}\"]", "[\"{secrets.plain}\"]"),
        ("application/json; charset='utf-8'", "[\"{secrets.plain}\"]", "[\"abc123\"]"),
        ("application/json; charset=", "[\"{secrets.plain}\"]", "[\"abc123\"]"),
        ("text/plain; charset=shift_jis", "{secrets.plain}", "abc123"),
        ("text/plain; charset=x-unknown", "{secrets.plain}", "abc123"),
        ("text/plain; format; charset=utf-16", "{secrets.plain}", "{secrets.plain}"),
        ("text/x-json", "{\"k\":\"{secrets.line}\"}", "{\"k\":\"a\\r\\nb\"}"),
        ("text/xml-external-parsed-entity", "{secrets.cdata}", "x]]&gt;y"),
        ("multipart/form-data; x; boundary=B", "--B\r\n\r\n{secrets.plain}\r\n--B--\r\n", "--B\r\n\r\nabc123\r\n--B--\r\n"),
        (" ", "{secrets.plain}", "abc123"),
    ] {
        assert_eq!(content(media_type, given), Ok(wanted.to_owned()), "{media_type}");
    }
}

#[test]
fn a_doctype_is_followed_to_its_real_end() {
    for (given, wanted) in [
        ("<!DOCTYPE a [<!ENTITY x \"]>{secrets.plain}\">]><a/>", Err(Code::SecretNotEncodable)),
        ("<!DOCTYPE a [<!-- ]>{secrets.plain} -->]><a/>", Err(Code::SecretNotEncodable)),
        ("<!DOCTYPE a [<?x ]>{secrets.plain} ?>]><a/>", Err(Code::SecretNotEncodable)),
        ("<!DOCTYPE a [<!ENTITY x \"[\">]><a>{secrets.plain}</a>", Ok("<!DOCTYPE a [<!ENTITY x \"[\">]><a>abc123</a>")),
    ] {
        assert_eq!(content("text/xml", given), wanted.map(str::to_owned), "{given}");
    }
}

#[test]
fn an_escape_is_written_in_one_way() {
    let x_a = HeaderName::from_static("x-a");
    assert_eq!(field(&x_a, "%7B{secrets.plain}%7D"), Ok("%7Babc123%7D".into()));
    assert_eq!(field(&x_a, "{{secrets.plain}}"), Ok("{secrets.plain}".into()));
    assert_eq!(target("/?a=%7B%7Bsecrets.plain%7D%7D"), Ok("/?a=%7Bsecrets.plain%7D".into()));
    for foreign in ["env: {T: ${{secrets.plain}}}", "${{secrets.plain}}", "a ${{secrets.plain}}} b"] {
        assert_eq!(content("text/plain", foreign), Ok(foreign.to_owned()));
    }
}

#[test]
fn parts_are_read_as_they_say_and_a_longer_boundary_is_another() {
    let part = |head: &str, text: &str| format!("--B\r\n{head}\r\n\r\n{text}\r\n--B--\r\n");
    let run = |body: &str| content("multipart/mixed; boundary=B", body);
    assert_eq!(run(&part("Content-Type: {secrets.plain}", "x")), Err(Code::MalformedRequest));
    let binary =
        part("Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"{secrets.plain}\"", "x");
    assert_eq!(run(&binary), Ok(binary.clone()));
    let nested = part("Content-Type: multipart/mixed; boundary=BC", "--BC\r\n\r\n{secrets.plain}\r\n--BC--");
    assert_eq!(run(&nested), Ok(nested.replace("{secrets.plain}", "abc123")));
}

#[test]
fn numbers_stand_by_their_grammar() {
    for (number, stands) in [
        ("1e400", true),
        ("-0.5E-7", true),
        ("0", true),
        ("01", false),
        ("1.", false),
        ("-", false),
        ("1e", false),
        ("NaN", false),
    ] {
        let (book, host) = (Book::default().with("n", number), host());
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let injected = Injection::new(&book, &host, Surfaces::ALL).content(&fields, b"[{secrets.n}]");
        assert_eq!(injected.is_ok(), stands, "{number}");
    }
}
