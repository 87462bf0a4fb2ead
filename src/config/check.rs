//! Contradictions: settings that are each right and do not go together.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;

use url::Url;

use super::key_source::KeySource;
use super::sections::AdminTls;
use super::words::{Size, Span, plain_path};
use super::{Config, etcd};
use crate::fetch::{Target, TargetError};

/// A contradiction: the dotted key to change, and what is wrong with it.
pub(super) type Fault = (String, String);

/// The longest path of a socket, one byte less than what Linux has room for (unix(7)).
const LONGEST_SOCKET: usize = 107;
/// The fewest entries of activity that can be kept: a batch has up to 1,024.
const LEAST_ENTRIES: u64 = 1_024;
/// The smallest head limit: hyper's reader does not work with less.
const LEAST_HEAD: Size = Size::kib(8);
/// Far more threads than any machine has cores.
const MOST_WORKERS: usize = 1024;

/// Every rule over more than one key, and every bound of a single one.
pub(super) fn check(config: &Config) -> Result<(), Fault> {
    listeners(config)?;
    admin_tls(config)?;
    oidc(config)?;
    proxy_tls(config)?;
    private_files(config)?;
    keys(config)?;
    sizes(config)?;
    times(config)?;
    activity(config)?;
    etcd::check(config)?;
    narrows(config)?;
    next_proxy(config)?;
    host_entries(config)?;
    declared(config)
}

pub(super) fn fault(key: &str, text: impl Into<String>) -> Result<(), Fault> {
    Err((key.to_owned(), text.into()))
}

fn listeners(config: &Config) -> Result<(), Fault> {
    if config.proxy.listen.is_empty() {
        return fault("proxy.listen", "the proxy needs an address to listen on, as in [\"127.0.0.1:8080\"]");
    }
    let proxy = &config.proxy;
    let transparent: Vec<SocketAddr> = proxy.transparent.iter().map(|entry| entry.listen).collect();
    let all = [
        ("proxy.listen", &proxy.listen),
        ("proxy.listen_tls", &proxy.listen_tls),
        ("proxy.socks", &proxy.socks),
        ("proxy.transparent", &transparent),
        ("admin.listen", &config.admin.listen),
    ];
    let all: Vec<(&str, SocketAddr)> =
        all.into_iter().flat_map(|(key, addresses)| addresses.iter().map(move |address| (key, *address))).collect();
    for (index, (key, address)) in all.iter().enumerate() {
        if let Some((other, _)) = all[..index].iter().find(|(_, before)| collide(*before, *address)) {
            return fault(key, format!("{address} is taken by `{other}` already; give it a port of its own"));
        }
    }
    Ok(())
}

/// Whether two listeners cannot both have what they ask for. Port 0 asks for any free one.
fn collide(left: SocketAddr, right: SocketAddr) -> bool {
    let overlap = left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() == right.port() && left.port() != 0 && overlap
}

fn proxy_tls(config: &Config) -> Result<(), Fault> {
    match (&config.proxy.tls, config.proxy.listen_tls.is_empty()) {
        (None, false) => {
            fault("proxy.listen_tls", "TLS needs a certificate: say proxy.tls = { certificate = \"…\", key = \"…\" }")
        }
        (Some(_), true) => fault("proxy.tls", "nobody would be shown this; name an address with proxy.listen_tls"),
        _ => Ok(()),
    }
}

fn admin_tls(config: &Config) -> Result<(), Fault> {
    if let Some(AdminTls::Files(files)) = &config.admin.tls
        && (files.certificate.as_os_str().is_empty() || files.key.as_os_str().is_empty())
    {
        return fault("admin.tls", "this is empty; name both files, or leave it out");
    }
    match config.admin.listen.iter().find(|address| !address.ip().is_loopback()) {
        Some(address) if config.admin.tls.is_none() => fault(
            "admin.listen",
            format!(
                "{address} is reachable from other machines and needs TLS; \
                 name a certificate and its key with admin.tls, or say \"terminated-elsewhere\" where something in front does it"
            ),
        ),
        _ => Ok(()),
    }
}

fn oidc(config: &Config) -> Result<(), Fault> {
    let Some(oidc) = &config.admin.oidc else { return Ok(()) };
    let target = Url::parse(&oidc.issuer).map_err(|_| TargetError::NoServer).and_then(|url| Target::of(&url));
    if let Err(text) = target {
        return fault("admin.oidc.issuer", text.to_string());
    }
    if oidc.client_id.is_empty() {
        return fault("admin.oidc.client_id", "this is empty; the provider gives one to each application");
    }
    if config.admin.hosts.is_empty() {
        return fault("admin.hosts", "the identity provider sends people back to the first of these; name one");
    }
    match oidc.groups.iter().position(|group| group.group.is_empty()) {
        Some(index) => fault(&format!("admin.oidc.groups[{index}].group"), "this is no group"),
        None => Ok(()),
    }
}

