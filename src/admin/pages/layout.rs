//! The frame around every page: head, navigation, account, and where in all that one is.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use maud::{DOCTYPE, Markup, html};

use super::assets::{LOGO, SCRIPT, STYLE};
use super::icon::{self, Icon};
use super::parts::{self, Tone};
use super::visit::Visit;
use crate::secret::OrganizationName;

/// Nothing but our own files; forms come back here; no other page may frame ours.
pub(in crate::admin) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The parts of an organization that have a page of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Section {
    /// Its secrets.
    Secrets,
    /// Testing a request.
    Test,
    /// What happened.
    Activity,
    /// Its runners.
    Runners,
    /// Its members.
    Members,
    /// What a runner needs.
    Setup,
    /// None of them.
    Elsewhere,
}

const SECTIONS: [(Section, &str, &str, Icon); 6] = [
    (Section::Secrets, "Secrets", "secrets", icon::KEY),
    (Section::Test, "Test a request", "request-test", icon::FLASK),
    (Section::Activity, "Activity", "activity", icon::ACTIVITY),
    (Section::Runners, "Runners", "runners", icon::RUNNER),
    (Section::Members, "Members", "members", icon::MEMBERS),
    (Section::Setup, "Setup", "setup", icon::SETUP),
];

/// What the frame says of a page.
pub(in crate::admin) struct Page<'a> {
    /// What it is called, in the tab and for screen readers.
    title: &'a str,
    /// Whether something on it is at fault, which the tab says first.
    faulty: bool,
    /// The part it belongs to.
    section: Section,
    /// The pages above it: what they are called, and where they are.
    trail: Vec<(String, String)>,
}

impl<'a> Page<'a> {
    /// A page of a section.
    pub(in crate::admin) fn new(title: &'a str, section: Section) -> Self {
        Self { title, faulty: false, section, trail: Vec::new() }
    }

    /// The same, saying in the tab that something on it is at fault.
    #[must_use]
    pub(in crate::admin) fn faulty(self, faulty: bool) -> Self {
        Self { faulty, ..self }
    }

    /// The same, below another page.
    #[must_use]
    pub(in crate::admin) fn below(mut self, title: &str, path: String) -> Self {
        self.trail.push((title.to_owned(), path));
        self
    }

    /// The whole page, in its frame.
    pub(in crate::admin) fn answer(&self, visit: &Visit, status: StatusCode, content: &Markup) -> Response {
        let whole = html! {
            a.skip href="#content" { "Skip to the content" }
            div.frame {
                (side(visit, self.section))
                main.main #content tabindex="-1" {
                    div.content {
                        @if let Some(notice) = &visit.notice { (parts::status(Tone::Warn, &html! { p { (notice) } })) }
                        (self.trail(visit)) (content)
                    }
                }
            }
        };
        let title = if self.faulty { &format!("Error: {}", self.title) } else { self.title };
        answer(title, status, &whole)
    }

    fn trail(&self, visit: &Visit) -> Markup {
        html! {
            @if let Some(organization) = &visit.organization {
                @if !self.trail.is_empty() {
                    nav aria-label="Where this is" {
                        ol.trail role="list" {
                            li { a href={ "/organizations/" (organization) } { (organization) } }
                            @for (title, path) in &self.trail { li { a href=(path) { (title) } } }
                            li aria-current="page" { (self.title) }
                        }
                    }
                }
            }
        }
    }
}

/// A page without navigation, for whoever has not signed in.
pub(in crate::admin) fn door(title: &str, status: StatusCode, content: &Markup) -> Response {
    let whole = html! {
        main.door {
            div.door-card {
                div.brand { img src=(LOGO.path()) alt="" width="26" height="26"; span { "subrosa" } }
                (content)
            }
        }
    };
    answer(title, status, &whole)
}

fn answer(title: &str, status: StatusCode, body: &Markup) -> Response {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · subrosa" }
                link rel="icon" type="image/svg+xml" href=(LOGO.path());
                link rel="stylesheet" href=(STYLE.path());
                script src=(SCRIPT.path()) defer {}
            }
            body { (body) }
        }
    };
    let fields = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    (status, fields, document.into_string()).into_response()
}

fn side(visit: &Visit, current: Section) -> Markup {
    html! {
        header.side {
            a.brand href="/" aria-label="subrosa" { img src=(LOGO.path()) alt="" width="26" height="26"; span { "subrosa" } }
            @if let Some(organization) = &visit.organization {
                (switcher(organization, &visit.organizations))
                (navigation(organization, current))
            }
            (account(visit))
        }
    }
}

fn switcher(current: &OrganizationName, all: &[OrganizationName]) -> Markup {
    html! {
        details.menu.menu-organization {
            summary {
                (icon::ORGANIZATION)
                span.menu-name { span.visually-hidden { "Organization: " } (current) }
                (icon::CHEVRONS)
            }
            div.menu-panel {
                @for organization in all {
                    a href={ "/organizations/" (organization) } aria-current=[(organization == current).then_some("true")] {
                        (organization)
                    }
                }
                hr;
                a href="/organizations" { "All organizations" }
            }
        }
    }
}

fn navigation(organization: &OrganizationName, current: Section) -> Markup {
    html! {
        nav.nav aria-label="Organization" {
            p.nav-title { a href={ "/organizations/" (organization) } { "Organization" } }
            ul role="list" {
                @for (section, title, path, icon) in SECTIONS {
                    li {
                        a href={ "/organizations/" (organization) "/" (path) }
                          aria-current=[(section == current).then_some("page")] { (icon) (title) }
                    }
                }
            }
        }
    }
}

fn account(visit: &Visit) -> Markup {
    let role = visit.organization.as_ref().and_then(|organization| visit.principal.role_in(organization));
    html! {
        details.menu.menu-account {
            summary {
                (icon::USER)
                span.menu-name {
                    (visit.principal.name())
                    @if let Some(role) = role { small { (role) } }
                }
                (icon::CHEVRONS)
            }
            div.menu-panel {
                a href="/account" { "Your account" }
                hr;
                form method="post" action="/sign-out" { (visit.csrf()) button type="submit" { "Sign out" } }
            }
        }
    }
}
