//! `/setup/{token}`: the first administrator, through the link that a first start prints.

use axum::extract::{Path, State as Shared};
use axum::response::Response;

use super::form::Form;
use super::{Coming, markup, told, welcome};
use crate::admin::State;
use crate::members::{Login, MembersError};

/// `GET /setup/{token}`
pub(super) async fn show(Path(token): Path<String>, Shared(state): Shared<State>) -> Response {
    if state.members.may_set_up(token.as_bytes()) {
        return markup::setup("", None);
    }
    told(&MembersError::LinkInvalid, markup::link_invalid())
}

/// `POST /setup/{token}`
pub(super) async fn submit(Path(token): Path<String>, coming: Coming, Shared(state): Shared<State>, mut form: Form) -> Response {
    let password = form.password("password");
    let typed = form.text("login");
    let login = match Login::parse(typed) {
        Ok(login) => login,
        Err(fault) => return markup::setup(typed, Some(&fault)),
    };
    match state.members.set_up(token.as_bytes(), &login, password, &coming.visitor).await {
        Ok(entered) => welcome(coming.way, &entered, "/"),
        Err(fault @ MembersError::LinkInvalid) => told(&fault, markup::link_invalid()),
        Err(fault) => told(&fault, markup::setup(typed, Some(&fault))),
    }
}
