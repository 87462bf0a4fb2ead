//! Small things that many pages show: notes, badges, names, times, domains, pages of a list.

use maud::{Markup, Render, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::icon::{self, Icon};
use crate::secret::{AllowedDomains, SecretName};

/// What stands for a value. Always the same, so that it does not tell a length.
pub(in crate::admin) const MASK: &str = "••••••••";

/// How much a note or a badge matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Tone {
    /// For the record.
    Plain,
    /// It worked.
    Good,
    /// Careful.
    Warn,
    /// It did not work.
    Bad,
}

impl Tone {
    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    fn icon(self) -> Icon {
        match self {
            Self::Plain => icon::INFO,
            Self::Good => icon::CHECK,
            Self::Warn => icon::WARNING,
            Self::Bad => icon::STOP,
        }
    }
}

/// A note on the page.
pub(in crate::admin) fn note(tone: Tone, content: &Markup) -> Markup {
    html! { div class={ "note note-" (tone.suffix()) } { (tone.icon()) div { (content) } } }
}

/// What became of what was just done: screen readers say it.
pub(in crate::admin) fn status(tone: Tone, content: &Markup) -> Markup {
    html! { div role="status" data-status { (note(tone, content)) } }
}

/// A word or two beside a name.
pub(in crate::admin) fn badge(tone: Tone, text: impl Render) -> Markup {
    html! { span class={ "badge badge-" (tone.suffix()) } { (text) } }
}

/// A sentence with its `names` set apart.
pub(in crate::admin) fn prose(text: &str) -> Markup {
    let parts = text.split('`').enumerate();
    html! { @for (index, part) in parts { @if index % 2 == 1 { code { (part) } } @else { (part) } } }
}

/// A secret's name, its group lighter than the rest.
pub(in crate::admin) fn secret_name(name: &SecretName) -> Markup {
    let (group, own) = name.as_str().rsplit_once('.').map_or(("", name.as_str()), |(group, own)| (group, own));
    html! { @if !group.is_empty() { span.group { (group) "." } } (own) }
}

/// A button that copies `text`; there only where scripts run.
pub(in crate::admin) fn copy(text: &str, label: &str) -> Markup {
    html! {
        button.button-plain.copy type="button" hidden data-copy=(text) aria-label=(label) title=(label) { (icon::COPY) }
    }
}

/// The domains of a secret or a runner.
pub(in crate::admin) fn domains(domains: &AllowedDomains, most: usize) -> Markup {
    let hidden = domains.iter().count().saturating_sub(most);
    html! {
        @if domains.is_empty() {
            span.any { "Any domain" }
        } @else {
            div.domains {
                @for pattern in domains.iter().take(most) { span { (pattern.to_string()) } }
                @if hidden > 0 { span.any { "and " (hidden) " more" } }
            }
        }
    }
}

/// A moment, as people say it, with the exact one behind it.
pub(in crate::admin) fn moment(at: i64, now: i64) -> Markup {
    let exact = OffsetDateTime::from_unix_timestamp(at).ok().and_then(|time| time.format(&Rfc3339).ok());
    html! {
        @match exact {
            Some(exact) => { time.nowrap datetime=(exact) title=(exact) { (ago(now.saturating_sub(at))) } }
            None => { span.muted { "unknown" } }
        }
    }
}

/// A moment to come.
pub(in crate::admin) fn until(at: i64, now: i64) -> Markup {
    let exact = OffsetDateTime::from_unix_timestamp(at).ok().and_then(|time| time.format(&Rfc3339).ok());
    html! {
        @match exact {
            Some(exact) => { time.nowrap datetime=(exact) title=(exact) { "in " (span(at.saturating_sub(now)).as_deref().unwrap_or("a moment")) } }
            None => { span.muted { "unknown" } }
        }
    }
}

/// A moment in full.
pub(in crate::admin) fn moment_of(at: i64) -> Markup {
    let time = OffsetDateTime::from_unix_timestamp(at).ok();
    let exact = time.and_then(|time| time.format(&Rfc3339).ok());
    let minutes = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let said = time.and_then(|time| time.format(minutes).ok());
    html! { @if let (Some(exact), Some(said)) = (exact, said) { time datetime=(exact) { (said) } } @else { "unknown" } }
}

/// Seconds gone by, as people say it.
fn ago(seconds: i64) -> String {
    span(seconds).map_or_else(|| "just now".to_owned(), |span| format!("{span} ago"))
}

/// A span of time in its largest unit; under a minute it is none.
fn span(seconds: i64) -> Option<String> {
    const UNITS: [(i64, &str); 6] =
        [(31_536_000, "year"), (2_592_000, "month"), (604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute")];
    let (length, unit) = UNITS.into_iter().find(|(length, _)| seconds >= *length)?;
    let count = seconds / length;
    Some(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
}

/// Now, in unix seconds.
pub(in crate::admin) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Nothing is there yet.
pub(in crate::admin) fn empty(icon: Icon, title: &str, text: &str, actions: &Markup) -> Markup {
    html! { div.empty { (icon) h2 { (title) } p { (text) } div.actions { (actions) } } }
}

/// A text as it stands in a query.
pub(in crate::admin) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_gone_by_is_said_as_people_do() {
        for (seconds, said) in [
            (-5, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (7_300, "2 hours ago"),
            (86_400 * 8, "1 week ago"),
            (86_400 * 95, "3 months ago"),
            (86_400 * 800, "2 years ago"),
        ] {
            assert_eq!(ago(seconds), said);
        }
    }

    #[test]
    fn what_a_person_typed_is_text_on_the_page() {
        let markup = note(Tone::Plain, &html! { ("<script>\"&'") }).into_string();
        assert!(markup.contains("&lt;script&gt;&quot;&amp;") && !markup.contains("<script>"), "{markup}");
    }
}
