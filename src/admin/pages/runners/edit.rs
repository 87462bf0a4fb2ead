//! One runner: what it may use and reach, changed on open connections too.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::draft::Draft;
use super::{fields, present};
use crate::admin::State;
use crate::admin::pages::form::{Faults, Form, revision};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{Tone, moment, note, now};
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::identity::{Edit, IdentityError, RunnerView};

/// `GET /organizations/{organization}/runners/{name}`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<Response, Problem> {
    let runner = present(&state, &visit.organization, &called)?;
    Ok(page(&visit, &runner, StatusCode::OK, &Draft::of(&runner), &Faults::default(), &html! {}))
}

/// `POST /organizations/{organization}/runners/{name}`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let runner = present(&state, &visit.organization, &called)?;
    let (draft, seen) = (Draft::read(&form), revision(&form)?);
    let mut faults = Faults::default();
    let Some(edit) = parsed(&draft, &mut faults) else {
        return Ok(page(&visit, &runner, StatusCode::UNPROCESSABLE_ENTITY, &draft, &faults, &html! {}));
    };
    match state.identity.edit(&visit.organization, &runner.name, edit, Some(seen), visit.visit.principal.name()).await {
        Ok(saved) => {
            let told = format!("/organizations/{}/runners?done=saved&name={}", visit.organization, saved.name);
            Ok(Redirect::to(&told).into_response())
        }
        Err(IdentityError::RevisionStale { current }) => {
            let told = stale(&current);
            Ok(page(&visit, &current, StatusCode::PRECONDITION_FAILED, &draft, &faults, &told))
        }
        Err(taken @ IdentityError::CertificateTaken { .. }) => {
            faults.add("certificate", taken);
            Ok(page(&visit, &runner, StatusCode::CONFLICT, &draft, &faults, &html! {}))
        }
        Err(other) => Err(other.into()),
    }
}

fn parsed(draft: &Draft, faults: &mut Faults) -> Option<Edit> {
    let (secrets, hosts, certificate) = (draft.secrets(faults), draft.hosts(faults), draft.certificate(faults));
    Some(Edit { secrets: Some(secrets?), hosts: Some(hosts?), certificate: Some(certificate?) })
}

/// Somebody else was faster.
pub(super) fn stale(current: &RunnerView) -> Markup {
    html! {
        div role="alert" {
            (note(Tone::Warn, &html! {
                p {
                    strong { "Nothing was changed: " (current.updated_by) " changed this runner " (moment(current.updated_at, now())) "." }
                    " Look at it again, and repeat the change if you still mean to."
                }
            }))
        }
    }
}

fn page(
    of: &OrganizationVisit,
    runner: &RunnerView,
    status: StatusCode,
    draft: &Draft,
    faults: &Faults,
    told: &Markup,
) -> Response {
    let OrganizationVisit { visit, organization } = of;
    let runners = format!("/organizations/{organization}/runners");
    let own = format!("{runners}/{}", runner.name);
    let content = html! {
        (told)
        div.head { div { h1.mono { (runner.name) } } }
        div.stack.content-form {
            @if runner.declared {
                (note(Tone::Plain, &html! { p { "This runner is declared in the configuration file. Change it there." } }))
            } @else {
                form.form method="post" action=(own) autocomplete="off" data-advised {
                    (visit.csrf())
                    (faults.summary())
                    input type="hidden" name="revision" value=(runner.revision);
                    (fields::limits(organization, draft, faults))
                    div.form-end {
                        button.button type="submit" { "Save changes" }
                        a.button.button-quiet href=(runners) { "Cancel" }
                    }
                }
                div.section {
                    h2 { "Token" }
                    p.muted { "Only its hash is kept. If it got lost or known, give the runner a new one." }
                    div.actions {
                        a.button.button-quiet href={ (own) "/token" } { "New token" }
                        a.button.button-danger-quiet href={ (own) "/revoke" } { "Revoke runner" }
                    }
                }
            }
        }
    };
    Page::new(runner.name.as_str(), Section::Runners)
        .faulty(!faults.is_empty())
        .below("Runners", runners)
        .answer(visit, status, &content)
}
