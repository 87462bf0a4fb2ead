//! Organizations: listed to their members, created and deleted by whoever looks after the instance.

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::timestamp;
use super::me::RoleSchema;
use super::{State, organization};
use crate::admin::access::no_organization;
use crate::admin::body::Json;
use crate::admin::extract::Path;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::members::{MembersError, OrganizationView, Person, Role};
use crate::secret::{Description, OrganizationName};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, delete))
}

/// An organization.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Organization {
    /// Its name.
    #[schema(value_type = String)]
    pub(in crate::admin) name: OrganizationName,
    /// Notes for the team.
    #[schema(value_type = String)]
    pub(in crate::admin) description: Description,
    /// What whoever asks may do in it; null: look after it, without being a member.
    #[schema(value_type = Option<RoleSchema>)]
    pub(in crate::admin) role: Option<Role>,
    /// When it was created, RFC 3339; null of one that always exists.
    pub(in crate::admin) created_at: Option<String>,
    /// Who created it.
    pub(in crate::admin) created_by: Option<String>,
    /// It always exists and cannot be deleted.
    pub(in crate::admin) permanent: bool,
}

/// Organizations.
#[derive(Serialize, ToSchema)]
struct OrganizationList {
    organizations: Vec<Organization>,
}

/// An organization to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrganization)]
struct New {
    /// A letter, then letters, digits, `_`, `-`, `.`; at most 128.
    #[schema(max_length = 128, pattern = "^[A-Za-z][A-Za-z0-9_.-]*$")]
    name: String,
    /// Notes for the team.
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: String,
}

/// Lists the organizations that whoever asks belongs to or looks after, by name.
#[utoipa::path(get, path = "/organizations", tag = "organizations", responses((status = 200, body = OrganizationList)))]
async fn list(principal: Principal, Shared(state): Shared<State>) -> Response {
    let all = state.members.organizations();
    let own = all.iter().filter(|view| principal.operates() || principal.role_in(&view.name).is_some());
    axum::Json(OrganizationList { organizations: own.map(|view| shown(view, &principal)).collect() }).into_response()
}

/// Creates an organization; a person who does becomes its administrator.
#[utoipa::path(
    post, path = "/organizations", tag = "organizations",
    request_body = New,
    responses((status = 201, body = Organization, headers(("location" = String)))),
)]
async fn create(
    Shared(state): Shared<State>,
    mut principal: Principal,
    person: Option<Extension<Person>>,
    Json(body): Json<New>,
) -> Result<Response, Problem> {
    let name = OrganizationName::parse(&body.name).map_err(|fault| Problem::invalid("name", fault))?;
    let description = Description::parse(&body.description).map_err(|fault| Problem::invalid("description", fault))?;
    let account = person.map(|person| person.account.to_string());
    let view = state.members.create_organization(&name, description, principal.name(), account.as_deref()).await?;
    if account.is_some() {
        principal = principal.with_role(&name, Role::Administrator);
    }
    let location = format!("/api/v1/organizations/{name}");
    Ok((StatusCode::CREATED, [(LOCATION, location)], axum::Json(shown(&view, &principal))).into_response())
}

/// Shows an organization.
#[utoipa::path(
    get, path = "/organizations/{organization}", tag = "organizations",
    params(("organization" = String, Path)),
    responses((status = 200, body = Organization)),
)]
async fn show(Path(of): Path<String>, principal: Principal, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let name = organization(&of)?;
    let view = state.members.organizations().into_iter().find(|view| view.name == name).ok_or_else(no_organization)?;
    Ok(axum::Json(shown(&view, &principal)).into_response())
}

/// Deletes an organization that holds no secrets and no runners, with its members, invitations and tokens.
#[utoipa::path(
    delete, path = "/organizations/{organization}", tag = "organizations",
    params(("organization" = String, Path)),
    responses((status = 204, description = "It is deleted, now or already.")),
)]
async fn delete(Path(of): Path<String>, principal: Principal, Shared(state): Shared<State>) -> Result<StatusCode, Problem> {
    let name = organization(&of)?;
    let is_empty = || state.vault.list(&name).is_empty() && state.identity.list(&name).is_empty();
    match state.members.delete_organization(&name, is_empty, principal.name()).await {
        Ok(()) | Err(MembersError::NoOrganization(_)) => Ok(StatusCode::NO_CONTENT),
        Err(fault) => Err(fault.into()),
    }
}

fn shown(view: &OrganizationView, principal: &Principal) -> Organization {
    Organization {
        name: view.name.clone(),
        description: view.description.clone(),
        role: principal.role_in(&view.name),
        created_at: view.created_at.and_then(timestamp),
        created_by: view.created_by.clone(),
        permanent: view.permanent,
    }
}
