//! A form of the ways in: bounded, and wiped with the passwords in it.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use crate::admin::problem::Problem;
use crate::members::Password;

/// Two passwords and a login, percent-encoded, fit.
const MAX_FORM: usize = 16 << 10;

/// What was typed, by the names of the inputs.
pub(super) struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// The text of an input; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text.as_str())
    }

    /// A password, which is then no longer here.
    pub(super) fn password(&mut self, name: &str) -> Password {
        let typed = self.0.iter_mut().find(|(known, _)| known == name).map(|(_, text)| std::mem::take(text));
        Password::typed(typed.unwrap_or_default())
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let detail = "Send the form as application/x-www-form-urlencoded.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let bytes = to_bytes(request.into_body(), MAX_FORM).await.map_err(|_| {
            let detail = format!("The form broke off, or is larger than {} KiB.", MAX_FORM >> 10);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        })?;
        let pairs = url::form_urlencoded::parse(&bytes);
        Ok(Self(pairs.map(|(name, text)| (name.into_owned(), Zeroizing::new(text.into_owned()))).collect()))
    }
}
