//! The matrix: one row for each client.

use super::quirks::Quirk;
use super::steps::{ALL, Step};
use super::{Row, origins, prove, quirks};

/// Makes a test of each row, and the list of them all. Those of `clients` are run by `make clients` alone.
macro_rules! rows {
    (tests [$($first:ident => $row:expr,)*] clients [$($later:ident => $other:expr,)*]) => {
        /// Each row with its test's name and whether `make test` runs it.
        pub(super) fn all() -> Vec<(&'static str, bool, Row)> {
            vec![$((stringify!($first), true, $row),)* $((stringify!($later), false, $other),)*]
        }
        $(#[tokio::test] async fn $first() { prove(&$row).await })*
        $(#[tokio::test] #[ignore = "`make clients` installs and runs it"] async fn $later() { prove(&$other).await })*
    };
}

const NONE: &[Quirk] = &[];
/// What most show of a refusal.
const PROBLEM: &str = "\"code\": \"domain_restricted\"";
const PYTHON: &str = "$TOOLS/python/bin/python";
const NODE: &str = "$TOOLS/bin/node";

/// Without multipart.
const SINGLE: &[Step] =
    &[Step::Header, Step::Bearer, Step::Basic, Step::Cookie, Step::Query, Step::Path, Step::Json, Step::Form, Step::Address];

/// The same, by clients that send requests for this machine past every proxy.
const NAMED: &[Step] = &[Step::Header, Step::Bearer, Step::Basic, Step::Cookie, Step::Query, Step::Path, Step::Json, Step::Form];

/// What a row is unless it says otherwise.
const PLAIN: Row = Row {
    client: "",
    command: &[],
    driver: "",
    more: &[],
    steps: ALL,
    version: None,
    sends_token: true,
    shows: PROBLEM,
    origin: origins::ok,
    needs: "",
    quirks: NONE,
};

rows! {
tests [
    curl => Row {
        client: "curl",
        command: &["sh"],
        driver: "curl.sh",
        more: &["--http1.1"],
        version: Some("1.1"),
        quirks: &[quirks::CURL_GLOBS, quirks::CURL_HIDES, quirks::CURL_AND_407],
        ..PLAIN
    },
    curl_http2 => Row {
        client: "curl, HTTP/2",
        command: &["sh"],
        driver: "curl.sh",
        more: &["--http2"],
        version: Some("2"),
        ..PLAIN
    },
    wget => Row {
        client: "GNU Wget",
        command: &["sh"],
        driver: "wget.sh",
        steps: NAMED,
        quirks: &[quirks::WGET_HIDES, quirks::WGET_TRUST],
        ..PLAIN
    },
    python_requests => Row { client: "Python requests", command: &[PYTHON], driver: "python-requests.py", ..PLAIN },
    python_httpx => Row {
        client: "Python httpx",
        command: &[PYTHON],
        driver: "python-httpx.py",
        more: &["h1"],
        version: Some("1.1"),
        ..PLAIN
    },
    python_httpx_http2 => Row {
        client: "Python httpx, HTTP/2",
        command: &[PYTHON],
        driver: "python-httpx.py",
        more: &["h2"],
        version: Some("2"),
        needs: "`Client(http2=True)`",
        ..PLAIN
    },
    python_aiohttp => Row {
        client: "Python aiohttp",
        command: &[PYTHON],
        driver: "python-aiohttp.py",
        needs: "`ClientSession(trust_env=True)`",
        quirks: &[quirks::AIOHTTP_ENVIRONMENT, quirks::AIOHTTP_COOKIES],
        ..PLAIN
    },
    python_urllib => Row {
        client: "Python urllib",
        command: &["python3"],
        driver: "python-urllib.py",
        steps: &[Step::Header, Step::Bearer, Step::Cookie, Step::Query, Step::Path, Step::Json, Step::Form, Step::Address],
        ..PLAIN
    },
    node_fetch => Row {
        client: "Node fetch",
        command: &[NODE],
        driver: "node.mjs",
        more: &["fetch"],
        steps: SINGLE,
        needs: "Node 24, or 22.21",
        quirks: &[quirks::NODE_ENVIRONMENT],
        ..PLAIN
    },
    node_undici => Row {
        client: "undici",
        command: &[NODE],
        driver: "node.mjs",
        more: &["undici"],
        steps: SINGLE,
        needs: "`setGlobalDispatcher(new EnvHttpProxyAgent())` on a Node without `NODE_USE_ENV_PROXY`",
        ..PLAIN
    },
    node_axios => Row {
        client: "axios",
        command: &[NODE],
        driver: "node.mjs",
        more: &["axios"],
        steps: SINGLE,
        quirks: &[quirks::AXIOS_ABSOLUTE, quirks::AXIOS_AND_NODE],
        ..PLAIN
    },
    node_got => Row {
        client: "got",
        command: &[NODE],
        driver: "node.mjs",
        more: &["got"],
        steps: SINGLE,
        needs: "Node 24.5, or an agent",
        quirks: &[quirks::GOT_ENVIRONMENT],
        ..PLAIN
    },
    chromium => Row {
        client: "Chromium",
        command: &["sh"],
        driver: "chromium.sh",
        more: &["$PROXY"],
        steps: &[
            Step::Header, Step::Bearer, Step::Basic, Step::Cookie, Step::Query, Step::Path, Step::Json, Step::Form, Step::Multipart,
        ],
        sends_token: false,
        shows: "domain_restricted",
        origin: origins::page,
        needs: "`--proxy-server=http://HOST:PORT`, and `certs/ca.pem` in its NSS store: `certutil -A -t C,, -n subrosa -i certs/ca.pem -d sql:$HOME/.pki/nssdb`",
        quirks: &[quirks::CHROMIUM_ENVIRONMENT],
        ..PLAIN
    },
]
clients [
    java_http_client => Row {
        client: "Java HttpClient",
        command: &["java"],
        driver: "java.java",
        version: Some("HTTP_2"),
        steps: SINGLE,
        needs: "a `Proxy-Authorization` field where a token is needed",
        quirks: &[quirks::JAVA_BRACES, quirks::JAVA_AUTHENTICATOR],
        ..PLAIN
    },
    java_url_connection => Row {
        client: "Java URLConnection",
        command: &["java"],
        driver: "java-url-connection.java",
        steps: SINGLE,
        needs: "an `Authenticator` where a token is needed",
        ..PLAIN
    },
    go => Row {
        client: "Go net/http",
        command: &["go", "run"],
        driver: "go.go",
        version: Some("HTTP/2.0"),
        steps: NAMED,
        quirks: &[quirks::GO_LOOPBACK],
        ..PLAIN
    },
    php => Row { client: "PHP curl", command: &["php"], driver: "php.php", ..PLAIN },
    ruby => Row {
        client: "Ruby Net::HTTP",
        command: &["ruby"],
        driver: "ruby.rb",
        steps: NAMED,
        quirks: &[quirks::RUBY_BRACES],
        ..PLAIN
    },
    perl => Row {
        client: "Perl LWP",
        command: &["perl"],
        driver: "perl.pl",
        steps: &[
            Step::Header, Step::Bearer, Step::Basic, Step::Cookie, Step::Query, Step::Path, Step::Json, Step::Form, Step::Multipart,
        ],
        quirks: &[quirks::PERL_ENVIRONMENT],
        ..PLAIN
    },
    rust_reqwest => Row {
        client: "Rust reqwest",
        command: &["$TOOLS/reqwest/debug/reqwest-driver"],
        version: Some("HTTP/2.0"),
        needs: "the system's roots (`rustls-tls-native-roots` or `native-tls`)",
        ..PLAIN
    },
    git => Row {
        client: "git",
        command: &["sh"],
        driver: "git.sh",
        steps: &[Step::OwnHeader, Step::OwnBasic],
        shows: "403",
        origin: origins::repository,
        needs: "the reference percent-encoded before the `@` of the URL, or in `http.extraHeader`",
        ..PLAIN
    },
    pip => Row {
        client: "pip",
        command: &["sh"],
        driver: "pip.sh",
        more: &[PYTHON],
        steps: &[Step::OwnBasic],
        shows: "403",
        origin: origins::index,
        needs: "the reference percent-encoded before the `@` of the index URL; `-vv` to see the status of a refusal",
        ..PLAIN
    },
    npm => Row {
        client: "npm",
        command: &["sh"],
        driver: "npm.sh",
        steps: &[Step::OwnBearer],
        shows: "403",
        origin: origins::registry,
        needs: "`//HOST/:_authToken={secrets.NAME}` in `.npmrc`",
        ..PLAIN
    },
    websocket_python => Row {
        client: "Python websockets",
        command: &[PYTHON],
        driver: "websocket-python.py",
        steps: &[Step::WebSocket],
        origin: origins::websocket,
        ..PLAIN
    },
    websocket_node => Row {
        client: "Node ws",
        command: &[NODE],
        driver: "websocket-node.mjs",
        steps: &[Step::WebSocket],
        origin: origins::websocket,
        needs: "an agent, as `https-proxy-agent` makes",
        ..PLAIN
    },
    grpcio => Row {
        client: "Python grpcio",
        command: &[PYTHON],
        driver: "python-grpcio.py",
        steps: &[Step::Metadata],
        shows: "PERMISSION_DENIED",
        ..PLAIN
    },
]
}
