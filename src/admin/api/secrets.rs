//! Secrets: created, listed, changed and deleted; never read out.

use std::cmp::Reverse;

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::{LastUse, LimitsSchema, timestamp};
use super::{State, domains, organization};
use crate::admin::body::{self, Json, ValueText};
use crate::admin::extract::{Path, Query};
use crate::admin::paging::{self, Page, Window};
use crate::admin::precondition::{MadeFrom, etag};
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::secret::{AllowedDomains, Description, Limits, OrganizationName, SecretName};
use crate::vault::{self, Edit, SecretView, VaultError};

/// What stands for a value. Always the same, so that it does not tell a length.
pub(in crate::admin) const MASK: &str = "••••••••";

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, edit, delete))
}

/// A secret: everything but its value.
#[derive(Serialize, ToSchema)]
#[schema(as = Secret)]
pub(in crate::admin) struct Secret {
    /// Whose it is.
    #[schema(value_type = String)]
    pub(in crate::admin) organization: OrganizationName,
    /// Its name, unique in its organization; case counts.
    #[schema(value_type = String, example = "crm.apiKey")]
    pub(in crate::admin) name: SecretName,
    /// A mask, the same for every value.
    #[schema(example = "••••••••")]
    value: &'static str,
    /// Notes for the team.
    #[schema(value_type = String)]
    pub(in crate::admin) description: Description,
    /// Where it may be sent; empty: anywhere.
    #[schema(value_type = Vec<String>, example = json!(["api.crm.example.com"]))]
    pub(in crate::admin) allowed_domains: AllowedDomains,
    /// What else limits its use.
    #[schema(value_type = LimitsSchema)]
    pub(in crate::admin) limits: Limits,
    /// 1 when created, one more with each change; 0 of one that cannot be used. It is the entity tag.
    pub(in crate::admin) revision: u64,
    /// When it was created, RFC 3339.
    pub(in crate::admin) created_at: Option<String>,
    /// When it was changed last, RFC 3339.
    pub(in crate::admin) updated_at: Option<String>,
    /// Who changed it last.
    pub(in crate::admin) updated_by: String,
    /// It comes from the configuration and is read-only here.
    pub(in crate::admin) declared: bool,
    /// Whether answers are looked through for its value; false of one under 8 bytes, which may stand in any
    /// answer by chance.
    pub(in crate::admin) redacted: bool,
    /// Why it cannot be used, if it cannot; then only its name is known.
    pub(in crate::admin) fault: Option<String>,
    /// Its last use that is known.
    pub(in crate::admin) last_use: Option<LastUse>,
}

/// Secrets, a page of them.
#[derive(Serialize, ToSchema)]
pub(super) struct SecretList {
    secrets: Vec<Secret>,
    /// The cursor of the next page; null on the last one.
    next: Option<String>,
    /// How many secrets all pages have.
    total: usize,
}

/// A secret to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSecret)]
pub(super) struct New {
    /// A letter, then letters, digits, `_`, `-`, `.`; at most 128.
    #[schema(max_length = 128, pattern = "^[A-Za-z][A-Za-z0-9_.-]*$", example = "crm.apiKey")]
    name: String,
    /// The value as text, 1 byte to 64 KiB, taken as it is. Either this or `value_base64`.
    #[schema(value_type = Option<String>, min_length = 1, write_only)]
    value: Option<ValueText>,
    /// The value in base64 (RFC 4648, with padding).
    #[schema(value_type = Option<String>, write_only)]
    value_base64: Option<ValueText>,
    /// Notes for the team, at most 1,000 characters.
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: String,
    /// Where it may be sent: `example.com`, `*.example.com`; at most 100. Empty: anywhere.
    #[serde(default)]
    #[schema(max_items = 100)]
    allowed_domains: Vec<String>,
    /// What else limits its use.
    #[schema(value_type = Option<LimitsSchema>)]
    limits: Option<Value>,
}

/// What to change; what is left out stays. Domains and limits change only together with a value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecretChange)]
pub(super) struct Change {
    /// A new name. References to the old one are refused from then on.
    #[schema(max_length = 128, pattern = "^[A-Za-z][A-Za-z0-9_.-]*$")]
    name: Option<String>,
    /// A new value as text.
    #[schema(value_type = Option<String>, min_length = 1, write_only)]
    value: Option<ValueText>,
    /// A new value in base64.
    #[schema(value_type = Option<String>, write_only)]
    value_base64: Option<ValueText>,
    /// New notes.
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// New allowed domains in the place of the present ones.
    #[schema(max_items = 100)]
    allowed_domains: Option<Vec<String>>,
    /// New limits in the place of the present ones.
    #[schema(value_type = Option<LimitsSchema>)]
    limits: Option<Value>,
    /// The revision that the change was made from, unless If-Match says it.
    revision: Option<u64>,
}

