//! How the doors for people say no: problem details (RFC 9457) with a code that scripts can rely on.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

/// A refusal of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<&'static str>,
}

impl Problem {
    /// A problem with its code and one sentence a person can act on.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None }
    }

    /// What was sent cannot be read at all.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", detail)
    }

    /// One member of what was sent is not what it should be.
    pub(super) fn invalid(field: &'static str, fault: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", format!("`{field}`: {fault}")).at(field)
    }

    /// The same, naming the member of the request that is at fault.
    #[must_use]
    pub(super) fn at(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// The status it is answered with.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The word for it.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The member of the request that is at fault, where it is one.
    pub(super) fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// The sentence.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("urn:subrosa:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(field) = self.field {
            document["field"] = field.into();
        }
        document
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.document().to_string()).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // For whoever shows it otherwise.
        response.extensions_mut().insert(self);
        response
    }
}
