//! Refusals as gRPC callers read them: a status and its message, in the one head that is all of the answer.
//!
//! A caller shows its user nothing but these two; to a problem document it says that the stream is broken.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::answer::Answer;
use crate::inject::{Code, Refusal};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is a gRPC call.
pub(super) fn is_call(fields: &HeaderMap) -> bool {
    let Some(media_type) = fields.get(CONTENT_TYPE) else { return false };
    let rest = media_type.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// A refusal without content, and with what a caller reads.
pub(super) fn told(response: Response<Answer>, refusal: &Refusal) -> Response<Answer> {
    let mut response = response.map(|_| Answer::own(Bytes::new()));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(STATUS, HeaderValue::from(status(refusal.code)));
    let message = escaped(&format!("{}: {}", refusal.code.as_str(), refusal.detail));
    if let Ok(message) = HeaderValue::try_from(message) {
        fields.insert(MESSAGE, message);
    }
    response
}

/// The codes are gRPC's own.
fn status(code: Code) -> u16 {
    const INVALID_ARGUMENT: u16 = 3;
    const PERMISSION_DENIED: u16 = 7;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match code.status().as_u16() {
        403 => PERMISSION_DENIED,
        407 => UNAUTHENTICATED,
        500.. => UNAVAILABLE,
        _ => INVALID_ARGUMENT,
    }
}

/// Percent-encoded, as gRPC over HTTP/2 wants its messages.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_call_by_its_media_type() {
        for (media_type, is_one) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let fields = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
            assert_eq!(is_call(&fields), is_one, "{media_type}");
        }
    }

    #[test]
    fn a_message_is_percent_encoded() {
        assert_eq!(escaped("50% \u{e9}\n"), "50%25 %C3%A9%0A");
    }
}
