//! Test a request: every reference that it holds, on which surface, permitted or refused and why, and
//! the request as it would go out, masked. Judged by the very core that injects; nothing is sent.

mod curl;
mod parts;

use axum::extract::State as Shared;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use maud::{Markup, html};

use self::parts::Parts;
use super::form::{Faults, Field, Form};
use super::icon;
use super::layout::{Page, Section};
use super::parts::{Tone, badge, note, prose};
use super::visit::OrganizationVisit;
use crate::admin::State;
use crate::admin::api::request_tests::{Fields, Judgement, MaskedRequest, New, Outcome, RequestTest, tried};
use crate::admin::problem::Problem;
use crate::members::Role;

/// What stands for a value in a request that was only tried.
const MASKED: &str = "MASKED";
/// Methods to choose from; a curl command may say any.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// `GET /organizations/{organization}/request-test`
pub(super) async fn show(visit: OrganizationVisit, Shared(state): Shared<State>) -> Response {
    let sheet = Sheet { state: &state, visit: &visit, faults: Faults::default(), typed: Typed::default(), found: None };
    sheet.answer(StatusCode::OK)
}

/// `POST /organizations/{organization}/request-test`
pub(super) async fn submit(visit: OrganizationVisit, Shared(state): Shared<State>, form: Form) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let runner = form.text("runner").to_owned();
    let parts = Parts::read(&form, &mut faults);
    let Some(parts) = parts else {
        let written = Parts::written(&form, &mut Faults::default());
        let typed =
            Typed { paste: form.text("paste").to_owned(), parts: written, headers: form.text("headers").to_owned(), runner };
        let sheet = Sheet { state: &state, visit: &visit, faults, typed, found: None };
        return Ok(sheet.answer(StatusCode::UNPROCESSABLE_ENTITY));
    };
    let outcome = tried(&state, &visit.organization, request(&parts, &runner, form.ticked("send"))).await;
    let typed = Typed { paste: String::new(), headers: parts.header_lines(), parts, runner };
    let mut sheet = Sheet { state: &state, visit: &visit, faults, typed, found: None };
    match outcome {
        Ok(found) => {
            sheet.found = Some(found);
            Ok(sheet.answer(StatusCode::OK))
        }
        Err(problem) => {
            match problem.field().and_then(|field| ["method", "headers", "runner"].into_iter().find(|known| *known == field)) {
                Some(field) => {
                    sheet.faults.add(field, problem.detail());
                    Ok(sheet.answer(problem.status()))
                }
                None => Err(problem),
            }
        }
    }
}

fn request(parts: &Parts, runner: &str, send: bool) -> New {
    New {
        url: parts.url.clone(),
        method: parts.method.clone(),
        headers: Fields::Pairs(parts.headers.clone()),
        body: (!parts.body.is_empty()).then(|| parts.body.clone()),
        body_base64: None,
        runner: (!runner.is_empty()).then(|| runner.to_owned()),
        send,
    }
}

/// What was typed, as it was typed.
#[derive(Default)]
struct Typed {
    paste: String,
    parts: Parts,
    headers: String,
    runner: String,
}

struct Sheet<'a> {
    state: &'a State,
    visit: &'a OrganizationVisit,
    faults: Faults,
    typed: Typed,
    found: Option<RequestTest>,
}

