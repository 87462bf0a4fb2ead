//! One member: what they may do.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::html;

use super::{present, roles};
use crate::admin::State;
use crate::admin::pages::form::{Faults, Form, revision};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::encoded;
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::members::{MemberView, MembersError, Role};

/// `GET /organizations/{organization}/members/{login}`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let member = present(&state, &visit.organization, &called)?;
    Ok(page(&visit, &member, StatusCode::OK, member.role, &Faults::default()))
}

/// `POST /organizations/{organization}/members/{login}`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let member = present(&state, &visit.organization, &called)?;
    let seen = revision(&form)?;
    let mut faults = Faults::default();
    let Some(role) = faults.keep("role", Role::parse(form.text("role"))) else {
        return Ok(page(&visit, &member, StatusCode::UNPROCESSABLE_ENTITY, member.role, &faults));
    };
    match state.members.set_role(&visit.organization, &member.login, role, Some(seen), visit.visit.principal.name()).await {
        Ok(_) => Ok(Redirect::to(&format!("/organizations/{}/members?done=saved", visit.organization)).into_response()),
        Err(no @ (MembersError::LastAdministrator(_) | MembersError::RoleFromProvider(_))) => {
            faults.add("role", no);
            Ok(page(&visit, &member, StatusCode::CONFLICT, member.role, &faults))
        }
        Err(stale @ MembersError::Stale) => {
            faults.add("role", stale);
            let now = present(&state, &visit.organization, &called)?;
            Ok(page(&visit, &now, StatusCode::PRECONDITION_FAILED, Some(role), &faults))
        }
        Err(other) => Err(other.into()),
    }
}

fn page(of: &OrganizationVisit, member: &MemberView, status: StatusCode, role: Option<Role>, faults: &Faults) -> Response {
    let OrganizationVisit { visit, organization } = of;
    let members = format!("/organizations/{organization}/members");
    let content = html! {
        div.head { div { h1 { (member.login) } } }
        form.form method="post" action={ (members) "/" (encoded(member.login.as_str())) } {
            (visit.csrf())
            (faults.summary())
            input type="hidden" name="revision" value=(member.revision);
            (roles(role, faults))
            div.form-end {
                button.button type="submit" { "Change role" }
                a.button.button-quiet href=(members) { "Cancel" }
            }
        }
    };
    Page::new(member.login.as_str(), Section::Members)
        .faulty(!faults.is_empty())
        .below("Members", members)
        .answer(visit, status, &content)
}
