//! A certificate authority for origins.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

pub struct Ca {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Ca {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "origins of a test");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `names` with its key, PEM.
    pub fn pair(&self, names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = rcgen::CertificateParams::new(names).expect("names");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }

    /// The same, made otherwise.
    #[cfg(feature = "etcd")]
    pub fn pair_made(&self, names: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        change(&mut params);
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }

    /// The same as two files in `directory`, the key for its owner only.
    pub fn pair_files(&self, directory: &std::path::Path, name: &str, names: &[&str]) {
        use std::os::unix::fs::PermissionsExt;
        let (certificate, key) = self.pair(names);
        std::fs::write(directory.join(format!("{name}.pem")), certificate).expect("written");
        let path = directory.join(format!("{name}-key.pem"));
        std::fs::write(&path, key).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("set");
    }

    /// A certificate for these names and its key, both PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let certificate = rcgen::CertificateParams::new(names).expect("names").signed_by(&key, &self.issuer);
        (certificate.expect("a certificate").pem(), key.serialize_pem())
    }

    /// One that shows a certificate made otherwise.
    pub fn acceptor_made(&self, names: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> TlsAcceptor {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.expect("a pair")))
    }

    pub fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        self.acceptor_for(names, None)
    }

    /// The same, agreeing to one of `protocols` (ALPN).
    pub fn acceptor_speaking(&self, names: &[&str], protocols: &[&str]) -> TlsAcceptor {
        self.acceptor_with(names, None, protocols)
    }

    /// The same for clients that show a certificate of `clients`, if one is named.
    pub fn acceptor_for(&self, names: &[&str], clients: Option<&Self>) -> TlsAcceptor {
        self.acceptor_with(names, clients, &[])
    }

    fn acceptor_with(&self, names: &[&str], clients: Option<&Self>, protocols: &[&str]) -> TlsAcceptor {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params =
            rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.map_or_else(rustls::server::WebPkiClientVerifier::no_client_auth, Self::verifier))
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .expect("a pair");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    fn verifier(&self) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier")
    }
}
