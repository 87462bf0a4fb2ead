//! The environment that sends a runner through the proxy: which variable each client reads, and
//! how a shell or a file writes them.
//!
//! Two kinds of trust variables exist. One kind adds a certificate to what the client trusts
//! (Node, Deno): it gets the CA alone. The other replaces the client's trust (OpenSSL, Python, curl,
//! git and the rest): it gets a bundle of the system's roots and the CA, because hosts that are
//! passed through show their own certificates.

use std::path::{Path, PathBuf};

/// Names with their values, in the order in which they are printed.
pub type Variables = Vec<(&'static str, String)>;

/// How the variables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `export NAME='value'`, for `eval "$(subrosa env)"`.
    Sh,
    /// `set -gx NAME 'value'`, for `subrosa env --format fish | source`.
    Fish,
    /// `NAME="value"`, for .env files.
    Dotenv,
    /// `NAME=value`, for `docker run --env-file`.
    Docker,
    /// `environment:` beneath a service of a compose file.
    Compose,
    /// `env:` beneath a container of a manifest.
    Kubernetes,
    /// One object.
    Json,
}

/// Where the proxy is, with the runner's token if there is one.
pub struct ProxyAddress {
    /// The host, an IPv6 address in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The runner's token.
    pub token: Option<String>,
}

impl ProxyAddress {
    /// `127.0.0.1:8080`, as people are told.
    pub fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// `http://127.0.0.1:8080`, or with the token as password.
    fn url(&self) -> String {
        let credentials = self.token.as_deref().map(|token| format!("runner:{}@", percent_encoded(token)));
        format!("http://{}{}:{}", credentials.unwrap_or_default(), self.host, self.port)
    }
}

/// The names of the files that clients trust the CA by, in their directory.
pub const BUNDLE: &str = "bundle.pem";
/// The truststore of Java.
pub const JAVA: &str = "truststore.jks";
/// The settings of Wget.
pub const WGET: &str = "wgetrc";
/// The directory with the settings of PHP.
pub const PHP: &str = "php";
/// The directory with the settings that name the files as they are called where they are mounted.
pub const MOUNTED: &str = "mounted";

/// Where the files lie, as the runner sees them. All of them are public.
pub struct TrustFiles {
    /// The CA's certificate alone, PEM.
    pub ca: PathBuf,
    /// The system's roots and the CA's certificate, PEM.
    pub bundle: PathBuf,
    /// The same for Java.
    pub java: PathBuf,
    /// A directory with a settings file for PHP.
    pub php_directory: PathBuf,
    /// The settings file of Wget.
    pub wget: PathBuf,
}

impl TrustFiles {
    /// The files as they are called in `directory`; what holds settings lies in `settings` there.
    pub fn in_directory(directory: &Path, settings: &str, ca: PathBuf) -> Self {
        Self {
            ca,
            bundle: directory.join(BUNDLE),
            java: directory.join(JAVA),
            php_directory: directory.join(settings).join(PHP),
            wget: directory.join(settings).join(WGET),
        }
    }
}

/// Every variable for every client we know of. `no_proxy` is what goes past the proxy: empty
/// unless said, because a reference in a request past the proxy would leave as it is written.
pub fn variables(proxy: &ProxyAddress, files: &TrustFiles, no_proxy: &str) -> Variables {
    let mut variables = proxy_variables(proxy, no_proxy);
    let bundle = files.bundle.display().to_string();
    let ca = files.ca.display().to_string();
    for name in REPLACES_TRUST {
        variables.push((name, bundle.clone()));
    }
    for name in ADDS_TRUST {
        variables.push((name, ca.clone()));
    }
    // Node's own clients and fetch read the proxy variables only when told to (Node 24).
    variables.push(("NODE_USE_ENV_PROXY", "1".to_owned()));
    variables.push(("PERL_LWP_ENV_PROXY", "1".to_owned()));
    variables.push(("SYSTEM_WGETRC", files.wget.display().to_string()));
    // The empty part before the colon keeps the directory that PHP was built with.
    variables.push(("PHP_INI_SCAN_DIR", format!(":{}", files.php_directory.display())));
    variables.push(("JAVA_TOOL_OPTIONS", java_options(proxy, files, no_proxy)));
    variables
}

/// OpenSSL (with it Ruby, PHP's streams, httpx), Go; requests; curl; git; pip; npm; cargo; the AWS
/// command line; Bundler; gRPC; Perl's LWP.
const REPLACES_TRUST: [&str; 11] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "npm_config_cafile",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "BUNDLE_SSL_CA_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "PERL_LWP_SSL_CA_FILE",
];

/// Node, Deno.
const ADDS_TRUST: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Both cases of each: curl reads `http_proxy` in lower case only, others upper case only.
fn proxy_variables(proxy: &ProxyAddress, no_proxy: &str) -> Variables {
    let url = proxy.url();
    let mut variables: Variables =
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].into_iter().map(|name| (name, url.clone())).collect();
    variables.extend(["NO_PROXY", "no_proxy"].map(|name| (name, no_proxy.to_owned())));
    variables
}

