//! A backup of everything that is stored, as sealed as it lies there.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::secrets::sentence;
use crate::admin::extract::Query;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::audit::Change;
use crate::backup;
use crate::secret::OrganizationName;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(take))
}

/// What goes into it.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Whether what is kept of activity goes into it; it does unless said otherwise.
    activity: Option<bool>,
}

/// Answers a backup: everything that is stored, as it was at one moment, sealed. It holds no key.
#[utoipa::path(
    get, path = "/backup", tag = "keys",
    params(Wanted),
    responses((status = 200, content_type = "application/octet-stream", body = String)),
)]
async fn take(principal: Principal, Shared(state): Shared<State>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let wanted = if wanted.activity == Some(false) { backup::Wanted::RecordsOnly } else { backup::Wanted::Everything };
    // What was recorded a moment ago belongs to it.
    state.activity.flush().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let taken = state.backups.take(wanted, i64::try_from(now).unwrap_or(i64::MAX)).await;
    let snapshot = taken
        .map_err(|fault| {
            let code = if matches!(fault, backup::NotTaken::UnderWay) { "overloaded" } else { "store_unavailable" };
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, sentence(&fault))
        })?
        .map(|piece| piece.map(Bytes::from));
    state.activity.record_change(&OrganizationName::default(), Change::new(principal.name(), "took", "backup", "of the store"));
    let fields = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"subrosa.backup\"")),
    ];
    Ok((fields, Body::from_stream(stream::iter(snapshot))).into_response())
}
