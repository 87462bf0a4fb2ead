//! What the road does to one request, piece by piece: one table for two instruments. `road` asks how long
//! each takes, `counts` how many instructions.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use subrosa::audit::{Audit, Entry, Outcome};
use subrosa::cli::JsonLines;
use subrosa::inject::{Found, Injection, Instead, Needles, Passed, Readable, Reasons, Redaction, Resolver, Secrets, Sent};
use subrosa::ledger::Ledger;
use subrosa::origin::Host;
use subrosa::proxy::judge_head;
use subrosa::seal::{KeyEncryptionKey, Resident, Sealer};
use subrosa::secret::{
    AllowedDomains, Description, DomainPattern, Limits, OrganizationName, SecretName, SecretValue, Surface, Surfaces,
};
use subrosa::store::{self, Engine};
use subrosa::tls::{Authority, Leaves};
use subrosa::vault::{NewSecret, Vault};
use tracing_subscriber::layer::SubscriberExt;

/// Something that can be done again and again.
pub(crate) struct Case {
    /// `what/how`, as it stands in a table.
    pub(crate) name: &'static str,
    /// Once.
    pub(crate) work: Box<dyn FnMut()>,
}

const VALUE: &[u8] = b"sk_live_51H8xQ2eZvKYlo2C0123456789";
/// How many secrets the vault holds.
const SECRETS: usize = 10_000;

/// All of them, in the order of a request's life.
pub(crate) fn all() -> Vec<Case> {
    let vault = vault();
    let host = Host::parse("api.crm.example.com").expect("a name");
    let mut cases = heads();
    cases.extend(injections(&vault, &host));
    cases.extend(finding(&vault));
    cases.extend(values());
    cases.extend(answers(&vault));
    cases.push(audit());
    cases.extend(leaves());
    cases
}

fn case(name: &'static str, work: impl FnMut() + 'static) -> Case {
    Case { name, work: Box::new(work) }
}

fn value() -> SecretValue {
    SecretValue::new(VALUE.to_vec()).expect("short enough")
}

