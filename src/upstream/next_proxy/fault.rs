//! Why there is no way through the next proxy, in sentences for whoever runs this one.

use super::super::egress::Denied;
use super::super::tls_fault::TlsFault;

/// Why there is no way through the next proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NextProxyFault {
    /// Its name has no address.
    #[error("its name could not be resolved: {0}")]
    Unresolvable(String),
    /// Its address is one of this proxy's own.
    #[error("{0}; egress.upstream_proxy may not name this proxy itself")]
    Own(Denied),
    /// No connection to it could be made.
    #[error("it could not be reached: {0}")]
    Unreachable(String),
    /// TLS to it failed.
    #[error("no TLS connection to it: {0}")]
    Tls(TlsFault),
    /// What it is to be shown cannot be had.
    #[error("its credentials (egress.upstream_proxy_credentials) cannot be used: {0}")]
    Credentials(String),
    /// It wants to know who asks, and nothing is configured.
    #[error("it asks for credentials ({0}): set egress.upstream_proxy_credentials, to a secret of the form user:password")]
    CredentialsWanted(String),
    /// It does not accept what it was shown.
    #[error(
        "it does not accept the credentials of egress.upstream_proxy_credentials ({0}); Basic credentials and those of SOCKS 5 are all that can be shown"
    )]
    CredentialsRefused(String),
    /// It does not want to connect to the target.
    #[error(
        "it refused to connect to {target}: {answer}; its rules must permit that (many permit CONNECT to port 443 only), \
         or, if they want names instead of addresses, egress.upstream_proxy_names = \"send\", or egress.no_upstream_proxy must name the host"
    )]
    Forbidden {
        /// What it was asked for.
        target: String,
        /// What it answered.
        answer: String,
    },
    /// It could not reach the target.
    #[error("it could not connect to {target}: {answer}")]
    TargetUnreachable {
        /// What it was asked for.
        target: String,
        /// What it answered.
        answer: String,
    },
    /// It speaks something else.
    #[error("its answer was not understood: {0}; is it of the kind that the scheme of egress.upstream_proxy says?")]
    Protocol(String),
}

impl NextProxyFault {
    /// Whether another address of the same host may still be reached.
    pub(super) fn is_of_the_target(&self) -> bool {
        matches!(self, Self::TargetUnreachable { .. })
    }

    pub(super) fn io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
                Self::Protocol("it closed the connection".to_owned())
            }
            _ => Self::Protocol(error.to_string()),
        }
    }
}
