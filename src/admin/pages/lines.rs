//! Environment lines that send a runner through the proxy, one form a fold, each copied with one click.

use maud::{Markup, html};

use super::parts::copy;
use crate::admin::State;
use crate::runtimes::{Format, MOUNTED, ProxyAddress, TrustFiles, render, variables};

/// The forms, with what people call them.
const FORMS: [(Format, &str, &str); 7] = [
    (Format::Sh, "Shell", "For a terminal, or a script that is sourced."),
    (Format::Docker, "Docker", "Save as subrosa.env, then: docker run --env-file subrosa.env …"),
    (Format::Compose, "Docker Compose", "Beneath the service."),
    (Format::Kubernetes, "Kubernetes", "Beneath the container. The token comes from a Secret."),
    (Format::Dotenv, ".env file", "For programs and tools that read one."),
    (Format::Fish, "fish", "For a terminal."),
    (Format::Json, "JSON", "For everything else."),
];
/// The variable that holds the token where a manifest refers to it.
const TOKEN: &str = "SUBROSA_TOKEN";

/// Where a runner finds the proxy and the certificates.
pub(super) struct Reach {
    host: String,
    port: u16,
    directory: String,
    /// The directory is the server's own, mounted elsewhere.
    elsewhere: bool,
}

impl Reach {
    /// As the server itself knows it.
    pub(super) fn usual(state: &State) -> Self {
        let (host, port) = state.reach.proxy.clone();
        Self { host, port, directory: state.reach.certificates.display().to_string(), elsewhere: false }
    }

    /// The same, with what somebody typed in its place.
    #[must_use]
    pub(super) fn with(mut self, proxy: Option<(String, u16)>, directory: &str) -> Self {
        if let Some((host, port)) = proxy {
            (self.host, self.port) = (host, port);
        }
        let directory = directory.trim_end_matches('/');
        if !directory.is_empty() && directory != self.directory {
            directory.clone_into(&mut self.directory);
            self.elsewhere = true;
        }
        self
    }

    /// `host:port`
    pub(super) fn proxy(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Where the certificates lie.
    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    fn rendered(&self, token: Option<&str>, format: Format) -> String {
        let manifest = format == Format::Kubernetes;
        let proxy = ProxyAddress { host: self.host.clone(), port: self.port, token: token.map(str::to_owned) };
        let ca = format!("{}/ca.pem", self.directory).into();
        let files = TrustFiles::in_directory(self.directory.as_ref(), if self.elsewhere { MOUNTED } else { "" }, ca);
        let lines = render(&variables(&proxy, &files, ""), format);
        match token.filter(|_| manifest) {
            // Kubernetes puts a variable defined before in place; tokens are URL-safe, so they stand as they are.
            Some(token) => {
                let from = format!(
                    "  - name: {TOKEN}\n    valueFrom:\n      secretKeyRef:\n        name: subrosa-runner\n        key: token\n"
                );
                let rest = lines.strip_prefix("env:\n").unwrap_or(&lines).replace(token, &format!("$({TOKEN})"));
                format!("# kubectl create secret generic subrosa-runner --from-literal=token={token}\nenv:\n{from}{rest}")
            }
            None => lines,
        }
    }
}

/// Every form, the first one open.
pub(super) fn tabs(reach: &Reach, token: Option<&str>) -> Markup {
    html! {
        div.folds {
            @for (index, (format, title, hint)) in FORMS.into_iter().enumerate() {
                details.fold name="lines" open[index == 0] {
                    summary { (title) }
                    (block(title, hint, &reach.rendered(token, format)))
                }
            }
        }
    }
}

/// Lines to copy.
pub(super) fn block(title: &str, hint: &str, text: &str) -> Markup {
    html! {
        @if !hint.is_empty() { p.hint { (hint) } }
        div.code-block {
            pre.code tabindex="0" role="region" aria-label=(title) { (text) }
            (copy(text, &format!("Copy: {title}")))
        }
    }
}
