//! Organization > Secrets: everything the organization holds, searched, sorted and paged on the server.

use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::done;
use super::usage::{self, Usage};
use crate::admin::State;
use crate::admin::pages::icon;
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{self, MASK, Tone, badge, copy, empty, encoded, moment, note, now, secret_name};
use crate::admin::pages::query::Query;
use crate::admin::pages::visit::OrganizationVisit;
use crate::members::Role;
use crate::secret::OrganizationName;
use crate::vault::SecretView;

/// Secrets on one page: what a person looks through, and what a browser shows at once.
const PER_PAGE: usize = 50;
/// Domains of one secret in the list; its own page shows the rest.
const DOMAINS: usize = 3;

/// `GET /organizations/{organization}/secrets`
pub(in crate::admin::pages) async fn show(
    OrganizationVisit { visit, organization }: OrganizationVisit,
    Shared(state): Shared<State>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = Query::parse(query.as_deref());
    let wanted = Wanted::read(&query);
    let all = state.vault.list(&organization);
    let held = all.len();
    let list =
        List { rows: wanted.choose(&state, all), wanted, held, organization, may_edit: visit.may(Role::Editor), now: now() };
    let content = html! {
        (done::told(&query))
        (list.head())
        @if held == 0 { (list.nothing_yet()) } @else { (list.tools()) (list.found()) }
    };
    Page::new("Secrets", Section::Secrets).answer(&visit, StatusCode::OK, &content)
}

/// One secret with what is known of its use.
struct Row {
    secret: SecretView,
    usage: Usage,
}

/// What somebody wants to see of the list.
struct Wanted {
    search: String,
    only: Only,
    sort: Sort,
    descending: bool,
    /// From 1.
    page: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    All,
    Unused,
    Refused,
    Anywhere,
    Undescribed,
}

