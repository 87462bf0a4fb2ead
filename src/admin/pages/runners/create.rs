//! Create runner: the form, and the one page that shows the token.

use axum::extract::State as Shared;
use axum::response::Response;
use http::StatusCode;
use maud::html;

use super::draft::Draft;
use super::{fields, token};
use crate::admin::State;
use crate::admin::pages::form::{Faults, Field, Form};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::identity::{IdentityError, NewRunner};
use crate::secret::RunnerName;

/// `GET /organizations/{organization}/new-runner`
pub(in crate::admin::pages) async fn show(visit: OrganizationVisit) -> Response {
    page(&visit, StatusCode::OK, &Draft::default(), &Faults::default())
}

/// `POST /organizations/{organization}/new-runner`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let draft = Draft::read(&form);
    let mut faults = Faults::default();
    let Some(new) = parsed(&draft, &mut faults) else {
        return Ok(page(&visit, StatusCode::UNPROCESSABLE_ENTITY, &draft, &faults));
    };
    match state.identity.create(&visit.organization, new, visit.visit.principal.name()).await {
        Ok((runner, made)) => Ok(token::page(&visit, &state, &runner.name, &made)),
        Err(taken @ IdentityError::NameTaken { .. }) => {
            faults.add("name", taken);
            Ok(page(&visit, StatusCode::CONFLICT, &draft, &faults))
        }
        Err(taken @ IdentityError::CertificateTaken { .. }) => {
            faults.add("certificate", taken);
            Ok(page(&visit, StatusCode::CONFLICT, &draft, &faults))
        }
        Err(other) => Err(other.into()),
    }
}

fn parsed(draft: &Draft, faults: &mut Faults) -> Option<NewRunner> {
    let name = faults.keep("name", RunnerName::parse(&draft.name));
    let (secrets, hosts, certificate) = (draft.secrets(faults), draft.hosts(faults), draft.certificate(faults));
    Some(NewRunner { name: name?, secrets: secrets?, hosts: hosts?, certificate: certificate? })
}

fn page(of: &OrganizationVisit, status: StatusCode, draft: &Draft, faults: &Faults) -> Response {
    let OrganizationVisit { visit, organization } = of;
    let runners = format!("/organizations/{organization}/runners");
    let hint = html! { "Starts with a letter; then letters, numbers, " code { "_" } ", " code { "-" } " and " code { "." } "." };
    let content = html! {
        div.head { div { h1 { "Create runner" } } }
        form.form method="post" action={ "/organizations/" (organization) "/new-runner" } autocomplete="off" data-advised {
            (visit.csrf())
            (faults.summary())
            (Field::new("name", "Name", faults).hint(hint).line("input-mono", &draft.name))
            (fields::limits(organization, draft, faults))
            div.form-end {
                button.button type="submit" { "Create runner" }
                a.button.button-quiet href=(runners) { "Cancel" }
            }
        }
    };
    Page::new("Create runner", Section::Runners)
        .faulty(!faults.is_empty())
        .below("Runners", runners)
        .answer(visit, status, &content)
}
