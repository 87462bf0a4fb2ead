//! The sections of the config file: one struct each, every key with its type and its default.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::declared::Source;
use super::key_source::KeySource;
use super::next_proxy::{Bypass, ProxyCredentials, ProxyNames, ProxyUrl};
use super::words::{self, AllowedNetwork, FixedAddress, Size, Span, VariableName};
use crate::members::Role;
use crate::origin::Host;
use crate::secret::{DomainPattern, OrganizationName, RunnerName, Surfaces};

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// `[proxy]`: the door for runners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Where runners connect to.
    pub listen: Vec<SocketAddr>,
    /// Where runners connect to in TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// How that TLS is done.
    pub tls: Option<ProxyTls>,
    /// Where runners connect to in SOCKS 5.
    pub socks: Vec<SocketAddr>,
    /// Where connections of clients that know nothing of a proxy are redirected to: `[[proxy.transparent]]`.
    pub transparent: Vec<Transparent>,
    /// From where the PROXY protocol (version 2) is expected.
    #[serde(with = "words::networks")]
    pub proxy_protocol: Vec<IpNet>,
    /// The organization of unauthenticated clients; unset: `default`, on loopback only, until a runner exists.
    pub anonymous: Option<OrganizationName>,
    /// How many workers share the load; 0 is one per core.
    pub workers: usize,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            listen: vec![loopback(8080)],
            listen_tls: Vec::new(),
            tls: None,
            socks: Vec::new(),
            transparent: Vec::new(),
            proxy_protocol: Vec::new(),
            anonymous: None,
            workers: 0,
        }
    }
}

/// One `[[proxy.transparent]]`: a port that connections are redirected to, and whom it acts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transparent {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The runner that whoever is redirected here acts as.
    pub runner: RunnerName,
    /// The runner's organization; `default` unless said.
    #[serde(default)]
    pub organization: OrganizationName,
}

/// How the TLS of `proxy.listen_tls` is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyTls {
    /// A PEM file: the certificate with its chain.
    pub certificate: PathBuf,
    /// A PEM file: the private key, 0600.
    pub key: PathBuf,
    /// PEM files of who signs certificates of runners; empty: runners are not asked for one.
    #[serde(default)]
    pub client_ca: Vec<PathBuf>,
}

/// `[admin]`: the door for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens; empty: nowhere but on its socket in `data_dir`.
    pub listen: Vec<SocketAddr>,
    /// The names it answers to; a Host beyond them gets 421.
    #[serde(with = "words::hosts")]
    pub hosts: Vec<Host>,
    /// How its TLS is done; required on any address but loopback.
    pub tls: Option<AdminTls>,
    /// An identity provider that people sign in with.
    pub oidc: Option<Oidc>,
}

/// `[admin.oidc]`: signing in with an identity provider (`OpenID` Connect).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The issuer, exactly as the provider names itself.
    pub issuer: String,
    /// What the provider knows this server as.
    pub client_id: String,
    /// What proves it; none for a public client.
    #[serde(default)]
    pub client_secret: Option<Source>,
    /// What is asked for beside `openid`.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// What the button says.
    #[serde(default = "label")]
    pub label: String,
    /// The claim that lists groups.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    /// Roles by group; empty: they are given here, and an invitation lets people in.
    #[serde(default)]
    pub groups: Vec<OidcGroup>,
}

/// One `[[admin.oidc.groups]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcGroup {
    /// The group, as the provider writes it.
    pub group: String,
    /// In which organization its members have a role; `default` unless said.
    #[serde(default)]
    pub organization: OrganizationName,
    /// The role: viewer, editor or administrator.
    pub role: Role,
}

fn scopes() -> Vec<String> {
    vec!["email".to_owned(), "profile".to_owned()]
}

fn label() -> String {
    "Sign in with single sign-on".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

impl Default for Admin {
    fn default() -> Self {
        let hosts = ["localhost", "127.0.0.1"].iter().filter_map(|text| Host::parse(text).ok()).collect();
        Self { listen: vec![loopback(8081)], hosts, tls: None, oidc: None }
    }
}

/// How the TLS of the admin port is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AdminTls {
    /// Somebody in front does it: `tls = "terminated-elsewhere"`.
    #[serde(serialize_with = "terminated_elsewhere")]
    TerminatedElsewhere,
    /// `tls = { certificate = "…", key = "…" }`.
    Files(TlsFiles),
}

/// Where the admin port's certificate and key lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// A PEM file: the certificate with its chain.
    pub certificate: PathBuf,
    /// A PEM file: the private key.
    pub key: PathBuf,
}

