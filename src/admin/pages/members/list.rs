//! Who belongs to an organization, who is invited, and which programs act for it.

use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use crate::admin::State;
use crate::admin::pages::icon;
use crate::admin::pages::layout::{Page, Section};
use crate::admin::pages::parts::{Tone, badge, encoded, moment, note, now, status, until};
use crate::admin::pages::query::Query;
use crate::admin::pages::visit::OrganizationVisit;
use crate::members::{InvitationView, MemberView, Role, TokenView};

/// `GET /organizations/{organization}/members`
pub(in crate::admin::pages) async fn show(
    visit: OrganizationVisit,
    Shared(state): Shared<State>,
    RawQuery(query): RawQuery,
) -> Response {
    let organization = &visit.organization;
    let may = visit.visit.may(Role::Administrator);
    let content = html! {
        (told(&Query::parse(query.as_deref())))
        div.head {
            div { h1 { "Members" } p { "People who sign in here, and what each may do in this organization." } }
            @if may {
                div.actions { a.button href={ "/organizations/" (organization) "/new-invitation" } { (icon::PLUS) "Invite somebody" } }
            }
        }
        @if !may {
            (note(Tone::Plain, &html! { p { "You can see members, but not change them. Ask an administrator of this organization." } }))
        }
        div.stack {
            (members(&visit, &state.members.members(organization), may))
            @if may {
                (invitations(&visit, &state.members.invitations(organization)))
                (tokens(&visit, &state.members.tokens(organization)))
            }
        }
    };
    Page::new("Members", Section::Members).answer(&visit.visit, StatusCode::OK, &content)
}

/// What was just done.
fn told(query: &Query) -> Markup {
    let text = match query.text("done") {
        "saved" => "The role was changed. It rules their next request.",
        "removed" => "The member was removed. What they do next is refused.",
        "uninvited" => "The invitation was revoked. Its link works no more.",
        "revoked" => "The token was revoked. What is done with it next is refused.",
        _ => return html! {},
    };
    status(Tone::Good, &html! { p { (text) } })
}

fn members(OrganizationVisit { visit, organization }: &OrganizationVisit, all: &[MemberView], may: bool) -> Markup {
    let now = now();
    html! {
        @if all.is_empty() {
            p.muted { "Nobody belongs to it yet." }
        } @else {
            table.table role="table" {
                caption.visually-hidden { "Members of " (organization) }
                thead role="rowgroup" { tr role="row" {
                    @for title in ["Login", "Role", "Last seen"] { th scope="col" role="columnheader" { (title) } }
                    @if may { th scope="col" role="columnheader" { span.visually-hidden { "Actions" } } }
                } }
                tbody role="rowgroup" {
                    @for member in all {
                        tr role="row" {
                            td.cell-name role="cell" {
                                span.login { (member.login) }
                                @if member.login.as_str() == visit.principal.name() { " " (badge(Tone::Plain, "you")) }
                                @if let Some(fault) = &member.fault { div.badges { (badge(Tone::Bad, "cannot sign in")) } p.about { (fault) } }
                            }
                            td role="cell" data-label="Role" { (role(member)) }
                            td role="cell" data-label="Last seen" { @match member.seen_at { Some(at) => (moment(at, now)), None => span.muted { "not lately" } } }
                            @if may { td.cell-actions role="cell" { (actions(&format!("/organizations/{organization}/members"), member)) } }
                        }
                    }
                }
            }
        }
    }
}

fn role(member: &MemberView) -> Markup {
    html! {
        div {
            @match member.role { Some(role) => (super::capital(role)), None => span.muted { "unknown" } }
            @if member.from_provider { div.small.muted { "by the identity provider" } }
        }
    }
}

fn actions(members: &str, member: &MemberView) -> Markup {
    let own = format!("{members}/{}", encoded(member.login.as_str()));
    html! {
        div.actions {
            @if member.fault.is_none() && !member.from_provider {
                a.button-plain href=(own) aria-label={ "Change role of " (member.login) } { "Change role" }
            }
            a.button-plain.is-danger href={ (own) "/remove" } aria-label={ "Remove " (member.login) } { "Remove" }
        }
    }
}

fn invitations(OrganizationVisit { visit, organization }: &OrganizationVisit, all: &[InvitationView]) -> Markup {
    let now = now();
    html! {
        @if !all.is_empty() {
            section.section aria-labelledby="invitations" {
                h2 #invitations { "Open invitations" }
                table.table role="table" {
                    thead role="rowgroup" { tr role="row" {
                        @for title in ["Login", "Role", "Ends", "By"] { th scope="col" role="columnheader" { (title) } }
                        th scope="col" role="columnheader" { span.visually-hidden { "Actions" } }
                    } }
                    tbody role="rowgroup" {
                        @for invitation in all {
                            tr role="row" {
                                td.cell-name role="cell" { span.login { (invitation.login) } }
                                td role="cell" data-label="Role" { (super::capital(invitation.role)) }
                                td role="cell" data-label="Ends" { (until(invitation.expires_at, now)) }
                                td role="cell" data-label="By" { (invitation.created_by) }
                                td.cell-actions role="cell" {
                                    form.actions method="post" action={ "/organizations/" (organization) "/invitations/" (encoded(invitation.login.as_str())) "/revoke" } {
                                        (visit.csrf())
                                        button.button-plain.is-danger type="submit" aria-label={ "Revoke the invitation of " (invitation.login) } { "Revoke" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tokens(OrganizationVisit { organization, .. }: &OrganizationVisit, all: &[TokenView]) -> Markup {
    let now = now();
    html! {
        section.section aria-labelledby="tokens" {
            div.head {
                div { h2 #tokens { "API tokens" } p { "For programs that manage secrets here, with a role and an end." } }
                div.actions { a.button.button-quiet href={ "/organizations/" (organization) "/new-token" } { (icon::PLUS) "Create token" } }
            }
            @if !all.is_empty() {
                table.table role="table" {
                    thead role="rowgroup" { tr role="row" {
                        @for title in ["Name", "Role", "Ends", "Last used"] { th scope="col" role="columnheader" { (title) } }
                        th scope="col" role="columnheader" { span.visually-hidden { "Actions" } }
                    } }
                    tbody role="rowgroup" { @for token in all { (token_row(organization.as_str(), token, now)) } }
                }
            }
        }
    }
}

fn token_row(organization: &str, token: &TokenView, now: i64) -> Markup {
    html! {
        tr role="row" {
            td.cell-name role="cell" {
                span.name { (token.name) }
                @if let Some(fault) = &token.fault { div.badges { (badge(Tone::Bad, "cannot be used")) } p.about { (fault) } }
            }
            td role="cell" data-label="Role" { @match token.role { Some(role) => (super::capital(role)), None => span.muted { "unknown" } } }
            td role="cell" data-label="Ends" {
                @match token.expires_at {
                    _ if token.expired => (badge(Tone::Warn, "ended")),
                    Some(at) => (until(at, now)),
                    None => span.muted { "unknown" },
                }
            }
            td role="cell" data-label="Last used" { @match token.seen_at { Some(at) => (moment(at, now)), None => span.muted { "not seen" } } }
            td.cell-actions role="cell" {
                div.actions {
                    a.button-plain.is-danger href={ "/organizations/" (organization) "/tokens/" (token.name) "/revoke" } aria-label={ "Revoke " (token.name) } { "Revoke" }
                }
            }
        }
    }
}
