//! The inputs of a runner's form, the same for creating and for editing.

use maud::{Markup, html};

use super::draft::Draft;
use crate::admin::pages::form::{Faults, Field};
use crate::secret::OrganizationName;

/// What the runner may use and reach.
pub(super) fn limits(organization: &OrganizationName, draft: &Draft, faults: &Faults) -> Markup {
    let hosts = html! {
        "One a line. " code { "example.com" } " is that host only, " code { "*.example.com" } " every host below it. Empty: any host."
    };
    let certificate = html! {
        "If it shows a client certificate instead of its token: " code { "dns:NAME" } ", " code { "uri:URI" } " or " code { "spki:BASE64" } "."
    };
    html! {
        (secrets(draft, faults))
        div.section {
            (Field::new("domains", "Hosts it may reach", faults).optional().hint(hosts).lines("input-mono", 3, &draft.hosts))
            div.advice data-advice="domains" data-source={ "/organizations/" (organization) "/domain-advice" } aria-live="polite" {}
        }
        (Field::new("certificate", "Certificate", faults).optional().hint(certificate).line("input-mono", &draft.certificate))
    }
}

fn secrets(draft: &Draft, faults: &Faults) -> Markup {
    let hint = html! { "One a line: a name, or the beginning of names and " code { "*" } ", such as " code { "crm.*" } "." };
    html! {
        fieldset.panel.choice {
            legend { "Secrets it may use" }
            div.checks {
                label.check { input type="radio" name="may_use" value="every" checked[!draft.some]; span { "Every secret of the organization" } }
                label.check { input.switch type="radio" name="may_use" value="some" checked[draft.some]; span { "Only some" } }
            }
            div.value-new { (Field::new("secrets", "Names and patterns", faults).unmarked().hint(hint).lines("input-mono", 3, &draft.secrets)) }
        }
    }
}
