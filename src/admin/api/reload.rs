//! Having the configuration read anew.

use axum::extract::State as Shared;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::admin::reload::{NotReloaded, Report};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(reload))
}

/// What became of the configuration.
#[derive(Serialize, ToSchema)]
struct Reloaded {
    /// Nothing differed from what is in force.
    unchanged: bool,
    /// What differed and is in force now, by key; what is declared by its name, as in `secrets[crm.apiKey]`.
    changed: Vec<String>,
    /// What differs from what is in force and takes a restart.
    needs_restart: Vec<NeedsRestart>,
    /// 1 at the start, one more with each reload that changed something.
    revision: u64,
    /// When that revision came in force, in unix seconds.
    in_force_since: i64,
}

/// A setting that takes a restart.
#[derive(Serialize, ToSchema)]
struct NeedsRestart {
    /// The key.
    key: String,
    /// What is in force.
    in_force: Value,
    /// What the configuration says now.
    configured: Value,
}

impl From<Report> for Reloaded {
    fn from(report: Report) -> Self {
        let Report { changed, needs_restart, revision, in_force_since } = report;
        let needs_restart = needs_restart.into_iter().map(|held| {
            let crate::admin::NeedsRestart { key, in_force, configured } = held;
            NeedsRestart { key, in_force, configured }
        });
        let needs_restart: Vec<_> = needs_restart.collect();
        let unchanged = changed.is_empty() && needs_restart.is_empty();
        Self { unchanged, changed, needs_restart, revision, in_force_since }
    }
}

/// Reads the configuration anew and puts it in force, whole or not at all.
///
/// With a fault in it (422, `config_faulty`) nothing changes. What takes a restart is named, and everything else follows.
#[utoipa::path(post, path = "/reload", tag = "operations", responses((status = 200, body = Reloaded)))]
async fn reload(principal: Principal, Shared(state): Shared<State>) -> Result<axum::Json<Reloaded>, Problem> {
    let Some(server) = &state.reload else {
        let detail = "No server runs here, so nothing follows the configuration. The next start reads it.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_running", detail));
    };
    let report = server.reload(principal.name()).await.map_err(|fault| match fault {
        NotReloaded::Faulty(_) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "config_faulty",
            format!("{fault}. Nothing was changed; what was in force before still is."),
        ),
        NotReloaded::Stopping => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", fault.to_string()),
    })?;
    Ok(axum::Json(report.into()))
}
