//! Organizations: those one belongs to, and for whoever looks after the instance, making and deleting them.

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::form::{Faults, Field, Form, sentence};
use super::icon;
use super::layout::{Page, Section};
use super::parts::{Tone, badge, note, prose};
use super::visit::{OrganizationVisit, Visit};
use crate::admin::State;
use crate::admin::problem::Problem;
use crate::members::{MembersError, OrganizationView, Person};
use crate::secret::{Description, OrganizationName};

/// `GET /organizations`
pub(super) async fn list(visit: Visit, Shared(state): Shared<State>) -> Response {
    let operates = visit.principal.operates();
    let all = state.members.organizations();
    let own: Vec<_> = all.iter().filter(|view| operates || visit.principal.role_in(&view.name).is_some()).collect();
    let content = html! {
        div.head {
            div { h1 { "Organizations" } p { "Each has secrets, runners and members of its own, strictly apart from the others." } }
            @if operates { div.actions { a.button href="/new-organization" { (icon::PLUS) "Create organization" } } }
        }
        table.table role="table" {
            thead role="rowgroup" { tr role="row" {
                @for title in ["Name", "Your role", "Secrets", "Runners"] { th scope="col" role="columnheader" { (title) } }
                @if operates { th scope="col" role="columnheader" { span.visually-hidden { "Actions" } } }
            } }
            tbody role="rowgroup" { @for view in own { (row(&visit, &state, view)) } }
        }
    };
    Page::new("Organizations", Section::Elsewhere).answer(&visit, StatusCode::OK, &content)
}

fn row(visit: &Visit, state: &State, view: &OrganizationView) -> Markup {
    let role = visit.principal.role_in(&view.name);
    html! {
        tr role="row" {
            td.cell-name role="cell" {
                @if role.is_some() { a.name href={ "/organizations/" (view.name) } { (view.name) } } @else { span.name { (view.name) } }
                @if !view.description.as_str().is_empty() { p.about { (view.description.as_str()) } }
                @if view.permanent { div.badges { (badge(Tone::Plain, "always exists")) } }
            }
            td role="cell" data-label="Your role" { @match role { Some(role) => (role), None => span.muted { "none" } } }
            @if role.is_some() {
                td role="cell" data-label="Secrets" { (state.vault.list(&view.name).len()) }
                td role="cell" data-label="Runners" { (state.identity.list(&view.name).len()) }
            } @else {
                td role="cell" data-label="Secrets" { span.muted { "unknown" } }
                td role="cell" data-label="Runners" { span.muted { "unknown" } }
            }
            @if visit.principal.operates() {
                td.cell-actions role="cell" {
                    @if !view.permanent {
                        div.actions {
                            a.button-plain.is-danger href={ "/organizations/" (view.name) "/delete" } aria-label={ "Delete " (view.name) } { "Delete" }
                        }
                    }
                }
            }
        }
    }
}

/// `GET /new-organization`
pub(super) async fn create(visit: Visit) -> Response {
    form(&visit, StatusCode::OK, ("", ""), &Faults::default())
}

/// `POST /new-organization`
pub(super) async fn submit(
    visit: Visit,
    Shared(state): Shared<State>,
    person: Option<Extension<Person>>,
    sent: Form,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let typed = (sent.text("name").trim(), sent.text("description"));
    let name = faults.keep("name", OrganizationName::parse(typed.0));
    let description = faults.keep("description", Description::parse(typed.1));
    let (Some(name), Some(description)) = (name, description) else {
        return Ok(form(&visit, StatusCode::UNPROCESSABLE_ENTITY, typed, &faults));
    };
    let account = person.map(|person| person.account.to_string());
    match state.members.create_organization(&name, description, visit.principal.name(), account.as_deref()).await {
        Ok(view) => Ok(Redirect::to(&format!("/organizations/{}/secrets", view.name)).into_response()),
        Err(taken @ MembersError::OrganizationTaken(_)) => {
            faults.add("name", taken);
            Ok(form(&visit, StatusCode::CONFLICT, typed, &faults))
        }
        Err(other) => Err(other.into()),
    }
}

fn form(visit: &Visit, status: StatusCode, (name, description): (&str, &str), faults: &Faults) -> Response {
    let hint = html! { "Starts with a letter; then letters, numbers, " code { "_" } ", " code { "-" } " and " code { "." } ". It cannot be changed." };
    let content = html! {
        div.head { div { h1 { "Create organization" } p { "You become its administrator, and can invite others." } } }
        form.form method="post" action="/new-organization" autocomplete="off" {
            (visit.csrf())
            (faults.summary())
            (Field::new("name", "Name", faults).hint(hint).line("input-mono", name))
            (Field::new("description", "Description", faults).optional().lines("", 2, description))
            div.form-end {
                button.button type="submit" { "Create organization" }
                a.button.button-quiet href="/organizations" { "Cancel" }
            }
        }
    };
    Page::new("Create organization", Section::Elsewhere).faulty(!faults.is_empty()).answer(visit, status, &content)
}

/// `GET /organizations/{organization}/delete`
pub(super) async fn ask(visit: OrganizationVisit) -> Response {
    question(&visit, StatusCode::OK, &html! {})
}

/// `POST /organizations/{organization}/delete`
pub(super) async fn delete(visit: OrganizationVisit, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let name = &visit.organization;
    let is_empty = || state.vault.list(name).is_empty() && state.identity.list(name).is_empty();
    match state.members.delete_organization(name, is_empty, visit.visit.principal.name()).await {
        Ok(()) => Ok(Redirect::to("/organizations").into_response()),
        Err(no @ (MembersError::OrganizationHolds(_) | MembersError::OrganizationStays(_))) => {
            let told = html! { div role="alert" { (note(Tone::Bad, &html! { p { (prose(&sentence(&no))) } })) } };
            Ok(question(&visit, StatusCode::CONFLICT, &told))
        }
        Err(other) => Err(other.into()),
    }
}

fn question(OrganizationVisit { visit, organization }: &OrganizationVisit, status: StatusCode, told: &Markup) -> Response {
    let content = html! {
        div.content-narrow {
            (told)
            div.head { div { h1 { "Delete " code { (organization) } "?" } } }
            div.stack {
                p { "Its members, invitations and API tokens go with it. It can be deleted once it holds no secrets and no runners." }
                form.actions method="post" action={ "/organizations/" (organization) "/delete" } {
                    (visit.csrf())
                    button.button.button-danger type="submit" { "Delete organization" }
                    a.button.button-quiet href="/organizations" { "Keep it" }
                }
            }
        }
    };
    Page::new("Delete", Section::Elsewhere).answer(visit, status, &content)
}
