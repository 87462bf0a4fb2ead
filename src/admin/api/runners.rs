//! Runners: created with a token that is shown once, listed, edited, given another token, revoked.

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::timestamp;
use super::secrets::sentence;
use super::{State, domains, organization};
use crate::admin::body::Json;
use crate::admin::extract::Path;
use crate::admin::precondition::{MadeFrom, etag};
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::identity::{Edit, IdentityError, NewRunner, RunnerView, Token};
use crate::secret::{AllowedDomains, NamePattern, OrganizationName, RunnerName};
use crate::tls::CertificateName;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, edit, revoke)).routes(routes!(rotate_token))
}

/// A runner: everything but its token.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Runner {
    /// Whose secrets it may use.
    #[schema(value_type = String)]
    pub(in crate::admin) organization: OrganizationName,
    /// Its name, unique in its organization.
    #[schema(value_type = String, example = "billing")]
    pub(in crate::admin) name: RunnerName,
    /// The secrets it may use, by name or beginning (`crm.*`); null: all.
    #[schema(value_type = Option<Vec<String>>)]
    pub(in crate::admin) secrets: Option<Vec<NamePattern>>,
    /// The hosts it may reach; empty: all.
    #[schema(value_type = Vec<String>)]
    pub(in crate::admin) hosts: AllowedDomains,
    /// The certificate it may show instead of its token: `dns:NAME`, `uri:URI` or `spki:BASE64`.
    #[schema(value_type = Option<String>)]
    pub(in crate::admin) certificate: Option<CertificateName>,
    /// 1 when created, one more with each change; 0 of one that cannot be used. It is the entity tag.
    pub(in crate::admin) revision: u64,
    /// When it was created, RFC 3339.
    pub(in crate::admin) created_at: Option<String>,
    /// Who created it.
    pub(in crate::admin) created_by: String,
    /// When it was changed last, RFC 3339.
    pub(in crate::admin) updated_at: Option<String>,
    /// Who changed it last.
    pub(in crate::admin) updated_by: String,
    /// It comes from the configuration and is read-only here.
    pub(in crate::admin) declared: bool,
    /// Why it authenticates nobody, if it does not.
    pub(in crate::admin) fault: Option<String>,
}

/// A runner with its token, which is answered this once.
#[derive(Serialize, ToSchema)]
struct RunnerWithToken {
    #[serde(flatten)]
    runner: Runner,
    /// The token: the password of the proxy's URL, or a Bearer token in Proxy-Authorization.
    token: String,
}

/// Runners.
#[derive(Serialize, ToSchema)]
struct RunnerList {
    runners: Vec<Runner>,
}

/// A runner to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRunner)]
struct New {
    /// A letter, then letters, digits, `_`, `-`, `.`; at most 128.
    #[schema(max_length = 128, pattern = "^[A-Za-z][A-Za-z0-9_.-]*$")]
    name: String,
    /// The secrets it may use. Absent or null: every secret of its organization. Empty: none.
    secrets: Option<Vec<String>>,
    /// The hosts it may reach. Empty: every host.
    #[serde(default)]
    hosts: Vec<String>,
    /// The certificate it may show instead of its token: `dns:NAME`, `uri:URI` or `spki:BASE64`.
    certificate: Option<String>,
}

/// What to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RunnerChange)]
#[expect(clippy::option_option, reason = "null means all, absent means as it is")]
struct Change {
    /// The secrets it may use. Null: every secret of its organization. Empty: none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    secrets: Option<Option<Vec<String>>>,
    /// The hosts it may reach. Empty: every host.
    hosts: Option<Vec<String>>,
    /// The certificate it may show instead of its token. Null: none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    certificate: Option<Option<String>>,
    /// The revision that the change was made from, unless If-Match says it.
    revision: Option<u64>,
}

/// Tells null from what was left out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Lists runners, by name.
#[utoipa::path(
    get, path = "/organizations/{organization}/runners", tag = "runners",
    params(("organization" = String, Path)),
    responses((status = 200, body = RunnerList)),
)]
async fn list(Path(of): Path<String>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let runners = state.identity.list(&organization(&of)?).iter().map(shown).collect();
    Ok(axum::Json(RunnerList { runners }).into_response())
}

/// Creates a runner; the only answer that ever holds its token.
#[utoipa::path(
    post, path = "/organizations/{organization}/runners", tag = "runners",
    params(("organization" = String, Path)),
    request_body = New,
    responses((status = 201, body = RunnerWithToken, headers(("etag" = String), ("location" = String)))),
)]
async fn create(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    principal: Principal,
    Json(body): Json<New>,
) -> Result<Response, Problem> {
    let organization = organization(&of)?;
    let new = NewRunner {
        name: name(&body.name)?,
        secrets: body.secrets.as_deref().map(patterns).transpose()?,
        hosts: domains(&body.hosts, "hosts")?,
        certificate: body.certificate.as_deref().map(certificate).transpose()?,
    };
    let (view, token) = state.identity.create(&organization, new, principal.name()).await?;
    let location = format!("/api/v1/organizations/{organization}/runners/{}", view.name);
    Ok((StatusCode::CREATED, tagged(&view), [(LOCATION, location)], with_token(&view, &token)).into_response())
}

/// Shows a runner.
#[utoipa::path(
    get, path = "/organizations/{organization}/runners/{name}", tag = "runners",
    params(("organization" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = Runner, headers(("etag" = String)))),
)]
async fn show(Path((of, called)): Path<(String, String)>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let view = existing(&state, &organization(&of)?, &name(&called)?)?;
    Ok((tagged(&view), axum::Json(shown(&view))).into_response())
}

