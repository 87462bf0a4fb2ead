//! `subrosa doctor`: connects as each runtime on this machine would, and says which step fails: proxy
//! variable, token, interception, trust, secret, domain, egress.
//!
//! Each runtime is started with the variables that `subrosa run` sets, but for the proxy's address: that is
//! a relay of ours (`watch`) that passes everything on and sees who came and what the proxy answered. With
//! what the runtime itself printed that tells the step (`verdict`). Without `--url` proxy, origin and secret are
//! ones of its own, that go away afterwards.

mod runtimes;
mod verdict;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::env::Route;
use super::error::CliError;
use super::sandbox::{self, Origin, OriginAuthority, Place, Proxy};
use super::trust_files;
use super::{exec, out};
use crate::config::Config;
use crate::origin::{Host, Scheme};
use crate::runtimes::{ProxyAddress, Variables, variables};
use crate::secret::SecretName;
use runtimes::Runtime;
use verdict::{Evidence, Finding, Step};

/// How long one runtime may take; the slowest compiles first.
const PATIENCE: Duration = Duration::from_mins(1);
/// What everything has in the sandbox.
const HOST: &str = "origin.subrosa.example";
const SECRET: &str = "doctor";
const VALUE: &str = "doctor-5e1d-not-a-real-key";

/// What is tried.
#[derive(Args)]
pub(super) struct Arguments {
    /// Try the running proxy with this target, instead of a proxy and an origin of its own.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A secret to send to that target, in the field X-Subrosa-Doctor.
    #[arg(long, value_name = "NAME", requires = "url")]
    secret: Option<SecretName>,
    /// Only this runtime; may be repeated.
    #[arg(long, value_name = "RUNTIME")]
    only: Vec<String>,
    #[command(flatten)]
    route: Route,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    target: String,
    proxy: String,
    /// Whether the proxy, the origin and the secret were the command's own.
    sandbox: bool,
    runtimes: Vec<Finding>,
    /// What this shell lacks or has otherwise; names, never values.
    notes: Vec<String>,
}

/// Where requests go, and with what.
struct Try {
    url: String,
    host: String,
    port: u16,
    is_tls: bool,
    secret: Option<String>,
    proxy: ProxyAddress,
}

/// Prints the findings; a runtime that does not get through makes the exit code 1.
pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result<(), CliError> {
    let chosen = runtimes::chosen(&arguments.only)?;
    let place = Place::make("doctor")?;
    let report = match &arguments.url {
        Some(url) => running(config, arguments, url, place.path(), chosen).await?,
        None => own(place.path(), chosen).await?,
    };
    out::line(&if arguments.json { format!("{:#}", serde_json::json!(report)) } else { written(&report) })?;
    if report.runtimes.is_empty() {
        return Err(CliError::failed("none of the runtimes is installed here"));
    }
    if report.runtimes.iter().all(|finding| finding.ok) { Ok(()) } else { Err(CliError::Said) }
}

/// Tries the proxy that runs.
async fn running(
    config: &Config,
    arguments: &Arguments,
    url: &str,
    place: &Path,
    chosen: Vec<&'static Runtime>,
) -> Result<Report, CliError> {
    let (scheme, host, port) = target(url)?;
    let proxy = arguments.route.proxy_address(config)?;
    let files = trust_files::prepare(config, None)?;
    let secret = arguments.secret.as_ref().map(ToString::to_string);
    let tried = Try { url: url.to_owned(), host, port, is_tls: scheme == Scheme::Https, secret, proxy };
    let mut notes = verdict::environment(&variables(&tried.proxy, &files, ""), |name| std::env::var_os(name));
    let runtimes = match unreachable(&tried).await {
        Some(fault) => {
            notes.clear();
            chosen.iter().map(|runtime| Finding::failed(runtime.name, Step::Proxy, fault.clone())).collect()
        }
        None => tried_by(config, &tried, place, chosen, || true).await?,
    };
    Ok(Report { target: tried.url, proxy: tried.proxy.shown(), sandbox: false, runtimes, notes })
}

/// Tries a proxy, an origin and a secret of its own.
async fn own(place: &Path, chosen: Vec<&'static Runtime>) -> Result<Report, CliError> {
    let authority = OriginAuthority::make(place)?;
    let origin = Origin::start(&authority, HOST).await?;
    let path = sandbox::write_config(place, &[&origin])?;
    let mut proxy = Proxy::start(&path).await?;
    sandbox::store_secret(&path, SECRET, VALUE, HOST).await?;
    let config = Config::load(Some(&path), std::iter::empty())?;
    let tried = Try {
        url: format!("https://{HOST}/"),
        host: HOST.to_owned(),
        port: 443,
        is_tls: true,
        secret: Some(SECRET.to_owned()),
        proxy: ProxyAddress { host: proxy.address.ip().to_string(), port: proxy.address.port(), token: None },
    };
    let arrived = || origin.received().contains(VALUE);
    let runtimes = tried_by(&config, &tried, place, chosen, arrived).await;
    proxy.stop().await;
    let notes = vec!["Tried with a proxy and an origin of its own; `--url URL` tries the running proxy.".to_owned()];
    Ok(Report { target: tried.url, proxy: tried.proxy.shown(), sandbox: true, runtimes: runtimes?, notes })
}

