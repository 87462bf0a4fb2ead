//! A new token for a runner: asked first, then shown once.

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::edit::stale;
use super::{present, token};
use crate::admin::State;
use crate::admin::pages::form::{Form, revision};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::identity::{IdentityError, RunnerView};

/// `GET /organizations/{organization}/runners/{name}/token`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let runner = present(&state, &visit.organization, &called)?;
    Ok(page(&visit, &runner, StatusCode::OK, &html! {}))
}

/// `POST /organizations/{organization}/runners/{name}/token`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let runner = present(&state, &visit.organization, &called)?;
    let by = visit.visit.principal.name();
    match state.identity.rotate_token(&visit.organization, &runner.name, Some(revision(&form)?), by).await {
        Ok((runner, made)) => Ok(token::page(&visit, &state, &runner.name, &made)),
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
            div.head { div { h1 { "New token for " code { (runner.name) } "?" } } }
            div.stack {
                p { "The present token is nobody's from the next request on, and the new one is shown once. What the runner may use and reach stays as it is." }
                form.actions method="post" action={ (runners) "/" (runner.name) "/token" } {
                    (visit.csrf())
                    input type="hidden" name="revision" value=(runner.revision);
                    button.button type="submit" { "Make a new token" }
                    a.button.button-quiet href=(runners) { "Keep the present one" }
                }
            }
        }
    };
    Page::new("New token", Section::Runners).below("Runners", runners).answer(visit, status, &content)
}