impl Sheet<'_> {
    fn answer(&self, status: StatusCode) -> Response {
        let visit = &self.visit.visit;
        let content = html! {
            div.head { div {
                h1 { "Test a request" }
                p { "See what would happen to a request, without sending it: every reference that it holds, whether it may stand there, and what would go out." }
            } }
            div.stack.content-form {
                @if let Some(found) = &self.found { (self.verdict(found)) }
                @if visit.may(Role::Editor) { (self.form()) } @else {
                    (note(Tone::Plain, &html! { p { "Testing takes the right to edit. Ask an administrator of this organization for edit permissions." } }))
                }
            }
        };
        Page::new("Test a request", Section::Test).faulty(!self.faults.is_empty()).answer(visit, status, &content)
    }

    fn form(&self) -> Markup {
        let paste = html! { "It is read, not run. Options that only say how curl behaves are passed over." };
        let tested = self.found.is_some() || !self.typed.parts.url.is_empty();
        html! {
            form.form method="post" action={ "/organizations/" (self.visit.organization) "/request-test" } autocomplete="off" {
                (self.visit.visit.csrf())
                (self.faults.summary())
                (Field::new("paste", "URL or curl command", &self.faults).unmarked().hint(paste).lines("input-mono", 3, &self.typed.paste))
                details.more open[tested] {
                    summary { "The parts of the request" }
                    (self.parts())
                }
                (self.runner())
                div.form-end {
                    button.button type="submit" { "Test the request" }
                    @if self.found.as_ref().is_some_and(|found| found.outcome == Outcome::Forwarded) {
                        button.button.button-quiet type="submit" name="send" value="yes" { "Send it for real" }
                    }
                }
            }
        }
    }

    fn parts(&self) -> Markup {
        let parts = &self.typed.parts;
        let method = if parts.method.is_empty() { "GET" } else { &parts.method };
        let url = html! { "Used when nothing is pasted above." };
        let headers = html! { "One a line: " code { "Authorization: Bearer {secrets.crm.apiKey}" } };
        let choice = Field::new("method", "Method", &self.faults);
        html! {
            div.section {
                (choice.around(&html! {
                    select.input #method name="method" aria-describedby=[choice.described()] {
                        @for known in METHODS { option selected[known == method] { (known) } }
                        @if !METHODS.contains(&method) { option selected { (method) } }
                    }
                }))
                (Field::new("url", "URL", &self.faults).unmarked().hint(url).line("input-mono", &parts.url))
                (Field::new("headers", "Headers", &self.faults).unmarked().hint(headers).lines("input-mono", 3, &self.typed.headers))
                (Field::new("body", "Body", &self.faults).unmarked().lines("input-mono", 3, &parts.body))
            }
        }
    }

    fn runner(&self) -> Markup {
        let runners = self.state.identity.list(&self.visit.organization);
        let hint = html! { "A runner may be limited to some secrets and hosts." };
        let field = Field::new("runner", "As which runner", &self.faults).hint(hint);
        field.around(&html! {
            select.input #runner name="runner" aria-describedby=[field.described()] aria-invalid=[field.fault.map(|_| "true")] {
                option value="" { "Any runner without limits" }
                @for runner in &runners { option selected[runner.name.as_str() == self.typed.runner] { (runner.name) } }
            }
        })
    }

    fn verdict(&self, found: &RequestTest) -> Markup {
        html! {
            section.section aria-labelledby="verdict" tabindex="-1" data-focus {
                h2.visually-hidden #verdict { "What would happen" }
                (self.outcome(found))
                @if found.references.is_empty() { (without_reference(found)) } @else { (references(&found.references)) }
                @if let Some(request) = &found.request { (masked(request, found.origin.as_deref())) }
                (notes(found))
            }
        }
    }

    fn outcome(&self, found: &RequestTest) -> Markup {
        let origin = found.origin.as_deref().unwrap_or("the target");
        match (&found.outcome, &found.refusal) {
            (Outcome::Refused, Some(refusal)) => note(
                Tone::Bad,
                &html! {
                    p { strong { "Refused: " (refusal.title) } }
                    p { (prose(&refusal.detail)) }
                    p.small { "The client would get status " (refusal.status) " with the code " code { (refusal.code) } ". Nothing would be sent." }
                },
            ),
            _ => note(
                tone(found),
                &html! {
                    @match &found.answer {
                        None => p { strong { "It would be sent to " (origin) } },
                        Some(answer) => {
                            p { strong { "It was sent to " (origin) ": status " (answer.status) ", after " (answer.milliseconds) " ms" } }
                            @if let Some(code) = &answer.code { p { "The proxy itself answered, with the code " code { (code) } "." } }
                        }
                    }
                    @if self.typed.parts.globbed {
                        p { "curl itself takes " code { "{…}" } " in a URL for a pattern: add " code { "-g" } " to the command, or the reference does not reach the proxy." }
                    }
                },
            ),
        }
    }
}

fn tone(found: &RequestTest) -> Tone {
    let refused = found.answer.as_ref().is_some_and(|answer| answer.status >= 400);
    if refused { Tone::Warn } else { Tone::Good }
}

fn without_reference(found: &RequestTest) -> Markup {
    html! {
        @if found.outcome == Outcome::Forwarded {
            p.muted { "It holds no reference, so it would pass unchanged. A reference looks like this: " code { "{secrets.crm.apiKey}" } "." }
        }
    }
}

fn references(all: &[Judgement]) -> Markup {
    html! {
        h3 { "References" }
        table.table role="table" {
            thead role="rowgroup" { tr role="row" {
                @for title in ["Secret", "Where", "Verdict"] { th scope="col" role="columnheader" { (title) } }
            } }
            tbody role="rowgroup" {
                @for one in all {
                    tr role="row" {
                        td.cell-name role="cell" { span.name { (one.secret) } }
                        td.nowrap role="cell" data-label="Where" { (one.surface) }
                        td role="cell" data-label="Verdict" {
                            div {
                                @if one.permitted { (badge(Tone::Good, "permitted")) } @else { (badge(Tone::Bad, "refused")) }
                                @if let Some(detail) = &one.detail { p.small.muted { (prose(detail)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The request as it would go out.
fn masked(request: &MaskedRequest, origin: Option<&str>) -> Markup {
    html! {
        h3 { "As it would go out" }
        div.code-block {
            pre.code tabindex="0" aria-label="The request as it would go out, values masked" {
                (request.method) " " (origin.unwrap_or_default()) (mark(&request.target)) "\n"
                @for (name, value) in &request.headers { (name) ": " (mark_field(value)) "\n" }
                @if let Some(body) = &request.body { "\n" (mark(body)) }
            }
        }
    }
}

/// The content of a field. Of Basic credentials the pair is shown, or the mask could not be seen.
fn mark_field(value: &str) -> Markup {
    let pair = value.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text.trim()).ok());
    let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|pair| pair.contains(MASKED));
    match pair {
        Some(pair) => html! { "Basic base64(" (mark(&pair)) ")" },
        None => mark(value),
    }
}

/// A text with its masks standing out.
fn mark(text: &str) -> Markup {
    html! { @for (index, part) in text.split(MASKED).enumerate() { @if index > 0 { mark { "••••••••" } } (part) } }
}

fn notes(found: &RequestTest) -> Markup {
    html! { @if !found.notes.is_empty() { ul.hint role="list" { @for text in &found.notes { li { (icon::INFO) " " (prose(text)) } } } } }
}
