//! By what a client's certificate is known: a DNS name, a URI, or its very key.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;

use crate::origin::Host;

/// The longest URI, in bytes; SPIFFE's bound (SPIFFE-ID section 2.3).
const MAX_URI: usize = 2048;

/// One of the names under which a certificate is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CertificateName {
    /// `dns:billing.runners.example`: a subject alternative name, compared as hosts are.
    Dns(Host),
    /// `uri:spiffe://example.org/billing`: a subject alternative name, byte for byte.
    Uri(Arc<str>),
    /// `spki:BASE64`: the SHA-256 of the key (its `SubjectPublicKeyInfo`), whoever signed it.
    Key([u8; 32]),
}

/// Why a text is no name of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write it as dns:NAME or uri:URI (a subject alternative name of the certificate), or as spki:BASE64 (the SHA-256 of its \
     public key, 44 characters)"
)]
pub struct CertificateNameError;

impl CertificateName {
    /// Parses `dns:…`, `uri:…` or `spki:…`.
    pub fn parse(text: &str) -> Result<Self, CertificateNameError> {
        let (kind, name) = text.split_once(':').ok_or(CertificateNameError)?;
        match kind {
            "dns" => Self::dns(name).ok_or(CertificateNameError),
            "uri" => Self::uri(name).ok_or(CertificateNameError),
            "spki" => {
                let bytes = STANDARD.decode(name).map_err(|_| CertificateNameError)?;
                bytes.try_into().map(Self::Key).map_err(|_| CertificateNameError)
            }
            _ => Err(CertificateNameError),
        }
    }

    /// Every name of a certificate, its key first. Of one that cannot be read there is none.
    pub fn all_of(certificate: &CertificateDer<'_>) -> Vec<Self> {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
        let mut names = vec![Self::Key(Sha256::digest(parsed.public_key().raw).into())];
        if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
            names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Self::dns(name),
                GeneralName::URI(uri) => Self::uri(uri),
                _ => None,
            }));
        }
        names
    }

    /// A wildcard is no name: it would be everybody's below it.
    fn dns(text: &str) -> Option<Self> {
        Host::parse(text).ok().filter(|host| matches!(host, Host::Name(_))).map(Self::Dns)
    }

    fn uri(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && text.contains(':');
        (plain && text.len() <= MAX_URI).then(|| Self::Uri(text.into()))
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(host) => write!(f, "dns:{host}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Key(digest) => write!(f, "spki:{}", STANDARD.encode(digest)),
        }
    }
}

impl std::str::FromStr for CertificateName {
    type Err = CertificateNameError;
    fn from_str(text: &str) -> Result<Self, CertificateNameError> {
        Self::parse(text)
    }
}

impl From<CertificateName> for String {
    fn from(name: CertificateName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for CertificateName {
    type Error = CertificateNameError;
    fn try_from(text: String) -> Result<Self, CertificateNameError> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::test_openssl::openssl;

    #[test]
    fn names_are_normalised_and_anything_else_is_refused() {
        let key = format!("spki:{}", STANDARD.encode([7; 32]));
        for (given, kept) in [
            ("dns:Billing.Runners.example.", "dns:billing.runners.example"),
            ("uri:spiffe://Example.org/b", "uri:spiffe://Example.org/b"),
            (&key, &key),
        ] {
            assert_eq!(CertificateName::parse(given).map(|name| name.to_string()), Ok(kept.to_owned()), "{given}");
        }
        for bad in ["", "billing", "dns:", "dns:*.example", "dns:10.0.0.1", "uri:x", "uri:a: b", "spki:AAAA", "cn:billing"] {
            assert_eq!(CertificateName::parse(bad), Err(CertificateNameError), "{bad}");
        }
    }

    #[test]
    fn a_certificate_has_the_names_that_openssl_sees() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["B.example".to_owned(), "*.w.example".to_owned()]).expect("names");
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://example.org/b".try_into().expect("a URI")));
        let made = params.self_signed(&key).expect("made");
        let place = tempfile::tempdir().expect("a directory");
        let (pem, der) = (place.path().join("c.pem"), place.path().join("spki.der"));
        std::fs::write(&pem, made.pem()).expect("written");
        let (pem, der) = (pem.to_str().expect("text"), der.to_str().expect("text"));
        let public = openssl(&["x509", "-in", pem, "-noout", "-pubkey"]);
        std::fs::write(pem, public).expect("written");
        openssl(&["pkey", "-pubin", "-in", pem, "-outform", "DER", "-out", der]);
        let digest: [u8; 32] = Sha256::digest(std::fs::read(der).expect("written")).into();
        let names = CertificateName::all_of(made.der());
        let named = |text| CertificateName::parse(text).expect("a name");
        assert_eq!(names, [CertificateName::Key(digest), named("dns:b.example"), named("uri:spiffe://example.org/b")]);
        assert_eq!(CertificateName::all_of(&CertificateDer::from(vec![1, 2, 3])), []);
    }
}
