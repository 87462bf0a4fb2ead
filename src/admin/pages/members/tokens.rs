//! API tokens: created with a role and an end, shown once, revoked.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::html;

use super::roles;
use crate::admin::State;
use crate::admin::pages::form::{Faults, Field, Form};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::lines;
use crate::admin::pages::parts::{Tone, copy, note, now};
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::members::{MembersError, NewToken, Role};
use crate::secret::TokenName;

/// How long a token may live, in days, as the form offers it.
const DAYS: [i64; 4] = [7, 30, 90, 365];
const DAY: i64 = 24 * 60 * 60;

/// `GET /organizations/{organization}/new-token`
pub(in crate::admin::pages) async fn show(visit: OrganizationVisit) -> Response {
    page(&visit, StatusCode::OK, "", (Some(Role::Viewer), 90), &Faults::default())
}

/// `POST /organizations/{organization}/new-token`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let name = faults.keep("name", TokenName::parse(form.text("name").trim()));
    let role = faults.keep("role", Role::parse(form.text("role")));
    let days = form.text("days").parse().ok().filter(|days| DAYS.contains(days));
    let days = faults.keep("days", days.ok_or("choose how long it lives"));
    let (Some(name), Some(role), Some(days)) = (name, role, days) else {
        let chosen = (role, days.unwrap_or(90));
        return Ok(page(&visit, StatusCode::UNPROCESSABLE_ENTITY, form.text("name"), chosen, &faults));
    };
    let new = NewToken { name, role, expires_at: now() + days * DAY };
    match state.members.create_token(&visit.organization, new, visit.visit.principal.name()).await {
        Ok((view, token)) => Ok(shown(&visit, &state, view.name.as_str(), token.show_once())),
        Err(taken @ MembersError::TokenTaken(_)) => {
            faults.add("name", taken);
            Ok(page(&visit, StatusCode::CONFLICT, form.text("name"), (Some(role), days), &faults))
        }
        Err(other) => Err(other.into()),
    }
}

/// `GET /organizations/{organization}/tokens/{name}/revoke`
pub(in crate::admin::pages) async fn ask(
    OrganizationVisit { visit, organization }: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let known = state.members.tokens(&organization).into_iter().find(|token| token.name.as_str() == called);
    let token = known.ok_or(MembersError::NoToken(called))?;
    let members = format!("/organizations/{organization}/members");
    let content = html! {
        div.content-narrow {
            div.head { div { h1 { "Revoke " code { (token.name) } "?" } } }
            div.stack {
                p { "What is done with this token next is refused." }
                form.actions method="post" action={ "/organizations/" (organization) "/tokens/" (token.name) "/revoke" } {
                    (visit.csrf())
                    button.button.button-danger type="submit" { "Revoke token" }
                    a.button.button-quiet href=(members) { "Keep it" }
                }
            }
        }
    };
    Ok(Page::new("Revoke", Section::Members).below("Members", members).answer(&visit, StatusCode::OK, &content))
}

/// `POST /organizations/{organization}/tokens/{name}/revoke`
pub(in crate::admin::pages) async fn revoke(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let name = TokenName::parse(&called).map_err(|fault| Problem::invalid("name", fault))?;
    state.members.revoke_token(&visit.organization, &name).await?;
    Ok(Redirect::to(&format!("/organizations/{}/members?done=revoked", visit.organization)).into_response())
}

fn page(of: &OrganizationVisit, status: StatusCode, name: &str, (role, days): (Option<Role>, i64), faults: &Faults) -> Response {
    let OrganizationVisit { visit, organization } = of;
    let members = format!("/organizations/{organization}/members");
    let life = Field::new("days", "Ends after", faults);
    let hint = html! { "What uses it, such as " code { "terraform" } "." };
    let content = html! {
        div.head { div { h1 { "Create token" } p { "For a program that manages secrets over the API or with " code { "subrosa --server" } ". Runners have tokens of their own." } } }
        form.form method="post" action={ "/organizations/" (organization) "/new-token" } autocomplete="off" {
            (visit.csrf())
            (faults.summary())
            (Field::new("name", "Name", faults).hint(hint).line("input-mono", name))
            (roles(role, faults))
            (life.around(&html! {
                select.input #days name="days" aria-describedby=[life.described()] {
                    @for choice in DAYS { option value=(choice) selected[choice == days] { (choice) " days" } }
                }
            }))
            div.form-end {
                button.button type="submit" { "Create token" }
                a.button.button-quiet href=(members) { "Cancel" }
            }
        }
    };
    Page::new("Create token", Section::Members)
        .faulty(!faults.is_empty())
        .below("Members", members)
        .answer(visit, status, &content)
}

/// Shows the token, this once.
fn shown(OrganizationVisit { visit, organization }: &OrganizationVisit, state: &State, name: &str, token: &str) -> Response {
    let members = format!("/organizations/{organization}/members");
    let list = state.link(&format!("/api/v1/organizations/{organization}/secrets"));
    let content = html! {
        div.head { div { h1 { "Token " code { (name) } } } }
        div.stack.content-wide {
            div role="status" { (note(Tone::Warn, &html! { p { strong { "Copy it now." } " It is shown this once; only its hash is kept." } })) }
            div.section {
                h2 { "Token" }
                div.reference { code data-token { (token) } (copy(token, "Copy the token")) }
            }
            div.section {
                h2 { "Try it" }
                (lines::block("Request", "", &format!("curl {list} -H 'Authorization: Bearer {token}'")))
            }
            div.actions { a.button.button-quiet href=(members) { "Done" } }
        }
    };
    Page::new("Token", Section::Members).below("Members", members).answer(visit, StatusCode::CREATED, &content)
}
