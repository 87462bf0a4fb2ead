//! The identity provider that the configuration names.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{AppError, bytes_of};
use crate::admin::{GroupRole, Provider, ProviderSettings, SharedProvider};
use crate::config::{Config, ConfigError, Source};
use crate::fetch::Fetch;
use crate::tls;

const SECRET: &str = "admin.oidc.client_secret";

/// The provider, if one is configured. It need not be there yet: it is asked when somebody signs in.
pub(super) fn provider(config: &Config) -> Result<SharedProvider, AppError> {
    let Some(oidc) = &config.admin.oidc else { return Ok(None) };
    let groups = oidc.groups.iter().map(|group| GroupRole {
        group: group.group.clone(),
        organization: group.organization.clone(),
        role: group.role,
    });
    let settings = ProviderSettings {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: oidc.client_secret.as_ref().map(|source| secret(config, source)).transpose()?,
        scopes: oidc.scopes.clone(),
        label: oidc.label.clone(),
        groups_claim: oidc.groups_claim.clone(),
        groups: groups.collect(),
    };
    let roots = tls::client_config(&config.egress.extra_roots);
    let fetch = Fetch::new(roots.map_err(|fault| config.fault("egress.extra_roots", fault.to_string()))?);
    Ok(Some(Arc::new(Provider::new(settings, fetch))))
}

/// The client secret: a text, without one trailing line end.
pub(super) fn secret(config: &Config, source: &Source) -> Result<Zeroizing<String>, ConfigError> {
    let bytes = bytes_of(config, SECRET, source)?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| config.fault(SECRET, "what lies there is empty, or no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}
