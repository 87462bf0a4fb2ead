//! The pages: rendered here, one file a page, over the same rooms as the API. They need no script, load
//! nothing from anywhere else, and never hold a value.

mod activity;
mod assets;
mod chart;
mod drafts;
mod fault;
mod forget;
mod form;
mod icon;
pub(super) mod layout;
mod lines;
mod members;
mod organizations;
pub(super) mod parts;
mod query;
mod request_test;
mod runners;
mod secrets;
mod setup;
mod visit;
mod welcome;

use axum::Router;
use axum::extract::Path;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

pub use drafts::Drafts;
pub(super) use fault::as_pages;
pub(super) use layout::door;
pub(super) use visit::Visit;

use self::visit::OrganizationVisit;
use super::State;
use super::access::no_organization;
use super::problem::Problem;

/// Every page.
pub(super) fn routes() -> Router<State> {
    let organization = Router::new()
        .route("/", get(first_page))
        .route("/secrets", get(secrets::list::show))
        .route("/new-secret", get(secrets::create::show).post(secrets::create::submit))
        .route("/secrets/{name}", get(secrets::edit::show).post(secrets::edit::submit))
        .route("/secrets/{name}/remove", get(secrets::remove::show).post(secrets::remove::submit))
        .route("/domain-advice", post(secrets::advice::domains))
        .route("/request-test", get(request_test::show).post(request_test::submit))
        .route("/activity", get(activity::show))
        .route("/runners", get(runners::list::show))
        .route("/new-runner", get(runners::create::show).post(runners::create::submit))
        .route("/runners/{name}", get(runners::edit::show).post(runners::edit::submit))
        .route("/runners/{name}/token", get(runners::rotate::show).post(runners::rotate::submit))
        .route("/runners/{name}/revoke", get(runners::revoke::show).post(runners::revoke::submit))
        .route("/members", get(members::list::show))
        .route("/members/{login}", get(members::member::show).post(members::member::submit))
        .route("/members/{login}/remove", get(members::remove::show).post(members::remove::submit))
        .route("/new-invitation", get(members::invite::show).post(members::invite::submit))
        .route("/invitations/{login}/revoke", post(members::invite::revoke))
        .route("/new-token", get(members::tokens::show).post(members::tokens::submit))
        .route("/tokens/{name}/revoke", get(members::tokens::ask).post(members::tokens::revoke))
        .route("/setup", get(setup::show))
        .route("/welcome", get(welcome::show))
        .route("/delete", get(organizations::ask).post(organizations::delete));
    Router::new()
        .route("/", get(home))
        .route("/assets/{file}", get(assets::serve))
        .route("/refused", get(fault::again))
        .route("/organizations", get(organizations::list))
        .route("/new-organization", get(organizations::create).post(organizations::submit))
        .nest("/organizations/{organization}", organization.route_layer(from_fn(forget::sent_pages)))
}

/// `GET /`: Organization > Secrets of the first organization that whoever asks belongs to.
async fn home(visit: Visit) -> Result<Response, Problem> {
    if !visit.principal.is_known() {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    let organization = visit.organization.ok_or_else(no_organization)?;
    Ok(Redirect::to(&format!("/organizations/{organization}/secrets")).into_response())
}

/// `GET /organizations/{organization}`
async fn first_page(OrganizationVisit { organization, .. }: OrganizationVisit, _: Path<String>) -> Redirect {
    Redirect::to(&format!("/organizations/{organization}/secrets"))
}

#[cfg(test)]
mod tests;
