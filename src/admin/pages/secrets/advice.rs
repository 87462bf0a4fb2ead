//! What typed domains will mean, said while they are typed, by the very code that will decide.

use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

use crate::admin::pages::form::{Form, about, entries, sentence};
use crate::admin::pages::icon;
use crate::admin::pages::parts::prose;
use crate::origin::Host;
use crate::secret::DomainPattern;

/// Entries that are judged at once: as many as a secret may have.
const MOST: usize = 100;

/// `POST /organizations/{organization}/domain-advice`: a piece of a page, for the script of the form. Changes
/// nothing.
pub(in crate::admin::pages) async fn domains(form: Form) -> Response {
    let content = html! { @for entry in entries(form.text("domains")).take(MOST) { (advice(entry)) } };
    Html(content.into_string()).into_response()
}

fn advice(entry: &str) -> Markup {
    html! {
        div.advice-entry {
            @match DomainPattern::parse(entry) {
                Err(fault) => { span.advice-bad { (icon::STOP) (prose(&sentence(&about(entry, &fault)))) } }
                Ok(pattern) => { (meaning(entry, &pattern)) }
            }
        }
    }
}

fn meaning(entry: &str, pattern: &DomainPattern) -> Markup {
    let (meant, not) = examples(pattern);
    html! {
        span data-normalised=(pattern.to_string()) {
            code { (pattern.to_string()) }
            @if entry != pattern.to_string() { span.muted { " (from " (entry) ")" } }
        }
        span.advice-yes { (icon::CHECK) "Matches " (meant.join(", ")) }
        @if !not.is_empty() { span.advice-no { (icon::STOP) "Does not match " (not.join(", ")) } }
        @if let Some(suffix) = pattern.shared_suffix() {
            span.advice-warn {
                (icon::WARNING) "Anybody can get a name under " (suffix) ", so this lets the secret go to strangers as well. Name your own host below it."
            }
        }
    }
}

/// Hosts that are meant and hosts that are easily taken to be, sorted by the matcher itself.
fn examples(pattern: &DomainPattern) -> (Vec<String>, Vec<String>) {
    let text = pattern.to_string();
    let bare = text.strip_prefix("*.").unwrap_or(&text);
    let candidates: Vec<String> = match text.strip_prefix("*.") {
        Some(_) => [format!("api.{bare}"), format!("v1.api.{bare}"), bare.to_owned(), format!("not{bare}")].into(),
        None => [bare.to_owned(), format!("www.{bare}"), format!("not{bare}")].into(),
    };
    let hosts = candidates.into_iter().filter_map(|candidate| {
        let host = Host::parse(&candidate).ok().or_else(|| Host::parse(&format!("[{candidate}]")).ok())?;
        Some((pattern.matches(&host), candidate))
    });
    let (meant, not): (Vec<_>, Vec<_>) = hosts.partition(|(matches, _)| *matches);
    let names = |hosts: Vec<(bool, String)>| hosts.into_iter().map(|(_, host)| host).collect();
    (names(meant), names(not))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(entry: &str) -> String {
        advice(entry).into_string()
    }

    #[test]
    fn the_matcher_itself_sorts_the_examples() {
        let pattern = |text| DomainPattern::parse(text).expect("a pattern");
        let (meant, not) = examples(&pattern("*.example.com"));
        assert_eq!(meant, ["api.example.com", "v1.api.example.com"]);
        assert_eq!(not, ["example.com", "notexample.com"]);
        let (meant, not) = examples(&pattern("https://API.example.com/"));
        assert_eq!(meant, ["api.example.com"]);
        assert_eq!(not, ["www.api.example.com", "notapi.example.com"]);
        assert_eq!(examples(&pattern("10.0.0.1")).0, ["10.0.0.1"]);
        assert_eq!(examples(&pattern("2001:db8::1")).0, ["2001:db8::1"]);
    }

    #[test]
    fn shared_suffixes_and_faults_are_told() {
        assert!(told("*.s3.amazonaws.com").contains("advice-warn"));
        assert!(!told("bucket.s3.amazonaws.com").contains("advice-warn"));
        assert!(!told("*.example.com").contains("advice-warn"));
        assert!(told("*.com").contains("advice-bad"));
        assert!(told("<b>").contains("&lt;b&gt;") && !told("<b>").contains("<b>"));
    }
}
