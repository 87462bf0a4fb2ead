//! The authority's private key, whatever form it came in: a signer for rcgen over rustls's reader.
//!
//! rcgen on ring reads PKCS#8 only. rustls reads SEC1 and PKCS#1 as well, so its signing key does
//! the work and this type tells rcgen what it needs to know about it.

use std::sync::Arc;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::SigningKey;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The schemes an authority may sign with, each with rcgen's name for it. Ed25519 is missing on
/// purpose: Chromium and Java clients refuse certificates signed with it.
static SCHEMES: [(SignatureScheme, &SignatureAlgorithm); 3] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, &PKCS_ECDSA_P256_SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &PKCS_ECDSA_P384_SHA384),
    (SignatureScheme::RSA_PKCS1_SHA256, &PKCS_RSA_SHA256),
];

/// A private key that can sign certificates.
pub(super) struct AuthorityKey {
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
    algorithm: &'static SignatureAlgorithm,
    /// The subjectPublicKey bits, without their algorithm.
    public: Vec<u8>,
}

impl AuthorityKey {
    /// Reads the first private key in `pem`: PKCS#8, SEC1 or PKCS#1; P-256, P-384 or RSA.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let der = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "it holds no private key in PEM (an encrypted one must be decrypted first)")?;
        let unusable = "its key is of a kind that cannot be used: take ECDSA P-256 or P-384, or RSA of 2048 bits or more";
        let key = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|_| unusable)?;
        let usable = |(scheme, _): &&(SignatureScheme, _)| key.choose_scheme(&[*scheme]).is_some();
        let (scheme, algorithm) = *SCHEMES.iter().find(usable).ok_or(unusable)?;
        let spki = key.public_key().ok_or(unusable)?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| unusable)?;
        let public = spki.subject_public_key.data.into_owned();
        Ok(Self { key, scheme, algorithm, public })
    }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.key.choose_scheme(&[self.scheme]).ok_or(rcgen::Error::RemoteKeyError)?;
        signer.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
