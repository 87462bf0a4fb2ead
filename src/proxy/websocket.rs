//! The handshake of a WebSocket on behalf of a client that asked for it by extended CONNECT (RFC 8441): its
//! upstream may want the key of RFC 6455, which such a client does not send.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use sha1::{Digest, Sha1};

use super::answer::Answer;
use crate::inject::{Code, Refusal};
use crate::upstream::Agreed;

/// What every server appends to a key before it hashes it (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key of ours.
pub(super) struct Key(String);

impl Key {
    /// A new one. It is no secret: it proves that the upstream read this very request.
    pub(super) fn new() -> Result<Self, Refusal> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|_| Refusal::new(Code::Overloaded, "The system gives no random numbers at the moment. Try again."))?;
        Ok(Self(STANDARD.encode(bytes)))
    }

    pub(super) fn field(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static(""))
    }

    /// The upstream's answer as the client's: it asked for a stream, not for a switch.
    pub(super) fn answer(&self, mut response: Response<Answer>) -> Result<Response<Answer>, Refusal> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        // An upstream that knows extended CONNECT has seen no key.
        if response.extensions_mut().remove::<Agreed>().is_none() {
            self.check(response.headers())?;
        }
        *response.status_mut() = StatusCode::OK;
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }

    fn check(&self, fields: &HeaderMap) -> Result<(), Refusal> {
        let is_websocket = fields.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let proves = fields.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value.as_bytes() == self.accept().as_bytes());
        if is_websocket && proves {
            return Ok(());
        }
        let detail =
            "The upstream switched protocols, but not to the WebSocket that was asked for (Upgrade, Sec-WebSocket-Accept).";
        Err(Refusal::new(Code::UpstreamProtocol, detail))
    }

    fn accept(&self) -> String {
        STANDARD.encode(Sha1::new().chain_update(self.0.as_bytes()).chain_update(GUID).finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_answer_to_its_key() {
        // The example of RFC 6455 section 1.3.
        let key = Key("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_ne!(Key::new().expect("a key").0, Key::new().expect("a key").0);
    }
}
