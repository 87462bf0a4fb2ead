//! Benchmarks of the injection core: what looking for references costs where there are none, and
//! what replacing them costs where there are.

#![allow(missing_docs, clippy::expect_used, reason = "criterion's macros make undocumented items; a bench may panic")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use subrosa::inject::{Absence, Injection, Resolver, Secret, Unavailable};
use subrosa::origin::Host;
use subrosa::secret::{AllowedDomains, Limits, SecretName, SecretValue, Surfaces};

/// One secret for any host, sealed by nothing: the core alone is measured.
#[derive(Default)]
struct One {
    domains: AllowedDomains,
    limits: Limits,
}

impl Secret for One {
    fn allowed_domains(&self) -> &AllowedDomains {
        &self.domains
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn open(&self) -> Result<SecretValue, Unavailable> {
        Ok(SecretValue::new(b"sk_live_51H8xQ2eZvKYlo2C0123456789".to_vec()).expect("short enough"))
    }
}

struct Book(Arc<One>);

impl Resolver for Book {
    fn find(&self, _: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
        Ok(Arc::clone(&self.0) as Arc<dyn Secret>)
    }
}

fn fields(authorization: &'static str, media_type: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(AUTHORIZATION, HeaderValue::from_static(authorization));
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    for (name, value) in [
        ("host", "api.crm.example.com"),
        ("user-agent", "python-requests/2.32.5"),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
        ("x-request-id", "b4d9d3a2-6f0c-4f7e-9e0b-7f6c2f1c9a10"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    fields
}

fn json(kilobytes: usize, reference: &str) -> Vec<u8> {
    let record = r#"{"id": 4711, "name": "Ada", "tags": ["a", "b"], "note": "no {braces} of ours"}"#;
    let count = (kilobytes * 1024).div_ceil(record.len() + 2);
    format!("{{\"key\": \"{reference}\", \"records\": [{}]}}", vec![record; count].join(", ")).into_bytes()
}

fn form(kilobytes: usize, reference: &str) -> Vec<u8> {
    let pair = "name=Ada+Lovelace&note=no+%7Bbraces%7D+of+ours";
    format!("key={reference}&{}", vec![pair; (kilobytes * 1024).div_ceil(pair.len() + 1)].join("&")).into_bytes()
}

/// The same bytes as text of an element: braces and quotes are what every kind has to look at.
fn xml(kilobytes: usize, reference: &str) -> Vec<u8> {
    [b"<a>", json(kilobytes, reference).as_slice(), b"</a>"].concat()
}

fn head(bencher: &mut Criterion) {
    let (book, host) = (Book(Arc::default()), Host::parse("api.crm.example.com").expect("a name"));
    let mut group = bencher.benchmark_group("head");
    for (name, target, authorization) in [
        ("without a reference", "/v1/contacts/4711?limit=50&fields=name%2Cmail", "Bearer 0123456789abcdef"),
        ("one in a field", "/v1/contacts/4711?limit=50&fields=name%2Cmail", "Bearer {secrets.crm.apiKey}"),
        ("two in the target, one in a field", "/v1/{secrets.a}/4711?k=%7Bsecrets.b%7D", "Bearer {secrets.crm.apiKey}"),
    ] {
        let fields = fields(authorization, "application/json");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut injection = Injection::new(&book, &host, Surfaces::ALL);
                black_box(injection.target(black_box(target.as_bytes())).expect("permitted"));
                black_box(injection.bare_name(black_box(target.as_bytes())));
                black_box(injection.fields(black_box(&fields)).expect("permitted"));
                injection.finish()
            });
        });
    }
    group.finish();
}

fn content(bencher: &mut Criterion) {
    let (book, host) = (Book(Arc::default()), Host::parse("api.crm.example.com").expect("a name"));
    let mut group = bencher.benchmark_group("content");
    for kilobytes in [1, 10, 1000] {
        for (kind, media_type) in [
            ("json", "application/json"),
            ("text", "text/plain"),
            ("form", "application/x-www-form-urlencoded"),
            ("xml", "text/xml"),
        ] {
            let fields = fields("Bearer x", media_type);
            for (name, reference) in [("without", "none"), ("with one", "{secrets.crm.apiKey}")] {
                let bytes = match kind {
                    "form" => form(kilobytes, reference),
                    "xml" => xml(kilobytes, reference),
                    _ => json(kilobytes, reference),
                };
                group.throughput(Throughput::Bytes(bytes.len() as u64));
                group.bench_function(format!("{kilobytes} KB of {kind} {name}"), |bencher| {
                    bencher.iter_batched(
                        || Injection::new(&book, &host, Surfaces::ALL),
                        |mut injection| black_box(injection.content(&fields, black_box(&bytes)).expect("permitted")),
                        BatchSize::SmallInput,
                    );
                });
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(std::time::Duration::from_secs(2)).warm_up_time(std::time::Duration::from_millis(500));
    targets = head, content
}
criterion_main!(benches);