/// Private keys lie apart: from the certificates that are handed out, and from the data that is backed up.
fn private_files(config: &Config) -> Result<(), Fault> {
    for (key, path) in [
        ("data_dir", &config.data_dir),
        ("intercept.ca_certificate", &config.intercept.ca_certificate),
        ("intercept.ca_key", &config.intercept.ca_key),
        ("keys.file", &config.keys.file),
    ] {
        if path.as_os_str().is_empty() {
            return fault(key, "this is empty; name a path, or leave it out");
        }
    }
    let socket = config.data_dir.join(".admin/sock");
    if socket.as_os_str().len() > LONGEST_SOCKET {
        return fault(
            "data_dir",
            format!(
                "the socket in it would have a path over {LONGEST_SOCKET} bytes, which the system refuses; use a shorter one"
            ),
        );
    }
    let certificates = config.intercept.ca_certificate.parent().unwrap_or(Path::new(""));
    if is_within(&config.keys.file, certificates) {
        return fault(
            "keys.file",
            "the key of the store may not lie beside or below the CA certificate, whose directory is handed out; \
                           use a directory of its own, as in \"keys/…\"",
        );
    }
    for (key, file) in [("intercept.ca_key", &config.intercept.ca_key), ("keys.file", &config.keys.file)] {
        if is_within(file, &config.data_dir) {
            return fault(
                key,
                "a key may not lie in data_dir: a backup of it would hold the key; \
                               use a directory of its own, as in \"keys/…\"",
            );
        }
    }
    if plain_path(&config.intercept.ca_key) == plain_path(&config.keys.file) {
        return fault("keys.file", "this is the file of intercept.ca_key already; use another");
    }
    Ok(())
}

fn keys(config: &Config) -> Result<(), Fault> {
    let keys = &config.keys;
    credential("keys.credential", &keys.credential)?;
    if keys.env.is_some() && !keys.command.is_empty() {
        return fault("keys.command", "keys.env names the key already; remove one of the two");
    }
    if keys.command.first().is_some_and(String::is_empty) {
        return fault("keys.command", "this names no program; say [\"PROGRAM\", \"ARGUMENT\"], or leave it out");
    }
    if keys.command_timeout == Span::millis(0) {
        return fault("keys.command_timeout", "a wait of 0 would end everything at once; every wait has an end, so say how long");
    }
    for (index, source) in keys.previous.iter().enumerate() {
        let key = format!("keys.previous[{index}]");
        match source {
            KeySource::Credential(name) => credential(&key, name)?,
            KeySource::Command(command) if command.first().is_none_or(String::is_empty) => {
                return fault(&key, "this names no program; say { command = [\"PROGRAM\", \"ARGUMENT\"] }");
            }
            KeySource::File(file) if is_within(file, &config.data_dir) => {
                return fault(&key, "a key may not lie in data_dir: a backup of it would hold the key");
            }
            KeySource::File(_) | KeySource::Env(_) | KeySource::Command(_) => {}
        }
    }
    Ok(())
}

fn credential(key: &str, name: &str) -> Result<(), Fault> {
    if name.is_empty() || name.contains('/') || name == ".." {
        return fault(key, "this is the name of a file below $CREDENTIALS_DIRECTORY, without a path");
    }
    Ok(())
}

/// What is permitted and not wise.
pub(super) fn remarks(config: &Config) -> Vec<String> {
    let certificates = config.intercept.ca_certificate.parent().unwrap_or(Path::new(""));
    let beside = is_within(&config.intercept.ca_key, certificates).then(|| {
        format!(
            "intercept.ca_key lies beside or below the CA certificate: never hand out or mount {} as a whole, it holds the private key; better move the key to a directory of its own",
            if certificates.as_os_str().is_empty() { Path::new(".") } else { certificates }.display()
        )
    });
    beside.into_iter().chain(etcd::remark(config)).collect()
}