/// The order of a list; `-` turns it round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
pub(in crate::admin) enum Sort {
    /// By name.
    #[default]
    #[serde(rename = "name")]
    Name,
    /// By name, from the end.
    #[serde(rename = "-name")]
    NameReversed,
    /// Least lately changed first.
    #[serde(rename = "updated_at")]
    UpdatedAt,
    /// Lately changed first.
    #[serde(rename = "-updated_at")]
    UpdatedAtReversed,
    /// Longest unused first.
    #[serde(rename = "last_use")]
    LastUse,
    /// Lately used first.
    #[serde(rename = "-last_use")]
    LastUseReversed,
}

/// Which secrets, in which order, from where.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct ListQuery {
    /// Text that name, description or a domain holds; case does not count.
    pub(in crate::admin) search: Option<String>,
    /// The order.
    #[param(inline)]
    pub(in crate::admin) sort: Option<Sort>,
    /// How many, 1 to 1,000; 100 unless said.
    #[param(minimum = 1, maximum = 1000)]
    pub(in crate::admin) limit: Option<usize>,
    /// `next` of the page before.
    pub(in crate::admin) cursor: Option<String>,
}

/// Lists secrets, without their values.
#[utoipa::path(
    get, path = "/organizations/{organization}/secrets", tag = "secrets",
    params(("organization" = String, Path), ListQuery),
    responses((status = 200, body = SecretList)),
)]
async fn list(Path(of): Path<String>, Query(query): Query<ListQuery>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let Page { entries, next, total } = listed(&state, &organization(&of)?, &query)?;
    Ok(axum::Json(SecretList { secrets: entries, next, total }).into_response())
}

/// Stores a secret under a name that is free.
#[utoipa::path(
    post, path = "/organizations/{organization}/secrets", tag = "secrets",
    params(("organization" = String, Path)),
    request_body = New,
    responses((status = 201, body = Secret, headers(("etag" = String), ("location" = String)))),
)]
async fn create(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    principal: Principal,
    Json(body): Json<New>,
) -> Result<Response, Problem> {
    let organization = organization(&of)?;
    let new = vault::NewSecret {
        name: name(&body.name)?,
        value: body::value(body.value, body.value_base64)?
            .ok_or_else(|| Problem::invalid("value", "a new secret needs a value"))?,
        description: description(&body.description)?,
        allowed_domains: domains(&body.allowed_domains, "allowed_domains")?,
        limits: body.limits.map(limits).transpose()?.unwrap_or_default(),
    };
    let view = state.vault.create(&organization, new, principal.name()).await?;
    let location = format!("/api/v1/organizations/{organization}/secrets/{}", view.name);
    Ok((StatusCode::CREATED, tagged(&view), [(LOCATION, location)], axum::Json(shown(&state, &view))).into_response())
}

/// Shows a secret, without its value.
#[utoipa::path(
    get, path = "/organizations/{organization}/secrets/{name}", tag = "secrets",
    params(("organization" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = Secret, headers(("etag" = String)))),
)]
async fn show(Path((of, called)): Path<(String, String)>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let (organization, name) = (organization(&of)?, name(&called)?);
    let view = state.vault.get(&organization, &name).ok_or(VaultError::NotFound { name })?;
    Ok((tagged(&view), axum::Json(shown(&state, &view))).into_response())
}

/// Changes a secret, from the revision that If-Match or `revision` names.
#[utoipa::path(
    patch, path = "/organizations/{organization}/secrets/{name}", tag = "secrets",
    params(("organization" = String, Path), ("name" = String, Path), ("if-match" = Option<String>, Header)),
    request_body = Change,
    responses((status = 200, body = Secret, headers(("etag" = String)))),
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
        name: body.name.as_deref().map(name).transpose()?,
        description: body.description.as_deref().map(description).transpose()?,
        value: body::value(body.value, body.value_base64)?,
        allowed_domains: body.allowed_domains.map(|entries| domains(&entries, "allowed_domains")).transpose()?,
        limits: body.limits.map(limits).transpose()?,
    };
    let view = state.vault.edit(&organization, &called, edit, made_from.revision(), principal.name()).await?;
    Ok((tagged(&view), axum::Json(shown(&state, &view))).into_response())
}

