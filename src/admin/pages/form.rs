//! Forms: read whole and bounded, and answered with everything that was typed, except values, and
//! with each fault beside its input.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use maud::{Markup, html};
use zeroize::Zeroizing;

use super::icon;
use super::parts::{Tone, note, prose};
use crate::admin::problem::Problem;
use crate::secret::{AllowedDomains, DomainPattern, DomainPatternError, MAX_VALUE, SecretValue, ValueError};

/// The largest form: a value of 64 KiB with every byte percent-encoded, and 100 domains, fit.
const MAX_FORM: usize = 512 << 10;

/// The inputs of a form, in their order. A value among them is wiped with the rest.
#[derive(Default)]
pub(super) struct Form(Vec<(String, Zeroizing<String>)>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let detail = "Send the form as application/x-www-form-urlencoded.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let bytes = to_bytes(request.into_body(), MAX_FORM).await.map_err(|_| {
            let detail = format!("The form broke off, or is larger than {} KiB.", MAX_FORM >> 10);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        })?;
        Ok(Self::parse(&bytes))
    }
}

impl Form {
    fn parse(bytes: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(bytes);
        Self(pairs.map(|(name, text)| (name.into_owned(), Zeroizing::new(text.into_owned()))).collect())
    }

    /// The same without the inputs of these names.
    pub(super) fn without(self, names: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|(name, _)| !names.contains(&name.as_str())).collect())
    }

    /// Its bytes altogether.
    pub(super) fn length(&self) -> usize {
        self.0.iter().map(|(name, text)| name.len() + text.len()).sum()
    }

    /// The text of an input; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text.as_str())
    }

    /// The texts of the inputs of this name.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// Whether a box is ticked.
    pub(super) fn ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// A secret's value. Browsers send every line end of a form as CRLF, whatever was pasted, so line
    /// ends become LF again; one at the very end goes. The second part says whether one did.
    pub(super) fn value(&self, name: &str) -> Result<(SecretValue, bool), ValueError> {
        let typed = self.text(name);
        // A CR that stands alone is no line end of a form, and stays.
        let mut plain = Vec::with_capacity(typed.len().min(MAX_VALUE + 2));
        let mut bytes = typed.bytes().peekable();
        while let Some(byte) = bytes.next() {
            if !(byte == b'\r' && bytes.peek() == Some(&b'\n')) {
                plain.push(byte);
            }
        }
        SecretValue::without_line_end(plain)
    }
}

/// What is wrong with a form: the input, and a sentence.
#[derive(Default)]
pub(super) struct Faults(Vec<(&'static str, String)>);

impl Faults {
    /// Adds a fault of an input.
    pub(super) fn add(&mut self, input: &'static str, fault: impl std::fmt::Display) {
        self.0.push((input, sentence(&fault)));
    }

    /// The outcome, or its fault noted, and nothing.
    pub(super) fn keep<T, E: std::fmt::Display>(&mut self, input: &'static str, outcome: Result<T, E>) -> Option<T> {
        outcome.map_err(|fault| self.add(input, fault)).ok()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with one input.
    pub(super) fn of(&self, input: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == input).map(|(_, fault)| fault.as_str())
    }

    /// All of them, at the head of the page, each leading to its input.
    pub(super) fn summary(&self) -> Markup {
        html! {
            @if !self.is_empty() {
                div role="alert" data-faults tabindex="-1" {
                    (note(Tone::Bad, &html! {
                        p { strong { "Nothing was saved." } }
                        ul { @for (input, fault) in &self.0 { li { a href={ "#" (input) } { (prose(fault)) } } } }
                    }))
                }
            }
        }
    }
}

/// What stands on the lines of a text, or between its commas.
pub(super) fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r', ',']).map(str::trim).filter(|entry| !entry.is_empty())
}

/// The domains that stand in a text, or their fault noted under `input`, and nothing.
pub(super) fn domains(input: &'static str, text: &str, faults: &mut Faults) -> Option<AllowedDomains> {
    let patterns: Result<Vec<_>, _> =
        entries(text).map(|entry| DomainPattern::parse(entry).map_err(|fault| about(entry, &fault))).collect();
    let patterns = faults.keep(input, patterns)?;
    faults.keep(input, AllowedDomains::new(patterns))
}

/// A fault that names its entry.
pub(super) fn about(entry: &str, fault: &DomainPatternError) -> String {
    let fault = fault.to_string();
    if fault.contains(&format!("`{entry}`")) { fault } else { format!("`{entry}`: {fault}") }
}

/// The revision that a change was made from.
pub(super) fn revision(form: &Form) -> Result<u64, Problem> {
    form.text("revision").parse().map_err(|_| Problem::malformed("The form lacks its revision; load it again."))
}

/// A box or a choice, which is `input` with this id, its label, and what helps whoever ticks it.
pub(super) fn tick(input: &Markup, id: &str, label: &str, help: &str) -> Markup {
    html! {
        div.check {
            (input)
            div { label for=(id) { (label) } @if !help.is_empty() { small id={ (id) "-help" } { (help) } } }
        }
    }
}

/// A fault as a sentence.
pub(super) fn sentence(fault: &dyn std::fmt::Display) -> String {
    let text = fault.to_string();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}{end}", first.to_uppercase(), letters.as_str()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
    Unmarked,
}

