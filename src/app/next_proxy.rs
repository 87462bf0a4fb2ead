//! The next proxy of the config (`egress.upstream_proxy`), with credentials that are looked up for
//! each connection.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use zeroize::Zeroizing;

use super::AppError;
use crate::config::{Bypass, Config, ConfigError, ProxyCredentials, ProxyNames, ProxyScheme, Source};
use crate::inject::{Injection, Secrets};
use crate::origin::Host;
use crate::secret::{OrganizationName, SecretName, Surfaces};
use crate::tls;
use crate::upstream::{ClientTls, Credentials, Names, NextProxy, NextProxyProtocol};
use crate::vault::Vault;

/// Where the config says that credentials stand.
const KEY: &str = "egress.upstream_proxy_credentials";

/// The next proxy, if the config names one.
pub(super) fn next_proxy(
    config: &Config,
    vault: &Arc<Vault>,
    client_tls: &ClientTls,
) -> Result<Option<Arc<NextProxy>>, AppError> {
    let egress = &config.egress;
    let Some(url) = &egress.upstream_proxy else { return Ok(None) };
    let (mut direct_hosts, mut direct_networks) = (Vec::new(), Vec::new());
    for bypass in &egress.no_upstream_proxy {
        match bypass {
            Bypass::Hosts(pattern) => direct_hosts.push(pattern.clone()),
            Bypass::Network(network) => direct_networks.push(*network),
        }
    }
    Ok(Some(Arc::new(NextProxy {
        protocol: match url.scheme {
            ProxyScheme::Http => NextProxyProtocol::Http,
            ProxyScheme::Https => NextProxyProtocol::Https(tls::for_proxy(&client_tls.of(&url.host))),
            ProxyScheme::Socks5 => NextProxyProtocol::Socks5,
        },
        host: url.host.clone(),
        port: url.port,
        credentials: egress.upstream_proxy_credentials.as_ref().map(|from| credentials(config, vault, from)).transpose()?,
        names: match egress.upstream_proxy_names {
            ProxyNames::Resolve => Names::ResolvedHere,
            ProxyNames::Send => Names::Sent,
        },
        direct_hosts,
        direct_networks,
    })))
}

/// That the credentials can be had, where they do not lie in a secret.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    match config.egress.upstream_proxy_credentials.as_ref().map(source) {
        Some(Some(source)) => kept(config, &source).map(drop),
        _ => Ok(()),
    }
}

fn credentials(config: &Config, vault: &Arc<Vault>, from: &ProxyCredentials) -> Result<Arc<dyn Credentials>, ConfigError> {
    if let ProxyCredentials::Secret { secret, organization } = from {
        return Ok(Arc::new(Stored { vault: Arc::clone(vault), name: secret.clone(), organization: organization.clone() }));
    }
    let source = source(from).unwrap_or_else(|| unreachable!("it is no secret"));
    Ok(Arc::new(kept(config, &source)?))
}

fn source(from: &ProxyCredentials) -> Option<Source> {
    match from {
        ProxyCredentials::Secret { .. } => None,
        ProxyCredentials::Env { env } => Some(Source::Env(env.clone())),
        ProxyCredentials::File { file } => Some(Source::File(file.clone())),
    }
}

fn kept(config: &Config, source: &Source) -> Result<Kept, ConfigError> {
    let bytes = super::bytes_of(config, KEY, source)?;
    paired(&bytes).map_err(|fault| config.fault(KEY, fault))?;
    Ok(Kept(bytes))
}

/// From a variable or a file, read at the start. It lies in memory as long as the process runs.
struct Kept(Zeroizing<Vec<u8>>);

impl Credentials for Kept {
    fn pair(&self, _: &Host) -> Result<Zeroizing<Vec<u8>>, String> {
        Ok(self.0.clone())
    }
}

/// In a secret, opened for each connection and under its own rules: its allowed domains must permit
/// the next proxy's host.
struct Stored {
    vault: Arc<Vault>,
    name: SecretName,
    organization: OrganizationName,
}

impl Credentials for Stored {
    /// By the one door that values have: as the text of a field.
    fn pair(&self, host: &Host) -> Result<Zeroizing<Vec<u8>>, String> {
        let reference = HeaderValue::try_from(format!("{{secrets.{}}}", self.name)).map_err(|fault| fault.to_string())?;
        let fields = HeaderMap::from_iter([(AUTHORIZATION, reference)]);
        let resolver = self.vault.resolver(&self.organization, None);
        let injected = Injection::new(resolver.as_ref(), host, Surfaces::ALL).fields(&fields);
        let injected = injected.map_err(|refusal| refusal.detail)?;
        let value = injected.as_ref().and_then(|fields| fields.get(AUTHORIZATION));
        let value = Zeroizing::new(value.map(|value| value.as_bytes().to_vec()).unwrap_or_default());
        paired(&value)?;
        Ok(value)
    }
}

fn paired(bytes: &[u8]) -> Result<(), &'static str> {
    if bytes.contains(&b':') { Ok(()) } else { Err("they are not of the form user:password") }
}