fn is_within(file: &Path, directory: &Path) -> bool {
    let absolute = |path: &Path| plain_path(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    absolute(file).starts_with(absolute(directory))
}

fn sizes(config: &Config) -> Result<(), Fault> {
    let (injection, limits) = (&config.injection, &config.limits);
    for (key, size) in [("injection.buffer", injection.buffer), ("injection.max_growth", injection.max_growth)] {
        if size.0 == 0 {
            return fault(key, "nothing could be injected into a body with 0; say at least \"1KiB\"");
        }
    }
    if config.proxy.workers > MOST_WORKERS {
        let text = format!("each worker is a thread; 0 is one per core, and {MOST_WORKERS} is the most");
        return fault("proxy.workers", text);
    }
    if limits.connections == 0 {
        return fault("limits.connections", "nothing could be served with 0; say at least 1");
    }
    if limits.head < LEAST_HEAD {
        return fault("limits.head", format!("a head needs at least \"{LEAST_HEAD}\""));
    }
    // One tenant may take half.
    if limits.held.0 / 2 < injection.buffer.0 {
        let text = format!(
            "all held bodies together ({}) may not be less than two (injection.buffer, {})",
            limits.held, injection.buffer
        );
        return fault("limits.held", text);
    }
    Ok(())
}

fn times(config: &Config) -> Result<(), Fault> {
    let timeouts = &config.timeouts;
    let waits = [
        ("timeouts.client_head", timeouts.client_head),
        ("timeouts.upstream_connect", timeouts.upstream_connect),
        ("timeouts.upstream_head", timeouts.upstream_head),
        ("timeouts.idle", timeouts.idle),
        ("timeouts.body", timeouts.body),
        ("timeouts.tunnel", timeouts.tunnel),
    ];
    match waits.into_iter().find(|(_, wait)| *wait == Span::millis(0)) {
        Some((key, _)) => fault(key, "a wait of 0 would end everything at once; every wait has an end, so say how long"),
        None => Ok(()),
    }
}

/// An entry that means no host, or names nothing, would be skipped silently.
fn host_entries(config: &Config) -> Result<(), Fault> {
    let egress = &config.egress;
    if let Some(index) = egress.client_certificate.iter().position(|entry| entry.hosts.is_empty()) {
        return fault(&format!("egress.client_certificate[{index}].hosts"), "this means no host; name at least one");
    }
    for (index, entry) in egress.roots.iter().enumerate() {
        for (key, is_empty) in [("hosts", entry.hosts.is_empty()), ("files", entry.files.is_empty())] {
            if is_empty {
                return fault(&format!("egress.roots[{index}].{key}"), "this is empty; name at least one");
            }
        }
    }
    Ok(())
}

fn next_proxy(config: &Config) -> Result<(), Fault> {
    let egress = &config.egress;
    if egress.upstream_proxy.is_none() && egress.upstream_proxy_credentials.is_some() {
        return fault(
            "egress.upstream_proxy_credentials",
            "there is no egress.upstream_proxy to show them to; name it, or remove them",
        );
    }
    Ok(())
}

fn activity(config: &Config) -> Result<(), Fault> {
    let kept = &config.activity;
    if (1..LEAST_ENTRIES).contains(&kept.entries) {
        let text = format!("entries go in batches, so keep at least {LEAST_ENTRIES} of them, or 0 to keep none");
        return fault("activity.entries", text);
    }
    if kept.entries > 0 && kept.keep == Span::millis(0) {
        return fault("activity.keep", "nothing would be kept; say how long, or set activity.entries = 0");
    }
    Ok(())
}

fn narrows(config: &Config) -> Result<(), Fault> {
    match config.injection.narrow.iter().position(|narrow| narrow.hosts.is_empty()) {
        Some(index) => fault(&format!("injection.narrow[{index}].hosts"), "this means no host; name at least one"),
        None => Ok(()),
    }
}

fn declared(config: &Config) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for (index, secret) in config.secrets.iter().enumerate() {
        if !seen.insert((&secret.organization, secret.name.as_str())) {
            let text = format!("`{}` is declared twice in the organization `{}`; remove one", secret.name, secret.organization);
            return fault(&format!("secrets[{index}].name"), text);
        }
    }
    seen.clear();
    for (index, runner) in config.runners.iter().enumerate() {
        if !seen.insert((&runner.organization, runner.name.as_str())) {
            let text = format!("`{}` is declared twice in the organization `{}`; remove one", runner.name, runner.organization);
            return fault(&format!("runners[{index}].name"), text);
        }
        if runner.token.is_none() && runner.certificate.is_none() {
            return fault(&format!("runners[{index}]"), "nobody could be this runner; add its token, or its certificate");
        }
    }
    Ok(())
}
