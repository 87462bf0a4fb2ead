//! Removing a secret: first what still uses it, then the deed.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::done::{self, Done};
use super::{present, usage};
use crate::admin::State;
use crate::admin::pages::form::{Form, revision};
use crate::admin::pages::icon;
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{Tone, moment, note, now};
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::vault::{SecretView, VaultError};

/// `GET /organizations/{organization}/secrets/{name}/remove`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let secret = present(&state, &visit.organization, &called)?;
    Ok(page(&visit, &state, &secret, StatusCode::OK, &html! {}))
}

/// `POST /organizations/{organization}/secrets/{name}/remove`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let secret = present(&state, &visit.organization, &called)?;
    let seen = revision(&form)?;
    match state.vault.delete(&visit.organization, &secret.name, Some(seen), visit.visit.principal.name()).await {
        Ok(()) => {
            let told = done::query(Done::Removed, &secret.name, false);
            Ok(Redirect::to(&format!("/organizations/{}/secrets{told}", visit.organization)).into_response())
        }
        Err(VaultError::RevisionStale { current }) => {
            let told = html! {
                p { strong { "Nothing was removed: " (current.updated_by) " changed this secret " (moment(current.updated_at, now())) "." } " Look at it again, and remove it if you still mean to." }
            };
            Ok(page(
                &visit,
                &state,
                &current,
                StatusCode::PRECONDITION_FAILED,
                &html! { div role="alert" { (note(Tone::Warn, &told)) } },
            ))
        }
        Err(other) => Err(other.into()),
    }
}

fn page(visit: &OrganizationVisit, state: &State, secret: &SecretView, status: StatusCode, told: &Markup) -> Response {
    let own = format!("/organizations/{}/secrets/{}", visit.organization, secret.name);
    let content = html! {
        div.content-narrow {
            (told)
            div.head { div { h1 { "Remove " code { (secret.name) } "?" } } }
            div.stack {
                p { "Its value is gone for good, and every request that still refers to " code { "{secrets." (secret.name) "}" } " will be refused until the secret is created again or the reference is removed." }
                (uses(state, secret))
                form.actions method="post" action={ (own) "/remove" } {
                    (visit.visit.csrf())
                    input type="hidden" name="revision" value=(secret.revision);
                    button.button.button-danger type="submit" { (icon::TRASH) "Remove secret" }
                    a.button.button-quiet href=(own) { "Keep it" }
                }
            }
        }
    };
    let page = Page::new("Remove", Section::Secrets).below("Secrets", format!("/organizations/{}/secrets", visit.organization));
    page.below(secret.name.as_str(), own).answer(&visit.visit, status, &content)
}

fn uses(state: &State, secret: &SecretView) -> Markup {
    let recent = usage::recent(state, secret);
    html! {
        div.section {
            h2 { "Recent uses" }
            @if recent.is_empty() {
                p.muted { "None was seen. That does not mean that nothing refers to it." }
            } @else { (usage::table(&recent, now())) }
        }
    }
}
