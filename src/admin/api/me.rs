//! Who asks, as this door sees it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use crate::admin::principal::Principal;
use crate::members::Role;
use crate::secret::OrganizationName;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Who asks.
#[derive(Serialize, ToSchema)]
struct Me {
    /// The name, as it stands in records and in the audit trail.
    name: String,
    /// The roles by organization; null: everything everywhere.
    #[schema(value_type = Option<BTreeMap<String, RoleSchema>>)]
    roles: Option<BTreeMap<OrganizationName, Role>>,
}

/// What a member may do; each may what those before it may.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes `members::Role`")]
pub(super) enum RoleSchema {
    Viewer,
    Editor,
    Administrator,
}

/// Says who asks.
#[utoipa::path(get, path = "/me", tag = "me", responses((status = 200, body = Me)))]
async fn show(principal: Principal) -> axum::Json<Me> {
    axum::Json(Me { name: principal.name().to_owned(), roles: principal.roles() })
}
