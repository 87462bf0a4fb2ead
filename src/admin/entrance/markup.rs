//! How the ways in look: headings, forms and sentences, in the frame for whoever has not signed in.

use std::fmt::Display;

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use crate::admin::oidc::Provider;
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{Tone, badge, moment, now};
use crate::admin::pages::{Visit, door};
use crate::admin::session::Csrf;
use crate::members::{InvitationView, Person, SessionView};

/// How somebody accepts an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joining {
    /// With a password to be chosen.
    New,
    /// With the password of the account that exists.
    Known,
    /// By saying so.
    SignedIn,
}

/// `/sign-in`, with what was typed and what was wrong.
pub(super) fn sign_in(login: &str, next: &str, provider: Option<&Provider>, fault: Option<&dyn Display>) -> Response {
    let content = html! {
        h1 { "Sign in" }
        (told(fault))
        form.form method="post" action="/sign-in" {
            input type="hidden" name="next" value=(next);
            (line("login", "Login", "username", login))
            (password("password", "Password", "current-password"))
            button.button type="submit" { "Sign in" }
        }
        @if let Some(provider) = provider {
            p { a.button.button-quiet href={ "/sign-in/provider?next=" (query(next)) } { (provider.label()) } }
        }
    };
    page("Sign in", &content)
}

/// `/setup/{token}`
pub(super) fn setup(login: &str, fault: Option<&dyn Display>) -> Response {
    let content = html! {
        h1 { "Welcome" }
        p { "Nobody has an account yet. Make the first one: an administrator of the organization " code { "default" } "." }
        (told(fault))
        form.form method="post" {
            (line("login", "Login: an e-mail address, or a word", "username", login))
            (password("password", "Password, 12 characters at least", "new-password"))
            button.button type="submit" { "Make the account" }
        }
    };
    page("Welcome", &content)
}

/// A link that does not work, or no longer.
pub(super) fn link_invalid() -> Response {
    let content = html! {
        h1 { "This link does not work" }
        p { "It works once, and for a limited time. Ask an administrator for a new one; the link of a first start is printed anew when the server is restarted." }
        p { a href="/sign-in" { "Sign in" } }
    };
    page("This link does not work", &content)
}

/// `/invitation/{token}`
pub(super) fn invitation(
    view: &InvitationView,
    how: Joining,
    through: Option<(String, String)>,
    csrf: &Csrf,
    fault: Option<&dyn Display>,
) -> Response {
    let content = html! {
        h1 { "Join " (view.organization) }
        p { (view.created_by) " invites " strong { (view.login) } " to the organization " strong { (view.organization) } ", as " (view.role) "." }
        (told(fault))
        form.form method="post" {
            (hidden(csrf))
            // For password managers.
            input type="hidden" name="login" value=(view.login) autocomplete="username";
            @match how {
                Joining::New => (password("password", "Choose a password, 12 characters at least", "new-password")),
                Joining::Known => (password("password", "The password of your account", "current-password")),
                Joining::SignedIn => {},
            }
            button.button type="submit" { "Join" }
        }
        @if let Some((link, label)) = through.filter(|_| how == Joining::New) {
            p { a.button.button-quiet href=(link) { (label) } }
        }
    };
    page("Invitation", &content)
}

/// Signed in, and on to `next`.
pub(super) fn onward(next: &str) -> Response {
    let content = html! {
        h1 { "You are signed in" }
        p { a href=(next) { "Go on" } }
    };
    page("You are signed in", &content)
}

/// Not signed in, and why.
pub(super) fn not_signed_in(fault: &dyn Display) -> Response {
    let content = html! {
        h1 { "You are not signed in" }
        (told(Some(fault)))
        p { a href="/sign-in" { "Sign in" } }
    };
    page("You are not signed in", &content)
}

/// `/account`
pub(super) fn account(visit: &Visit, person: &Person, sessions: &[SessionView], fault: Option<&dyn Display>) -> Response {
    let content = html! {
        div.head { div { h1 { "Your account" } p { "You are signed in as " strong { (person.login) } "." } } }
        div.stack.content-wide {
            @if person.has_password { (new_password(visit, fault)) }
            section.section aria-labelledby="sessions" {
                h2 #sessions { "Sessions" }
                table.table role="table" {
                    thead role="rowgroup" { tr role="row" {
                        @for title in ["Browser", "From", "Begun", "Last used"] { th scope="col" role="columnheader" { (title) } }
                        th scope="col" role="columnheader" { span.visually-hidden { "Actions" } }
                    } }
                    tbody role="rowgroup" { @for session in sessions { (row(visit, person, session)) } }
                }
            }
        }
    };
    Page::new("Your account", Section::Elsewhere).faulty(fault.is_some()).answer(visit, StatusCode::OK, &content)
}

fn new_password(visit: &Visit, fault: Option<&dyn Display>) -> Markup {
    html! {
        section.section aria-labelledby="password-title" {
            h2 #password-title { "Password" }
            p.muted { "With a new password every other session ends." }
            (told(fault))
            form.form method="post" action="/account/password" {
                (visit.csrf())
                // For password managers.
                input type="hidden" name="login" value=(visit.principal.name()) autocomplete="username";
                (password("present", "Present password", "current-password"))
                (password("password", "New password, 12 characters at least", "new-password"))
                div.form-end { button.button type="submit" { "Change the password" } }
            }
        }
    }
}

fn row(visit: &Visit, person: &Person, session: &SessionView) -> Markup {
    html! {
        tr role="row" {
            td.cell-name role="cell" { (session.agent) }
            td role="cell" data-label="From" { (session.address) }
            td role="cell" data-label="Begun" { (moment(session.began_at, now())) }
            td role="cell" data-label="Last used" { (moment(session.seen_at, now())) }
            td.cell-actions role="cell" {
                @if session.name == person.session { (badge(Tone::Good, "this one")) } @else {
                    form.actions method="post" action={ "/account/sessions/" (session.name) "/end" } {
                        (visit.csrf())
                        button.button-plain.is-danger type="submit" { "End" }
                    }
                }
            }
        }
    }
}

fn page(title: &str, content: &Markup) -> Response {
    door(title, StatusCode::OK, content)
}

fn told(fault: Option<&dyn Display>) -> Markup {
    html! { @if let Some(fault) = fault { p.error role="alert" { (crate::admin::api::sentence(fault)) } } }
}

fn query(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn hidden(csrf: &Csrf) -> Markup {
    html! { input type="hidden" name="csrf" value=(csrf.as_str()); }
}

fn line(name: &str, label: &str, autocomplete: &str, typed: &str) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            input.input type="text" id=(name) name=(name) value=(typed) autocomplete=(autocomplete) autocapitalize="off"
                spellcheck="false" required;
        }
    }
}

fn password(name: &str, label: &str, autocomplete: &str) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            input.input type="password" id=(name) name=(name) autocomplete=(autocomplete) required;
        }
    }
}