/// One input with its label, its hint and its fault.
pub(super) struct Field<'a> {
    /// Its name and id.
    name: &'a str,
    /// What it is called.
    label: &'a str,
    /// Whether it has to be filled in, and what the label says of that.
    need: Need,
    /// What helps whoever fills it in.
    hint: Markup,
    /// What is wrong with it.
    pub(super) fault: Option<&'a str>,
}

impl<'a> Field<'a> {
    /// An input that has to be filled in.
    pub(super) fn new(name: &'a str, label: &'a str, faults: &'a Faults) -> Self {
        Self { name, label, need: Need::Required, hint: html! {}, fault: faults.of(name) }
    }

    /// The same, may stay empty.
    #[must_use]
    pub(super) fn optional(self) -> Self {
        Self { need: Need::Optional, ..self }
    }

    /// The same, may stay empty where another is filled in.
    #[must_use]
    pub(super) fn unmarked(self) -> Self {
        Self { need: Need::Unmarked, ..self }
    }

    /// The same, with help.
    #[must_use]
    pub(super) fn hint(self, hint: Markup) -> Self {
        Self { hint, ..self }
    }

    /// With one line to type into.
    pub(super) fn line(&self, class: &str, typed: &str) -> Markup {
        self.around(&html! {
            input class={ "input " (class) } type="text" id=(self.name) name=(self.name) value=(typed) autocomplete="off"
                autocapitalize="off" spellcheck="false" required[self.need == Need::Required]
                aria-invalid=[self.fault.map(|_| "true")] aria-describedby=[self.described()];
        })
    }

    /// With several lines to type into.
    pub(super) fn lines(&self, class: &str, rows: u8, typed: &str) -> Markup {
        self.around(&html! {
            textarea class={ "input " (class) } id=(self.name) name=(self.name) rows=(rows) autocomplete="off" autocapitalize="off"
                spellcheck=(if class.is_empty() { "true" } else { "false" }) required[self.need == Need::Required]
                aria-invalid=[self.fault.map(|_| "true")] aria-describedby=[self.described()] {
                // The first line end after the tag would be dropped.
                "\n" (typed)
            }
        })
    }

    /// With an input that is already made.
    pub(super) fn around(&self, input: &Markup) -> Markup {
        html! {
            div.field {
                label for=(self.name) { (self.label) @if self.need == Need::Optional { " " span.optional { "(optional)" } } }
                @if !self.hint.0.is_empty() { div.hint id={ (self.name) "-hint" } { (self.hint) } }
                (input)
                (self.told())
            }
        }
    }

    /// The fault, as text.
    pub(super) fn told(&self) -> Markup {
        html! {
            @if let Some(fault) = self.fault {
                p.error id={ (self.name) "-error" } { (icon::WARNING) span { (prose(fault)) } }
            }
        }
    }

    /// The ids of what describes the input.
    pub(super) fn described(&self) -> Option<String> {
        let hint = (!self.hint.0.is_empty()).then(|| format!("{}-hint", self.name));
        let fault = self.fault.map(|_| format!("{}-error", self.name));
        let ids: Vec<_> = hint.into_iter().chain(fault).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_loses_what_the_browser_added_and_one_line_end() {
        for (sent, kept, cut) in [
            ("value=a%0D%0Ab%0D%0A", "a\nb", true),
            ("value=a%0D%0A%0D%0A", "a\n", true),
            ("value=a%0Db", "a\rb", false),
            ("value=+a%2B", " a+", false),
        ] {
            let (value, said) = Form::parse(sent.as_bytes()).value("value").expect("not empty");
            assert!(value.expose() == kept.as_bytes() && said == cut, "{sent}");
        }
        assert!(Form::parse(b"value=%0D%0A").value("value").is_err());
        assert!(Form::parse(b"").value("value").is_err());
    }

    #[test]
    fn entries_stand_on_lines_or_between_commas() {
        assert_eq!(
            entries(
                "a.test

 b.test ,c.test"
            )
            .collect::<Vec<_>>(),
            ["a.test", "b.test", "c.test"]
        );
    }
}