/// The one word that `admin.tls` takes.
const TERMINATED_ELSEWHERE: &str = "terminated-elsewhere";

fn terminated_elsewhere<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(TERMINATED_ELSEWHERE)
}

impl<'de> Deserialize<'de> for AdminTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AdminTlsVisitor)
    }
}

struct AdminTlsVisitor;

impl<'de> de::Visitor<'de> for AdminTlsVisitor {
    type Value = AdminTls;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"terminated-elsewhere\" or { certificate = \"FILE\", key = \"FILE\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AdminTls, E> {
        if text == TERMINATED_ELSEWHERE {
            return Ok(AdminTls::TerminatedElsewhere);
        }
        Err(E::custom("this is neither \"terminated-elsewhere\" nor { certificate = \"FILE\", key = \"FILE\" }"))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<AdminTls, A::Error> {
        TlsFiles::deserialize(de::value::MapAccessDeserializer::new(map)).map(AdminTls::Files)
    }
}

/// `[intercept]`: whose TLS is ended, and by which authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intercept {
    /// The CA's certificate, PEM; made on first start when both are absent.
    pub ca_certificate: PathBuf,
    /// The CA's private key, PEM, 0600.
    pub ca_key: PathBuf,
    /// Hosts whose tunnels are relayed untouched.
    pub pass_through: Vec<DomainPattern>,
}

impl Default for Intercept {
    fn default() -> Self {
        Self { ca_certificate: "certs/ca.pem".into(), ca_key: "keys/ca-key.pem".into(), pass_through: Vec::new() }
    }
}

/// `[egress]`: where requests may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Networks that are opened although they are not globally reachable.
    pub allow: Vec<AllowedNetwork>,
    /// Fixed addresses of hosts.
    #[serde(with = "words::resolve")]
    pub resolve: BTreeMap<Host, FixedAddress>,
    /// PEM files of certificates that upstreams may be signed by, beside the system's roots.
    pub extra_roots: Vec<PathBuf>,
    /// Where a secret may go over plain http.
    pub cleartext_secrets: CleartextSecrets,
    /// What is shown to hosts that ask for a certificate: `[[egress.client_certificate]]`.
    pub client_certificate: Vec<ClientCertificate>,
    /// Whom to trust for some hosts: `[[egress.roots]]`.
    pub roots: Vec<HostRoots>,
    /// Another proxy that requests go through.
    pub upstream_proxy: Option<ProxyUrl>,
    /// What it is shown.
    pub upstream_proxy_credentials: Option<ProxyCredentials>,
    /// What it is asked for.
    pub upstream_proxy_names: ProxyNames,
    /// What does not go through it.
    pub no_upstream_proxy: Vec<Bypass>,
}

/// One `[[egress.client_certificate]]`: what is shown to these hosts, if they ask for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The hosts meant.
    pub hosts: Vec<DomainPattern>,
    /// A PEM file: the certificate with its chain.
    pub certificate: PathBuf,
    /// A PEM file: the private key, 0600.
    pub key: PathBuf,
}

/// One `[[egress.roots]]`: whom to trust for these hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRoots {
    /// The hosts meant.
    pub hosts: Vec<DomainPattern>,
    /// PEM files of certificates that these hosts may be signed by.
    pub files: Vec<PathBuf>,
    /// Trust these alone, and not beside the usual ones.
    #[serde(default)]
    pub only: bool,
}

/// Where a secret may go over plain http.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleartextSecrets {
    /// To addresses that `egress.allow` or `egress.resolve` opened.
    #[default]
    AllowedNetworks,
    /// To any address.
    Anywhere,
    /// To none.
    Never,
}

/// `[keys]`: where the key-encryption key is. The first that has it wins: `env`, `command`, `credential`, `file`.
/// Wherever it is, former keys may follow it, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// One line, 32 bytes in base64, 0600; made on first start when nothing else holds the key.
    pub file: PathBuf,
    /// An environment variable that holds the same line. Once named it must be set.
    pub env: Option<VariableName>,
    /// A program with its arguments that prints the same line; empty: none.
    pub command: Vec<String>,
    /// How long the program may take.
    pub command_timeout: Span,
    /// The name of a file below `$CREDENTIALS_DIRECTORY` (systemd); used when it is there.
    pub credential: String,
    /// Where former keys are that something may be sealed with still.
    pub previous: Vec<KeySource>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            file: "keys/kek".into(),
            env: None,
            command: Vec::new(),
            command_timeout: Span::secs(30),
            credential: "subrosa-kek".into(),
            previous: Vec::new(),
        }
    }
}