const ONLY: [(Only, &str, &str); 5] = [
    (Only::All, "", "All secrets"),
    (Only::Unused, "unused", "Unused for 90 days"),
    (Only::Refused, "refused", "Use was just refused"),
    (Only::Anywhere, "anywhere", "Without allowed domains"),
    (Only::Undescribed, "undescribed", "Without a description"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Name,
    Used,
    Changed,
}

const SORTS: [(Sort, &str); 3] = [(Sort::Name, "name"), (Sort::Used, "used"), (Sort::Changed, "changed")];

impl Wanted {
    fn read(query: &Query) -> Self {
        let only = ONLY.into_iter().find(|(_, word, _)| *word == query.text("only")).map_or(Only::All, |(only, ..)| only);
        let sort = SORTS.into_iter().find(|(_, word)| *word == query.text("sort")).map_or(Sort::Name, |(sort, _)| sort);
        let page = query.text("page").parse().unwrap_or(1).max(1);
        Self { search: query.text("q").trim().to_owned(), only, sort, descending: query.text("order") == "down", page }
    }

    /// The rows that are meant, in the order that is meant.
    fn choose(&self, state: &State, all: Vec<SecretView>) -> Vec<Row> {
        let found = all.into_iter().filter(|secret| self.finds(secret));
        let rows = found.map(|secret| Row { usage: usage::of(state, &secret), secret });
        let mut rows: Vec<Row> = rows.filter(|row| self.means(row)).collect();
        match self.sort {
            // The vault lists by name; people read without regard to case.
            Sort::Name => rows.sort_by_cached_key(|row| row.secret.name.as_str().to_ascii_lowercase()),
            Sort::Used => rows.sort_by_key(|row| std::cmp::Reverse(row.usage.last_at())),
            Sort::Changed => rows.sort_by_key(|row| std::cmp::Reverse(row.secret.updated_at)),
        }
        if self.descending {
            rows.reverse();
        }
        rows
    }

    fn finds(&self, secret: &SecretView) -> bool {
        let wanted = self.search.to_lowercase();
        let holds = |text: &str| text.to_lowercase().contains(&wanted);
        wanted.is_empty()
            || holds(secret.name.as_str())
            || holds(secret.description.as_str())
            || secret.allowed_domains.iter().any(|pattern| holds(&pattern.to_string()))
    }

    fn means(&self, row: &Row) -> bool {
        match self.only {
            Only::All => true,
            Only::Unused => row.usage.unused,
            Only::Refused => row.usage.refused.is_some(),
            Only::Anywhere => row.secret.allowed_domains.is_empty() && row.secret.fault.is_none(),
            Only::Undescribed => row.secret.description.as_str().is_empty() && row.secret.fault.is_none(),
        }
    }

    /// The same list with something changed, as a query.
    fn link(&self, sort: Sort, descending: bool, page: usize) -> String {
        let only = ONLY.into_iter().find(|(only, ..)| *only == self.only).map_or("", |(_, word, _)| word);
        let sort = SORTS.into_iter().find(|(known, _)| *known == sort).map_or("", |(_, word)| word);
        let order = if descending { "&order=down" } else { "" };
        format!("?q={}&only={only}&sort={sort}{order}&page={page}", encoded(&self.search))
    }
}

struct List {
    organization: OrganizationName,
    rows: Vec<Row>,
    wanted: Wanted,
    /// All there are.
    held: usize,
    may_edit: bool,
    now: i64,
}

impl List {
    fn path(&self) -> String {
        format!("/organizations/{}", self.organization)
    }

    fn head(&self) -> Markup {
        html! {
            div.head {
                div {
                    h1 { "Secrets" }
                    p { "Stored once, used by reference: a request says " code { "{secrets.NAME}" } " and the value is put in place on its way out." }
                }
                @if self.may_edit && self.held > 0 { div.actions { (self.create()) } }
            }
            @if !self.may_edit {
                (note(Tone::Plain, &html! { p { "You can see secrets, but not create or change them. Ask an administrator of this organization for edit permissions." } }))
            }
        }
    }

    fn create(&self) -> Markup {
        html! { a.button href={ (self.path()) "/new-secret" } { (icon::PLUS) "Create secret" } }
    }

    fn nothing_yet(&self) -> Markup {
        let text =
            "A secret is a value such as an API key or a token. Store it here, and requests name it instead of holding it.";
        empty(
            icon::KEY,
            "No secrets yet",
            text,
            &html! {
                @if self.may_edit { (self.create()) }
                a.button.button-quiet href={ (self.path()) "/welcome" } { "Show me the first steps" }
            },
        )
    }

    fn tools(&self) -> Markup {
        html! {
            form.toolbar method="get" action={ (self.path()) "/secrets" } role="search" aria-label="Secrets" {
                div.search {
                    (icon::SEARCH)
                    input.input type="search" name="q" value=(self.wanted.search) aria-label="Search names, descriptions and domains"
                        placeholder="Search names, descriptions, domains" autocomplete="off" spellcheck="false";
                }
                select.input name="only" aria-label="Show" {
                    @for (only, word, title) in ONLY { option value=(word) selected[only == self.wanted.only] { (title) } }
                }
                button.button.button-quiet type="submit" { "Search" }
                p.count role="status" { (self.counted()) }
            }
        }
    }

    fn counted(&self) -> String {
        let (found, held) = (self.rows.len(), self.held);
        let plural = if held == 1 { "" } else { "s" };
        if found == held { format!("{held} secret{plural}") } else { format!("{found} of {held} secret{plural}") }
    }

    fn found(&self) -> Markup {
        if self.rows.is_empty() {
            let text = "No secret matches. Try part of a name, of a description or of a domain.";
            let all = html! { a.button.button-quiet href={ (self.path()) "/secrets" } { "Show all secrets" } };
            return empty(icon::SEARCH, "Nothing found", text, &all);
        }
        let from = (self.wanted.page - 1).saturating_mul(PER_PAGE).min((self.rows.len() - 1) / PER_PAGE * PER_PAGE);
        let shown = self.rows.iter().skip(from).take(PER_PAGE);
        html! {
            table.table role="table" {
                caption.visually-hidden { "Secrets of " (self.organization) }
                thead role="rowgroup" { tr role="row" {
                    (self.column("Name", Sort::Name))
                    th scope="col" role="columnheader" { "Value" }
                    th scope="col" role="columnheader" { "Allowed domains" }
                    (self.column("Last used", Sort::Used))
                    (self.column("Changed", Sort::Changed))
                    @if self.may_edit { th scope="col" role="columnheader" { span.visually-hidden { "Actions" } } }
                } }
                tbody role="rowgroup" { @for row in shown { (self.row(row)) } }
            }
            (self.pager(from))
        }
    }

    fn column(&self, title: &str, sort: Sort) -> Markup {
        let current = self.wanted.sort == sort;
        let state = if self.wanted.descending { "descending" } else { "ascending" };
        html! {
            th scope="col" role="columnheader" aria-sort=[current.then_some(state)] {
                a href=(self.wanted.link(sort, current && !self.wanted.descending, 1)) { (title) }
            }
        }
    }

    fn row(&self, row: &Row) -> Markup {
        let secret = &row.secret;
        let own = format!("{}/secrets/{}", self.path(), secret.name);
        html! {
            tr role="row" {
                td.cell-name role="cell" {
                    div.name-line {
                        a.name href=(own) { (secret_name(&secret.name)) }
                        (copy(&format!("{{secrets.{}}}", secret.name), &format!("Copy the reference {{secrets.{}}}", secret.name)))
                    }
                    @if !secret.description.as_str().is_empty() { p.about { (secret.description.as_str()) } }
                    (badges(row))
                }
                td role="cell" data-label="Value" { span.mask { span aria-hidden="true" { (MASK) } span.visually-hidden { "hidden" } } }
                td.cell-domains role="cell" data-label="Allowed domains" {
                    @if secret.fault.is_none() { (parts::domains(&secret.allowed_domains, DOMAINS)) } @else { span.muted { "unknown" } }
                }
                td role="cell" data-label="Last used" { (row.usage.told(self.now)) }
                td role="cell" data-label="Changed" { @if secret.declared { span.muted.nowrap { "in the config" } } @else { (moment(secret.updated_at, self.now)) } }
                @if self.may_edit { td.cell-actions role="cell" { (actions(secret, &own)) } }
            }
        }
    }

    fn pager(&self, from: usize) -> Markup {
        let (page, pages) = (from / PER_PAGE + 1, self.rows.len().div_ceil(PER_PAGE));
        let link = |page| self.wanted.link(self.wanted.sort, self.wanted.descending, page);
        html! {
            @if pages > 1 {
                nav.pager aria-label="Pages" {
                    span { (from + 1) " to " ((from + PER_PAGE).min(self.rows.len())) " of " (self.rows.len()) }
                    div.actions {
                        @if page > 1 { a.button.button-quiet href=(link(page - 1)) rel="prev" { "Previous" } }
                        span { "Page " (page) " of " (pages) }
                        @if page < pages { a.button.button-quiet href=(link(page + 1)) rel="next" { "Next" } }
                    }
                }
            }
        }
    }
}

fn actions(secret: &SecretView, own: &str) -> Markup {
    html! {
        @if !secret.declared {
            div.actions {
                @if secret.fault.is_none() {
                    a.button-plain href=(own) aria-label={ "Edit " (secret.name) } { "Edit" }
                }
                a.button-plain.is-danger href={ (own) "/remove" } aria-label={ "Remove " (secret.name) } { "Remove" }
            }
        }
    }
}

fn badges(row: &Row) -> Markup {
    let secret = &row.secret;
    let any = secret.fault.is_some() || row.usage.refused.is_some() || row.usage.unused || secret.declared;
    html! {
        @if any {
            div.badges {
                @if secret.fault.is_some() { (badge(Tone::Bad, "cannot be used")) }
                @if row.usage.refused.is_some() { (badge(Tone::Bad, "use was just refused")) }
                @if row.usage.unused { (badge(Tone::Warn, "unused for 90 days")) }
                @if secret.declared { (badge(Tone::Plain, "declared in the configuration")) }
            }
        }
    }
}
