//! `subrosa test URL`: say what would happen to a request, and send it for real if asked to.
//!
//! The flags are curl's, so that a command that failed can be tried by changing its first word.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::Place;
use super::client::{Api, Call, of};
use super::error::CliError;
use super::out;
use super::secret::{Of, text};
use crate::secret::RunnerName;

/// The largest body that is read: more is refused anyway.
const MAX_BODY: u64 = 16 << 20;

/// The request, as curl takes it.
#[derive(Args)]
pub(super) struct Arguments {
    /// The target, with its references.
    url: String,
    /// The method; POST with data, GET without.
    #[arg(long, short = 'X', value_name = "METHOD")]
    request: Option<String>,
    /// A field; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Data, or @FILE without its line ends; may be repeated, joined by `&`.
    #[arg(long, short = 'd', value_name = "DATA")]
    data: Vec<String>,
    /// Data as it is, an @ included.
    #[arg(long, value_name = "DATA")]
    data_raw: Vec<String>,
    /// Data, or @FILE as it is.
    #[arg(long, value_name = "DATA")]
    data_binary: Vec<String>,
    /// Basic credentials.
    #[arg(long, short = 'u', value_name = "USER:PASSWORD")]
    user: Option<String>,
    /// Cookies.
    #[arg(long, short = 'b', value_name = "COOKIES")]
    cookie: Option<String>,
    /// The runner that would send it; without, what any runner of the organization may do.
    #[arg(long, value_name = "NAME")]
    runner: Option<RunnerName>,
    #[command(flatten)]
    of: Of,
    /// Send it for real through the running server, unless it would be refused.
    #[arg(long)]
    send: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the findings; a refused request makes the exit code 1.
pub(super) async fn run(place: &Place, arguments: &Arguments) -> Result<(), CliError> {
    let content = arguments.content()?;
    let call = Call::new(Method::POST, of(&arguments.of.organization, "request-tests")).with_json(&content);
    let findings = Api::open(place).await?.send(call).await?.content;
    out::line(&if arguments.json { format!("{findings:#}") } else { report(&findings) })?;
    if findings["outcome"] == "forwarded" { Ok(()) } else { Err(CliError::Said) }
}

impl Arguments {
    /// The request as the API takes it.
    fn content(&self) -> Result<Value, CliError> {
        let body = self.body()?;
        let mut content = Map::new();
        let method = self.request.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
        content.insert("method".to_owned(), method.into());
        content.insert("url".to_owned(), self.url.as_str().into());
        content.insert("headers".to_owned(), self.fields(body.is_some())?.into());
        if self.send {
            content.insert("send".to_owned(), true.into());
        }
        content.insert("runner".to_owned(), self.runner.as_ref().map(RunnerName::as_str).into());
        match body.map(String::from_utf8) {
            Some(Ok(text)) => content.insert("body".to_owned(), text.into()),
            Some(Err(bytes)) => content.insert("body_base64".to_owned(), STANDARD.encode(bytes.as_bytes()).into()),
            None => None,
        };
        Ok(Value::Object(content))
    }