/// `[injection]`: what is searched, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Injection {
    /// The largest body that is held to be searched.
    pub buffer: Size,
    /// What a body may grow by.
    pub max_growth: Size,
    /// What happens to searched bodies beyond the buffer.
    pub oversize: Oversize,
    /// How long a body without a length is held for more of it to come.
    pub hold: Span,
    /// Whether references are honoured in the text messages of a WebSocket.
    pub websocket: bool,
    /// Surfaces by host: `[[injection.narrow]]`.
    pub narrow: Vec<Narrow>,
}

impl Default for Injection {
    fn default() -> Self {
        Self {
            buffer: Size::mib(1),
            max_growth: Size::mib(16),
            oversize: Oversize::default(),
            hold: Span::millis(100),
            websocket: false,
            narrow: Vec::new(),
        }
    }
}

/// What happens to bodies that are searched and larger than `injection.buffer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oversize {
    /// Spooled to an unlinked file, as the runner sent them.
    #[default]
    Spool,
    /// Searched while they stream.
    Stream,
    /// Refused with 413.
    Refuse,
}

/// One `[[injection.narrow]]`: requests for these hosts are searched on these surfaces only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrow {
    /// The hosts meant.
    pub hosts: Vec<DomainPattern>,
    /// The only surfaces searched; an empty list: none.
    pub surfaces: Surfaces,
}

/// `[redaction]`: values that were sent are taken out of answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redaction {
    /// Whether they are.
    pub enabled: bool,
    /// Hosts whose answers are left as they are.
    pub except: Vec<DomainPattern>,
}

impl Default for Redaction {
    fn default() -> Self {
        Self { enabled: true, except: Vec::new() }
    }
}

/// `[limits]`: what bounds the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Client connections at a time.
    pub connections: usize,
    /// All held bodies together.
    pub held: Size,
    /// All spooled bodies together.
    pub spool: Size,
    /// The head of a request.
    pub head: Size,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, held: Size::mib(256), spool: Size::mib(4096), head: Size::kib(128) }
    }
}

/// `[timeouts]`: how long is waited, by what is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a client's head, from the first byte on.
    pub client_head: Span,
    /// For a connection to an upstream, its TLS included.
    pub upstream_connect: Span,
    /// For an upstream's response head.
    pub upstream_head: Span,
    /// For the next request on a connection.
    pub idle: Span,
    /// For the next byte of a body, either way.
    pub body: Span,
    /// For the next byte of a relayed tunnel, either way.
    pub tunnel: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            client_head: Span::secs(10),
            upstream_connect: Span::secs(10),
            upstream_head: Span::secs(60),
            idle: Span::secs(90),
            body: Span::secs(300),
            tunnel: Span::secs(3600),
        }
    }
}

/// `[shutdown]`: stopping in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long exchanges may take to finish.
    pub grace: Span,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Span::secs(30) }
    }
}

/// `[log]`: what is said, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The least that is said.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The least important lines that are still written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what may fail.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And how.
    Debug,
    /// And everything else.
    Trace,
}

/// `[store]`: what keeps the sealed records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The engine.
    pub engine: Engine,
    /// How long what is known is trusted while a shared store cannot be reached.
    pub stale_for: Span,
    /// Where etcd is, and how it is talked to.
    pub etcd: Option<Etcd>,
}

impl Default for Store {
    fn default() -> Self {
        Self { engine: Engine::default(), stale_for: Span::secs(600), etcd: None }
    }
}

/// What keeps the sealed records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// An embedded store in `data_dir`.
    #[default]
    Sled,
    /// Nothing is kept: for sidecars whose secrets are all declared, and for tests.
    Memory,
    /// A cluster of etcd, which many nodes share.
    Etcd,
}

/// `[store.etcd]`: where etcd is, and how it is talked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Etcd {
    /// Its members: `https://host:port` (or `http://`) each.
    pub endpoints: Vec<String>,
    /// What the keys of this fleet begin with.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// Whom to sign in as.
    #[serde(default)]
    pub user: Option<String>,
    /// A file that holds the user's password, 0600.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A PEM file: who signs the certificates of the members.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A PEM file: the certificate to show, with its chain.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// A PEM file: its private key, 0600.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// How long an answer may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

fn prefix() -> String {
    "/subrosa/".to_owned()
}

fn timeout() -> Span {
    Span::secs(5)
}

/// `[activity]`: what is kept of what happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Activity {
    /// How long an entry is kept.
    pub keep: Span,
    /// How many entries are kept; 0: none.
    pub entries: u64,
}

impl Default for Activity {
    fn default() -> Self {
        Self { keep: Span::secs(90 * 24 * 3600), entries: 100_000 }
    }
}