/// Deletes a secret and answers with what it was and what used it last; 204 if it is gone already.
#[utoipa::path(
    delete, path = "/organizations/{organization}/secrets/{name}", tag = "secrets",
    params(("organization" = String, Path), ("name" = String, Path), ("if-match" = Option<String>, Header)),
    responses((status = 200, body = Secret), (status = 204, description = "There is none of that name.")),
)]
async fn delete(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    principal: Principal,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    let (organization, name) = (organization(&of)?, name(&called)?);
    let Some(view) = state.vault.get(&organization, &name) else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let made_from = MadeFrom::read(&fields, None)?;
    // Its usage goes with it.
    let deleted = shown(&state, &view);
    match state.vault.delete(&organization, &name, made_from.revision(), principal.name()).await {
        Err(VaultError::NotFound { .. }) => Ok(StatusCode::NO_CONTENT.into_response()),
        other => other.map(|()| axum::Json(deleted).into_response()).map_err(Problem::from),
    }
}

/// The secrets that `query` means.
pub(in crate::admin) fn listed(
    state: &State,
    organization: &OrganizationName,
    query: &ListQuery,
) -> Result<Page<Secret>, Problem> {
    let wanted = query.search.as_deref().map(str::to_lowercase);
    let views = state.vault.list(organization);
    let meant = views.iter().filter(|view| wanted.as_deref().is_none_or(|wanted| holds(view, wanted)));
    let secrets: Vec<Secret> = meant.map(|view| shown(state, view)).collect();
    let window = Window { limit: query.limit, cursor: query.cursor.clone() };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let last = |secret: &Secret| secret.last_use.as_ref().map_or_else(String::new, |last| text(&last.at));
    let called = |secret: &Secret| secret.name.as_str().to_owned();
    match query.sort.unwrap_or_default() {
        Sort::Name => paging::page(secrets, &window, called),
        Sort::NameReversed => paging::page(secrets, &window, |one| Reverse(called(one))),
        Sort::UpdatedAt => paging::page(secrets, &window, |one| (text(&one.updated_at), called(one))),
        Sort::UpdatedAtReversed => paging::page(secrets, &window, |one| (Reverse(text(&one.updated_at)), called(one))),
        Sort::LastUse => paging::page(secrets, &window, |one| (last(one), called(one))),
        Sort::LastUseReversed => paging::page(secrets, &window, |one| (Reverse(last(one)), called(one))),
    }
}

fn holds(view: &SecretView, wanted: &str) -> bool {
    let holds = |text: &str| text.to_lowercase().contains(wanted);
    holds(view.name.as_str())
        || holds(view.description.as_str())
        || view.allowed_domains.iter().any(|pattern| holds(&pattern.to_string()))
}

fn tagged(view: &SecretView) -> [(HeaderName, http::HeaderValue); 1] {
    [(ETAG, etag(view.revision))]
}

/// A secret as every door may show it.
pub(in crate::admin) fn shown(state: &State, view: &SecretView) -> Secret {
    Secret {
        organization: view.organization.clone(),
        name: view.name.clone(),
        value: MASK,
        description: view.description.clone(),
        allowed_domains: view.allowed_domains.clone(),
        limits: view.limits.clone(),
        revision: view.revision,
        created_at: timestamp(view.created_at),
        updated_at: timestamp(view.updated_at),
        updated_by: view.updated_by.clone(),
        declared: view.declared,
        redacted: view.redacted,
        fault: view.fault.clone(),
        last_use: state.activity.last_use(&view.organization, &view.name).map(LastUse::from),
    }
}

pub(in crate::admin) fn name(text: &str) -> Result<SecretName, Problem> {
    SecretName::parse(text).map_err(|fault| Problem::invalid("name", fault))
}

pub(in crate::admin) fn description(text: &str) -> Result<Description, Problem> {
    Description::parse(text).map_err(|fault| Problem::invalid("description", fault))
}

pub(in crate::admin) fn limits(sent: Value) -> Result<Limits, Problem> {
    serde_json::from_value(sent).map_err(|fault| Problem::invalid("limits", fault))
}

impl From<VaultError> for Problem {
    fn from(fault: VaultError) -> Self {
        let (status, field) = match &fault {
            VaultError::NotFound { .. } => (StatusCode::NOT_FOUND, None),
            VaultError::NameTaken { .. } => (StatusCode::CONFLICT, Some("name")),
            VaultError::Declared { .. } => (StatusCode::CONFLICT, None),
            VaultError::RevisionStale { .. } => (StatusCode::PRECONDITION_FAILED, None),
            VaultError::AllowedDomainsNeedValue => (StatusCode::UNPROCESSABLE_ENTITY, Some("value")),
            VaultError::Unavailable { .. }
            | VaultError::DeclaredTwice { .. }
            | VaultError::DeclaredAndStored { .. }
            | VaultError::Store(_)
            | VaultError::Ledger(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        let problem = Self::new(status, fault.code(), sentence(&fault));
        match field {
            Some(field) => problem.at(field),
            None => problem,
        }
    }
}

/// An error as a sentence.
pub(in crate::admin) fn sentence(fault: &dyn std::fmt::Display) -> String {
    let text = fault.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}
