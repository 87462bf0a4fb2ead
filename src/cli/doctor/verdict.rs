//! From what was seen to the step that fails, and what to do about it.

use std::ffi::OsString;
use std::process::Output;

use serde::Serialize;

use super::runtimes::Runtime;
use super::watch::Seen;
use crate::runtimes::Variables;

/// The steps of a request, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    /// The proxy listens.
    Proxy,
    /// The runtime goes there.
    ProxyVariable,
    /// The proxy knows the runner.
    Token,
    /// The proxy ends the TLS, with a certificate of its own.
    Interception,
    /// The runtime trusts that certificate.
    Trust,
    /// The secret exists, for this runner, and can stand there.
    Secret,
    /// It may be sent to this host, by this runner.
    Domain,
    /// The host can be reached.
    Egress,
    /// Anything else that the proxy refuses.
    Request,
}

impl Step {
    /// As people are told.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::ProxyVariable => "proxy variable",
            Self::Token => "token",
            Self::Interception => "interception",
            Self::Trust => "trust",
            Self::Secret => "secret",
            Self::Domain => "domain",
            Self::Egress => "egress",
            Self::Request => "request",
        }
    }

    /// At which step a request with this refusal ended.
    fn of(code: &str, names_secret: bool) -> Self {
        match code {
            "runner_unauthenticated" => Self::Token,
            "secret_not_found" | "secret_not_encodable" | "store_unavailable" => Self::Secret,
            "runner_not_permitted" if names_secret => Self::Secret,
            "domain_restricted" | "runner_not_permitted" => Self::Domain,
            "target_denied" | "cleartext_refused" => Self::Egress,
            code if code.starts_with("upstream_") => Self::Egress,
            _ => Self::Request,
        }
    }
}

/// What is said of one runtime.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) runtime: &'static str,
    pub(super) ok: bool,
    pub(super) failed_step: Option<Step>,
    pub(super) detail: String,
}

impl Finding {
    fn ok(runtime: &'static str, detail: String) -> Self {
        Self { runtime, ok: true, failed_step: None, detail }
    }

    /// That it fails at `step`.
    pub(super) fn failed(runtime: &'static str, step: Step, detail: String) -> Self {
        Self { runtime, ok: false, failed_step: Some(step), detail }
    }
}

/// What a runtime did.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// It ended well.
    succeeded: bool,
    /// All it printed.
    said: String,
    seen: Seen,
}

impl Evidence {
    /// From how it ended, or why it did not, and what the relay saw.
    pub(super) fn new(output: &Result<Output, String>, seen: Seen) -> Self {
        match output {
            Err(why) => Self { succeeded: false, said: why.clone(), seen },
            Ok(output) => {
                let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
                Self { succeeded: output.status.success(), said, seen }
            }
        }
    }

    /// The code of the proxy's refusal, and its sentence, wherever they showed.
    fn refusal(&self) -> Option<(String, String)> {
        [&self.said, &self.seen.answer].into_iter().find_map(|text| refusal_in(text))
    }

    /// The proxy said yes to a CONNECT, and nothing in plain words after that.
    fn opened_a_tunnel(&self) -> bool {
        self.seen.answer.starts_with("HTTP/1.1 200") && self.seen.is_tunnel
    }

    /// The line that says most: one that speaks of an error, or the last.
    fn last_line(&self) -> &str {
        let lines = || self.said.lines().map(str::trim).filter(|line| !line.is_empty());
        let telling = lines().find(|line| ["curl: ", "rror", "fatal", "ertificate"].iter().any(|word| line.contains(word)));
        telling.or_else(|| lines().next_back()).unwrap_or("it said nothing")
    }
}

/// A problem document, or the `Proxy-Status` that goes with it.
fn refusal_in(text: &str) -> Option<(String, String)> {
    let code_of = |rest: &str| rest.chars().take_while(|it| it.is_ascii_lowercase() || *it == '_').collect::<String>();
    if let Some((_, rest)) = text.split_once("urn:subrosa:") {
        let detail = rest.split_once("\"detail\": \"").map(|(_, detail)| unquoted(detail)).unwrap_or_default();
        return Some((code_of(rest), detail));
    }
    let (_, rest) = text.split_once("subrosa; error=")?;
    let (_, rest) = rest.split_once("details=\"")?;
    let sentence = unquoted(rest);
    let (code, detail) = sentence.split_once(": ")?;
    Some((code_of(code), detail.to_owned()))
}

