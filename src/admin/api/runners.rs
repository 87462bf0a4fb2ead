//! Runners: created with a token that is shown once, listed and revoked.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;
use serde_json::{Value, json};

use super::secrets::sentence;
use super::{State, domains, organization, timestamp};
use crate::admin::body::Json;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::identity::{IdentityError, NewRunner, RunnerView};
use crate::secret::{NamePattern, OrganizationName, RunnerName};

/// A runner to be created, as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBody {
    name: String,
    /// Absent or null: every secret of its organization. Empty: none.
    secrets: Option<Vec<String>>,
    /// Empty: every host.
    #[serde(default)]
    hosts: Vec<String>,
}

/// `GET /runners`
pub(super) async fn list(Path(of): Path<String>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let runners: Vec<Value> = state.identity.list(&organization(&of)?).iter().map(shown).collect();
    Ok(axum::Json(json!({ "runners": runners })).into_response())
}

/// `POST /runners`: the only answer that ever holds the token.
pub(super) async fn create(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    principal: Principal,
    Json(body): Json<NewBody>,
) -> Result<Response, Problem> {
    let organization = organization(&of)?;
    let new = NewRunner {
        name: name(&body.name)?,
        secrets: body.secrets.map(|patterns| patterns.iter().map(|text| pattern(text)).collect()).transpose()?,
        hosts: domains(&body.hosts, "hosts")?,
    };
    let (view, token) = state.identity.create(&organization, new, principal.name()).await?;
    let mut content = shown(&view);
    content["token"] = token.show_once().into();
    let location = format!("/api/v1/organizations/{organization}/runners/{}", view.name);
    Ok((StatusCode::CREATED, [(LOCATION, location)], axum::Json(content)).into_response())
}

/// `GET /runners/{name}`
pub(super) async fn show(Path((of, called)): Path<(String, String)>, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let view = present(&state, &organization(&of)?, &name(&called)?)?;
    Ok(axum::Json(shown(&view)).into_response())
}

/// `DELETE /runners/{name}`
pub(super) async fn revoke(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<StatusCode, Problem> {
    state.identity.revoke(&organization(&of)?, &name(&called)?, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The runner called `name`.
pub(super) fn present(state: &State, organization: &OrganizationName, name: &RunnerName) -> Result<RunnerView, Problem> {
    let found = state.identity.list(organization).into_iter().find(|view| view.name == *name);
    found.ok_or_else(|| IdentityError::NotFound { name: name.clone() }.into())
}

fn shown(view: &RunnerView) -> Value {
    json!({
        "organization": view.organization,
        "name": view.name,
        "secrets": view.secrets,
        "hosts": view.hosts,
        "created_at": timestamp(view.created_at),
        "created_by": view.created_by,
        "declared": view.declared,
        "fault": view.fault,
    })
}

/// The name of a runner, as it is sent.
pub(super) fn name(text: &str) -> Result<RunnerName, Problem> {
    RunnerName::parse(text).map_err(|fault| Problem::invalid("name", fault))
}

fn pattern(text: &str) -> Result<NamePattern, Problem> {
    NamePattern::parse(text).map_err(|fault| Problem::invalid("secrets", format!("`{text}`: {fault}")))
}

impl From<IdentityError> for Problem {
    fn from(fault: IdentityError) -> Self {
        let status = match &fault {
            IdentityError::NotFound { .. } => StatusCode::NOT_FOUND,
            IdentityError::NameTaken { .. } | IdentityError::Declared { .. } => StatusCode::CONFLICT,
            IdentityError::RevisionStale { .. } => StatusCode::PRECONDITION_FAILED,
            IdentityError::Faulty { .. }
            | IdentityError::DeclaredTwice { .. }
            | IdentityError::SharedToken { .. }
            | IdentityError::Store(_)
            | IdentityError::Ledger(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Self::new(status, fault.code(), sentence(&fault));
        if matches!(fault, IdentityError::NameTaken { .. }) { problem.at("name") } else { problem }
    }
}
