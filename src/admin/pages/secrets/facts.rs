//! What is known of one secret, beside its form, and what is worth a look.

use maud::{Markup, html};

use super::edit::shown;
use super::fields::called;
use super::similar;
use super::usage;
use crate::admin::State;
use crate::admin::pages::chart;
use crate::admin::pages::parts::{Tone, copy, domains, moment, note, now};
use crate::origin::Host;
use crate::vault::SecretView;

/// Hosts that are offered at once.
const MOST_SEEN: usize = 10;
/// Domains that are shown at once: all that there may be.
const ALL_DOMAINS: usize = 100;

/// What is known of one secret.
pub(super) struct Facts<'a> {
    /// The rooms.
    pub(super) state: &'a State,
    /// The secret.
    pub(super) secret: &'a SecretView,
    /// Whether whoever looks may change it.
    pub(super) may_edit: bool,
}

/// Hosts that a secret was seen with and that its domains do not name.
pub(super) fn seen(state: &State, secret: &SecretView) -> Vec<String> {
    let usage = state.activity.usage(&secret.organization, &secret.name).unwrap_or_default();
    let open = secret.allowed_domains.is_empty();
    // Towards a host that the domains do not name nothing went out: it was only asked for.
    let hosts = usage.hosts.iter().filter(|seen| seen.forwarded || !open).filter_map(|seen| Host::parse(&seen.host).ok());
    let unnamed = hosts.filter(|host| open || !secret.allowed_domains.permits(host));
    unnamed.map(|host| host.to_string()).take(MOST_SEEN).collect()
}

impl Facts<'_> {
    /// Why it cannot be changed or used, and what is worth a look.
    pub(super) fn notes(&self) -> Markup {
        let secret = self.secret;
        html! {
            @if let Some(fault) = &secret.fault {
                (note(Tone::Bad, &html! { p { "This secret cannot be used: " (fault) ". Requests that need it are refused. Remove it and create it again, or restore the store from a backup." } }))
            }
            @if secret.declared {
                (note(Tone::Plain, &html! { p { "This secret is declared in the configuration file. Change it there." } }))
            }
            @if secret.fault.is_none() { (self.nudges()) }
        }
    }

    /// The guide's good practices, where they would help.
    fn nudges(&self) -> Markup {
        let secret = self.secret;
        let similar = similar::to(self.state, &secret.organization, secret.name.as_str(), Some(&secret.name));
        let used = usage::of(self.state, secret).last.is_some();
        let anywhere = used && secret.allowed_domains.is_empty();
        let undescribed = self.may_edit && secret.description.as_str().is_empty();
        html! {
            @if anywhere || undescribed || !secret.redacted || !similar.is_empty() {
                (note(Tone::Warn, &html! {
                    p { strong { "Worth a look" } }
                    ul {
                        @if anywhere { li { "It is in use and may go to any domain. Name the domains it is meant for." } }
                        @if undescribed { li { "It has no description. Say what it is for, so that others know." } }
                        @if !secret.redacted { li { "Its value is under 8 bytes, too short to be looked for in answers: an API that echoes it shows it to the runner. Use a longer one." } }
                        @for name in &similar {
                            li {
                                "There is also " a href={ "/organizations/" (secret.organization) "/secrets/" (name) } { (name) }
                                ". If both hold the same, keep one."
                            }
                        }
                    }
                }))
            }
        }
    }

    /// For whoever may only look.
    pub(super) fn description(&self) -> Markup {
        html! {
            @if self.secret.fault.is_none() {
                div.section {
                    h2 { "Description" }
                    @if self.secret.description.as_str().is_empty() { p.muted { "None." } } @else { p { (self.secret.description.as_str()) } }
                }
            }
        }
    }

    /// The column beside the form.
    pub(super) fn aside(&self) -> Markup {
        let reference = format!("{{secrets.{}}}", self.secret.name);
        html! {
            aside.aside aria-label="About this secret" {
                div.section {
                    h2 { "Use it in a request" }
                    div.reference { code { (reference) } (copy(&reference, &format!("Copy the reference {reference}"))) }
                    p.hint { "In a header, query parameter, path, body or authentication header. Not in the base URL's host." }
                }
                @if self.secret.fault.is_none() {
                    div.section { h2 { "Use by day" } (self.chart()) }
                    dl.facts { (self.facts()) }
                }
            }
        }
    }

    fn chart(&self) -> Markup {
        let SecretView { organization, name, .. } = self.secret;
        let usage = self.state.activity.usage(organization, name).unwrap_or_default();
        html! {
            (chart::usage(&usage.days, now()))
            p.small { a href={ "/organizations/" (organization) "/activity?secret=" (name) } { "Show its activity" } }
        }
    }

    fn facts(&self) -> Markup {
        let (secret, now) = (self.secret, now());
        let usage = usage::of(self.state, secret);
        let limits = &secret.limits;
        html! {
            (shown("Last used", &usage.told_in_full(now)))
            @if !self.may_edit || secret.declared { (shown("Allowed domains", &domains(&secret.allowed_domains, ALL_DOMAINS))) }
            @if !limits.is_default() {
                (shown("Limits", &html! {
                    ul.small role="list" {
                        @for surface in limits.surfaces.iter() { li { (called(surface)) } }
                        @if !limits.headers.is_empty() { li { "only in " (limits.headers.join(", ")) } }
                        @if limits.url_encoded { li { "percent-encoded already" } }
                    }
                }))
            }
            @if !secret.declared {
                (shown("Changed", &html! { (moment(secret.updated_at, now)) " by " (secret.updated_by) }))
                (shown("Created", &moment(secret.created_at, now)))
                (shown("Revision", &html! { (secret.revision) }))
            }
        }
    }
}
