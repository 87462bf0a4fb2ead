//! API tokens of an organization: created and shown once, listed, revoked.

use std::time::SystemTime;

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::timestamp;
use super::me::RoleSchema;
use super::{State, organization};
use crate::admin::body::Json;
use crate::admin::extract::Path;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::members::{MembersError, NewToken, Role, TokenView};
use crate::secret::TokenName;

const DAY: i64 = 24 * 60 * 60;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// An API token: everything but the token itself.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiToken)]
pub(in crate::admin) struct Token {
    /// Its name, unique in its organization.
    #[schema(value_type = String)]
    pub(in crate::admin) name: TokenName,
    /// What it may do; null of one whose record cannot be used.
    #[schema(value_type = Option<RoleSchema>)]
    pub(in crate::admin) role: Option<Role>,
    /// When it ends, RFC 3339.
    pub(in crate::admin) expires_at: Option<String>,
    /// Whether it has ended.
    pub(in crate::admin) expired: bool,
    /// When it was created, RFC 3339.
    pub(in crate::admin) created_at: Option<String>,
    /// Who created it.
    pub(in crate::admin) created_by: Option<String>,
    /// When it was used last since the server started, RFC 3339.
    pub(in crate::admin) seen_at: Option<String>,
    /// Why it authenticates nobody, if its record cannot be used.
    pub(in crate::admin) fault: Option<String>,
}

/// An API token with the token itself, which is answered this once.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiTokenWithToken)]
struct TokenWithToken {
    #[serde(flatten)]
    about: Token,
    /// To be sent as `Authorization: Bearer TOKEN`.
    token: String,
}

/// API tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiTokenList)]
struct TokenList {
    tokens: Vec<Token>,
}

/// An API token to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiToken)]
struct New {
    /// A letter, then letters, digits, `_`, `-`, `.`; at most 128.
    #[schema(max_length = 128, pattern = "^[A-Za-z][A-Za-z0-9_.-]*$")]
    name: String,
    #[schema(value_type = RoleSchema)]
    role: Role,
    /// For how many days it is valid.
    #[schema(minimum = 1, maximum = 366)]
    days: u16,
}

/// Lists API tokens, by name.
#[utoipa::path(
    get, path = "/organizations/{organization}/tokens", tag = "tokens",
    params(("organization" = String, Path)),
    responses((status = 200, body = TokenList)),
)]
async fn list(Path(of): Path<String>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let tokens = state.members.tokens(&organization(&of)?).iter().map(shown).collect();
    Ok(axum::Json(TokenList { tokens }).into_response())
}

/// Creates an API token; the only answer that ever holds it.
#[utoipa::path(
    post, path = "/organizations/{organization}/tokens", tag = "tokens",
    params(("organization" = String, Path)),
    request_body = New,
    responses((status = 201, body = TokenWithToken, headers(("location" = String)))),
)]
async fn create(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    principal: Principal,
    Json(body): Json<New>,
) -> Result<Response, Problem> {
    let organization = organization(&of)?;
    let expires_at = OffsetDateTime::from(SystemTime::now()).unix_timestamp() + i64::from(body.days) * DAY;
    let new = NewToken { name: name(&body.name)?, role: body.role, expires_at };
    let (view, token) = state.members.create_token(&organization, new, principal.name()).await?;
    let location = format!("/api/v1/organizations/{organization}/tokens/{}", view.name);
    let content = TokenWithToken { about: shown(&view), token: token.show_once().to_owned() };
    Ok((StatusCode::CREATED, [(LOCATION, location)], axum::Json(content)).into_response())
}

/// Revokes an API token: what is done with it next is refused.
#[utoipa::path(
    delete, path = "/organizations/{organization}/tokens/{name}", tag = "tokens",
    params(("organization" = String, Path), ("name" = String, Path)),
    responses((status = 204, description = "It is revoked, now or already.")),
)]
async fn revoke(Path((of, called)): Path<(String, String)>, Shared(state): Shared<State>) -> Result<StatusCode, Problem> {
    match state.members.revoke_token(&organization(&of)?, &name(&called)?).await {
        Ok(()) | Err(MembersError::NoToken(_)) => Ok(StatusCode::NO_CONTENT),
        Err(fault) => Err(fault.into()),
    }
}

/// A token as every door may show it.
pub(in crate::admin) fn shown(view: &TokenView) -> Token {
    Token {
        name: view.name.clone(),
        role: view.role,
        expires_at: view.expires_at.and_then(timestamp),
        expired: view.expired,
        created_at: view.created_at.and_then(timestamp),
        created_by: view.created_by.clone(),
        seen_at: view.seen_at.and_then(timestamp),
        fault: view.fault.clone(),
    }
}

fn name(text: &str) -> Result<TokenName, Problem> {
    TokenName::parse(text).map_err(|fault| Problem::invalid("name", fault))
}
