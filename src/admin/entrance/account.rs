//! `/account`: one's own password and sessions.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};

use super::form::Form;
use super::{Coming, markup, told};
use crate::admin::State;
use crate::admin::authenticate::SignedIn;
use crate::admin::pages::Visit;
use crate::admin::problem::Problem;

/// `GET /account`
pub(super) async fn show(SignedIn(person): SignedIn, Shared(state): Shared<State>, visit: Visit) -> Response {
    markup::account(&visit, &person, &state.members.sessions(&person.account), None)
}

/// `POST /account/password`: every other session ends, and this one begins anew.
pub(super) async fn change_password(
    SignedIn(person): SignedIn,
    coming: Coming,
    Shared(state): Shared<State>,
    visit: Visit,
    mut form: Form,
) -> Response {
    let (present, next) = (form.password("present"), form.password("password"));
    match state.members.change_password(&person, present, next, &coming.visitor).await {
        Ok((token, _)) => ([coming.way.begin(&token)], Redirect::to("/account")).into_response(),
        Err(fault) => {
            let sessions = state.members.sessions(&person.account);
            told(&fault, markup::account(&visit, &person, &sessions, Some(&fault)))
        }
    }
}

/// `POST /account/sessions/{session}/end`
pub(super) async fn end_session(
    SignedIn(person): SignedIn,
    Path(session): Path<String>,
    Shared(state): Shared<State>,
) -> Result<Redirect, Problem> {
    state.members.end_session(&person.account, &session).await.map_err(|fault| Problem::from(&fault))?;
    Ok(Redirect::to("/account"))
}
