//! The parts of a request to be tried: pasted as a URL or a curl command, or written one by one.

use super::curl;
use crate::admin::pages::form::{Faults, Form};

/// The parts, as they were typed or read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// curl itself would take the reference in the URL for a pattern.
    pub(super) globbed: bool,
}

impl Parts {
    /// What was sent. What was pasted counts, if anything was.
    pub(super) fn read(form: &Form, faults: &mut Faults) -> Option<Self> {
        let pasted = form.text("paste").trim();
        if curl::is_command(pasted) {
            return faults.keep("paste", curl::read(pasted));
        }
        if !pasted.is_empty() {
            return Some(Self { method: "GET".to_owned(), url: pasted.to_owned(), ..Self::default() });
        }
        let written = Self::written(form, faults);
        if written.url.is_empty() {
            faults.add("paste", "paste a URL or a curl command, or write the parts of the request below");
            return None;
        }
        faults.is_empty().then_some(written)
    }

    /// The parts that were written one by one.
    pub(super) fn written(form: &Form, faults: &mut Faults) -> Self {
        let headers = form.text("headers").lines().map(str::trim).filter(|line| !line.is_empty()).filter_map(|line| {
            let pair = line.split_once(':').ok_or_else(|| format!("`{line}` is no header; write `Name: value`"));
            let (name, value) = faults.keep("headers", pair)?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        let headers = headers.collect();
        Self {
            method: form.text("method").trim().to_owned(),
            url: form.text("url").trim().to_owned(),
            headers,
            body: form.text("body").replace("\r\n", "\n"),
            globbed: false,
        }
    }

    /// The fields, one a line.
    pub(super) fn header_lines(&self) -> String {
        let lines: Vec<_> = self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lines.join("\n")
    }
}
