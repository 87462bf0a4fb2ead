//! Members: listed, invited, given another role, removed; and the API tokens of programs.

pub(super) mod invite;
pub(super) mod list;
pub(super) mod member;
pub(super) mod remove;
pub(super) mod tokens;

use maud::{Markup, html};

use super::form::{Faults, tick};
use super::icon;
use crate::admin::State;
use crate::admin::problem::Problem;
use crate::members::{Login, MemberView, MembersError, Role};
use crate::secret::OrganizationName;

/// The member that a path names.
fn present(state: &State, organization: &OrganizationName, called: &str) -> Result<MemberView, Problem> {
    let login = Login::parse(called).map_err(|fault| Problem::invalid("login", fault))?;
    Ok(state.members.member(organization, &login).ok_or(MembersError::NoMember(login))?)
}

/// A choice among the roles.
fn roles(chosen: Option<Role>, faults: &Faults) -> Markup {
    let fault = faults.of("role");
    html! {
        fieldset.panel #role aria-describedby=[fault.map(|_| "role-error")] {
            legend { "Role" }
            div.checks {
                @for role in Role::ALL {
                    (tick(&html! {
                        input id={ "role-" (role) } type="radio" name="role" value=(role) checked[chosen == Some(role)] required
                            aria-invalid=[fault.map(|_| "true")] aria-describedby={ "role-" (role) "-help" };
                    }, &format!("role-{role}"), capital(role), may(role)))
                }
            }
            @if let Some(fault) = fault { p.error #role-error { (icon::WARNING) span { (fault) } } }
        }
    }
}

/// What a role may do, in a few words.
fn may(role: Role) -> &'static str {
    match role {
        Role::Viewer => "Sees names, descriptions, domains and usage.",
        Role::Editor => "Also creates, edits and removes secrets, and tests requests.",
        Role::Administrator => "Also rules over members, runners and API tokens.",
    }
}

fn capital(role: Role) -> &'static str {
    match role {
        Role::Viewer => "Viewer",
        Role::Editor => "Editor",
        Role::Administrator => "Administrator",
    }
}
