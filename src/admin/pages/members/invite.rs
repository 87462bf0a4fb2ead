//! Inviting somebody: the form, the one page that shows the link, and taking it back.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::html;

use super::roles;
use crate::admin::State;
use crate::admin::pages::form::{Faults, Field, Form};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{Tone, copy, moment_of, note};
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::members::{InvitationView, Login, MembersError, Role};

/// `GET /organizations/{organization}/new-invitation`
pub(in crate::admin::pages) async fn show(visit: OrganizationVisit) -> Response {
    page(&visit, StatusCode::OK, "", Some(Role::Viewer), &Faults::default())
}

/// `POST /organizations/{organization}/new-invitation`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let login = faults.keep("login", Login::parse(form.text("login")));
    let role = faults.keep("role", Role::parse(form.text("role")));
    let typed = form.text("login");
    let (Some(login), Some(role)) = (login, role) else {
        return Ok(page(&visit, StatusCode::UNPROCESSABLE_ENTITY, typed, role, &faults));
    };
    match state.members.invite(&visit.organization, &login, role, visit.visit.principal.name()).await {
        Ok((view, token)) => Ok(link(&visit, &view, &state.link(&format!("/invitation/{}", token.show_once())))),
        Err(taken @ (MembersError::AlreadyMember(_) | MembersError::AlreadyInvited(_))) => {
            faults.add("login", taken);
            Ok(page(&visit, StatusCode::CONFLICT, typed, Some(role), &faults))
        }
        Err(other) => Err(other.into()),
    }
}

/// `POST /organizations/{organization}/invitations/{login}/revoke`
pub(in crate::admin::pages) async fn revoke(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let login = Login::parse(&called).map_err(|fault| Problem::invalid("login", fault))?;
    state.members.revoke_invitation(&visit.organization, &login).await?;
    Ok(Redirect::to(&format!("/organizations/{}/members?done=uninvited", visit.organization)).into_response())
}

fn page(of: &OrganizationVisit, status: StatusCode, login: &str, role: Option<Role>, faults: &Faults) -> Response {
    let OrganizationVisit { visit, organization } = of;
    let members = format!("/organizations/{organization}/members");
    let hint = html! { "An e-mail address, or a word. It is what they sign in with." };
    let content = html! {
        div.head { div { h1 { "Invite somebody" } p { "You get a link to hand on. It works once, within 7 days." } } }
        form.form method="post" action={ "/organizations/" (organization) "/new-invitation" } autocomplete="off" {
            (visit.csrf())
            (faults.summary())
            (Field::new("login", "Login", faults).hint(hint).line("", login))
            (roles(role, faults))
            div.form-end {
                button.button type="submit" { "Make the link" }
                a.button.button-quiet href=(members) { "Cancel" }
            }
        }
    };
    Page::new("Invite somebody", Section::Members)
        .faulty(!faults.is_empty())
        .below("Members", members)
        .answer(visit, status, &content)
}

/// Shows the link, this once.
fn link(OrganizationVisit { visit, organization }: &OrganizationVisit, view: &InvitationView, link: &str) -> Response {
    let members = format!("/organizations/{organization}/members");
    let content = html! {
        div.head { div { h1 { "Invitation for " (view.login) } } }
        div.stack.content-wide {
            div role="status" { (note(Tone::Warn, &html! { p { strong { "Copy it now." } " The link is shown this once. Whoever has it can become this member, so send it to nobody else." } })) }
            div.section {
                h2 { "Link" }
                div.reference { code data-link { (link) } (copy(link, "Copy the link")) }
                p.hint { "It works once, until " (moment_of(view.expires_at)) "." }
            }
            div.actions { a.button.button-quiet href=(members) { "Done" } }
        }
    };
    Page::new("Invitation", Section::Members).below("Members", members).answer(visit, StatusCode::CREATED, &content)
}
