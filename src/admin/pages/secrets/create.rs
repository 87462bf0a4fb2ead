//! Create secret: the form, and what becomes of it.

use axum::extract::{RawQuery, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::html;

use super::done::{self, Done};
use super::draft::Draft;
use super::fields::Fields;
use crate::admin::State;
use crate::admin::pages::form::{Faults, Form};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::query::Query;
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::secret::{SecretName, ValueError};
use crate::vault::{NewSecret, VaultError};

/// `GET /organizations/{organization}/new-secret`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Shared(state): Shared<State>,
    RawQuery(query): RawQuery,
) -> Response {
    let path = path(&visit);
    match state.drafts.find((&visit.visit, &path), &Query::parse(query.as_deref())) {
        Some(draft) => page(&visit, draft.status, &Draft::read(&draft.form), &draft.faults),
        None => page(&visit, StatusCode::OK, &Draft::new(), &Faults::default()),
    }
}

/// `POST /organizations/{organization}/new-secret`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let again = |form, faults, status| state.drafts.keep((&visit.visit, &path(&visit)), form, faults, status);
    let Some((new, cut)) = parsed(&form, &Draft::read(&form), &mut faults) else {
        return again(form, faults, StatusCode::UNPROCESSABLE_ENTITY);
    };
    let by = visit.visit.principal.name();
    match state.vault.create(&visit.organization, new, by).await {
        Ok(secret) => Ok(created(&visit, &secret.name, cut)),
        Err(taken @ VaultError::NameTaken { .. }) => {
            faults.add("name", taken);
            again(form, faults, StatusCode::CONFLICT)
        }
        Err(other) => Err(other.into()),
    }
}

fn path(visit: &OrganizationVisit) -> String {
    format!("/organizations/{}/new-secret", visit.organization)
}

fn created(visit: &OrganizationVisit, name: &SecretName, cut: bool) -> Response {
    let told = done::query(Done::Created, name, cut);
    Redirect::to(&format!("/organizations/{}/secrets/{name}{told}", visit.organization)).into_response()
}

fn parsed(form: &Form, draft: &Draft, faults: &mut Faults) -> Option<(NewSecret, bool)> {
    let parsed = draft.parse(faults);
    let value = match form.value("value") {
        Err(ValueError::Empty) => {
            faults.add("value", "paste the value; a secret cannot be empty");
            None
        }
        other => faults.keep("value", other),
    };
    let (value, cut) = value?;
    let new = NewSecret {
        name: parsed.name?,
        value,
        description: parsed.description?,
        allowed_domains: parsed.domains?,
        limits: parsed.limits?,
    };
    Some((new, cut))
}

fn page(
    OrganizationVisit { visit, organization }: &OrganizationVisit,
    status: StatusCode,
    draft: &Draft,
    faults: &Faults,
) -> Response {
    let fields = Fields { organization, draft, faults, seen: &[] };
    let content = html! {
        div.head { div { h1 { "Create secret" } } }
        form.form method="post" action={ "/organizations/" (organization) "/new-secret" } autocomplete="off" data-secret {
            (visit.csrf())
            (faults.summary())
            @if status.is_client_error() { p.hint { "The value was not kept: paste it again." } }
            (fields.name())
            div.value.section { (fields.value(true)) }
            (fields.description())
            div.section { (fields.domains()) }
            (fields.limits())
            div.form-end {
                button.button type="submit" { "Create secret" }
                a.button.button-quiet href={ "/organizations/" (organization) "/secrets" } { "Cancel" }
            }
        }
    };
    let secrets = format!("/organizations/{organization}/secrets");
    Page::new("Create secret", Section::Secrets)
        .faulty(!faults.is_empty())
        .below("Secrets", secrets)
        .answer(visit, status, &content)
}
