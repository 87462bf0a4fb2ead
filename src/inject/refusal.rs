//! Why not: every refusal the proxy can give, as a code with its status, and one sentence.

use crate::origin::Host;
use crate::secret::{AllowedDomains, SecretName, Surface};

/// The code of a refusal. The words and statuses are fixed; scripts depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The target matches none of the secret's allowed domains.
    DomainRestricted,
    /// The runner's organization has no such secret.
    SecretNotFound,
    /// A reference in scheme, host, port, userinfo, Host or CONNECT.
    SecretInAuthority,
    /// The value cannot stand on that surface.
    SecretNotEncodable,
    /// The secret would go out over plain http.
    CleartextRefused,
    /// Who is asking is not known.
    RunnerUnauthenticated,
    /// The runner may not use this secret or target.
    RunnerNotPermitted,
    /// The egress rules forbid the target.
    TargetDenied,
    /// SNI or Host disagrees with the origin.
    Misdirected,
    /// Anything ambiguous: framing, fields, targets.
    MalformedRequest,
    /// The head is over its limit.
    HeadTooLarge,
    /// The content is over its limit.
    BodyTooLarge,
    /// A limit of the proxy as a whole is reached.
    Overloaded,
    /// A record cannot be opened, or the store cannot be read.
    StoreUnavailable,
    /// The host has no address.
    UpstreamUnresolvable,
    /// No connection came about.
    UpstreamRefused,
    /// The upstream's TLS failed.
    UpstreamTls,
    /// The upstream broke HTTP.
    UpstreamProtocol,
    /// The upstream took too long.
    UpstreamTimeout,
}

impl Code {
    /// Every code, in the order of their declaration.
    pub const ALL: [Self; 19] = [
        Self::DomainRestricted,
        Self::SecretNotFound,
        Self::SecretInAuthority,
        Self::SecretNotEncodable,
        Self::CleartextRefused,
        Self::RunnerUnauthenticated,
        Self::RunnerNotPermitted,
        Self::TargetDenied,
        Self::Misdirected,
        Self::MalformedRequest,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::Overloaded,
        Self::StoreUnavailable,
        Self::UpstreamUnresolvable,
        Self::UpstreamRefused,
        Self::UpstreamTls,
        Self::UpstreamProtocol,
        Self::UpstreamTimeout,
    ];

    /// The word for it, as in `urn:subrosa:WORD`.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status it is answered with.
    pub fn status(self) -> http::StatusCode {
        http::StatusCode::from_u16(self.row().1).expect("the table holds statuses")
    }

    /// A short title for people.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// The nearest error type of RFC 9209 section 2.3, for the `error` parameter of Proxy-Status.
    pub fn proxy_status(self) -> &'static str {
        self.row().3
    }

    fn row(self) -> (&'static str, u16, &'static str, &'static str) {
        match self {
            Self::DomainRestricted => ("domain_restricted", 403, "Domain restriction", "http_request_denied"),
            Self::SecretNotFound => ("secret_not_found", 422, "No such secret", "http_request_error"),
            Self::SecretInAuthority => {
                ("secret_in_authority", 400, "Secret reference in the target's authority", "http_request_error")
            }
            Self::SecretNotEncodable => ("secret_not_encodable", 422, "The value cannot stand there", "http_request_error"),
            Self::CleartextRefused => ("cleartext_refused", 403, "Secret over plain HTTP", "http_request_denied"),
            Self::RunnerUnauthenticated => {
                ("runner_unauthenticated", 407, "Proxy authentication required", "http_request_denied")
            }
            Self::RunnerNotPermitted => ("runner_not_permitted", 403, "Runner not permitted", "http_request_denied"),
            Self::TargetDenied => ("target_denied", 403, "Target denied", "destination_ip_prohibited"),
            Self::Misdirected => ("misdirected", 421, "Misdirected request", "http_request_error"),
            Self::MalformedRequest => ("malformed_request", 400, "Malformed request", "http_request_error"),
            Self::HeadTooLarge => ("head_too_large", 431, "Request head too large", "http_request_error"),
            Self::BodyTooLarge => ("body_too_large", 413, "Request content too large", "http_request_error"),
            Self::Overloaded => ("overloaded", 503, "Overloaded", "connection_limit_reached"),
            Self::StoreUnavailable => ("store_unavailable", 503, "Secret store unavailable", "proxy_internal_error"),
            Self::UpstreamUnresolvable => ("upstream_unresolvable", 502, "Upstream name not resolvable", "dns_error"),
            Self::UpstreamRefused => ("upstream_refused", 502, "Upstream not reachable", "connection_refused"),
            Self::UpstreamTls => ("upstream_tls", 502, "Upstream TLS failed", "tls_protocol_error"),
            Self::UpstreamProtocol => ("upstream_protocol", 502, "Upstream broke the protocol", "http_protocol_error"),
            Self::UpstreamTimeout => ("upstream_timeout", 504, "Upstream timed out", "connection_timeout"),
        }
    }
}

/// A decision not to forward: a code, one sentence a person can act on, and what it concerns.
/// Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// One sentence: what is wrong, and what to do.
    pub detail: String,
    /// The secret concerned.
    pub secret: Option<SecretName>,
    /// The surface concerned.
    pub surface: Option<Surface>,
}

impl Refusal {
    /// A refusal that concerns no secret.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), secret: None, surface: None }
    }

    /// The same, naming the secret and the surface concerned.
    #[must_use]
    pub fn about(self, secret: &SecretName, surface: Surface) -> Self {
        Self { secret: Some(secret.clone()), surface: Some(surface), ..self }
    }

    /// The same, naming the secret that is referred to, if one is, and the surface.
    #[must_use]
    pub fn about_any(self, secret: Option<SecretName>, surface: Surface) -> Self {
        Self { secret, surface: Some(surface), ..self }
    }

    /// The same, naming the secret that is referred to where no secret may stand.
    #[must_use]
    pub fn naming(self, secret: Option<SecretName>) -> Self {
        Self { secret, ..self }
    }

    /// Anything ambiguous about the request.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::MalformedRequest, detail)
    }

    /// The domain restriction: names the secret, the host seen and the patterns.
    pub fn domain_restricted(secret: &SecretName, surface: Surface, host: &Host, allowed: &AllowedDomains) -> Self {
        let detail = format!(
            "The secret `{secret}` may not be sent to `{host}`: its allowed domains are {allowed}. \
             Send the request to one of these, or have an administrator store the secret again with this domain."
        );
        Self::new(Code::DomainRestricted, detail).about(secret, surface)
    }
}