    fn fields(&self, has_body: bool) -> Result<Vec<Value>, CliError> {
        let mut fields: Vec<(String, String)> = Vec::new();
        if let Some(user) = &self.user {
            fields.push(("Authorization".to_owned(), format!("Basic {}", STANDARD.encode(user))));
        }
        if let Some(cookie) = &self.cookie {
            fields.push(("Cookie".to_owned(), cookie.clone()));
        }
        for header in &self.headers {
            let (name, value) = header
                .split_once(':')
                .ok_or_else(|| CliError::usage(format!("-H {header}: a field is written as \"Name: value\"")))?;
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let is_typed = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if has_body && !is_typed {
            fields.push(("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        }
        Ok(fields.into_iter().map(|(name, value)| json!([name, value])).collect())
    }

    /// All data joined by `&`, the kinds in the order of their flags above.
    fn body(&self) -> Result<Option<Vec<u8>>, CliError> {
        let mut parts = Vec::new();
        for data in &self.data {
            parts.push(match data.strip_prefix('@') {
                Some(path) => read(path)?.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect(),
                None => data.clone().into_bytes(),
            });
        }
        parts.extend(self.data_raw.iter().map(|data| data.clone().into_bytes()));
        for data in &self.data_binary {
            parts.push(match data.strip_prefix('@') {
                Some(path) => read(path)?,
                None => data.clone().into_bytes(),
            });
        }
        Ok(if parts.is_empty() { None } else { Some(parts.join(&b'&')) })
    }
}

fn read(path: &str) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let outcome = if path == "-" {
        std::io::stdin().lock().take(MAX_BODY).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BODY).read_to_end(&mut bytes))
    };
    outcome.map_err(|fault| CliError::failed(format!("the data file {path} cannot be read: {fault}")))?;
    Ok(bytes)
}

/// The findings for people.
fn report(findings: &Value) -> String {
    let mut lines = Vec::new();
    for reference in findings["references"].as_array().into_iter().flatten() {
        let outcome = if reference["permitted"] == true { "permitted".to_owned() } else { text(&reference["code"]) };
        lines.push(format!("{{secrets.{}}}  {}: {outcome}", text(&reference["secret"]), text(&reference["surface"])));
        if let Some(detail) = reference["detail"].as_str() {
            lines.push(format!("    {}", out::plain(detail)));
        }
    }
    if lines.is_empty() {
        lines.push("No reference to a secret was found.".to_owned());
    }
    if findings["outcome"] == "forwarded" {
        lines.push(format!("It would be forwarded to {}:", text(&findings["origin"])));
        lines.extend(request(&findings["request"]));
    } else {
        let refusal = &findings["refusal"];
        lines.push(format!("It would be refused with {} {}.", refusal["status"], text(&refusal["code"])));
        lines.push(format!("    {}", text(&refusal["detail"])));
    }
    lines.extend(answer(&findings["answer"]));
    lines.extend(findings["notes"].as_array().into_iter().flatten().map(|note| format!("Note: {}", text(note))));
    lines.join("\n")
}

fn answer(answer: &Value) -> Option<String> {
    let (status, took) = (answer["status"].as_u64()?, &answer["milliseconds"]);
    Some(match answer["code"].as_str() {
        Some(code) => format!("It was sent, and refused on its way with {status} {} after {took} ms.", out::plain(code)),
        None => format!("It was sent, and answered with {status} after {took} ms."),
    })
}

fn request(request: &Value) -> Vec<String> {
    let mut lines = vec![format!("    {} {}", text(&request["method"]), text(&request["target"]))];
    for field in request["headers"].as_array().into_iter().flatten() {
        lines.push(format!("    {}: {}", text(&field[0]), text(&field[1])));
    }
    if let Some(body) = request["body"].as_str() {
        lines.push(String::new());
        lines.extend(body.lines().map(|line| format!("    {}", out::plain(line))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn content(arguments: &[&str]) -> Result<Value, CliError> {
        let parsed = Only::try_parse_from(std::iter::once(&"test").chain(arguments)).map_err(CliError::usage)?;
        parsed.arguments.content()
    }

    #[test]
    fn the_flags_mean_what_they_mean_to_curl() {
        let url = "https://api.test/";
        for (arguments, expected) in [
            (vec![url], json!({ "method": "GET", "url": url, "headers": [], "runner": null })),
            (
                vec![url, "-X", "PUT", "-H", "X-A:  b: c ", "--runner", "r"],
                json!({ "method": "PUT", "url": url, "headers": [["X-A", "b: c"]], "runner": "r" }),
            ),
            (
                vec![url, "-d", "a=1", "-d", "b=@2", "--data-raw", "@c"],
                json!({
                    "method": "POST", "url": url, "runner": null, "body": "a=1&b=@2&@c",
                    "headers": [["Content-Type", "application/x-www-form-urlencoded"]],
                }),
            ),
            (
                vec![url, "-H", "content-type: application/json", "-d", "{}", "-u", "a:b", "-b", "c=d"],
                json!({
                    "method": "POST", "url": url, "runner": null, "body": "{}",
                    "headers": [["Authorization", "Basic YTpi"], ["Cookie", "c=d"], ["content-type", "application/json"]],
                }),
            ),
        ] {
            assert_eq!(content(&arguments).ok(), Some(expected), "{arguments:?}");
        }
        assert!(content(&[url, "-H", "no colon"]).is_err());
        assert!(content(&[]).is_err());
    }

    #[test]
    fn data_files_are_read_as_curl_reads_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data");
        std::fs::write(&path, b"a\r\nb\xFF\n").expect("written");
        let at = format!("@{}", path.display());
        let body = |flag: &str| content(&["http://a.test", flag, &at]).map(|content| content["body_base64"].clone()).ok();
        assert_eq!(body("-d"), Some(STANDARD.encode(b"ab\xFF").into()));
        assert_eq!(body("--data-binary"), Some(STANDARD.encode(b"a\r\nb\xFF\n").into()));
    }

    #[test]
    fn a_report_says_what_would_happen() {
        let findings = json!({
            "outcome": "refused", "origin": "https://evil.test",
            "references": [{ "secret": "a", "surface": "header", "permitted": false, "code": "domain_restricted", "detail": "No." }],
            "refusal": { "status": 403, "code": "domain_restricted", "detail": "No." },
        });
        assert_eq!(
            report(&findings),
            "{secrets.a}  header: domain_restricted\n    No.\nIt would be refused with 403 domain_restricted.\n    No."
        );
        let findings = json!({
            "outcome": "forwarded", "origin": "https://api.test",
            "references": [{ "secret": "a", "surface": "query", "permitted": true }],
            "request": { "method": "GET", "target": "/?k=MASKED", "headers": [["Host", "api.test"]], "body": null },
        });
        assert_eq!(
            report(&findings),
            "{secrets.a}  query: permitted\nIt would be forwarded to https://api.test:\n    GET /?k=MASKED\n    Host: api.test"
        );
    }
}
