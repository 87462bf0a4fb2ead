//! What tells whoever operates the server how it does: figures for Prometheus, and whether it is ready.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::State;
use crate::drain::Drain;
use crate::metrics::{MEDIA_TYPE, Registry};
use crate::readiness::Readiness;
use crate::staleness::Staleness;

/// What this server says of itself.
#[derive(Clone, Default)]
pub struct Operations {
    /// The figures.
    pub registry: Arc<Registry>,
    /// What stands in the way.
    pub readiness: Readiness,
    /// Whether it is stopping.
    pub drain: Drain,
    /// How far what is known is behind what is stored.
    pub staleness: Staleness,
}

/// Stands in requests that came through a door of this machine only: figures are told there to
/// whoever asks.
#[derive(Clone, Copy)]
pub(super) struct OpenFigures;

/// `GET /metrics`
pub(super) async fn metrics(Shared(state): Shared<State>) -> Response {
    ([(CONTENT_TYPE, MEDIA_TYPE)], state.operations.registry.text()).into_response()
}

/// `GET /readyz`: 200, or 503 with one line for each part that is not ready. As long as what is known is trusted, a store that
/// cannot be reached is told and takes nobody out of a balancer: every node would be.
pub(super) async fn readyz(Shared(state): Shared<State>) -> Response {
    let mut faults = state.operations.readiness.faults();
    if state.operations.drain.has_begun() {
        faults.push(("server".to_owned(), "it is stopping".to_owned()));
    }
    if let Err(stale) = state.operations.staleness.check() {
        faults.push(("store".to_owned(), stale.to_string()));
    }
    if faults.is_empty() {
        let behind = state.operations.staleness.notice().map_or_else(String::new, |notice| format!("store: {notice}\n"));
        return format!("ready\n{behind}").into_response();
    }
    let lines: Vec<_> = faults.iter().map(|(part, reason)| format!("{part}: {reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines.concat()).into_response()
}
