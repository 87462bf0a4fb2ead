//! Invitations into an organization: made with a link that is shown once, listed, revoked.

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
use super::members::login;
use super::{State, organization};
use crate::admin::body::Json;
use crate::admin::extract::Path;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::members::{InvitationView, Login, MembersError, Role};
use crate::secret::OrganizationName;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// An invitation that is open.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Invitation {
    /// Into which organization.
    #[schema(value_type = String)]
    pub(in crate::admin) organization: OrganizationName,
    /// Who is invited.
    #[schema(value_type = String)]
    pub(in crate::admin) login: Login,
    /// As what.
    #[schema(value_type = RoleSchema)]
    pub(in crate::admin) role: Role,
    /// Until when its link works, RFC 3339.
    pub(in crate::admin) expires_at: Option<String>,
    /// Since when, RFC 3339.
    pub(in crate::admin) created_at: Option<String>,
    /// By whom.
    pub(in crate::admin) created_by: String,
}

/// An invitation with its link, which is answered this once.
#[derive(Serialize, ToSchema)]
struct InvitationWithLink {
    #[serde(flatten)]
    invitation: Invitation,
    /// To be handed to whoever is invited; it works once.
    link: String,
}

/// Open invitations.
#[derive(Serialize, ToSchema)]
struct InvitationList {
    invitations: Vec<Invitation>,
}

/// An invitation to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewInvitation)]
struct New {
    /// An e-mail address or a word; case does not count.
    #[schema(max_length = 254)]
    login: String,
    #[schema(value_type = RoleSchema)]
    role: Role,
}

/// Lists open invitations, by login.
#[utoipa::path(
    get, path = "/organizations/{organization}/invitations", tag = "members",
    params(("organization" = String, Path)),
    responses((status = 200, body = InvitationList)),
)]
async fn list(Path(of): Path<String>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let invitations = state.members.invitations(&organization(&of)?).iter().map(shown).collect();
    Ok(axum::Json(InvitationList { invitations }).into_response())
}

/// Invites somebody; the only answer that ever holds the link.
#[utoipa::path(
    post, path = "/organizations/{organization}/invitations", tag = "members",
    params(("organization" = String, Path)),
    request_body = New,
    responses((status = 201, body = InvitationWithLink, headers(("location" = String)))),
)]
async fn create(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    principal: Principal,
    Json(body): Json<New>,
) -> Result<Response, Problem> {
    let (organization, login) = (organization(&of)?, login(&body.login)?);
    let (view, token) = state.members.invite(&organization, &login, body.role, principal.name()).await?;
    let location = format!("/api/v1/organizations/{organization}/invitations/{login}");
    let link = state.link(&format!("/invitation/{}", token.show_once()));
    let content = InvitationWithLink { invitation: shown(&view), link };
    Ok((StatusCode::CREATED, [(LOCATION, location)], axum::Json(content)).into_response())
}

/// Revokes an invitation: its link works no more.
#[utoipa::path(
    delete, path = "/organizations/{organization}/invitations/{login}", tag = "members",
    params(("organization" = String, Path), ("login" = String, Path)),
    responses((status = 204, description = "It is revoked, now or already.")),
)]
async fn revoke(Path((of, who)): Path<(String, String)>, Shared(state): Shared<State>) -> Result<StatusCode, Problem> {
    match state.members.revoke_invitation(&organization(&of)?, &login(&who)?).await {
        Ok(()) | Err(MembersError::NoInvitation(_)) => Ok(StatusCode::NO_CONTENT),
        Err(fault) => Err(fault.into()),
    }
}

/// An invitation as every door may show it.
pub(in crate::admin) fn shown(view: &InvitationView) -> Invitation {
    Invitation {
        organization: view.organization.clone(),
        login: view.login.clone(),
        role: view.role,
        expires_at: timestamp(view.expires_at),
        created_at: timestamp(view.created_at),
        created_by: view.created_by.clone(),
    }
}
