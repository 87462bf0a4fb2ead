//! Whom the proxy trusts upstream: the system's roots or the built-in ones, and the config's own; and
//! what it shows to whoever asks for a certificate.
//!
//! There is no switch that turns verification off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::pair::CertifiedPair;
use super::{ALPN_HTTP_1_1, ALPN_HTTP_2, files, pem, provider};

/// Sessions remembered for resumption, over all upstreams and workers; a few hundred bytes each.
const SESSIONS: usize = 1024;

/// Why no set of trust anchors could be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file of certificates cannot be read.
    #[error("the file {path} named by {key} cannot be read: {cause}; correct its path, or remove it there")]
    Unreadable {
        /// The config key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file of certificates is not what it should be.
    #[error("the file {path} named by {key} is not a list of certificates in PEM: {cause}; name one that is")]
    Malformed {
        /// The config key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// Whom to trust.
#[derive(Clone)]
pub struct Roots(pub(super) RootCertStore);

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

impl Roots {
    /// The system's roots; the built-in ones of webpki-roots if the system has none.
    pub fn usual() -> Self {
        Self(system_roots())
    }

    /// Nobody yet.
    pub fn none() -> Self {
        Self(RootCertStore::empty())
    }

    /// These, and those in PEM files that the config names under `key`.
    pub fn with_files(mut self, paths: &[PathBuf], key: &'static str) -> Result<Self, TrustError> {
        for path in paths {
            add_file(&mut self.0, path, key)?;
        }
        Ok(self)
    }

    /// These and others.
    #[must_use]
    pub fn with(mut self, others: &Self) -> Self {
        self.0.roots.extend(others.0.roots.iter().cloned());
        self
    }

    /// The configuration for upstreams: HTTP/2 and HTTP/1.1, always verifying, and showing the certificate of `pair` to
    /// whoever asks for one. Its sessions are its own.
    pub fn client_config(&self, pair: Option<&CertifiedPair>) -> Result<Arc<ClientConfig>, TrustError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.0.clone());
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&pair.0)))),
        };
        config.alpn_protocols = vec![ALPN_HTTP_2.to_vec(), ALPN_HTTP_1_1.to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Arc::new(config))
    }
}

/// The configuration under which the system's roots and those in the PEM files `extra_roots` are
/// trusted, and no certificate is shown.
pub fn client_config(extra_roots: &[PathBuf]) -> Result<Arc<ClientConfig>, TrustError> {
    Roots::usual().with_files(extra_roots, "egress.extra_roots")?.client_config(None)
}

/// `config` for TLS to another proxy: its sessions are its own, and HTTP/1.1 is what is spoken there.
pub fn for_proxy(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Arc::new(config)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a system root certificate was passed over");
    }
    // Systems carry the odd certificate that webpki cannot read; the others count.
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::info!("the system has no root certificates; the built-in ones are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn add_file(roots: &mut RootCertStore, path: &Path, key: &'static str) -> Result<(), TrustError> {
    let malformed = |cause: String| TrustError::Malformed { key, path: path.to_owned(), cause };
    let text = files::read(path)
        .and_then(|found| found.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
        .map_err(|cause| TrustError::Unreadable { key, path: path.to_owned(), cause })?;
    let certificates = pem::certificates(&text).map_err(malformed)?;
    if certificates.is_empty() {
        return Err(malformed("there is no certificate in it".to_owned()));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| malformed(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_or_holds_no_certificate_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = directory.path().join("missing.pem");
        let error = client_config(std::slice::from_ref(&missing)).expect_err("missing").to_string();
        assert!(error.contains("missing.pem") && error.contains("egress.extra_roots"), "{error}");

        for content in ["", "hello\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let path = directory.path().join("bad.pem");
            std::fs::write(&path, content).expect("written");
            let error = client_config(&[path]).expect_err(content).to_string();
            assert!(error.contains("bad.pem"), "{error}");
        }
    }

    #[test]
    fn offers_http_2_and_http_1_1() {
        let config = client_config(&[]).expect("system or built-in roots");
        assert_eq!(config.alpn_protocols, vec![b"h2".to_vec(), b"http/1.1".to_vec()]);
    }
}
