//! The one page that shows a runner's token, with the environment lines that use it.

use axum::response::Response;
use http::StatusCode;
use maud::html;

use crate::admin::State;
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::lines::{self, Reach};
use crate::admin::pages::parts::{Tone, copy, note};
use crate::admin::pages::visit::OrganizationVisit;
use crate::identity::Token;
use crate::secret::RunnerName;

/// Shows the token, this once.
pub(super) fn page(
    OrganizationVisit { visit, organization }: &OrganizationVisit,
    state: &State,
    name: &RunnerName,
    token: &Token,
) -> Response {
    let runners = format!("/organizations/{organization}/runners");
    let reach = Reach::usual(state);
    let content = html! {
        div.head { div { h1 { "Token of " code { (name) } } } }
        div.stack.content-wide {
            div role="status" { (note(Tone::Warn, &html! { p { strong { "Copy it now." } " It is shown this once; only its hash is kept." } })) }
            div.section {
                h2 { "Token" }
                div.reference { code data-token { (token.show_once()) } (copy(token.show_once(), "Copy the token")) }
            }
            div.section {
                h2 { "Ready to use" }
                p.muted {
                    "For a runner that reaches the proxy at " code { (reach.proxy()) } " and finds the certificates in " code { (reach.directory()) }
                    ". Other places: " a href={ "/organizations/" (organization) "/setup" } { "Setup" } "."
                }
                (lines::tabs(&reach, Some(token.show_once())))
            }
            div.actions { a.button.button-quiet href=(runners) { "Done" } }
        }
    };
    Page::new("Token", Section::Runners).below("Runners", runners).answer(visit, StatusCode::CREATED, &content)
}
