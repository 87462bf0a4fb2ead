//! `/sign-in` and `/sign-out`.

use axum::extract::{Query, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::form::Form;
use super::{Coming, markup, own_path, told, welcome};
use crate::admin::State;
use crate::admin::authenticate::SignedIn;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::members::{MembersError, Person};

/// Where to go on to afterwards.
#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// `GET /sign-in`
pub(super) async fn show(principal: Principal, Shared(state): Shared<State>, Query(Next { next }): Query<Next>) -> Response {
    if principal.is_known() {
        return Redirect::to(own_path(&next)).into_response();
    }
    markup::sign_in("", own_path(&next), state.settings().provider.as_deref(), None)
}

/// `POST /sign-in`
pub(super) async fn submit(coming: Coming, Shared(state): Shared<State>, mut form: Form) -> Response {
    let password = form.password("password");
    let (login, next) = (form.text("login"), own_path(form.text("next")));
    match state.members.sign_in(login, password, &coming.visitor).await {
        Ok(entered) => welcome(coming.way, &entered, next),
        Err(fault) => told(&fault, markup::sign_in(login, next, state.settings().provider.as_deref(), Some(&fault))),
    }
}

/// `POST /sign-out`
pub(super) async fn leave(coming: Coming, SignedIn(person): SignedIn, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let Person { account, session, .. } = &person;
    match state.members.end_session(account, session).await {
        Ok(()) | Err(MembersError::NoSession) => Ok(([coming.way.end()], Redirect::to("/sign-in")).into_response()),
        Err(fault) => Err(Problem::from(&fault)),
    }
}
