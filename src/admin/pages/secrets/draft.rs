//! A secret as it stands in a form: everything that was typed but the value, and what it parses to.

use crate::admin::pages::form::{Faults, Form, domains, entries};
use crate::secret::{AllowedDomains, Description, Limits, SecretName, SecretValue, Surface, Surfaces};
use crate::vault::{Edit, SecretView};

/// What was typed, as it was typed.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) description: String,
    /// One a line.
    pub(super) domains: String,
    pub(super) surfaces: Surfaces,
    /// One a line.
    pub(super) headers: String,
    pub(super) url_encoded: bool,
    /// Whether the stored value is to be replaced.
    pub(super) new_value: bool,
}

/// What it parses to; what is at fault is `None`.
pub(super) struct Parsed {
    pub(super) name: Option<SecretName>,
    pub(super) description: Option<Description>,
    pub(super) domains: Option<AllowedDomains>,
    pub(super) limits: Option<Limits>,
}

impl Draft {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            domains: String::new(),
            surfaces: Surfaces::ALL,
            headers: String::new(),
            url_encoded: false,
            new_value: false,
        }
    }

    /// What is stored.
    pub(super) fn of(secret: &SecretView) -> Self {
        let domains: Vec<_> = secret.allowed_domains.iter().map(ToString::to_string).collect();
        Self {
            name: secret.name.to_string(),
            description: secret.description.as_str().to_owned(),
            domains: domains.join("\n"),
            surfaces: secret.limits.surfaces,
            headers: secret.limits.headers.join("\n"),
            url_encoded: secret.limits.url_encoded,
            new_value: false,
        }
    }

    /// What was sent.
    pub(super) fn read(form: &Form) -> Self {
        let wanted = |surface: &Surface| form.texts("surface").any(|word| word == surface.as_str());
        Self {
            name: form.text("name").trim().to_owned(),
            // A form's line ends are CRLF, whatever was typed.
            description: form.text("description").replace("\r\n", "\n").trim().to_owned(),
            domains: form.text("domains").replace("\r\n", "\n"),
            surfaces: Surface::ALL.into_iter().filter(wanted).collect(),
            headers: form.text("headers").replace("\r\n", "\n"),
            url_encoded: form.ticked("url_encoded"),
            new_value: form.ticked("new_value"),
        }
    }

    /// Everything at once, so that all faults are told together.
    pub(super) fn parse(&self, faults: &mut Faults) -> Parsed {
        Parsed {
            name: faults.keep("name", SecretName::parse(&self.name)),
            description: faults.keep("description", Description::parse(&self.description)),
            domains: domains("domains", &self.domains, faults),
            limits: self.limits(faults),
        }
    }

    fn limits(&self, faults: &mut Faults) -> Option<Limits> {
        if self.surfaces.is_empty() {
            faults.add("surfaces", "choose at least one place where the secret may stand");
            return None;
        }
        let headers: Vec<&str> = entries(&self.headers).collect();
        let limits = serde_json::json!({ "surfaces": self.surfaces, "headers": headers, "url_encoded": self.url_encoded });
        faults.keep("headers", serde_json::from_value(limits))
    }

    /// Whether the limits beyond the domains are worth showing at once.
    pub(super) fn is_limited(&self) -> bool {
        self.surfaces != Surfaces::ALL || !self.headers.trim().is_empty() || self.url_encoded
    }
}

impl Parsed {
    /// The change that is asked for, once nothing is at fault.
    pub(super) fn into_edit(self, value: Option<SecretValue>) -> Edit {
        Edit { name: self.name, description: self.description, value, allowed_domains: self.domains, limits: self.limits }
    }
}
