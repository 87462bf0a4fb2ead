//! Setup: the CA's certificate in every form, where each runtime looks for it, and the environment lines.

use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::form::{Faults, Field};
use super::layout::{Page, Section};
use super::lines::{self, Reach};
use super::parts::{Tone, note};
use super::query::Query;
use super::visit::OrganizationVisit;
use crate::admin::State;
use crate::admin::certificates;
use crate::origin::Authority;

/// Each runtime, what it trusts by, and what else it takes.
const RUNTIMES: [(&str, &str, &str); 11] = [
    ("curl, PHP's curl", "CURL_CA_BUNDLE", "Reads http_proxy in lower case only."),
    ("Python: requests", "REQUESTS_CA_BUNDLE", ""),
    ("Python: httpx, urllib, aiohttp", "SSL_CERT_FILE", "aiohttp reads the proxy only with trust_env=True."),
    ("Node.js", "NODE_EXTRA_CA_CERTS", "fetch takes NODE_USE_ENV_PROXY=1 (Node 24) or undici's EnvHttpProxyAgent."),
    ("Java", "JAVA_TOOL_OPTIONS", "A truststore. Java takes no proxy credentials from properties: set an Authenticator."),
    ("Go", "SSL_CERT_FILE", ""),
    ("Ruby, OpenSSL", "SSL_CERT_FILE", ""),
    ("PHP's streams", "PHP_INI_SCAN_DIR", "An ini file with openssl.cafile."),
    ("git", "GIT_SSL_CAINFO", ""),
    ("pip, npm, cargo, Bundler", "PIP_CERT, npm_config_cafile, CARGO_HTTP_CAINFO, BUNDLE_SSL_CA_CERT", ""),
    ("Browsers and desktops", "the system's own store", "Import ca.der there."),
];

/// `GET /organizations/{organization}/setup`
pub(super) async fn show(visit: OrganizationVisit, Shared(state): Shared<State>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref());
    let mut faults = Faults::default();
    let proxy = proxy(query.text("proxy"), &mut faults);
    let reach = Reach::usual(&state).with(proxy, query.text("certificates"));
    let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let content = html! {
        div.head { div {
            h1 { "Setup" }
            p { "What a runner needs: the address of the proxy with a token, and trust in the certificate authority that the proxy shows." }
        } }
        div.stack.content-wide {
            (faults.summary())
            (certificate(&state, &reach))
            (environment(&visit, &reach, &faults, &query))
            (runtimes())
        }
    };
    Page::new("Setup", Section::Setup).faulty(!faults.is_empty()).answer(&visit.visit, status, &content)
}

fn proxy(typed: &str, faults: &mut Faults) -> Option<(String, u16)> {
    if typed.is_empty() {
        return None;
    }
    let parsed = faults.keep("proxy", Authority::parse(typed))?;
    if parsed.port.is_none() {
        faults.add("proxy", "write host and port, such as proxy.internal:8080");
    }
    parsed.port.map(|port| (parsed.host.to_string(), port))
}

fn certificate(state: &State, reach: &Reach) -> Markup {
    let directory = reach.directory();
    let commands = format!("cat /etc/ssl/certs/ca-certificates.crt {directory}/ca.pem > {directory}/bundle.pem");
    html! {
        section.section aria-labelledby="certificate" {
            h2 #certificate { "The CA's certificate" }
            @match certificates::fingerprint(&state.ca) {
                None => (note(Tone::Warn, &html! { p { "There is no CA certificate yet; " code { "subrosa serve" } " makes it on its first start." } })),
                Some(fingerprint) => {
                    p.muted { "It is public. Whoever trusts it trusts this proxy to stand for any host, so hand it to runners only." }
                    div.actions {
                        a.button.button-quiet href="/ca.pem" download="subrosa-ca.pem" { "ca.pem" }
                        a.button.button-quiet href="/ca.der" download="subrosa-ca.der" { "ca.der" }
                        a.button.button-quiet href="/ca.p12" download="subrosa-ca.p12" { "ca.p12 for Java" }
                    }
                    p.hint { "SHA-256 " code { (fingerprint) } }
                    p { "Most runtimes take one file that replaces what they trust. Give them the system's roots and the CA together, so that hosts which are passed through are trusted as before:" }
                    (lines::block("Bundle", "", &commands))
                    p.hint { "A directory made by " code { "subrosa env" } " (the server's own " code { "certs/" } ", to be mounted into containers) holds the bundle and Java's truststore already." }
                }
            }
        }
    }
}

fn environment(
    OrganizationVisit { organization, .. }: &OrganizationVisit,
    reach: &Reach,
    faults: &Faults,
    query: &Query,
) -> Markup {
    let typed = |name: &str, usual: String| if query.text(name).is_empty() { usual } else { query.text(name).to_owned() };
    html! {
        section.section aria-labelledby="environment" {
            h2 #environment { "Environment" }
            p.muted { "A runner's own token is put into these lines when it is " a href={ "/organizations/" (organization) "/runners" } { "created" } "." }
            form.toolbar.toolbar-fields method="get" action={ "/organizations/" (organization) "/setup#environment" } {
                (Field::new("proxy", "Proxy", faults).line("input-mono", &typed("proxy", reach.proxy())))
                (Field::new("certificates", "Directory of the certificates", faults).line("input-mono", &typed("certificates", reach.directory().to_owned())))
                button.button.button-quiet type="submit" { "Show" }
            }
            (lines::tabs(reach, None))
        }
    }
}

fn runtimes() -> Markup {
    html! {
        section.section aria-labelledby="runtimes" {
            h2 #runtimes { "Where each runtime looks" }
            table.table role="table" {
                thead role="rowgroup" { tr role="row" {
                    @for title in ["Runtime", "Trusts by", "Also"] { th scope="col" role="columnheader" { (title) } }
                } }
                tbody role="rowgroup" {
                    @for (runtime, variable, also) in RUNTIMES {
                        tr role="row" {
                            td role="cell" { (runtime) }
                            td role="cell" data-label="Trusts by" { span.mono { (variable) } }
                            td role="cell" data-label="Also" { (also) }
                        }
                    }
                }
            }
        }
    }
}
