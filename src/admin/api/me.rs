//! Who asks, as this door sees it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::admin::principal::Principal;
use crate::members::Role;
use crate::secret::OrganizationName;

/// Who asks.
#[derive(Serialize)]
pub(super) struct Me {
    /// The name, as it stands in records and in the audit trail.
    name: String,
    /// The roles by organization; null: everything everywhere.
    roles: Option<BTreeMap<OrganizationName, Role>>,
}

/// `GET /me`
pub(super) async fn show(principal: Principal) -> axum::Json<Me> {
    axum::Json(Me { name: principal.name().to_owned(), roles: principal.roles() })
}
