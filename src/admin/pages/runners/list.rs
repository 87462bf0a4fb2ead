//! The runners of an organization, and what each may use.

use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::secrets;
use crate::admin::State;
use crate::admin::pages::icon;
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{self, Tone, badge, empty, moment, note, now, status};
use crate::admin::pages::query::Query;
use crate::admin::pages::visit::OrganizationVisit;
use crate::identity::RunnerView;
use crate::members::Role;
use crate::secret::{OrganizationName, RunnerName};

/// Hosts of one runner in the list.
const HOSTS: usize = 3;

/// `GET /organizations/{organization}/runners`
pub(in crate::admin::pages) async fn show(
    OrganizationVisit { visit, organization }: OrganizationVisit,
    Shared(state): Shared<State>,
    RawQuery(query): RawQuery,
) -> Response {
    let runners = state.identity.list(&organization);
    let may = visit.may(Role::Administrator);
    let create = html! { a.button href={ "/organizations/" (organization) "/new-runner" } { (icon::PLUS) "Create runner" } };
    let content = html! {
        (told(&Query::parse(query.as_deref())))
        div.head {
            div {
                h1 { "Runners" }
                p { "Programs that send requests through the proxy. Each has a token of its own, and may be limited to some secrets and hosts." }
            }
            @if may && !runners.is_empty() { div.actions { (create) } }
        }
        @if !may {
            (note(Tone::Plain, &html! { p { "You can see runners, but not create or change them. Ask an administrator of this organization." } }))
        }
        @if runners.is_empty() {
            (empty(icon::RUNNER, "No runners yet",
                "As long as no runner exists, clients on the server's own machine need no token. From the first runner on, every client needs one.",
                &html! { @if may { (create) } }))
        } @else {
            (table(&organization, &runners, may))
        }
    };
    Page::new("Runners", Section::Runners).answer(&visit, StatusCode::OK, &content)
}

/// What was just done to a runner.
fn told(query: &Query) -> Markup {
    let Ok(name) = RunnerName::parse(query.text("name")) else { return html! {} };
    let text = match query.text("done") {
        "saved" => {
            html! { p { "The runner " code { (name) } " was saved. It rules the next request, on open connections too." } }
        }
        "revoked" => html! { p { "The runner " code { (name) } " was revoked. Its token is nobody's from now on." } },
        _ => return html! {},
    };
    status(Tone::Good, &text)
}

fn table(organization: &OrganizationName, runners: &[RunnerView], may: bool) -> Markup {
    let now = now();
    html! {
        table.table role="table" {
            caption.visually-hidden { "Runners of " (organization) }
            thead role="rowgroup" { tr role="row" {
                @for title in ["Name", "May use", "May reach", "Created"] { th scope="col" role="columnheader" { (title) } }
                @if may { th scope="col" role="columnheader" { span.visually-hidden { "Actions" } } }
            } }
            tbody role="rowgroup" {
                @for runner in runners {
                    tr role="row" {
                        td.cell-name role="cell" { (name(organization, runner, may)) }
                        td.cell-domains role="cell" data-label="May use" { (secrets(runner.secrets.as_deref())) }
                        td.cell-domains role="cell" data-label="May reach" { (hosts(runner)) }
                        td role="cell" data-label="Created" { (created(runner, now)) }
                        @if may { td.cell-actions role="cell" { (actions(organization, runner)) } }
                    }
                }
            }
        }
    }
}

fn name(organization: &OrganizationName, runner: &RunnerView, may: bool) -> Markup {
    html! {
        @if may && !runner.declared && runner.fault.is_none() {
            a.name href={ "/organizations/" (organization) "/runners/" (runner.name) } { (runner.name) }
        } @else {
            span.name { (runner.name) }
        }
        @if runner.declared { div.badges { (badge(Tone::Plain, "declared in the configuration")) } }
        @if let Some(fault) = &runner.fault {
            div.badges { (badge(Tone::Bad, "cannot be used")) }
            p.about { "Its token is nobody's: " (fault) ". Revoke it and create it again." }
        }
    }
}

fn hosts(runner: &RunnerView) -> Markup {
    html! { @if runner.hosts.is_empty() { span.any { "Any host" } } @else { (parts::domains(&runner.hosts, HOSTS)) } }
}

fn created(runner: &RunnerView, now: i64) -> Markup {
    html! {
        @if runner.declared || runner.fault.is_some() { span.muted { "unknown" } } @else {
            (moment(runner.created_at, now))
            div.small.muted { "by " (runner.created_by) }
        }
    }
}

fn actions(organization: &OrganizationName, runner: &RunnerView) -> Markup {
    let own = format!("/organizations/{organization}/runners/{}", runner.name);
    html! {
        @if !runner.declared {
            div.actions {
                @if runner.fault.is_none() {
                    a.button-plain href=(own) aria-label={ "Edit " (runner.name) } { "Edit" }
                    a.button-plain href={ (own) "/token" } aria-label={ "New token for " (runner.name) } { "New token" }
                }
                a.button-plain.is-danger href={ (own) "/revoke" } aria-label={ "Revoke " (runner.name) } { "Revoke" }
            }
        }
    }
}
