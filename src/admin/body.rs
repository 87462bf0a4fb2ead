//! The content of requests to the API: JSON, bounded, and never repeated in an error.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer};
use zeroize::Zeroizing;

use super::problem::Problem;
use crate::secret::SecretValue;

/// The largest content: a request test with a held body of 1 MiB in base64, and a value of 64 KiB
/// with every byte escaped, fit.
pub(super) const MAX_CONTENT: usize = 4 << 20;

/// Content in JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        // A form of another site can send other types without asking first; this one it cannot.
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let detail = "Send the content as application/json.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        parse(request.into_body()).await.map(Self)
    }
}

/// Parses content, which may be absent where `T` says so.
async fn parse<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = to_bytes(body, MAX_CONTENT).await.map_err(|_| {
        let detail = format!("The content broke off, or is larger than {} MiB.", MAX_CONTENT >> 20);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    })?;
    serde_json::from_slice(&bytes).map_err(|fault| match fault.classify() {
        serde_json::error::Category::Data => Problem::malformed(format!("The content is not as it should be: {}.", told(&fault))),
        _ => Problem::malformed(format!("The content is no JSON: line {}, column {}.", fault.line(), fault.column())),
    })
}

/// What serde says, without what was sent: a value may have been put in the wrong place.
fn told(fault: &serde_json::Error) -> String {
    let text = fault.to_string();
    match text.split_once(", expected ") {
        Some((sent, expected)) if sent.starts_with("invalid ") => format!("expected {expected}"),
        _ => text,
    }
}

/// The text of a value on its way in. Neither shown nor cloned; wiped when dropped.
pub(super) struct ValueText(Zeroizing<String>);

impl ValueText {
    /// The value as it was sent, without anything removed.
    pub(super) fn into_value(self) -> Result<SecretValue, Problem> {
        let mut text = self.0;
        SecretValue::new(std::mem::take(&mut *text).into_bytes()).map_err(|fault| Problem::invalid("value", fault))
    }

    /// The value behind base64.
    pub(super) fn decode(&self) -> Result<SecretValue, Problem> {
        let mut bytes = Vec::with_capacity(self.0.len());
        // The decoder's own message would tell a byte of the value.
        STANDARD
            .decode_vec(self.0.as_bytes(), &mut bytes)
            .map_err(|_| Problem::invalid("value_base64", "this is no base64 (RFC 4648, with padding)"))?;
        SecretValue::new(bytes).map_err(|fault| Problem::invalid("value_base64", fault))
    }
}

/// The value of a request, from whichever of the two members has it.
pub(super) fn value(text: Option<ValueText>, base64: Option<ValueText>) -> Result<Option<SecretValue>, Problem> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(Problem::invalid("value", "send `value` or `value_base64`, not both")),
        (Some(text), None) => text.into_value().map(Some),
        (None, Some(base64)) => base64.decode().map(Some),
        (None, None) => Ok(None),
    }
}

impl<'de> Deserialize<'de> for ValueText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Takes a text, and answers anything else without repeating it, as serde's own messages would.
struct ValueVisitor;

const NO_TEXT: &str = "a value is a text";

impl<'de> de::Visitor<'de> for ValueVisitor {
    type Value = ValueText;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueText, E> {
        Ok(ValueText(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<ValueText, E> {
        Ok(ValueText(Zeroizing::new(text)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<ValueText, E> {
        Err(E::custom(NO_TEXT))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<ValueText, E> {
        Err(E::custom(NO_TEXT))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<ValueText, E> {
        Err(E::custom(NO_TEXT))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<ValueText, E> {
        Err(E::custom(NO_TEXT))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<ValueText, A::Error> {
        Err(de::Error::custom(NO_TEXT))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, _: A) -> Result<ValueText, A::Error> {
        Err(de::Error::custom(NO_TEXT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_not_repeated() {
        for sent in ["4242", "-4242", "42.42", "true", "[\"4242\"]", "{\"4242\":1}"] {
            let fault = serde_json::from_str::<ValueText>(sent).err().expect(sent).to_string();
            assert!(fault.starts_with(NO_TEXT) && !fault.contains("42"), "{fault}");
        }
    }

    #[test]
    fn what_is_in_the_wrong_place_is_not_repeated() {
        let fault = serde_json::from_str::<Vec<u8>>("\"hunter2\"").expect_err("no list");
        assert_eq!(told(&fault), "expected a sequence at line 1 column 9");
    }

    #[test]
    fn base64_holds_any_bytes() {
        let text = |text: &str| ValueText(Zeroizing::new(text.to_owned()));
        assert!(text("/w==").decode().is_ok());
        assert!(
            text("/w")
                .decode()
                .is_err_and(|problem| problem == Problem::invalid("value_base64", "this is no base64 (RFC 4648, with padding)"))
        );
    }
}
