//! `/sign-in/provider` and `/sign-in/callback`: through the identity provider and back.

use std::time::SystemTime;

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;

use super::{Coming, markup, own_path, told};
use crate::admin::State;
use crate::admin::extract::Query;
use crate::admin::oidc::{Flow, Provider, ProviderError};
use crate::admin::problem::Problem;
use crate::admin::session::cookie;
use crate::members::{Entered, MembersError};

const REFRESH: HeaderName = HeaderName::from_static("refresh");

/// Where to go on to afterwards, and perhaps with which invitation.
#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
    invitation: Option<String>,
}

/// What a provider sends a browser back with.
#[derive(Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
}

/// Why nobody came in.
enum NotIn {
    Provider(ProviderError),
    Members(MembersError),
}

/// `GET /sign-in/provider`
pub(super) async fn begin(
    coming: Coming,
    Shared(state): Shared<State>,
    Query(Asked { next, invitation }): Query<Asked>,
) -> Result<Response, Problem> {
    let settings = state.settings();
    let provider = settings.provider.as_deref().ok_or_else(no_provider)?;
    let flow = Flow::begin(own_path(&next), invitation.as_deref(), SystemTime::now())?;
    match provider.begin(&settings.base, &flow).await {
        Ok(url) => Ok(([coming.way.begin_flow(flow.cookie())], Redirect::to(url.as_str())).into_response()),
        Err(fault) => Ok(not_in(&NotIn::Provider(fault))),
    }
}

/// `GET /sign-in/callback`
pub(super) async fn finish(
    coming: Coming,
    Shared(state): Shared<State>,
    Query(back): Query<Back>,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    let settings = state.settings();
    let provider = settings.provider.as_deref().ok_or_else(no_provider)?;
    let resumed = cookie(&fields, coming.way.flow_cookie()).and_then(|kept| Flow::resume(kept, &back.state, SystemTime::now()));
    let outcome = match &resumed {
        Some(flow) => enter(&state, (provider, &settings.base), flow, &coming, back).await,
        None => Err(NotIn::Provider(ProviderError::NotBegun)),
    };
    let mut response = match (&outcome, &resumed) {
        (Ok((token, _)), Some(flow)) => onward(&coming, token, flow.next()),
        (Err(fault), _) => not_in(fault),
        (Ok(_), None) => unreachable!("nobody enters without a flow"),
    };
    // What was begun is over, whatever came of it.
    let (name, value) = coming.way.end_flow();
    response.headers_mut().append(name, value);
    Ok(response)
}

async fn enter(
    state: &State,
    (provider, base): (&Provider, &str),
    flow: &Flow,
    coming: &Coming,
    back: Back,
) -> Result<Entered, NotIn> {
    let code = match (back.code, back.error) {
        (Some(code), None) => code,
        (_, Some(error)) => return Err(NotIn::Provider(ProviderError::Refused(error))),
        (None, None) => return Err(NotIn::Provider(ProviderError::NotBegun)),
    };
    let vouched = provider.finish(base, flow, code).await.map_err(NotIn::Provider)?;
    // An invitation is for whoever has the address, not for whoever claims it.
    let invitation = flow.invitation().filter(|_| vouched.verified).map(str::as_bytes);
    let entered =
        state.members.sign_in_with_provider(vouched.subject, &vouched.login, vouched.roles, invitation, &coming.visitor);
    entered.await.map_err(NotIn::Members)
}

/// On to a page. Not by a redirect: the browser comes from another site, and would not send the new
/// cookie (SameSite=Strict) along with it.
fn onward(coming: &Coming, token: &crate::members::Token, next: &str) -> Response {
    let mut response = markup::onward(next);
    let (name, value) = coming.way.begin(token);
    response.headers_mut().append(name, value);
    if let Ok(target) = http::HeaderValue::try_from(format!("0; url={next}")) {
        response.headers_mut().insert(REFRESH, target);
    }
    response
}

fn not_in(fault: &NotIn) -> Response {
    match fault {
        NotIn::Members(fault) => told(fault, markup::not_signed_in(fault)),
        NotIn::Provider(fault) => {
            // What a provider says may be long, and somebody else's words.
            let reason: String = fault.to_string().chars().filter(|char| !char.is_control()).take(300).collect();
            tracing::warn!(%reason, "a sign-in with the identity provider failed");
            let (status, shown) = match fault {
                ProviderError::Unusable(_) => {
                    (StatusCode::BAD_GATEWAY, "the identity provider cannot be used at the moment; the server's log tells why")
                }
                ProviderError::NotBegun => {
                    (StatusCode::FORBIDDEN, "this sign-in was not begun here, or too long ago; begin it again")
                }
                ProviderError::Refused(_) => (StatusCode::FORBIDDEN, "the identity provider did not let you in"),
                ProviderError::Token(_) => {
                    (StatusCode::FORBIDDEN, "what the identity provider says of you cannot be used; the server's log tells why")
                }
            };
            let mut response = markup::not_signed_in(&shown);
            *response.status_mut() = status;
            response
        }
    }
}

fn no_provider() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "No identity provider is configured here.")
}
