//! The ways in for people: signing in and out, the first start, invitations, one's own account.
//! Plain forms, which work without any script.

mod account;
mod form;
mod invitation;
mod markup;
mod provider;
mod setup;
mod sign_in;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::RETRY_AFTER;
use http::request::Parts;

use super::State;
use super::problem::Problem;
use super::session::Way;
use crate::members::{Entered, MembersError, Visitor};

/// Every way in.
pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/sign-in", get(sign_in::show).post(sign_in::submit))
        .route("/sign-in/provider", get(provider::begin))
        .route("/sign-in/callback", get(provider::finish))
        .route("/sign-out", post(sign_in::leave))
        .route("/setup/{token}", get(setup::show).post(setup::submit))
        .route("/invitation/{token}", get(invitation::show).post(invitation::submit))
        .route("/account", get(account::show))
        .route("/account/password", post(account::change_password))
        .route("/account/sessions/{session}/end", post(account::end_session))
}

/// How somebody comes, as whoever mounted the routes knows.
struct Coming {
    way: Way,
    visitor: Visitor,
}

impl<S: Send + Sync> FromRequestParts<S> for Coming {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let way = parts.extensions.get::<Way>().copied();
        let visitor = parts.extensions.get::<Visitor>().cloned();
        way.zip(visitor).map(|(way, visitor)| Self { way, visitor }).ok_or_else(|| {
            let detail = "Whoever has the socket needs no session; sign in through the admin port.";
            Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
        })
    }
}

/// On to a page, as whoever has just come in.
fn welcome(way: Way, (token, _): &Entered, next: &str) -> Response {
    ([way.begin(token)], Redirect::to(next)).into_response()
}

/// A page that says what went wrong, with the status that goes with it.
fn told(fault: &MembersError, page: Response) -> Response {
    let mut response = page;
    *response.status_mut() = Problem::from(fault).status();
    if let MembersError::TooMany(wait) = fault {
        response.headers_mut().insert(RETRY_AFTER, wait.as_secs().max(1).into());
    }
    response
}

/// Where to go on to: a path of ours, and nothing that leads elsewhere.
fn own_path(text: &str) -> &str {
    let elsewhere = text.starts_with("//") || text.contains('\\') || text.chars().any(char::is_control);
    if text.starts_with('/') && !elsewhere { text } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (sent, taken) in [
            ("/organizations/default/secrets?a=b", "/organizations/default/secrets?a=b"),
            ("", "/"),
            ("https://evil.test/", "/"),
            ("//evil.test/", "/"),
            ("/\\evil.test", "/"),
            ("/\t/evil.test", "/"),
            ("evil", "/"),
        ] {
            assert_eq!(own_path(sent), taken, "{sent}");
        }
    }
}
