//! `/invitation/{token}`: becoming a member, with a new password, the present one, or while signed in.

use axum::Extension;
use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};

use super::form::Form;
use super::markup::{self, Joining};
use super::{Coming, told, welcome};
use crate::admin::State;
use crate::admin::session::Csrf;
use crate::members::{InvitationView, MembersError, Person};

/// `GET /invitation/{token}`
pub(super) async fn show(
    Path(token): Path<String>,
    Shared(state): Shared<State>,
    person: Option<Extension<Person>>,
    csrf: Csrf,
) -> Response {
    match state.members.invitation(token.as_bytes()) {
        Some(view) => markup::invitation(&view, joining(&state, &view, person.as_deref()), through(&state, &token), &csrf, None),
        None => told(&MembersError::LinkInvalid, markup::link_invalid()),
    }
}

/// `POST /invitation/{token}`
pub(super) async fn submit(
    Path(token): Path<String>,
    coming: Coming,
    Shared(state): Shared<State>,
    person: Option<Extension<Person>>,
    csrf: Csrf,
    mut form: Form,
) -> Response {
    let Some(view) = state.members.invitation(token.as_bytes()) else {
        return told(&MembersError::LinkInvalid, markup::link_invalid());
    };
    let how = joining(&state, &view, person.as_deref());
    let outcome = match person.as_deref().filter(|_| how == Joining::SignedIn) {
        Some(person) => state.members.accept_as(token.as_bytes(), person).await.map(|()| None),
        None => state.members.accept(token.as_bytes(), form.password("password"), &coming.visitor).await.map(Some),
    };
    match outcome {
        Ok(Some(entered)) => welcome(coming.way, &entered, "/"),
        Ok(None) => Redirect::to("/").into_response(),
        Err(fault @ MembersError::LinkInvalid) => told(&fault, markup::link_invalid()),
        Err(fault) => told(&fault, markup::invitation(&view, how, through(&state, &token), &csrf, Some(&fault))),
    }
}

/// The link through the identity provider, with what it says.
fn through(state: &State, token: &str) -> Option<(String, String)> {
    let settings = state.settings();
    let provider = settings.provider.as_deref()?;
    Some((format!("/sign-in/provider?invitation={token}"), provider.label().to_owned()))
}

fn joining(state: &State, view: &InvitationView, person: Option<&Person>) -> Joining {
    if person.is_some_and(|person| person.login == view.login) {
        Joining::SignedIn
    } else if state.members.is_known(&view.login) {
        Joining::Known
    } else {
        Joining::New
    }
}
