//! The REST API, version 1: one file per resource.

mod me;
mod request_tests;
mod resolvers;
mod runners;
mod secrets;
mod trial;

use axum::Router;
use axum::routing::{get, post};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::State;
use super::problem::Problem;
use crate::secret::{AllowedDomains, DomainPattern, OrganizationName};

/// What lies below `/api/v1`.
pub(super) fn routes() -> Router<State> {
    let organization = Router::new()
        .route("/secrets", get(secrets::list).post(secrets::create))
        .route("/secrets/{name}", get(secrets::show).patch(secrets::edit).delete(secrets::delete))
        .route("/runners", get(runners::list).post(runners::create))
        .route("/runners/{name}", get(runners::show).delete(runners::revoke))
        .route("/request-tests", post(request_tests::create));
    Router::new().route("/me", get(me::show)).nest("/organizations/{organization}", organization)
}

/// The organization that a path names.
fn organization(text: &str) -> Result<OrganizationName, Problem> {
    OrganizationName::parse(text).map_err(|fault| Problem::invalid("organization", fault))
}

/// A list of domain patterns, each entry told when it is none.
fn domains(entries: &[String], field: &'static str) -> Result<AllowedDomains, Problem> {
    let patterns: Result<Vec<_>, _> = entries
        .iter()
        .map(|entry| DomainPattern::parse(entry).map_err(|fault| Problem::invalid(field, format!("`{entry}`: {fault}"))))
        .collect();
    AllowedDomains::new(patterns?).map_err(|fault| Problem::invalid(field, fault))
}

/// Unix seconds as RFC 3339; what no calendar holds is null.
fn timestamp(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}
