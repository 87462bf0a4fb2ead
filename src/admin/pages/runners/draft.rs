//! A runner as it stands in a form, and what it parses to.

use crate::admin::pages::form::{Faults, Form, domains, entries};
use crate::identity::RunnerView;
use crate::secret::{AllowedDomains, NamePattern};
use crate::tls::CertificateName;

/// What was typed.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) name: String,
    /// Whether it is limited to some secrets.
    pub(super) some: bool,
    /// One pattern a line.
    pub(super) secrets: String,
    /// One a line.
    pub(super) hosts: String,
    /// The name of a certificate; empty for none.
    pub(super) certificate: String,
}

impl Draft {
    /// What is stored.
    pub(super) fn of(runner: &RunnerView) -> Self {
        let lines = |texts: Vec<String>| texts.join("\n");
        Self {
            name: runner.name.to_string(),
            some: runner.secrets.is_some(),
            secrets: lines(runner.secrets.iter().flatten().map(ToString::to_string).collect()),
            hosts: lines(runner.hosts.iter().map(ToString::to_string).collect()),
            certificate: runner.certificate.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// What was sent.
    pub(super) fn read(form: &Form) -> Self {
        Self {
            name: form.text("name").trim().to_owned(),
            some: form.text("may_use") == "some",
            secrets: form.text("secrets").replace("\r\n", "\n"),
            hosts: form.text("domains").replace("\r\n", "\n"),
            certificate: form.text("certificate").trim().to_owned(),
        }
    }

    /// The secrets it may use, `None` being every one; or nothing, if that is at fault.
    #[expect(clippy::option_option, reason = "`identity::Edit` has this form too")]
    pub(super) fn secrets(&self, faults: &mut Faults) -> Option<Option<Vec<NamePattern>>> {
        if !self.some {
            return Some(None);
        }
        let patterns: Result<Vec<_>, _> = entries(&self.secrets)
            .map(|text| {
                NamePattern::parse(text).map_err(|fault| format!("`{text}`: {fault}; only the last character may be `*`"))
            })
            .collect();
        let patterns = faults.keep("secrets", patterns)?;
        if patterns.is_empty() {
            faults.add("secrets", "name at least one secret or pattern, or let it use every secret");
            return None;
        }
        Some(Some(patterns))
    }

    /// The certificate it may show, `None` being none; or nothing, if that is at fault.
    #[expect(clippy::option_option, reason = "`identity::Edit` has this form too")]
    pub(super) fn certificate(&self, faults: &mut Faults) -> Option<Option<CertificateName>> {
        let typed = Some(self.certificate.as_str()).filter(|text| !text.is_empty());
        faults.keep("certificate", typed.map(CertificateName::parse).transpose())
    }

    /// The hosts it may reach.
    pub(super) fn hosts(&self, faults: &mut Faults) -> Option<AllowedDomains> {
        domains("domains", &self.hosts, faults)
    }
}
