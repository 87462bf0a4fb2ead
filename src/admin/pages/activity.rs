//! Activity: what was sent and refused, and who changed what, newest first; live where scripts run.

use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::icon;
use super::layout::{Page, Section};
use super::parts::{Tone, badge, empty, encoded, moment, note, now, prose};
use super::query::Query;
use super::visit::OrganizationVisit;
use crate::activity::{Cursor, Filter, Found};
use crate::admin::State;
use crate::admin::problem::Problem;
use crate::audit::{Change, Exchange, Outcome, What};
use crate::secret::{OrganizationName, RunnerName, SecretName};

/// Entries of one page.
const PER_PAGE: usize = 50;

const OUTCOMES: [(&str, &str); 6] = [
    ("", "Everything"),
    ("forwarded", "Forwarded"),
    ("refused", "Refused"),
    ("aborted", "Broken off"),
    ("echoed", "Secrets in answers"),
    ("changes", "Changes by people"),
];

/// `GET /organizations/{organization}/activity`
pub(super) async fn show(
    OrganizationVisit { visit, organization }: OrganizationVisit,
    Shared(state): Shared<State>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(&Query::parse(query.as_deref()));
    let (filter, cursor) = (wanted.filter(), wanted.cursor());
    let page = state
        .activity
        .page(&organization, filter, cursor.as_ref(), PER_PAGE)
        .await
        .map_err(|fault| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", super::form::sentence(&fault)))?;
    let export = format!("/api/v1/organizations/{organization}/activity/export?{}", wanted.api());
    let content = html! {
        div.head {
            div { h1 { "Activity" } p { "Requests that held a reference or were refused, and what people changed. Never a value." } }
            div.actions { a.button.button-quiet href=(export) download { "Export" } }
        }
        (tools(&organization, &wanted))
        @for notice in &page.notices { (note(Tone::Warn, &html! { p { (prose(notice)) } })) }
        div data-live-rows[wanted.cursor.is_empty()] data-stream={ "/api/v1/organizations/" (organization) "/activity/stream?" (wanted.api()) } {
            @if page.entries.is_empty() { (nothing(&organization, &wanted)) } @else { (table(&organization, &page.entries, state.activity.has_others())) }
        }
        @if page.stopped_early { p.hint { "Enough was looked at for one page; older entries may match too." } }
        @if let Some(next) = &page.next {
            nav.pager aria-label="Pages" {
                @if wanted.cursor.is_empty() { span {} } @else { a.button.button-quiet href={ "?" (wanted.link("")) } { "Newest" } }
                a.button.button-quiet href={ "?" (wanted.link(&next.to_string())) } rel="next" { "Older" }
            }
        }
    };
    Ok(Page::new("Activity", Section::Activity).answer(&visit, StatusCode::OK, &content))
}

/// What somebody wants to see.
struct Wanted {
    search: String,
    secret: String,
    runner: String,
    host: String,
    outcome: String,
    cursor: String,
}

impl Wanted {
    fn read(query: &Query) -> Self {
        let text = |name| query.text(name).trim().to_owned();
        let outcome = OUTCOMES.into_iter().find(|(word, _)| *word == query.text("outcome")).map_or("", |(word, _)| word);
        Self {
            search: text("q"),
            secret: text("secret"),
            runner: text("runner"),
            host: text("host").to_lowercase(),
            outcome: outcome.to_owned(),
            cursor: text("cursor"),
        }
    }

    fn filter(&self) -> Filter {
        let outcome = [Outcome::Forwarded, Outcome::Refused, Outcome::Aborted];
        Filter {
            secret: SecretName::parse(&self.secret).ok(),
            runner: RunnerName::parse(&self.runner).ok(),
            host: Some(self.host.clone()).filter(|host| !host.is_empty()),
            outcome: outcome.into_iter().find(|outcome| outcome.as_str() == self.outcome),
            echoed: (self.outcome == "echoed").then_some(true),
            changes: (self.outcome == "changes").then_some(true),
            text: Some(self.search.clone()).filter(|text| !text.is_empty()),
            ..Filter::default()
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        Cursor::parse(&self.cursor).ok()
    }

    /// Whether anything is left out.
    fn narrows(&self) -> bool {
        [&self.search, &self.secret, &self.runner, &self.host, &self.outcome].into_iter().any(|text| !text.is_empty())
    }

    fn link(&self, cursor: &str) -> String {
        let pairs = [
            ("q", &self.search),
            ("secret", &self.secret),
            ("runner", &self.runner),
            ("host", &self.host),
            ("outcome", &self.outcome),
        ];
        let pairs = pairs.into_iter().map(|(name, text)| (name, text.as_str())).chain([("cursor", cursor)]);
        joined(pairs)
    }

    /// The same for the API.
    fn api(&self) -> String {
        let (outcome, kind, echoed) = match self.outcome.as_str() {
            "changes" => ("", "change", ""),
            "echoed" => ("", "", "true"),
            outcome => (outcome, "", ""),
        };
        joined(
            [
                ("search", self.search.as_str()),
                ("secret", &self.secret),
                ("runner", &self.runner),
                ("host", &self.host),
                ("outcome", outcome),
                ("kind", kind),
                ("echoed", echoed),
            ]
            .into_iter(),
        )
    }
}

fn joined<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let said = pairs.filter(|(_, text)| !text.is_empty());
    said.map(|(name, text)| format!("{name}={}", encoded(text))).collect::<Vec<_>>().join("&")
}

fn tools(organization: &OrganizationName, wanted: &Wanted) -> Markup {
    let small = |name: &str, label: &str, typed: &str| {
        html! {
            input.input.input-small type="text" name=(name) value=(typed) aria-label=(label) placeholder=(label) autocomplete="off" spellcheck="false";
        }
    };
    html! {
        form.toolbar method="get" action={ "/organizations/" (organization) "/activity" } role="search" aria-label="Activity" {
            div.search {
                (icon::SEARCH)
                input.input type="search" name="q" value=(wanted.search) aria-label="Search" placeholder="Search" autocomplete="off" spellcheck="false";
            }
            (small("secret", "Secret", &wanted.secret))
            (small("runner", "Runner", &wanted.runner))
            (small("host", "Host", &wanted.host))
            select.input name="outcome" aria-label="Show" {
                @for (word, title) in OUTCOMES { option value=(word) selected[word == wanted.outcome] { (title) } }
            }
            button.button.button-quiet type="submit" { "Show" }
        }
    }
}

fn nothing(organization: &OrganizationName, wanted: &Wanted) -> Markup {
    if wanted.narrows() {
        let all = html! { a.button.button-quiet href={ "/organizations/" (organization) "/activity" } { "Show everything" } };
        return empty(icon::SEARCH, "Nothing found", "No entry matches. Entries are kept within bounds of age and number.", &all);
    }
    let first =
        html! { a.button.button-quiet href={ "/organizations/" (organization) "/welcome" } { "Show me the first steps" } };
    empty(
        icon::ACTIVITY,
        "Nothing happened yet",
        "Requests with references, refusals and changes show up here as they happen.",
        &first,
    )
}

/// `of_nodes`: each entry is shown with the node that wrote it.
fn table(organization: &OrganizationName, entries: &[Found], of_nodes: bool) -> Markup {
    let now = now();
    html! {
        table.table role="table" {
            caption.visually-hidden { "Activity of " (organization) ", newest first" }
            thead role="rowgroup" { tr role="row" {
                @for title in ["When", "Outcome", "What", "Who"] { th scope="col" role="columnheader" { (title) } }
            } }
            tbody role="rowgroup" {
                @for found in entries {
                    tr role="row" {
                        td role="cell" data-label="When" {
                            div {
                                (moment(found.entry.at.div_euclid(1_000), now))
                                @if of_nodes { div.small.muted { "on " (found.node) } }
                            }
                        }
                        @match &found.entry.what {
                            What::Exchange(exchange) => (exchange_cells(organization, exchange)),
                            What::Change(change) => (change_cells(change)),
                        }
                    }
                }
            }
        }
    }
}

fn exchange_cells(organization: &OrganizationName, exchange: &Exchange) -> Markup {
    html! {
        td role="cell" data-label="Outcome" {
            div {
                (outcome(exchange.outcome))
                @if let Some(status) = exchange.status { div.small.muted.nowrap { "status " (status) } }
            }
        }
        td.cell-what role="cell" data-label="What" {
            div {
                div.mono.clamp { (exchange.method) " " (exchange.url) }
                @if !exchange.secrets.is_empty() {
                    div.small {
                        @for (index, (name, surface)) in exchange.secrets.iter().enumerate() {
                            @if index > 0 { ", " }
                            a href={ "/organizations/" (organization) "/secrets/" (name) } { (name) } " in the " (surface)
                        }
                    }
                }
                @if !exchange.redacted.is_empty() { (echo(organization, exchange)) }
                @if let Some(detail) = &exchange.detail {
                    details.more.small {
                        summary { (exchange.code.as_deref().unwrap_or("why")) }
                        p { (prose(detail)) }
                        @if let Some(hint) = &exchange.hint { p { (prose(hint)) } }
                        p.muted { "Request " code { (exchange.request_id) } }
                    }
                }
            }
        }
        td role="cell" data-label="Who" { @match &exchange.runner { Some(runner) => span.mono { (runner) }, None => span.muted { "no name" } } }
    }
}

/// That an answer held values, and what to make of it.
fn echo(organization: &OrganizationName, exchange: &Exchange) -> Markup {
    html! {
        div.small {
            (badge(Tone::Warn, "this API echoes your secret")) " "
            @for (index, (name, part)) in exchange.redacted.iter().enumerate() {
                @if index > 0 { ", " }
                a href={ "/organizations/" (organization) "/secrets/" (name) } { (name) } " in the " (part.as_str())
            }
            span.muted { " of the answer; the runner got the reference instead." }
        }
    }
}

fn outcome(outcome: Outcome) -> Markup {
    match outcome {
        Outcome::Forwarded => badge(Tone::Good, "forwarded"),
        Outcome::Refused => badge(Tone::Bad, "refused"),
        Outcome::Aborted => badge(Tone::Warn, "broken off"),
    }
}

fn change_cells(change: &Change) -> Markup {
    html! {
        td role="cell" data-label="Outcome" { (badge(Tone::Plain, "change")) }
        td.cell-what role="cell" data-label="What" {
            div {
                (change.action) " " (change.object) " " strong { (change.name) }
                @if let Some(name) = &change.renamed_to { " to " strong { (name) } }
                @if let Some(detail) = &change.detail { div.small.muted { (prose(detail)) } }
            }
        }
        td role="cell" data-label="Who" { (change.actor) }
    }
}
