//! Revoking a runner: asked first, then its token is nobody's.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::edit::stale;
use super::present;
use crate::admin::State;
use crate::admin::pages::form::{Form, revision};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::identity::{IdentityError, RunnerView};

/// `GET /organizations/{organization}/runners/{name}/revoke`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let runner = present(&state, &visit.organization, &called)?;
    Ok(page(&visit, &runner, StatusCode::OK, &html! {}))
}

/// `POST /organizations/{organization}/runners/{name}/revoke`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let runner = present(&state, &visit.organization, &called)?;
    // Of a faulty record nobody knows the revision.
    let seen = if runner.fault.is_some() { None } else { Some(revision(&form)?) };
    match state.identity.revoke(&visit.organization, &runner.name, seen, visit.visit.principal.name()).await {
        Ok(()) => {
            let told = format!("/organizations/{}/runners?done=revoked&name={}", visit.organization, runner.name);
            Ok(Redirect::to(&told).into_response())
        }
        Err(IdentityError::RevisionStale { current }) => {
            Ok(page(&visit, &current, StatusCode::PRECONDITION_FAILED, &stale(&current)))
        }
        Err(other) => Err(other.into()),
    }
}

fn page(
    OrganizationVisit { visit, organization }: &OrganizationVisit,
    runner: &RunnerView,
    status: StatusCode,
    told: &Markup,
) -> Response {
    let runners = format!("/organizations/{organization}/runners");
    let content = html! {
        div.content-narrow {
            (told)
            div.head { div { h1 { "Revoke " code { (runner.name) } "?" } } }
            div.stack {
                p { "Its token is nobody's from the next request on, on open connections too. Whatever runs with it gets status 407 until it has another token." }
                form.actions method="post" action={ (runners) "/" (runner.name) "/revoke" } {
                    (visit.csrf())
                    input type="hidden" name="revision" value=(runner.revision);
                    button.button.button-danger type="submit" { "Revoke runner" }
                    a.button.button-quiet href=(runners) { "Keep it" }
                }
            }
        }
    };
    Page::new("Revoke", Section::Runners).below("Runners", runners).answer(visit, status, &content)
}
