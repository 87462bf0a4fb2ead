//! The REST API, version 1: one file per resource, and the OpenAPI document made from them.

pub(in crate::admin) mod activity;
mod backup;
mod documents;
mod invitations;
mod keys;
mod live;
mod me;
pub(super) mod members;
mod openapi;
mod organizations;
mod reload;
pub(super) mod request_tests;
mod resolvers;
mod runners;
mod secrets;
mod tokens;
mod trial;

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::State;
use super::access;
use super::problem::Problem;
use crate::secret::{AllowedDomains, DomainPattern, OrganizationName};

/// What lies below `/api/v1`, with the document that describes it.
pub(super) fn routes() -> Router<State> {
    let (router, document) = described();
    router.route("/api/v1/openapi.json", openapi::route(&document))
}

fn described() -> (Router<State>, OpenApi) {
    let resources = [
        activity::routes(),
        me::routes(),
        organizations::routes(),
        secrets::routes(),
        runners::routes(),
        members::routes(),
        invitations::routes(),
        tokens::routes(),
        keys::routes(),
        backup::routes(),
        request_tests::routes(),
        reload::routes(),
    ];
    let api = resources.into_iter().fold(OpenApiRouter::new(), OpenApiRouter::merge);
    let (router, mut document) = OpenApiRouter::new().nest("/api/v1", api).split_for_parts();
    openapi::complete(&mut document, access::described);
    (router, document)
}

pub(super) use secrets::sentence;

/// The organization that a path names.
fn organization(text: &str) -> Result<OrganizationName, Problem> {
    OrganizationName::parse(text).map_err(|fault| Problem::invalid("organization", fault))
}

/// A list of domain patterns, each entry told when it is none.
pub(in crate::admin) fn domains(entries: &[String], field: &'static str) -> Result<AllowedDomains, Problem> {
    let patterns: Result<Vec<_>, _> = entries
        .iter()
        .map(|entry| DomainPattern::parse(entry).map_err(|fault| Problem::invalid(field, format!("`{entry}`: {fault}"))))
        .collect();
    AllowedDomains::new(patterns?).map_err(|fault| Problem::invalid(field, fault))
}
