//! Secrets: created, listed, changed and deleted; never read out.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{State, domains, organization, timestamp};
use crate::admin::body::{self, Json, ValueText};
use crate::admin::precondition::{MadeFrom, etag};
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::audit::LastUse;
use crate::secret::{Description, Limits, OrganizationName, SecretName};
use crate::vault::{Edit, NewSecret, SecretView, VaultError};

/// What stands for a value. Always the same, so that it does not tell a length.
const MASK: &str = "••••••••";

/// A secret to be created, as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBody {
    name: String,
    value: Option<ValueText>,
    value_base64: Option<ValueText>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    allowed_domains: Vec<String>,
    limits: Option<Value>,
}

/// A change, as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EditBody {
    name: Option<String>,
    value: Option<ValueText>,
    value_base64: Option<ValueText>,
    description: Option<String>,
    allowed_domains: Option<Vec<String>>,
    limits: Option<Value>,
    revision: Option<u64>,
}

/// `GET /secrets`
pub(super) async fn list(Path(of): Path<String>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let secrets: Vec<Value> = state.vault.list(&organization(&of)?).iter().map(shown).collect();
    Ok(axum::Json(json!({ "secrets": secrets })).into_response())
}

/// `POST /secrets`
pub(super) async fn create(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    principal: Principal,
    Json(body): Json<NewBody>,
) -> Result<Response, Problem> {
    let organization = organization(&of)?;
    let new = NewSecret {
        name: name(&body.name)?,
        value: body::value(body.value, body.value_base64)?
            .ok_or_else(|| Problem::invalid("value", "a new secret needs a value"))?,
        description: description(&body.description)?,
        allowed_domains: domains(&body.allowed_domains, "allowed_domains")?,
        limits: body.limits.map(limits).transpose()?.unwrap_or_default(),
    };
    let view = state.vault.create(&organization, new, principal.name()).await?;
    let location = format!("/api/v1/organizations/{organization}/secrets/{}", view.name);
    Ok((StatusCode::CREATED, tagged(&view), [(LOCATION, location)], axum::Json(shown(&view))).into_response())
}

/// `GET /secrets/{name}`
pub(super) async fn show(Path((of, called)): Path<(String, String)>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let (organization, name) = (organization(&of)?, name(&called)?);
    let view = present(&state, &organization, &name)?;
    Ok((tagged(&view), axum::Json(with_last_use(&state, &view))).into_response())
}

/// `PATCH /secrets/{name}`
pub(super) async fn edit(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    principal: Principal,
    fields: HeaderMap,
    Json(body): Json<EditBody>,
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
    let revision = made_from.resolve(present(&state, &organization, &called)?.revision)?;
    let view = state.vault.edit(&organization, &called, edit, Some(revision), principal.name()).await?;
    Ok((tagged(&view), axum::Json(shown(&view))).into_response())
}

/// `DELETE /secrets/{name}`: answers with what was deleted, and what used it last.
pub(super) async fn delete(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    let (organization, name) = (organization(&of)?, name(&called)?);
    let made_from = MadeFrom::read(&fields, None)?;
    let view = present(&state, &organization, &name)?;
    let revision = made_from.resolve(view.revision)?;
    state.vault.delete(&organization, &name, Some(revision)).await?;
    Ok(axum::Json(with_last_use(&state, &view)).into_response())
}

fn present(state: &State, organization: &OrganizationName, name: &SecretName) -> Result<SecretView, Problem> {
    let found = state.vault.get(organization, name);
    found.ok_or_else(|| VaultError::NotFound { name: name.clone() }.into())
}

fn tagged(view: &SecretView) -> [(HeaderName, http::HeaderValue); 1] {
    [(ETAG, etag(view.revision))]
}

fn shown(view: &SecretView) -> Value {
    json!({
        "organization": view.organization,
        "name": view.name,
        "value": MASK,
        "description": view.description,
        "allowed_domains": view.allowed_domains,
        "limits": view.limits,
        "revision": view.revision,
        "created_at": timestamp(view.created_at),
        "updated_at": timestamp(view.updated_at),
        "updated_by": view.updated_by,
        "declared": view.declared,
        "fault": view.fault,
    })
}

fn with_last_use(state: &State, view: &SecretView) -> Value {
    let mut shown = shown(view);
    shown["last_use"] = state.audit.last_use(&view.organization, &view.name).map_or(Value::Null, |last| used(&last));
    shown
}

fn used(last: &LastUse) -> Value {
    json!({
        "at": timestamp(OffsetDateTime::from(last.at).unix_timestamp()),
        "runner": last.runner,
        "host": last.host.to_string(),
        "surface": last.surface,
    })
}

fn name(text: &str) -> Result<SecretName, Problem> {
    SecretName::parse(text).map_err(|fault| Problem::invalid("name", fault))
}

fn description(text: &str) -> Result<Description, Problem> {
    Description::parse(text).map_err(|fault| Problem::invalid("description", fault))
}

fn limits(sent: Value) -> Result<Limits, Problem> {
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
pub(super) fn sentence(fault: &dyn std::fmt::Display) -> String {
    let text = fault.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}
