//! What was wrong with an upstream's TLS, said so that somebody can do something about it.

use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

/// Why a TLS handshake with an upstream failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The certificate's time is over.
    #[error("its certificate has expired; the operator of the host must renew it")]
    Expired,
    /// The certificate's time has not come.
    #[error("its certificate is not valid yet; check the clock of this machine")]
    NotValidYet,
    /// Nobody trusted vouches for the certificate.
    #[error(
        "its certificate comes from an issuer that is not trusted here; if the issuer is your own, add its certificate (PEM) to egress.extra_roots"
    )]
    UnknownIssuer,
    /// The certificate is for other names.
    #[error("its certificate is not for this host but for {}", names(.presented))]
    WrongName {
        /// The names it is for.
        presented: Vec<String>,
    },
    /// A signature cannot be verified: by a key of the same name that is another, or that is too short.
    #[error(
        "a signature of its certificate cannot be verified: it comes from another issuer of the same name, or a key is too weak (RSA under 2048 bits); the operator of the host must renew it, or, if the issuer is your own, add the certificate that it uses now (PEM) to egress.extra_roots"
    )]
    Signature,
    /// A kind of signature that is not taken.
    #[error(
        "its certificate is signed in a way that is not accepted, as too weak (SHA-1, for example) or unknown; the operator of the host must renew it"
    )]
    SignatureKind,
    /// The other side knows no version that is spoken here.
    #[error("it speaks no version of TLS that is safe: TLS 1.2 or 1.3 is needed; the operator of the host must enable it")]
    Version,
    /// A certificate of ours is wanted, or another.
    #[error("{0}; if it is to be shown a certificate, name one for it in egress.client_certificate")]
    ClientCertificate(&'static str),
    /// The certificate was revoked.
    #[error("its certificate was revoked")]
    Revoked,
    /// The certificate is an authority's own, put in the place of a server's.
    #[error("it presents an authority's certificate as its own; it needs one of its own, which that authority issues")]
    AuthorityAsServer,
    /// The host cannot be asked for by name in TLS.
    #[error("the host is not a name that TLS can ask for")]
    UnusableName,
    /// Another fault of the certificate.
    #[error("its certificate is not acceptable: {0}")]
    Certificate(String),
    /// The other side does not speak TLS.
    #[error("it does not speak TLS on that port; is the scheme http, or the port another?")]
    NotTls,
    /// The other side broke the handshake off.
    #[error("it closed the connection during the TLS handshake")]
    Closed,
    /// The other side refused, with an alert.
    #[error("it refused the TLS handshake: {0}")]
    Alert(String),
    /// Anything else.
    #[error("the TLS handshake failed: {0}")]
    Other(String),
}

fn names(presented: &[String]) -> String {
    /// Certificates with hundreds of names exist; the sentence should stay one.
    const SHOWN: usize = 5;
    match presented {
        [] => "no host at all".to_owned(),
        [..] if presented.len() <= SHOWN => presented.join(", "),
        [shown @ .., _] => format!("{} and {} more", shown[..SHOWN].join(", "), presented.len() - SHOWN),
    }
}

/// What an alert says of a certificate of ours.
fn about_ours(alert: AlertDescription) -> Option<&'static str> {
    match alert {
        AlertDescription::CertificateRequired => Some("it wants a certificate of its clients"),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => Some("it does not accept the certificate that it was shown, or that none was"),
        _ => None,
    }
}

/// A name as it is written, of `DnsName("example.com")` and the like.
fn plain(name: &str) -> String {
    name.split('"').nth(1).unwrap_or(name).to_owned()
}

impl TlsFault {
    /// The fault behind an error of a TLS handshake.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => Self::of_tls(inner),
            None if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset => {
                Self::Closed
            }
            None => Self::Other(error.to_string()),
        }
    }

    /// What is wrong with our certificate, or its lack, where an exchange failed for that.
    pub(super) fn refused(error: &hyper::Error) -> Option<Self> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
        while let Some(error) = cause {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(rustls::Error::AlertReceived(alert)) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return about_ours(*alert).map(Self::ClientCertificate);
            }
            cause = error.source();
        }
        None
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::Version,
            rustls::Error::AlertReceived(alert) => {
                about_ours(*alert).map_or_else(|| Self::Alert(format!("{alert:?}")), Self::ClientCertificate)
            }
            other => Self::Other(other.to_string()),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotValidYet,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::BadSignature => Self::Signature,
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::WrongName { presented: presented.iter().map(|name| plain(name)).collect() }
            }
            CertificateError::NotValidForName => Self::WrongName { presented: Vec::new() },
            CertificateError::Revoked => Self::Revoked,
            other if format!("{other:?}").starts_with("UnsupportedSignatureAlgorithm") => Self::SignatureKind,
            // webpki's own error, which rustls hands through as text only.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => Self::AuthorityAsServer,
            other => Self::Certificate(other.to_string()),
        }
    }
}