/// Changes what a runner may use; connections that are open feel it too.
#[utoipa::path(
    patch, path = "/organizations/{organization}/runners/{name}", tag = "runners",
    params(("organization" = String, Path), ("name" = String, Path), ("if-match" = Option<String>, Header)),
    request_body = Change,
    responses((status = 200, body = Runner, headers(("etag" = String)))),
)]
async fn edit(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    principal: Principal,
    fields: HeaderMap,
    Json(body): Json<Change>,
) -> Result<Response, Problem> {
    let (organization, called) = (organization(&of)?, name(&called)?);
    let made_from = MadeFrom::read(&fields, body.revision)?;
    let edit = Edit {
        secrets: body.secrets.map(|secrets| secrets.as_deref().map(patterns).transpose()).transpose()?,
        hosts: body.hosts.map(|hosts| domains(&hosts, "hosts")).transpose()?,
        certificate: body.certificate.map(|name| name.as_deref().map(certificate).transpose()).transpose()?,
    };
    let view = state.identity.edit(&organization, &called, edit, made_from.revision(), principal.name()).await?;
    Ok((tagged(&view), axum::Json(shown(&view))).into_response())
}

/// Revokes a runner: its next request is refused, also on a connection that is open.
#[utoipa::path(
    delete, path = "/organizations/{organization}/runners/{name}", tag = "runners",
    params(("organization" = String, Path), ("name" = String, Path), ("if-match" = Option<String>, Header)),
    responses((status = 204, description = "It is revoked, now or already.")),
)]
async fn revoke(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    principal: Principal,
    fields: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (organization, name) = (organization(&of)?, name(&called)?);
    if state.identity.get(&organization, &name).is_none() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let made_from = MadeFrom::read(&fields, None)?;
    match state.identity.revoke(&organization, &name, made_from.revision(), principal.name()).await {
        Ok(()) | Err(IdentityError::NotFound { .. }) => Ok(StatusCode::NO_CONTENT),
        Err(fault) => Err(fault.into()),
    }
}

/// Gives a runner a new token in the place of the old one; the only answer that ever holds it.
#[utoipa::path(
    post, path = "/organizations/{organization}/runners/{name}/token", tag = "runners",
    params(("organization" = String, Path), ("name" = String, Path), ("if-match" = Option<String>, Header)),
    responses((status = 201, body = RunnerWithToken, headers(("etag" = String)))),
)]
async fn rotate_token(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    principal: Principal,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    let (organization, name) = (organization(&of)?, name(&called)?);
    existing(&state, &organization, &name)?;
    let made_from = MadeFrom::read(&fields, None)?;
    let (view, token) = state.identity.rotate_token(&organization, &name, made_from.revision(), principal.name()).await?;
    Ok((StatusCode::CREATED, tagged(&view), with_token(&view, &token)).into_response())
}

fn with_token(view: &RunnerView, token: &Token) -> Response {
    axum::Json(RunnerWithToken { runner: shown(view), token: token.show_once().to_owned() }).into_response()
}

/// The runner called `name`.
pub(in crate::admin) fn existing(
    state: &State,
    organization: &OrganizationName,
    name: &RunnerName,
) -> Result<RunnerView, Problem> {
    state.identity.get(organization, name).ok_or_else(|| IdentityError::NotFound { name: name.clone() }.into())
}

fn tagged(view: &RunnerView) -> [(HeaderName, http::HeaderValue); 1] {
    [(ETAG, etag(view.revision))]
}

/// A runner as every door may show it.
pub(in crate::admin) fn shown(view: &RunnerView) -> Runner {
    Runner {
        organization: view.organization.clone(),
        name: view.name.clone(),
        secrets: view.secrets.clone(),
        hosts: view.hosts.clone(),
        certificate: view.certificate.clone(),
        revision: view.revision,
        created_at: timestamp(view.created_at),
        created_by: view.created_by.clone(),
        updated_at: timestamp(view.updated_at),
        updated_by: view.updated_by.clone(),
        declared: view.declared,
        fault: view.fault.clone(),
    }
}

/// The name of a runner, as it is sent.
pub(in crate::admin) fn name(text: &str) -> Result<RunnerName, Problem> {
    RunnerName::parse(text).map_err(|fault| Problem::invalid("name", fault))
}

/// The name of a certificate, as it is sent.
fn certificate(text: &str) -> Result<CertificateName, Problem> {
    CertificateName::parse(text).map_err(|fault| Problem::invalid("certificate", fault))
}

/// Patterns over names of secrets, as they are sent.
pub(in crate::admin) fn patterns(texts: &[String]) -> Result<Vec<NamePattern>, Problem> {
    let parse =
        |text: &String| NamePattern::parse(text).map_err(|fault| Problem::invalid("secrets", format!("`{text}`: {fault}")));
    texts.iter().map(parse).collect()
}

impl From<IdentityError> for Problem {
    fn from(fault: IdentityError) -> Self {
        let status = match &fault {
            IdentityError::NotFound { .. } => StatusCode::NOT_FOUND,
            IdentityError::NameTaken { .. } | IdentityError::CertificateTaken { .. } | IdentityError::Declared { .. } => {
                StatusCode::CONFLICT
            }
            IdentityError::RevisionStale { .. } => StatusCode::PRECONDITION_FAILED,
            IdentityError::Faulty { .. }
            | IdentityError::DeclaredTwice { .. }
            | IdentityError::SharedToken { .. }
            | IdentityError::Store(_)
            | IdentityError::Ledger(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Self::new(status, fault.code(), sentence(&fault));
        match fault {
            IdentityError::NameTaken { .. } => problem.at("name"),
            IdentityError::CertificateTaken { .. } => problem.at("certificate"),
            _ => problem,
        }
    }
}