fn target(url: &str) -> Result<(Scheme, String, u16), CliError> {
    let wrong = |fault: &dyn std::fmt::Display| CliError::usage(format!("--url {url}: {fault}"));
    let parsed = url::Url::parse(url).map_err(|fault| wrong(&fault))?;
    let scheme = match parsed.scheme() {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return Err(wrong(&"only http:// and https:// go through the proxy")),
    };
    let host = parsed.host_str().ok_or_else(|| wrong(&"it names no host"))?;
    let host = Host::parse(host).map_err(|fault| wrong(&fault))?;
    Ok((scheme, host.to_string(), parsed.port_or_known_default().unwrap_or(443)))
}

/// Why nothing can be tried: nobody listens there.
async fn unreachable(tried: &Try) -> Option<String> {
    let address = tried.proxy.shown();
    let connected = tokio::time::timeout(PATIENCE / 6, tokio::net::TcpStream::connect(&address)).await;
    match connected {
        Ok(Ok(_)) => None,
        Ok(Err(fault)) => {
            Some(format!("nothing listens at {address} ({fault}); start it with `subrosa serve`, or name another with --proxy"))
        }
        Err(_) => Some(format!("{address} does not answer; is something in between?")),
    }
}

/// One after the other: they are here to be told apart, and some take the whole machine. `arrived` says
/// whether the origin has the value of the secret, as far as that can be known.
async fn tried_by(
    config: &Config,
    tried: &Try,
    place: &Path,
    chosen: Vec<&'static Runtime>,
    arrived: impl Fn() -> bool,
) -> Result<Vec<Finding>, CliError> {
    let intercepted = intercepted(config, tried).await;
    let mut findings = Vec::new();
    for runtime in chosen {
        if !runtime.is_installed().await {
            continue;
        }
        let evidence = watched(config, tried, place, runtime).await?;
        let finding = verdict::judge(runtime, &evidence, &intercepted);
        let is_lost = finding.ok && !arrived();
        let lost = || Finding::failed(runtime.name, Step::Secret, "the origin did not receive the value".to_owned());
        findings.push(if is_lost { lost() } else { finding });
    }
    Ok(findings)
}

/// Whether the certificate inside the tunnel is the proxy's own: without a runtime in between. What keeps a
/// tunnel from opening at all is not its business.
async fn intercepted(config: &Config, tried: &Try) -> Result<(), String> {
    if !tried.is_tls {
        return Ok(());
    }
    let token = tried.proxy.token.as_deref();
    let proxy = tried.proxy.shown();
    let attempt = sandbox::tunnel(&proxy, &config.intercept.ca_certificate, &tried.host, tried.port, token);
    match tokio::time::timeout(PATIENCE / 4, attempt).await {
        Ok(Err(fault)) if fault.to_string().contains("certificate") => Err(fault.to_string()),
        _ => Ok(()),
    }
}

/// Runs one runtime behind the relay.
async fn watched(config: &Config, tried: &Try, place: &Path, runtime: &Runtime) -> Result<Evidence, CliError> {
    let watch = watch::Watch::start(tried.proxy.shown()).await.map_err(CliError::failed)?;
    let files = trust_files::prepare(config, None)?;
    let proxy = ProxyAddress { host: "127.0.0.1".to_owned(), port: watch.port, token: tried.proxy.token.clone() };
    let mut command = runtime.command(&tried.url, tried.secret.as_deref(), place)?;
    for (name, _) in std::env::vars_os().filter(|(name, _)| exec::is_withheld(config, name)) {
        command.env_remove(name);
    }
    for (name, value) in merged(variables(&proxy, &files, "")) {
        command.env(name, value);
    }
    command.current_dir(place).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => Err("it did not finish in time".to_owned()),
        Ok(Err(fault)) => Err(format!("it cannot be run: {fault}")),
        Ok(Ok(output)) => Ok(output),
    };
    Ok(Evidence::new(&output, watch.seen().await))
}

fn merged(variables: Variables) -> BTreeMap<&'static str, OsString> {
    variables.into_iter().map(|(name, value)| (name, exec::merged(name, value, std::env::var_os(name)))).collect()
}

/// The report for people.
fn written(report: &Report) -> String {
    let mut lines = vec![format!("{} through {}", report.target, report.proxy)];
    let widest = report.runtimes.iter().map(|finding| finding.runtime.len()).max().unwrap_or(0);
    for finding in &report.runtimes {
        let said = match finding.failed_step {
            None => format!("ok    {}", finding.detail),
            Some(step) => format!("FAILS at {}: {}", step.as_str(), finding.detail),
        };
        lines.push(format!("  {:widest$}  {}", finding.runtime, out::plain(&said)));
    }
    lines.extend(report.notes.iter().map(|note| format!("Note: {note}")));
    lines.join("\n")
}
