//! The first steps: a secret, a runner, trust in the CA, and a test, each done where it is done later too.

use axum::extract::State as Shared;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::layout::{Page, Section};
use super::visit::OrganizationVisit;
use crate::admin::State;
use crate::members::Role;

/// One step.
struct Step {
    title: &'static str,
    text: &'static str,
    /// What it is done with: what the button says, where it leads, and what that takes.
    action: (&'static str, &'static str, Role),
    done: bool,
}

/// `GET /organizations/{organization}/welcome`
pub(super) async fn show(OrganizationVisit { visit, organization }: OrganizationVisit, Shared(state): Shared<State>) -> Response {
    let secrets = state.vault.list(&organization);
    let used = secrets.iter().any(|secret| state.activity.last_use(&organization, &secret.name).is_some());
    let steps = [
        Step {
            title: "Store a secret",
            text: "An API key, a token, a password. Name the domains it may be sent to; it goes nowhere else.",
            action: ("Create secret", "new-secret", Role::Editor),
            done: !secrets.is_empty(),
        },
        Step {
            title: "Create a runner",
            text: "A runner is a program that sends requests through the proxy. Its token is shown once, with the environment lines that use it.",
            action: ("Create runner", "new-runner", Role::Administrator),
            done: !state.identity.list(&organization).is_empty(),
        },
        Step {
            title: "Trust the certificate authority",
            text: "The proxy looks into TLS to put values in place, so runners have to trust its certificate.",
            action: ("Open Setup", "setup", Role::Viewer),
            done: used,
        },
        Step {
            title: "Test a request",
            text: "Write {secrets.NAME} where the credential belongs, and see what would happen before anything is sent.",
            action: ("Test a request", "request-test", Role::Editor),
            done: used,
        },
    ];
    let content = html! {
        div.head { div { h1 { "Get started" } p { "Four steps to the first request whose credential its sender never holds." } } }
        ol.steps.content-narrow role="list" {
            @for step in &steps { (shown(step, &format!("/organizations/{organization}"), visit.may(step.action.2))) }
        }
    };
    Page::new("Get started", Section::Elsewhere).answer(&visit, StatusCode::OK, &content)
}

fn shown(step: &Step, organization: &str, may: bool) -> Markup {
    let (says, path, _) = step.action;
    html! {
        li class=[step.done.then_some("is-done")] {
            div {
                h2 { (step.title) @if step.done { span.visually-hidden { " (done)" } } }
                p { (step.text) }
                div.actions {
                    @if may {
                        a.button.(if step.done { "button-quiet" } else { "button-first" }) href={ (organization) "/" (path) } { (says) }
                    } @else {
                        p.hint { "Ask an administrator of this organization to do this." }
                    }
                }
            }
        }
    }
}
