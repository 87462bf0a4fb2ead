//! One secret: what is known of it, and the form that changes it. The stored value stays unless
//! value editing is switched on.

use axum::extract::{Path, RawQuery, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::done::{self, Done};
use super::draft::{Draft, Parsed};
use super::facts;
use super::fields::Fields;
use super::present;
use crate::admin::State;
use crate::admin::pages::form::{Faults, Form, revision, tick};
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{MASK, Tone, moment, note, now};
use crate::admin::pages::query::Query;
use crate::admin::pages::visit::OrganizationVisit;
use crate::admin::problem::Problem;
use crate::members::Role;
use crate::secret::{SecretName, SecretValue, ValueError};
use crate::vault::{SecretView, VaultError};

/// Why domains and limits do not change alone.
const WHY: &str = "Allowed domains and limits change only together with the value: whoever may say where it goes has to know it";

/// `GET /organizations/{organization}/secrets/{name}`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let secret = present(&state, &visit.organization, &called)?;
    let (path, query) = (path(&visit, &secret.name), Query::parse(query.as_deref()));
    let Some(kept) = state.drafts.find((&visit.visit, &path), &query) else {
        let (draft, told) = (Draft::of(&secret), done::told(&query));
        let sheet = Sheet { state: &state, visit: &visit, draft, secret, faults: &Faults::default(), told };
        return Ok(sheet.answer(StatusCode::OK));
    };
    let mut draft = Draft::read(&kept.form);
    // What moved it is told at the value, which has to be given then.
    draft.new_value |= kept.faults.of("value").is_some();
    let told = if kept.status == StatusCode::PRECONDITION_FAILED {
        stale(&secret)
    } else {
        html! {}
    };
    let sheet = Sheet { state: &state, visit: &visit, draft, secret, faults: &kept.faults, told };
    Ok(sheet.answer(kept.status))
}

