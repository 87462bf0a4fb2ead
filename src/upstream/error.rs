//! Why a request did not get through: one sentence each, for the person who can act on it.

use std::time::Duration;

use super::egress::Denied;
use super::next_proxy::NextProxyFault;
use super::tls_fault::TlsFault;
use crate::origin::{Host, Origin};

/// An error of a body that is passed through.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request did not get through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name has no address.
    #[error(
        "the name {host} could not be resolved: {cause}; check the name, the DNS of this machine, or fix it with egress.resolve"
    )]
    Unresolvable {
        /// The name.
        host: Host,
        /// What the resolver said.
        cause: String,
    },
    /// The egress rules forbid every address of the host.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No connection could be made.
    #[error("{origin} could not be reached: {cause}")]
    Refused {
        /// The origin.
        origin: Origin,
        /// What each address answered.
        cause: String,
    },
    /// The system gives this process no descriptor for one more connection.
    #[error(
        "no connection to {origin} could be opened: this process has no file descriptor left; raise its limit (ulimit -n, LimitNOFILE=), or lower limits.connections"
    )]
    NoDescriptor {
        /// The origin.
        origin: Origin,
    },
    /// There is no way through the next proxy.
    #[error("{origin} could not be reached through {proxy} (egress.upstream_proxy): {fault}")]
    NextProxy {
        /// The origin.
        origin: Origin,
        /// The next proxy, as it stands in the config.
        proxy: String,
        /// What is wrong.
        fault: NextProxyFault,
    },
    /// The TLS handshake failed.
    #[error("no TLS connection to {origin}: {fault}")]
    Tls {
        /// The origin.
        origin: Origin,
        /// What is wrong.
        fault: TlsFault,
    },
    /// The upstream refused the TLS connection when the request was on its way: TLS 1.3 tells no sooner what is
    /// wrong with a client's certificate.
    #[error("{origin} refused the TLS connection: {fault}")]
    TlsRefused {
        /// The origin.
        origin: Origin,
        /// What is wrong.
        fault: TlsFault,
    },
    /// The upstream closed the connection, or spoke something else than HTTP/1.1.
    #[error("{origin} did not answer in proper HTTP: {cause}")]
    Protocol {
        /// The origin.
        origin: Origin,
        /// What went wrong.
        cause: String,
    },
    /// The upstream ended the stream of its response before it was complete (HTTP/2).
    #[error("{origin} broke its response off: {fault}")]
    Reset {
        /// The origin.
        origin: Origin,
        /// Why, for whoever has to end a stream for the same reason.
        #[source]
        fault: h2::Error,
    },
    /// The upstream took too long.
    #[error("{origin} took longer than {limit:?} {wait}; {} sets the limit", wait.setting())]
    Timeout {
        /// The origin.
        origin: Origin,
        /// Which wait.
        wait: Wait,
        /// The limit.
        limit: Duration,
    },
    /// The request's own content failed while it was being sent: the request was broken off.
    #[error("the content of the request broke off: {0}")]
    OwnBody(BoxError),
}

/// The waits that have a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Resolving, connecting, TLS.
    Connect,
    /// The same, through the next proxy.
    ConnectThrough,
    /// Until the response head.
    Head,
    /// Within the response's content.
    Content,
}

impl Wait {
    fn setting(self) -> &'static str {
        match self {
            Self::Connect | Self::ConnectThrough => "timeouts.upstream_connect",
            Self::Head => "timeouts.upstream_head",
            Self::Content => "timeouts.body",
        }
    }
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "to connect to",
            Self::ConnectThrough => "to connect to through the proxy that egress.upstream_proxy names",
            Self::Head => "to begin its response",
            Self::Content => "to continue its response",
        })
    }
}

/// The kinds of [`Error`], for choosing a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Error::Unresolvable`].
    Unresolvable,
    /// [`Error::Denied`].
    Denied,
    /// [`Error::Refused`], [`Error::NextProxy`].
    Refused,
    /// [`Error::NoDescriptor`].
    NoDescriptor,
    /// [`Error::Tls`].
    Tls,
    /// [`Error::TlsRefused`].
    TlsRefused,
    /// [`Error::Protocol`] and [`Error::Reset`].
    Protocol,
    /// [`Error::Timeout`].
    Timeout,
    /// [`Error::OwnBody`].
    OwnBody,
}

impl Error {
    /// The same where the way went through the next proxy: a wait says so.
    pub(super) fn on_the_way_through(self) -> Self {
        match self {
            Self::Timeout { origin, wait: Wait::Connect, limit } => Self::Timeout { origin, wait: Wait::ConnectThrough, limit },
            other => other,
        }
    }

    /// Which kind of error this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unresolvable { .. } => Kind::Unresolvable,
            Self::Denied(_) => Kind::Denied,
            Self::Refused { .. } | Self::NextProxy { .. } => Kind::Refused,
            Self::NoDescriptor { .. } => Kind::NoDescriptor,
            Self::Tls { .. } => Kind::Tls,
            Self::TlsRefused { .. } => Kind::TlsRefused,
            Self::Protocol { .. } | Self::Reset { .. } => Kind::Protocol,
            Self::Timeout { .. } => Kind::Timeout,
            Self::OwnBody(_) => Kind::OwnBody,
        }
    }
}
