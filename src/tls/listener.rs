//! TLS to the proxy itself: its own certificate, and certificates of clients where they are asked for.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;

use super::pair::CertifiedPair;
use super::trust::Roots;
use super::{ALPN_HTTP_1_1, provider};

/// Why no TLS can be offered.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// Those who sign clients' certificates cannot be used.
    #[error("certificates of clients cannot be verified: {0}")]
    Clients(#[from] VerifierBuilderError),
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

impl From<rustls::Error> for ListenerError {
    fn from(error: rustls::Error) -> Self {
        Self::Library(error.to_string())
    }
}

/// The configuration under which the proxy answers with `pair`, in HTTP/1.1. With `clients`, who
/// connects is asked for a certificate that these signed, and may show none.
pub fn listener_config(pair: &CertifiedPair, clients: Option<&Roots>) -> Result<Arc<ServerConfig>, ListenerError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.0.clone()), provider());
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&pair.0))));
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}