/// `POST /organizations/{organization}/secrets/{name}`
pub(in crate::admin::pages) async fn submit(
    visit: OrganizationVisit,
    Path((_, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
    form: Form,
) -> Result<Response, Problem> {
    let secret = present(&state, &visit.organization, &called)?;
    let (draft, seen) = (Draft::read(&form), revision(&form)?);
    let mut faults = Faults::default();
    let parsed = draft.parse(&mut faults);
    if moves(&parsed, &secret) && !draft.new_value {
        faults.add("value", WHY);
    }
    let value = value(&form, &draft, &mut faults);
    let again = |form, faults, status| state.drafts.keep((&visit.visit, &path(&visit, &secret.name)), form, faults, status);
    if !faults.is_empty() {
        return again(form, faults, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let cut = value.as_ref().is_some_and(|(_, cut)| *cut);
    let edit = parsed.into_edit(value.map(|(value, _)| value));
    let by = visit.visit.principal.name();
    match state.vault.edit(&visit.organization, &secret.name, edit, Some(seen), by).await {
        Ok(saved) => {
            let told = done::query(Done::Saved, &saved.name, cut);
            Ok(Redirect::to(&format!("{}{told}", path(&visit, &saved.name))).into_response())
        }
        Err(taken @ VaultError::NameTaken { .. }) => {
            faults.add("name", taken);
            again(form, faults, StatusCode::CONFLICT)
        }
        Err(VaultError::RevisionStale { .. }) => again(form, faults, StatusCode::PRECONDITION_FAILED),
        Err(other) => Err(other.into()),
    }
}

fn path(visit: &OrganizationVisit, name: &SecretName) -> String {
    format!("/organizations/{}/secrets/{name}", visit.organization)
}

/// Whether the form asks for what takes a new value.
fn moves(parsed: &Parsed, secret: &SecretView) -> bool {
    parsed.domains.as_ref().is_some_and(|domains| *domains != secret.allowed_domains)
        || parsed.limits.as_ref().is_some_and(|limits| *limits != secret.limits)
}

/// The new value, where one is wanted.
fn value(form: &Form, draft: &Draft, faults: &mut Faults) -> Option<(SecretValue, bool)> {
    if !draft.new_value || faults.of("value").is_some() {
        return None;
    }
    match form.value("value") {
        Err(ValueError::Empty) => {
            faults.add("value", "paste the new value, or switch value editing off to keep the stored one");
            None
        }
        other => faults.keep("value", other),
    }
}

/// The page of one secret.
struct Sheet<'a> {
    state: &'a State,
    visit: &'a OrganizationVisit,
    secret: SecretView,
    draft: Draft,
    faults: &'a Faults,
    /// What stands above everything.
    told: Markup,
}

impl Sheet<'_> {
    fn answer(&self, status: StatusCode) -> Response {
        let OrganizationVisit { visit, organization } = self.visit;
        let may_edit = visit.may(Role::Editor);
        let editable = may_edit && !self.secret.declared && self.secret.fault.is_none();
        let facts = facts::Facts { state: self.state, secret: &self.secret, may_edit };
        let content = html! {
            (self.told)
            div.head { div { h1.mono { (self.secret.name) } } }
            div.columns {
                div.stack {
                    @if !may_edit {
                        (note(Tone::Plain, &html! { p { "You can see this secret, but not change it. Ask an administrator of this organization for edit permissions." } }))
                    }
                    (facts.notes())
                    @if editable { (self.form()) } @else { (facts.description()) }
                    @if may_edit && !self.secret.declared { (self.removal()) }
                }
                (facts.aside())
            }
        };
        let secrets = format!("/organizations/{organization}/secrets");
        Page::new(self.secret.name.as_str(), Section::Secrets)
            .faulty(!self.faults.is_empty())
            .below("Secrets", secrets)
            .answer(visit, status, &content)
    }

    fn form(&self) -> Markup {
        let organization = &self.visit.organization;
        let seen = facts::seen(self.state, &self.secret);
        let fields = Fields { organization, draft: &self.draft, faults: self.faults, seen: &seen };
        html! {
            form.form method="post" action={ "/organizations/" (organization) "/secrets/" (self.secret.name) } autocomplete="off" data-secret {
                (self.visit.visit.csrf())
                (self.faults.summary())
                input type="hidden" name="revision" value=(self.secret.revision);
                (fields.name())
                (fields.description())
                div.section { (fields.domains()) }
                (fields.limits())
                // Last, so that it comes into view when a change above takes it.
                (self.value(&fields))
                div.form-end {
                    button.button type="submit" { "Save changes" }
                    a.button.button-quiet href={ "/organizations/" (organization) "/secrets" } { "Cancel" }
                }
            }
        }
    }

    /// The value: stored, or about to be replaced. The switch works without scripts.
    fn value(&self, fields: &Fields<'_>) -> Markup {
        html! {
            fieldset.panel.value {
                legend { "Value" }
                p.mask { span aria-hidden="true" { (MASK) } span.visually-hidden { "The stored value is hidden." } }
                (tick(&html! {
                    input.switch #new_value type="checkbox" name="new_value" value="yes" checked[self.draft.new_value] autocomplete="off"
                        aria-describedby="new_value-help";
                }, "new_value", "Enable value editing", "Off, the stored value stays. Allowed domains and limits change only together with a new value."))
                p.hint data-why hidden role="status" { (WHY) "." }
                div.value-new { (fields.value(false)) }
            }
        }
    }

    fn removal(&self) -> Markup {
        html! {
            div.section {
                h2 { "Remove" }
                p.muted { "Integrations and requests that still refer to it will be refused." }
                div.actions {
                    a.button.button-danger-quiet href={ "/organizations/" (self.visit.organization) "/secrets/" (self.secret.name) "/remove" } { "Remove secret" }
                }
            }
        }
    }
}

/// Somebody else was faster: who, when, and what it is now.
fn stale(current: &SecretView) -> Markup {
    let domains: Vec<_> = current.allowed_domains.iter().map(ToString::to_string).collect();
    let domains = if domains.is_empty() { "any domain".to_owned() } else { domains.join(", ") };
    let description = if current.description.as_str().is_empty() { "none" } else { current.description.as_str() };
    html! {
        div role="alert" {
            (note(Tone::Warn, &html! {
                p {
                    strong { "Nothing was saved: " (current.updated_by) " changed this secret " (moment(current.updated_at, now())) "." }
                    " What you typed is still below, except for a value. Save again to put it in the place of theirs."
                }
                p.small { "Theirs: allowed domains " (domains) "; description: " (description) "." }
            }))
        }
    }
}

/// A field that is only shown.
pub(super) fn shown(label: &str, content: &Markup) -> Markup {
    html! { dt { (label) } dd { (content) } }
}
