//! A no, shown as a page to whoever looks at pages, with the same text that the API answers.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::ACCEPT;
use http::{HeaderMap, Method, StatusCode};
use maud::html;

use super::drafts::{Drafts, REFUSED};
use super::layout::{self, Page, Section};
use super::parts::{encoded, prose};
use super::query::Query;
use super::visit::Visit;
use crate::admin::State;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;

/// Turns the problems of what is behind into pages, for browsers.
pub(in crate::admin) async fn as_pages(principal: Principal, request: Request, next: Next) -> Response {
    let path = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let is_page = !path.starts_with("/api/") && wants_html(request.headers());
    let method = request.method().clone();
    let drafts = request.extensions().get::<Arc<Drafts>>().cloned();
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>().filter(|_| is_page) else { return response };
    // What was posted would stay in the browser's history if a page were the answer.
    let posted = method == Method::POST && problem.status() != StatusCode::UNAUTHORIZED;
    let kept = drafts.filter(|_| posted).and_then(|drafts| drafts.keep_problem(&principal, problem));
    kept.unwrap_or_else(|| shown(principal, problem, &method, &path))
}

/// `GET /refused`: why what was posted was not done.
pub(super) async fn again(visit: Visit, Shared(state): Shared<State>, RawQuery(query): RawQuery) -> Response {
    let kept = state.drafts.find((&visit, REFUSED), &Query::parse(query.as_deref()));
    let problem = kept.and_then(|kept| kept.problem.clone());
    let gone = || Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here any more. Repeat what you did.");
    shown(visit.principal, &problem.unwrap_or_else(gone), &Method::GET, REFUSED)
}

fn wants_html(fields: &HeaderMap) -> bool {
    fields.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accepted| accepted.contains("text/html"))
}

fn shown(principal: Principal, problem: &Problem, method: &Method, path: &str) -> Response {
    if problem.status() == StatusCode::UNAUTHORIZED {
        // What was to be posted is not repeated after signing in; where it was posted from is unknown.
        let next = if *method == Method::GET { path } else { "/" };
        return Redirect::to(&format!("/sign-in?next={}", encoded(next))).into_response();
    }
    let title = problem.status().canonical_reason().unwrap_or("Problem");
    let text = html! {
        h1 { (title) }
        p { (prose(problem.detail())) }
        p.small.muted { "Code " code { (problem.code()) } ", status " (problem.status().as_u16()) "." }
        div.actions { a.button.button-quiet href="/" { "Go to the first page" } }
    };
    if principal.is_known() {
        let text = html! { div.stack.content-narrow { (text) } };
        Page::new(title, Section::Elsewhere).answer(&Visit::new(principal), problem.status(), &text)
    } else {
        layout::door(title, problem.status(), &html! { div.section { (text) } })
    }
}
