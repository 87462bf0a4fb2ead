//! TLS for people: a certificate of our own that can be exchanged while connections go on.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::CertifiedPair;
use super::{ALPN_HTTP_1_1, provider};

/// The pair that is shown to whoever connects from now on.
pub struct Presented(ArcSwap<CertifiedKey>);

impl Presented {
    /// Shows `pair`.
    pub fn new(pair: &CertifiedPair) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(Arc::clone(&pair.0))))
    }

    /// Shows another pair from the next connection on.
    pub fn replace(&self, pair: &CertifiedPair) {
        self.0.store(Arc::clone(&pair.0));
    }

    /// The configuration under which it is shown, in HTTP/1.1.
    pub fn server_config(self: Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self);
        config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented")
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
