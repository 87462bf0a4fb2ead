//! Refusals as responses: status, Proxy-Status (RFC 9209) and problem details (RFC 9457), written
//! here and nowhere else on this door.

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, PROXY_AUTHENTICATE};
use http::{Response, StatusCode};
use serde::Serialize;

use super::answer::Answer;
use super::fields::PROXY_STATUS;
use crate::inject::{Code, Refusal};
use crate::upstream;

/// The members of a problem document.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    surface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// The response that tells a client why its request was not forwarded. `target` is the origin as
/// the proxy understood it, where it did.
pub(super) fn respond(refusal: &Refusal, request_id: &str, target: Option<&str>, hint: Option<&str>) -> Response<Answer> {
    let status = refusal.code.status();
    let problem = Problem {
        r#type: format!("urn:subrosa:{}", refusal.code.as_str()),
        title: refusal.code.title(),
        status: status.as_u16(),
        detail: &refusal.detail,
        code: refusal.code.as_str(),
        request_id,
        secret: refusal.secret.as_ref().map(crate::secret::SecretName::as_str),
        surface: refusal.surface.map(crate::secret::Surface::as_str),
        target,
        hint,
    };
    let mut text = serde_json::to_vec_pretty(&problem).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Answer::own(text));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(PROXY_STATUS, proxy_status(refusal));
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        fields.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"subrosa\", charset=\"UTF-8\""));
    }
    response
}

/// The same, as the last word on this connection.
pub(super) fn closing(mut response: Response<Answer>) -> Response<Answer> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// `subrosa; error=…; details="CODE: sentence"`.
fn proxy_status(refusal: &Refusal) -> HeaderValue {
    let details = format!("{}: {}", refusal.code.as_str(), refusal.detail);
    // A structured-field string holds printable ASCII, with `"` and `\` escaped (RFC 8941 section 3.3.3).
    let quoted: String = details.chars().fold(String::new(), |mut quoted, char| {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            ' '..='~' => quoted.push(char),
            _ => quoted.push('?'),
        }
        quoted
    });
    let text = format!("subrosa; error={}; details=\"{quoted}\"", refusal.code.proxy_status());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("subrosa; error=proxy_internal_error"))
}

impl From<upstream::Error> for Refusal {
    fn from(error: upstream::Error) -> Self {
        use upstream::Kind;
        let code = match error.kind() {
            Kind::Unresolvable => Code::UpstreamUnresolvable,
            Kind::Denied => Code::TargetDenied,
            Kind::Refused => Code::UpstreamRefused,
            Kind::NoDescriptor => Code::Overloaded,
            Kind::Tls | Kind::TlsRefused => Code::UpstreamTls,
            Kind::Protocol => Code::UpstreamProtocol,
            Kind::Timeout => Code::UpstreamTimeout,
            Kind::OwnBody => Code::MalformedRequest,
        };
        Self::new(code, error.to_string())
    }
}
