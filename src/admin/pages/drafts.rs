//! Forms that could not be carried out, kept for a moment so that they are shown again by a page that was
//! got and not posted: what was posted stays in a browser's history, which lies on the disk, and a value
//! was posted with it. What is kept here holds everything but the value.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use lru::LruCache;

use super::form::{Faults, Form};
use super::query::Query;
use super::visit::Visit;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::token::Token;

/// Forms at a time; the oldest go.
const MOST: NonZeroUsize = NonZeroUsize::new(128).expect("not zero");
/// The largest that is kept; of a larger one the faults are shown alone.
const LARGEST: usize = 64 << 10;
/// How long whoever typed may take to come back.
const KEPT_FOR: Duration = Duration::from_mins(15);

/// The page that shows a problem again.
pub(super) const REFUSED: &str = "/refused";

/// What is kept. Shared by everybody.
pub struct Drafts(Mutex<LruCache<String, Arc<Draft>>>);

/// One form.
pub(super) struct Draft {
    /// Whose, and of which page.
    of: (String, String),
    at: Instant,
    /// What was typed, but the value.
    pub(super) form: Form,
    /// What is wrong with it.
    pub(super) faults: Faults,
    /// What was answered instead of a page of its own.
    pub(super) problem: Option<Problem>,
    /// The status it would have been answered with.
    pub(super) status: StatusCode,
}

impl Default for Drafts {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl Drafts {
    /// Keeps a form, and leads to the page at `path`, which shows it again.
    pub(super) fn keep(
        &self,
        (visit, path): (&Visit, &str),
        form: Form,
        faults: Faults,
        status: StatusCode,
    ) -> Result<Response, Problem> {
        let form = form.without(&["value", "csrf"]);
        let form = if form.length() > LARGEST { Form::default() } else { form };
        let of = (visit.principal.name().to_owned(), path.to_owned());
        let id = self.put(Draft { of, at: Instant::now(), form, faults, problem: None, status });
        id.map(|id| Redirect::to(&format!("{path}?draft={id}")).into_response())
            .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "The form could not be kept; try again."))
    }

    /// Keeps a problem, and leads to the page that shows it; `None` if it cannot.
    pub(super) fn keep_problem(&self, principal: &Principal, problem: &Problem) -> Option<Response> {
        let of = (principal.name().to_owned(), REFUSED.to_owned());
        let (status, problem) = (problem.status(), Some(problem.clone()));
        let (form, faults) = (Form::default(), Faults::default());
        let id = self.put(Draft { of, at: Instant::now(), form, faults, problem, status })?;
        Some(Redirect::to(&format!("{REFUSED}?draft={id}")).into_response())
    }

    fn put(&self, draft: Draft) -> Option<String> {
        let id = Token::random("").ok()?.show_once().to_owned();
        self.lock().put(id.clone(), Arc::new(draft));
        Some(id)
    }

    /// The form that the query names, if it is of this person and this page.
    pub(super) fn find(&self, (visit, path): (&Visit, &str), query: &Query) -> Option<Arc<Draft>> {
        let draft = self.lock().get(query.text("draft")).cloned()?;
        // Of whoever was not let in nobody knows who they are.
        let is_theirs = [visit.principal.name(), "nobody"].contains(&draft.of.0.as_str()) && draft.of.1 == path;
        (is_theirs && draft.at.elapsed() < KEPT_FOR).then_some(draft)
    }

    /// Nothing panics while it holds one of these.
    fn lock(&self) -> MutexGuard<'_, LruCache<String, Arc<Draft>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
