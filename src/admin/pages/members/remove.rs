//! Removing a member: asked first, then what they do next is refused.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::present;
use crate::admin::State;
use crate::admin::pages::form::{Form, revision, sentence};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{Tone, encoded, note, prose};
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::members::{MemberView, MembersError};

/// `GET /organizations/{organization}/members/{login}/remove`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let member = present(&state, &visit.organization, &called)?;
    Ok(page(&visit, &member, StatusCode::OK, &html! {}))
}

/// `POST /organizations/{organization}/members/{login}/remove`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let member = present(&state, &visit.organization, &called)?;
    let by = visit.visit.principal.name();
    let outcome = state.members.remove_member(&visit.organization, &member.login, Some(revision(&form)?), by).await;
    let status = match &outcome {
        Ok(()) => {
            return Ok(Redirect::to(&format!("/organizations/{}/members?done=removed", visit.organization)).into_response());
        }
        Err(MembersError::LastAdministrator(_) | MembersError::RoleFromProvider(_)) => StatusCode::CONFLICT,
        Err(MembersError::Stale) => StatusCode::PRECONDITION_FAILED,
        Err(_) => return outcome.map(|()| StatusCode::OK.into_response()).map_err(Problem::from),
    };
    let said = outcome.err().map(|fault| sentence(&fault)).unwrap_or_default();
    let told = html! { div role="alert" { (note(Tone::Bad, &html! { p { (prose(&said)) } })) } };
    let now = present(&state, &visit.organization, &called)?;
    Ok(page(&visit, &now, status, &told))
}

fn page(
    OrganizationVisit { visit, organization }: &OrganizationVisit,
    member: &MemberView,
    status: StatusCode,
    told: &Markup,
) -> Response {
    let members = format!("/organizations/{organization}/members");
    let content = html! {
        div.content-narrow {
            (told)
            div.head { div { h1 { "Remove " (member.login) "?" } } }
            div.stack {
                p { "They are no member of " strong { (organization) } " from the next request on. An account that is a member of nothing else goes with its sessions. What they created stays." }
                form.actions method="post" action={ (members) "/" (encoded(member.login.as_str())) "/remove" } {
                    (visit.csrf())
                    input type="hidden" name="revision" value=(member.revision);
                    button.button.button-danger type="submit" { "Remove member" }
                    a.button.button-quiet href=(members) { "Keep them" }
                }
            }
        }
    };
    Page::new("Remove", Section::Members).below("Members", members).answer(visit, status, &content)
}
