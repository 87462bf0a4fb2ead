//! The inputs of a secret's form, the same for creating and for editing.

use maud::{Markup, html};

use super::draft::Draft;
use crate::admin::pages::form::{Faults, Field, tick};
use crate::admin::pages::{forget, icon};
use crate::secret::{OrganizationName, Surface};

/// What is asked of the form.
pub(super) struct Fields<'a> {
    /// Whose secret it is.
    pub(super) organization: &'a OrganizationName,
    /// What was typed.
    pub(super) draft: &'a Draft,
    /// What is wrong with it.
    pub(super) faults: &'a Faults,
    /// Hosts that the secret was seen with.
    pub(super) seen: &'a [String],
}

impl Fields<'_> {
    /// What the secret is called.
    pub(super) fn name(&self) -> Markup {
        let hint = html! {
            "Starts with a letter; then letters, numbers, " code { "_" } ", " code { "-" } " and " code { "." } ". Dots make groups: "
            code { "crm.apiKey" } "."
        };
        html! {
            (Field::new("name", "Name", self.faults).hint(hint).line("input-mono", &self.draft.name))
            div.advice data-advice="name" aria-live="polite" {}
        }
    }

    /// Notes for the team.
    pub(super) fn description(&self) -> Markup {
        let hint = html! { "What it is for, and whom to ask. Everybody in the organization can read it." };
        Field::new("description", "Description", self.faults).optional().hint(hint).lines("", 2, &self.draft.description)
    }

    /// Where a new value is typed: unseen, several lines if need be, and never filled in again.
    pub(super) fn value(&self, required: bool) -> Markup {
        let field = Field::new("value", "Value", self.faults).hint(html! {
            "Write-only: once saved, no page shows it again. Line ends inside it are kept, one at the very end is left out."
        });
        html! {
            (field.around(&html! {
                textarea.input.masked #value name="value" rows="3" autocomplete="off" autocapitalize="off" autocorrect="off" spellcheck="false"
                    required[required] aria-invalid=[field.fault.map(|_| "true")] aria-describedby=[field.described()] {}
            }))
            (forget::posted())
            label.check { input.reveal type="checkbox" autocomplete="off"; span { "Show what I type" } }
        }
    }

    /// Where it may be sent.
    pub(super) fn domains(&self) -> Markup {
        let hint = html! {
            "One a line. " code { "example.com" } " is that host only, " code { "*.example.com" } " every host below it. Empty: any domain."
        };
        html! {
            (Field::new("domains", "Allowed domains", self.faults).optional().hint(hint).lines("input-mono", 3, &self.draft.domains))
            @if !self.seen.is_empty() {
                div.suggestions {
                    @if self.draft.domains.trim().is_empty() { "Seen in use:" } @else { "Asked for and refused; add only hosts that you know:" }
                    @for host in self.seen { button.chip type="button" data-add=(host) { (host) } }
                }
            }
            div.advice data-advice="domains" data-source={ "/organizations/" (self.organization) "/domain-advice" } aria-live="polite" {}
        }
    }

    /// What else limits its use.
    pub(super) fn limits(&self) -> Markup {
        let open = self.draft.is_limited() || self.faults.of("surfaces").is_some() || self.faults.of("headers").is_some();
        let headers = html! { "One a line, such as " code { "X-Api-Key" } ". Empty: any header." };
        html! {
            details.more open[open] {
                summary { "More limits" }
                div.section {
                    (self.surfaces())
                    (Field::new("headers", "Only in these headers", self.faults).optional().hint(headers).lines("input-mono", 2, &self.draft.headers))
                    (tick(&html! {
                        input #url_encoded type="checkbox" name="url_encoded" value="yes" checked[self.draft.url_encoded] aria-describedby="url_encoded-help";
                    }, "url_encoded", "The value is percent-encoded already",
                        "For webhook paths and SAS tokens: it goes into a path or query as it is, its slashes included."))
                }
            }
        }
    }

    fn surfaces(&self) -> Markup {
        let fault = self.faults.of("surfaces");
        html! {
            fieldset.field #surfaces aria-describedby=[fault.map(|_| "surfaces-error")] {
                legend { "Where in a request it may stand" }
                div.checks {
                    @for surface in Surface::ALL {
                        label.check {
                            input type="checkbox" name="surface" value=(surface) checked[self.draft.surfaces.contains(surface)]
                                aria-invalid=[fault.map(|_| "true")];
                            span { (called(surface)) }
                        }
                    }
                }
                @if let Some(fault) = fault { p.error #surfaces-error { (icon::WARNING) span { (fault) } } }
            }
        }
    }
}

/// A surface, as a person calls it.
pub(super) fn called(surface: Surface) -> &'static str {
    match surface {
        Surface::Path => "Path",
        Surface::Query => "Query parameters",
        Surface::Header => "Headers (authentication headers too)",
        Surface::Authentication => "Authentication headers",
        Surface::Body => "Body",
    }
}