/// Java takes no proxy credentials from properties, so the token is not here: with one, a Java
/// runner sets an `Authenticator`, which the last option permits for https as well.
fn java_options(proxy: &ProxyAddress, files: &TrustFiles, no_proxy: &str) -> String {
    let host = proxy.host.trim_matches(['[', ']']);
    let past: Vec<String> = no_proxy.split(',').map(str::trim).filter(|host| !host.is_empty()).map(java_pattern).collect();
    let truststore = files.java.display().to_string();
    let option = |name: &str, value: &str| {
        let option = format!("-D{name}={value}");
        if option.contains(' ') { format!("\"{option}\"") } else { option }
    };
    [
        option("http.proxyHost", host),
        option("http.proxyPort", &proxy.port.to_string()),
        option("https.proxyHost", host),
        option("https.proxyPort", &proxy.port.to_string()),
        option("http.nonProxyHosts", &past.join("|")),
        option("javax.net.ssl.trustStore", &truststore),
        option("javax.net.ssl.trustStoreType", "JKS"),
        option("jdk.http.auth.tunneling.disabledSchemes", ""),
    ]
    .join(" ")
}

/// `.example.com` is `*.example.com` in Java.
fn java_pattern(host: &str) -> String {
    if host.starts_with('.') { format!("*{host}") } else { host.to_owned() }
}

/// Writes the variables as `format` says.
pub fn render(variables: &Variables, format: Format) -> String {
    if format == Format::Json {
        let object: serde_json::Map<String, serde_json::Value> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        return format!("{:#}", serde_json::Value::Object(object));
    }
    let lines = variables.iter().map(|(name, value)| match format {
        Format::Sh => format!("export {name}='{}'", value.replace('\'', r"'\''")),
        Format::Fish => format!("set -gx {name} '{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
        Format::Dotenv => format!("{name}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('$', "\\$")),
        // A compose file puts its own variables in the place of `$`. What JSON quotes YAML reads.
        Format::Compose => format!("  {name}: {}", quoted(&value.replace('$', "$$"))),
        Format::Kubernetes => format!("  - name: {name}\n    value: {}", quoted(value)),
        Format::Docker | Format::Json => format!("{name}={value}"),
    });
    let head = match format {
        Format::Compose => "environment:\n",
        Format::Kubernetes => "env:\n",
        _ => "",
    };
    format!("{head}{}", lines.collect::<Vec<_>>().join("\n"))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A token as it stands in a URL: everything outside RFC 3986 unreserved is percent-encoded.
fn percent_encoded(token: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let encoded = token.bytes().map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(token: Option<&str>, no_proxy: &str) -> Variables {
        let files = TrustFiles {
            ca: "/c/ca.pem".into(),
            bundle: "/c/bundle.pem".into(),
            java: "/my certs/truststore.jks".into(),
            php_directory: "/c/php".into(),
            wget: "/c/wgetrc".into(),
        };
        let proxy = ProxyAddress { host: "127.0.0.1".into(), port: 8080, token: token.map(str::to_owned) };
        variables(&proxy, &files, no_proxy)
    }

    fn value<'a>(variables: &'a Variables, wanted: &str) -> &'a str {
        variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str()).expect(wanted)
    }

    #[test]
    fn names_the_proxy_in_both_cases_and_lets_nothing_past_it() {
        let variables = made(None, "");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            assert_eq!(value(&variables, name), "http://127.0.0.1:8080");
        }
        assert_eq!((value(&variables, "NO_PROXY"), value(&variables, "no_proxy")), ("", ""));
    }

    #[test]
    fn the_token_is_the_password_and_stays_out_of_javas_options() {
        let variables = made(Some("a/b"), "");
        assert_eq!(value(&variables, "HTTPS_PROXY"), "http://runner:a%2Fb@127.0.0.1:8080");
        assert!(!value(&variables, "JAVA_TOOL_OPTIONS").contains("a/b"));
    }

    #[test]
    fn what_replaces_trust_gets_the_bundle_and_what_adds_to_it_the_ca() {
        let variables = made(None, "");
        for name in REPLACES_TRUST {
            assert_eq!(value(&variables, name), "/c/bundle.pem", "{name}");
        }
        for name in ADDS_TRUST {
            assert_eq!(value(&variables, name), "/c/ca.pem", "{name}");
        }
        assert_eq!(value(&variables, "PHP_INI_SCAN_DIR"), ":/c/php");
        assert_eq!(value(&variables, "SYSTEM_WGETRC"), "/c/wgetrc");
    }

    #[test]
    fn javas_options_quote_blanks_and_translate_the_hosts_past_the_proxy() {
        let variables = made(None, "localhost,.example.com");
        let options = value(&variables, "JAVA_TOOL_OPTIONS");
        assert!(options.contains("\"-Djavax.net.ssl.trustStore=/my certs/truststore.jks\""), "{options}");
        assert!(options.contains(" -Dhttp.nonProxyHosts=localhost|*.example.com "), "{options}");
    }

    #[test]
    fn every_format_quotes_as_its_reader_unquotes() {
        let variables: Variables = vec![("A", r#"it's "$x" \ y"#.to_owned())];
        for (format, expected) in [
            (Format::Sh, r#"export A='it'\''s "$x" \ y'"#),
            (Format::Fish, r#"set -gx A 'it\'s "$x" \\ y'"#),
            (Format::Dotenv, r#"A="it's \"\$x\" \\ y""#),
            (Format::Compose, "environment:\n  A: \"it's \\\"$$x\\\" \\\\ y\""),
            (Format::Kubernetes, "env:\n  - name: A\n    value: \"it's \\\"$x\\\" \\\\ y\""),
            (Format::Docker, r#"A=it's "$x" \ y"#),
            (Format::Json, "{\n  \"A\": \"it's \\\"$x\\\" \\\\ y\"\n}"),
        ] {
            assert_eq!(render(&variables, format), expected, "{format:?}");
        }
    }
}