/// A vault of [`SECRETS`] secrets, each for 2 domains, one of which is used by the cases.
fn vault() -> Arc<Vault> {
    let patterns = |number: usize| {
        let texts = [
            format!("*.n{number}.example"),
            if number == 0 { "*.crm.example.com".into() } else { format!("h{number}.example.com") },
        ];
        AllowedDomains::new(texts.iter().map(|text| DomainPattern::parse(text).expect("a pattern")).collect()).expect("two")
    };
    let secret = |number: usize| NewSecret {
        name: SecretName::parse(&if number == 0 { "crm.apiKey".to_owned() } else { format!("n{number}.apiKey") })
            .expect("a name"),
        value: value(),
        description: Description::default(),
        allowed_domains: patterns(number),
        limits: Limits::default(),
    };
    let declared = (0..SECRETS).map(|number| (OrganizationName::default(), secret(number))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let vault = runtime.block_on(async {
        let store = store::open(Engine::Memory).await.expect("opens");
        let ledger = Ledger::open(store, Sealer::new(KeyEncryptionKey::from_bytes(&[1; 32]))).await.expect("opens");
        Vault::new(Arc::new(ledger), declared).expect("declares")
    });
    Arc::new(vault)
}

fn resolver(vault: &Vault) -> Arc<dyn Resolver> {
    vault.resolver(&OrganizationName::default(), None).into()
}

/// A head as clients send it, and with `more` fields in it.
fn raw_head(more: usize) -> Vec<u8> {
    let mut head =
        b"GET http://api.crm.example.com/v1/contacts/4711?limit=50&fields=name%2Cmail HTTP/1.1\r\nHost: api.crm.example.com\r\n\
        User-Agent: python-requests/2.32.5\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\
        Authorization: Bearer {secrets.crm.apiKey}\r\n"
            .to_vec();
    for number in 0..more {
        head.extend_from_slice(format!("X-Field-{number}: b4d9d3a2-6f0c-4f7e-9e0b-7f6c2f1c9a10\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn heads() -> Vec<Case> {
    let judging = |name, more| {
        let head = raw_head(more);
        case(name, move || judge_head(black_box(&head)).expect("one meaning"))
    };
    vec![judging("head/judge, 6 fields", 0), judging("head/judge, 50 fields", 44)]
}

fn fields(authorization: &str, media_type: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(AUTHORIZATION, HeaderValue::from_str(authorization).expect("a value"));
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

fn multipart(kilobytes: usize, reference: &str) -> Vec<u8> {
    let part =
        |name: &str, text: &str| format!("--frontier\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let others = part("note", "no {braces} of ours, and some more text of a form").repeat((kilobytes * 1024).div_ceil(130));
    format!("{}{others}--frontier--\r\n", part("key", reference)).into_bytes()
}

const PLAIN: &str = "/v1/contacts/4711?limit=50&fields=name%2Cmail";
const REFERENCE: &str = "{secrets.crm.apiKey}";

fn injections(vault: &Arc<Vault>, host: &Host) -> Vec<Case> {
    let head = |name, target: &'static str, authorization: &str| {
        let (resolver, host, fields) = (resolver(vault), host.clone(), fields(authorization, "application/json"));
        case(name, move || {
            let mut injection = Injection::new(&*resolver, &host, Surfaces::ALL);
            black_box(injection.target(black_box(target.as_bytes())).expect("permitted"));
            black_box(injection.bare_name(black_box(target.as_bytes())));
            black_box(injection.fields(black_box(&fields)).expect("permitted"));
            black_box(injection.finish());
        })
    };
    let content = |name, media_type, bytes: Vec<u8>| {
        let (resolver, host, fields) = (resolver(vault), host.clone(), fields("Bearer x", media_type));
        case(name, move || {
            let mut injection = Injection::new(&*resolver, &host, Surfaces::ALL);
            black_box(injection.content(black_box(&fields), black_box(&bytes)).expect("permitted"));
            black_box(injection.finish());
        })
    };
    let basic = format!("Basic {}", STANDARD.encode(format!("billing:{REFERENCE}")));
    let (form_type, multipart_type) = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=frontier");
    vec![
        head("inject/head without a reference", PLAIN, "Bearer 0123456789abcdef"),
        head("inject/a field", PLAIN, "Bearer {secrets.crm.apiKey}"),
        head("inject/Basic credentials", PLAIN, &basic),
        head("inject/the query", "/v1/contacts/4711?key=%7Bsecrets.crm.apiKey%7D", "Bearer 0123456789abcdef"),
        head("inject/the path", "/v1/{secrets.crm.apiKey}/4711?limit=50", "Bearer 0123456789abcdef"),
        head(
            "inject/two in the target, one in a field",
            "/v1/{secrets.crm.apiKey}/4711?key=%7Bsecrets.crm.apiKey%7D",
            "Bearer {secrets.crm.apiKey}",
        ),
        content("inject/10 KB of JSON without", "application/json", json(10, "none")),
        content("inject/10 KB of JSON", "application/json", json(10, REFERENCE)),
        content("inject/10 KB of a form", form_type, form(10, REFERENCE)),
        content("inject/10 KB of multipart", multipart_type, multipart(10, REFERENCE)),
        content("inject/100 KB of multipart", multipart_type, multipart(100, REFERENCE)),
        content("inject/1,000 KB of JSON without", "application/json", json(1000, "none")),
        content("inject/1,000 KB of JSON", "application/json", json(1000, REFERENCE)),
        content("inject/10 KB of text", "text/plain", json(10, REFERENCE)),
        content("inject/10 KB of XML", "text/xml", [b"<a>", json(10, REFERENCE).as_slice(), b"</a>"].concat()),
    ]
}

fn finding(vault: &Arc<Vault>) -> Vec<Case> {
    let found = resolver(vault);
    let find = move |number: usize, host: &Host| {
        let name = SecretName::parse(&format!("n{number}.apiKey")).expect("a name");
        found.find(black_box(&name)).is_ok_and(|secret| secret.allowed_domains().permits(black_box(host)))
    };
    let (mut number, host) = (0, Host::parse("deep.below.n77.example").expect("a name"));
    let hundred = (0..100).map(|number| DomainPattern::parse(&format!("*.n{number}.example")).expect("a pattern"));
    let hundred = AllowedDomains::new(hundred.collect()).expect("a hundred");
    let stranger = Host::parse("api.crm.example.com").expect("a name");
    vec![
        case("domains/one of 10,000 secrets found and held against a host", move || {
            number = 1 + (number + 7919) % (SECRETS - 1);
            black_box(find(number, &host));
        }),
        case("domains/100 patterns, none of which matches", move || {
            black_box(hundred.permits(black_box(&stranger)));
        }),
    ]
}

/// Values as they are kept: sealed for the disk, and sealed for this process.
fn values() -> Vec<Case> {
    let header = br#"{"format":1,"kind":"secret","organization":"default","id":"5f1d0c9a7b3e24685f1d0c9a7b3e2468","revision":3,"name":"crm.apiKey","created_at":1760000000,"created_by":"ada","updated_at":1760000000,"updated_by":"ada","metadata":{"allowed_domains":["*.crm.example.com"]}}"#;
    let sealer = Sealer::new(KeyEncryptionKey::from_bytes(&[1; 32]));
    let sealed = sealer.seal_value(header, &value()).expect("seals");
    let (opener, given, resident) = (sealer.clone(), value(), Resident::seal(&value()).expect("seals"));
    vec![
        case("seal/a value", move || drop(black_box(sealer.seal_value(header, &given)))),
        case("seal/opened", move || drop(black_box(opener.open_value(black_box(&sealed)).expect("opens")))),
        case("seal/opened, resident", move || drop(black_box(resident.open().expect("opens")))),
    ]
}

/// Answers looked through for one value that was sent.
fn answers(vault: &Arc<Vault>) -> Vec<Case> {
    let name = SecretName::parse("crm.apiKey").expect("a name");
    let secret = resolver(vault).find(&name).unwrap_or_else(|_| panic!("it is there"));
    let sent = [Sent::new(name, secret)];
    let needles = move || Needles::of(&sent, 1, &|_| None).expect("opens");
    let ready = needles();
    let fields = fields("Bearer x", "application/json");
    let through = move |needles: &Needles, bytes: &[u8]| {
        let readable = Readable::of(&fields).expect("readable");
        let mut found = Found::default();
        let passed = Redaction::new(&readable, needles, Instead::Reference).push(needles, bytes, true, &mut found);
        (passed.expect("decodes"), found.count)
    };
    let (plain, echo) = (json(10, "none"), json(10, std::str::from_utf8(VALUE).expect("ASCII")));
    let again = through.clone();
    vec![
        case("answer/the forms of a value", move || drop(black_box(needles()))),
        case("answer/10 KB looked through", {
            let ready = Arc::new(ready);
            let other = Arc::clone(&ready);
            assert!(matches!(again(&other, &plain), (Passed::AsItIs(_), 0)));
            assert!(matches!(again(&other, &echo), (Passed::Written(_), 1)));
            move || drop(black_box(through(&ready, black_box(&plain))))
        }),
    ]
}

/// An audit line, formatted as a server formats it, and written nowhere.
fn audit() -> Case {
    let subscriber = tracing_subscriber::registry().with(JsonLines::new(std::io::sink));
    let dispatch = tracing::Dispatch::new(subscriber);
    let (audit, organization, host) =
        (Audit::new(), OrganizationName::default(), Host::parse("api.crm.example.com").expect("a name"));
    let secrets = [(SecretName::parse("crm.apiKey").expect("a name"), Surface::Header)];
    case("audit/a line", move || {
        tracing::dispatcher::with_default(&dispatch, || {
            audit.record(black_box(&Entry {
                request_id: "0197a1b2c3d4",
                client: Some(([127, 0, 0, 1], 40_000).into()),
                runner: None,
                organization: Some(&organization),
                method: "GET",
                url: "https://api.crm.example.com/v1/contacts/4711?limit=50",
                origin: Some("https://api.crm.example.com"),
                host: Some(&host),
                secrets: &secrets,
                redacted: &[],
                unsearched: Reasons::default(),
                answer_unsearched: Reasons::default(),
                outcome: Outcome::Forwarded,
                code: None,
                detail: None,
                hint: None,
                status: Some(200),
                duration: Duration::from_micros(312),
                at: SystemTime::UNIX_EPOCH,
            }));
        });
    })
}

/// Certificates for hosts: made, and found.
fn leaves() -> Vec<Case> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(Path::new(name));
    let (authority, _) = Authority::load_or_create(&file("ca.pem"), &file("ca-key.pem"), SystemTime::now()).expect("made");
    let leaves = Arc::new(Leaves::new(Arc::new(authority), 1_000, SystemTime::now));
    let kept = Arc::clone(&leaves);
    let known = Host::parse("api.crm.example.com").expect("a name");
    kept.server_config(&known).expect("minted");
    let mut number = 0;
    vec![
        case("leaf/minted", move || {
            number += 1;
            let host = Host::parse(&format!("host-{number:08}.example.com")).expect("a name");
            drop(black_box(leaves.server_config(&host).expect("minted")));
        }),
        case("leaf/found", move || drop(black_box(kept.server_config(black_box(&known)).expect("found")))),
    ]
}
