//! Members of an organization: listed, given another role, removed.

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::header::ETAG;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::timestamp;
use super::me::RoleSchema;
use super::secrets::sentence;
use super::{State, organization};
use crate::admin::body::Json;
use crate::admin::extract::Path;
use crate::admin::precondition::{MadeFrom, etag};
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::members::{Login, MemberView, MembersError, Role};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, set_role, remove))
}

/// A member.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Member {
    /// Who signs in: an e-mail address or a word, in lower case.
    #[schema(value_type = String, example = "ada@example.com")]
    pub(in crate::admin) login: Login,
    /// What they may do; null of an account whose record cannot be used.
    #[schema(value_type = Option<RoleSchema>)]
    pub(in crate::admin) role: Option<Role>,
    /// Whether the identity provider's groups decide the role.
    pub(in crate::admin) from_provider: bool,
    /// When the account was made, RFC 3339.
    pub(in crate::admin) created_at: Option<String>,
    /// When they were last seen, RFC 3339; null without a session.
    pub(in crate::admin) seen_at: Option<String>,
    /// Of the account; it is the entity tag.
    pub(in crate::admin) revision: u64,
    /// Why they cannot sign in, if their record cannot be used.
    pub(in crate::admin) fault: Option<String>,
}

/// Members.
#[derive(Serialize, ToSchema)]
struct MemberList {
    members: Vec<Member>,
}

/// Another role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberChange)]
struct Change {
    #[schema(value_type = RoleSchema)]
    role: Role,
    /// The revision that the change was made from, unless If-Match says it.
    revision: Option<u64>,
}

/// Lists members, by login.
#[utoipa::path(
    get, path = "/organizations/{organization}/members", tag = "members",
    params(("organization" = String, Path)),
    responses((status = 200, body = MemberList)),
)]
async fn list(Path(of): Path<String>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let members = state.members.members(&organization(&of)?).iter().map(shown).collect();
    Ok(axum::Json(MemberList { members }).into_response())
}

/// Shows a member.
#[utoipa::path(
    get, path = "/organizations/{organization}/members/{login}", tag = "members",
    params(("organization" = String, Path), ("login" = String, Path)),
    responses((status = 200, body = Member, headers(("etag" = String)))),
)]
async fn show(Path((of, who)): Path<(String, String)>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let (organization, login) = (organization(&of)?, login(&who)?);
    let member = state.members.member(&organization, &login);
    Ok(answer(&member.ok_or(MembersError::NoMember(login))?))
}

/// Gives a member another role. The last administrator stays one.
#[utoipa::path(
    patch, path = "/organizations/{organization}/members/{login}", tag = "members",
    params(("organization" = String, Path), ("login" = String, Path), ("if-match" = Option<String>, Header)),
    request_body = Change,
    responses((status = 200, body = Member, headers(("etag" = String)))),
)]
async fn set_role(
    Path((of, who)): Path<(String, String)>,
    Shared(state): Shared<State>,
    principal: Principal,
    fields: HeaderMap,
    Json(body): Json<Change>,
) -> Result<Response, Problem> {
    let (organization, login) = (organization(&of)?, login(&who)?);
    let made_from = MadeFrom::read(&fields, body.revision)?.revision();
    let member = state.members.set_role(&organization, &login, body.role, made_from, principal.name()).await?;
    Ok(answer(&member))
}

/// Removes a member; what they do next is refused.
#[utoipa::path(
    delete, path = "/organizations/{organization}/members/{login}", tag = "members",
    params(("organization" = String, Path), ("login" = String, Path), ("if-match" = Option<String>, Header)),
    responses((status = 204, description = "They are no member, now or already.")),
)]
async fn remove(
    Path((of, who)): Path<(String, String)>,
    Shared(state): Shared<State>,
    principal: Principal,
    fields: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (organization, login) = (organization(&of)?, login(&who)?);
    if state.members.member(&organization, &login).is_none() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let made_from = MadeFrom::read(&fields, None)?.revision();
    match state.members.remove_member(&organization, &login, made_from, principal.name()).await {
        Ok(()) | Err(MembersError::NoMember(_)) => Ok(StatusCode::NO_CONTENT),
        Err(fault) => Err(fault.into()),
    }
}

fn answer(view: &MemberView) -> Response {
    ([(ETAG, etag(view.revision))], axum::Json(shown(view))).into_response()
}

/// A member as every door may show it.
pub(in crate::admin) fn shown(view: &MemberView) -> Member {
    Member {
        login: view.login.clone(),
        role: view.role,
        from_provider: view.from_provider,
        created_at: view.created_at.and_then(timestamp),
        seen_at: view.seen_at.and_then(timestamp),
        revision: view.revision,
        fault: view.fault.clone(),
    }
}

/// A login, as it is sent.
pub(in crate::admin) fn login(text: &str) -> Result<Login, Problem> {
    Login::parse(text).map_err(|fault| Problem::invalid("login", fault))
}

impl From<&MembersError> for Problem {
    fn from(fault: &MembersError) -> Self {
        let (status, field) = match fault {
            MembersError::NoOrganization(_)
            | MembersError::NoMember(_)
            | MembersError::NoInvitation(_)
            | MembersError::NoToken(_)
            | MembersError::NoSession
            | MembersError::LinkInvalid => (StatusCode::NOT_FOUND, None),
            MembersError::OrganizationTaken(_) | MembersError::TokenTaken(_) => (StatusCode::CONFLICT, Some("name")),
            MembersError::AlreadyMember(_) | MembersError::AlreadyInvited(_) | MembersError::LoginTaken(_) => {
                (StatusCode::CONFLICT, Some("login"))
            }
            MembersError::LastAdministrator(_) | MembersError::RoleFromProvider(_) => (StatusCode::CONFLICT, Some("role")),
            MembersError::OrganizationStays(_)
            | MembersError::OrganizationHolds(_)
            | MembersError::NoPassword
            | MembersError::TooManyRecords(_) => (StatusCode::CONFLICT, None),
            MembersError::Lifetime => (StatusCode::UNPROCESSABLE_ENTITY, Some("days")),
            MembersError::Password(_) => (StatusCode::UNPROCESSABLE_ENTITY, Some("password")),
            MembersError::WrongPassword | MembersError::NoRole => (StatusCode::FORBIDDEN, None),
            MembersError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, None),
            MembersError::Stale => (StatusCode::PRECONDITION_FAILED, None),
            MembersError::Busy | MembersError::Store(_) | MembersError::Ledger(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        let problem = Self::new(status, fault.code(), sentence(fault));
        match field {
            Some(field) => problem.at(field),
            None => problem,
        }
    }
}

impl From<MembersError> for Problem {
    fn from(fault: MembersError) -> Self {
        Self::from(&fault)
    }
}
