//! Path and query of requests, parsed or told in our words.

use axum::extract::{FromRequestParts, rejection};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The parameters of the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parsed = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        parsed.map(|axum::extract::Path(value)| Self(value)).map_err(|_| Problem::malformed("The path cannot be read."))
    }
}

/// The parameters of the query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parsed = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        parsed.map(|axum::extract::Query(value)| Self(value)).map_err(|fault| {
            let rejection::QueryRejection::FailedToDeserializeQueryString(fault) = &fault else {
                return Problem::malformed("The query cannot be read.");
            };
            // The innermost cause names the parameter and says what it may be.
            let mut cause: &dyn std::error::Error = fault;
            while let Some(source) = cause.source() {
                cause = source;
            }
            Problem::malformed(format!("The query cannot be read: {cause}."))
        })
    }
}
