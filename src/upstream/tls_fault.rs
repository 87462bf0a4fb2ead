//! What was wrong with an upstream's TLS, said so that somebody can do something about it.

use std::io;

use rustls::CertificateError;

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

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            other => Self::Other(other.to_string()),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotValidYet,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForNameContext { presented, .. } => Self::WrongName { presented: presented.clone() },
            CertificateError::NotValidForName => Self::WrongName { presented: Vec::new() },
            CertificateError::Revoked => Self::Revoked,
            // webpki's own error, which rustls hands through as text only.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => Self::AuthorityAsServer,
            other => Self::Certificate(other.to_string()),
        }
    }
}