/// Up to the quote that ends it.
fn unquoted(text: &str) -> String {
    let mut result = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next().filter(|&letter| letter != '"') {
        result.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    result
}

/// The first step that failed, if one did.
pub(super) fn judge(runtime: &Runtime, evidence: &Evidence, intercepted: &Result<(), String>) -> Finding {
    let failed = |step, detail: String| Finding::failed(runtime.name, step, detail);
    if evidence.seen.connections == 0 {
        let what = format!("it did not come to the proxy ({}). {}", evidence.last_line(), runtime.variables);
        return failed(Step::ProxyVariable, what);
    }
    if let Some((code, detail)) = evidence.refusal() {
        let step = Step::of(&code, evidence.said.contains("\"secret\": "));
        return failed(step, format!("{code}: {detail}"));
    }
    if let Err(fault) = intercepted {
        let what = "the certificate inside the tunnel is not of this proxy's CA: the host is passed through (intercept.pass_through), or this config names another CA than the one that runs";
        return failed(Step::Interception, format!("{what} ({fault})"));
    }
    if !evidence.succeeded && (evidence.seen.tls || evidence.opened_a_tunnel()) {
        let what = format!("it ended the TLS inside its tunnel: {}. {}", evidence.last_line(), runtime.trust);
        return failed(Step::Trust, what);
    }
    if !evidence.succeeded {
        return failed(
            Step::Request,
            format!("{} ({})", evidence.last_line(), evidence.seen.answer.lines().next().unwrap_or("no answer")),
        );
    }
    Finding::ok(runtime.name, "every step".to_owned())
}

/// What this shell lacks of the variables, or has otherwise. What a variable holds is not told: it may
/// be a token.
pub(super) fn environment(expected: &Variables, present: impl Fn(&str) -> Option<OsString>) -> Vec<String> {
    let mut lacking = Vec::new();
    let mut other = Vec::new();
    for (name, value) in expected {
        match present(name) {
            None if !value.is_empty() => lacking.push(*name),
            Some(found) if found != value.as_str() => other.push(*name),
            _ => {}
        }
    }
    let cure = "`eval \"$(subrosa env)\"` sets them here, `subrosa run -- COMMAND` for a command";
    let mut notes = Vec::new();
    if lacking.len() == expected.iter().filter(|(_, value)| !value.is_empty()).count() {
        notes.push(format!("This shell has none of the variables; {cure}."));
    } else if !lacking.is_empty() {
        notes.push(format!("This shell lacks {}; {cure}.", lacking.join(", ")));
    }
    if !other.is_empty() {
        notes.push(format!("This shell has another {} than `subrosa env` would set.", other.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBLEM: &str =
        "{\n  \"type\": \"urn:subrosa:domain_restricted\",\n  \"detail\": \"Not \\\"there\\\".\",\n  \"secret\": \"a\"\n}";

    fn evidence(succeeded: bool, said: &str, connections: usize, answer: &str, tls: bool) -> Evidence {
        Evidence { succeeded, said: said.to_owned(), seen: Seen::made_up(connections, answer, tls) }
    }

    #[test]
    fn each_step_is_told_by_its_evidence() {
        let runtime = super::super::runtimes::chosen(&["curl".to_owned()]).expect("it is known")[0];
        let denied = "HTTP/1.1 407 No\r\nproxy-status: subrosa; error=x; details=\"runner_unauthenticated: No \\\"token\\\".\"";
        for (evidence, intercepted, step) in [
            (evidence(false, "no such host", 0, "", false), Ok(()), Some(Step::ProxyVariable)),
            (evidence(false, "response 407", 1, denied, false), Ok(()), Some(Step::Token)),
            (evidence(false, "self-signed", 1, "HTTP/1.1 200 OK", true), Err("not ours".to_owned()), Some(Step::Interception)),
            (evidence(false, "unknown CA", 1, "HTTP/1.1 200 OK", true), Ok(()), Some(Step::Trust)),
            (evidence(false, PROBLEM, 1, "HTTP/1.1 200 OK", true), Ok(()), Some(Step::Domain)),
            (evidence(true, PROBLEM, 1, "HTTP/1.1 200 OK", true), Ok(()), Some(Step::Domain)),
            (evidence(false, "odd", 1, "HTTP/1.1 500 No", false), Ok(()), Some(Step::Request)),
            (evidence(true, "fine", 1, "HTTP/1.1 200 OK", true), Ok(()), None),
        ] {
            let finding = judge(runtime, &evidence, &intercepted);
            assert_eq!(finding.failed_step, step, "{finding:?}");
        }
    }

    #[test]
    fn codes_belong_to_steps() {
        for (code, names_secret, step) in [
            ("secret_not_found", true, Step::Secret),
            ("runner_not_permitted", true, Step::Secret),
            ("runner_not_permitted", false, Step::Domain),
            ("target_denied", false, Step::Egress),
            ("upstream_tls", false, Step::Egress),
            ("malformed_request", false, Step::Request),
        ] {
            assert_eq!(Step::of(code, names_secret), step, "{code}");
        }
    }

    #[test]
    fn a_refusal_is_read_from_its_document_and_from_proxy_status() {
        assert_eq!(refusal_in(PROBLEM), Some(("domain_restricted".to_owned(), "Not \"there\".".to_owned())));
        let field = "< proxy-status: subrosa; error=http_request_denied; details=\"target_denied: 10.0.0.1 lies in \\\"x\\\"\"";
        assert_eq!(refusal_in(field), Some(("target_denied".to_owned(), "10.0.0.1 lies in \"x\"".to_owned())));
        assert_eq!(refusal_in("HTTP/1.1 502 from elsewhere"), None);
    }

    #[test]
    fn the_shell_is_told_by_names() {
        let expected: Variables = vec![("A", "http://runner:token@h".to_owned()), ("B", "b".to_owned()), ("C", String::new())];
        let with = |pairs: &'static [(&str, &str)]| {
            environment(&expected, move |name| pairs.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).into()))
        };
        assert!(with(&[])[0].contains("none of the variables"));
        assert_eq!(with(&[("A", "http://runner:token@h"), ("B", "b")]), Vec::<String>::new());
        let notes = with(&[("A", "elsewhere")]);
        assert!(notes[0].contains("lacks B") && notes[1].contains("another A") && !notes.concat().contains("token"));
    }
}
