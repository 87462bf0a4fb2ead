//! Who may do what: one table of routes and rights, and the one layer that holds requests against it.
//!
//! A route that is not in the table is refused, so none can be added without a decision. Somebody
//! without a role in an organization is told the same as if it did not exist.

use axum::extract::{MatchedPath, RawPathParams, Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Method, StatusCode};

use super::State;
use super::operations::OpenFigures;
use super::principal::Principal;
use super::problem::Problem;
use crate::members::Role;
use crate::secret::OrganizationName;

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing.
    Public,
    /// To have said who one is.
    Known,
    /// To come through a door that tells figures to everybody, or a role in `default`.
    Figures,
    /// This role, or a higher one, in the organization that the path names.
    Role(Role),
    /// To be an administrator of `default`, or the owner of the socket.
    Operate,
}

const SEE: Right = Right::Role(Role::Viewer);
const CHANGE: Right = Right::Role(Role::Editor);
const ADMINISTER: Right = Right::Role(Role::Administrator);

const OPERATOR: &str = "an administrator of the organization `default`";

/// What every route takes. HEAD is GET.
pub(super) const RIGHTS: &[(Method, &str, Right)] = &[
    (Method::GET, "/", Right::Public),
    (Method::GET, "/livez", Right::Public),
    (Method::GET, "/ca.pem", Right::Public),
    (Method::GET, "/ca.der", Right::Public),
    (Method::GET, "/ca.p12", Right::Public),
    (Method::GET, "/readyz", Right::Public),
    (Method::GET, "/metrics", Right::Figures),
    (Method::GET, "/api/v1/openapi.json", Right::Public),
    (Method::GET, "/assets/{file}", Right::Public),
    (Method::GET, "/organizations/{organization}", SEE),
    (Method::GET, "/organizations/{organization}/secrets", SEE),
    (Method::GET, "/organizations/{organization}/new-secret", CHANGE),
    (Method::POST, "/organizations/{organization}/new-secret", CHANGE),
    (Method::GET, "/organizations/{organization}/secrets/{name}", SEE),
    (Method::POST, "/organizations/{organization}/secrets/{name}", CHANGE),
    (Method::GET, "/organizations/{organization}/secrets/{name}/remove", CHANGE),
    (Method::POST, "/organizations/{organization}/secrets/{name}/remove", CHANGE),
    (Method::POST, "/organizations/{organization}/domain-advice", CHANGE),
    (Method::GET, "/organizations/{organization}/request-test", SEE),
    (Method::POST, "/organizations/{organization}/request-test", CHANGE),
    (Method::GET, "/organizations/{organization}/runners", SEE),
    (Method::GET, "/organizations/{organization}/new-runner", ADMINISTER),
    (Method::POST, "/organizations/{organization}/new-runner", ADMINISTER),
    (Method::GET, "/organizations/{organization}/runners/{name}", ADMINISTER),
    (Method::POST, "/organizations/{organization}/runners/{name}", ADMINISTER),
    (Method::GET, "/organizations/{organization}/runners/{name}/token", ADMINISTER),
    (Method::POST, "/organizations/{organization}/runners/{name}/token", ADMINISTER),
    (Method::GET, "/organizations/{organization}/runners/{name}/revoke", ADMINISTER),
    (Method::POST, "/organizations/{organization}/runners/{name}/revoke", ADMINISTER),
    (Method::GET, "/organizations/{organization}/setup", SEE),
    (Method::GET, "/organizations/{organization}/activity", SEE),
    (Method::GET, "/refused", Right::Public),
    (Method::GET, "/organizations", Right::Known),
    (Method::GET, "/new-organization", Right::Operate),
    (Method::POST, "/new-organization", Right::Operate),
    (Method::GET, "/organizations/{organization}/members", SEE),
    (Method::GET, "/organizations/{organization}/members/{login}", ADMINISTER),
    (Method::POST, "/organizations/{organization}/members/{login}", ADMINISTER),
    (Method::GET, "/organizations/{organization}/members/{login}/remove", ADMINISTER),
    (Method::POST, "/organizations/{organization}/members/{login}/remove", ADMINISTER),
    (Method::GET, "/organizations/{organization}/new-invitation", ADMINISTER),
    (Method::POST, "/organizations/{organization}/new-invitation", ADMINISTER),
    (Method::POST, "/organizations/{organization}/invitations/{login}/revoke", ADMINISTER),
    (Method::GET, "/organizations/{organization}/new-token", ADMINISTER),
    (Method::POST, "/organizations/{organization}/new-token", ADMINISTER),
    (Method::GET, "/organizations/{organization}/tokens/{name}/revoke", ADMINISTER),
    (Method::POST, "/organizations/{organization}/tokens/{name}/revoke", ADMINISTER),
    (Method::GET, "/organizations/{organization}/welcome", SEE),
    (Method::GET, "/organizations/{organization}/delete", Right::Operate),
    (Method::POST, "/organizations/{organization}/delete", Right::Operate),
    (Method::GET, "/api/v1/me", Right::Known),
    (Method::GET, "/sign-in", Right::Public),
    (Method::POST, "/sign-in", Right::Public),
    (Method::GET, "/sign-in/provider", Right::Public),
    (Method::GET, "/sign-in/callback", Right::Public),
    (Method::POST, "/sign-out", Right::Known),
    (Method::GET, "/setup/{token}", Right::Public),
    (Method::POST, "/setup/{token}", Right::Public),
    (Method::GET, "/invitation/{token}", Right::Public),
    (Method::POST, "/invitation/{token}", Right::Public),
    (Method::GET, "/account", Right::Known),
    (Method::POST, "/account/password", Right::Known),
    (Method::POST, "/account/sessions/{session}/end", Right::Known),
    (Method::GET, "/api/v1/backup", Right::Operate),
    (Method::GET, "/api/v1/keys", Right::Operate),
    (Method::POST, "/api/v1/keys/rotation", Right::Operate),
    (Method::POST, "/api/v1/reload", Right::Operate),
    (Method::GET, "/api/v1/organizations", Right::Known),
    (Method::POST, "/api/v1/organizations", Right::Operate),
    (Method::GET, "/api/v1/organizations/{organization}", SEE),
    (Method::DELETE, "/api/v1/organizations/{organization}", Right::Operate),
    (Method::GET, "/api/v1/organizations/{organization}/members", SEE),
    (Method::GET, "/api/v1/organizations/{organization}/members/{login}", SEE),
    (Method::PATCH, "/api/v1/organizations/{organization}/members/{login}", ADMINISTER),
    (Method::DELETE, "/api/v1/organizations/{organization}/members/{login}", ADMINISTER),
    (Method::GET, "/api/v1/organizations/{organization}/invitations", ADMINISTER),
    (Method::POST, "/api/v1/organizations/{organization}/invitations", ADMINISTER),
    (Method::DELETE, "/api/v1/organizations/{organization}/invitations/{login}", ADMINISTER),
    (Method::GET, "/api/v1/organizations/{organization}/tokens", ADMINISTER),
    (Method::POST, "/api/v1/organizations/{organization}/tokens", ADMINISTER),
    (Method::DELETE, "/api/v1/organizations/{organization}/tokens/{name}", ADMINISTER),
    (Method::GET, "/api/v1/organizations/{organization}/secrets", SEE),
    (Method::POST, "/api/v1/organizations/{organization}/secrets", CHANGE),
    (Method::GET, "/api/v1/organizations/{organization}/secrets/{name}", SEE),
    (Method::PATCH, "/api/v1/organizations/{organization}/secrets/{name}", CHANGE),
    (Method::DELETE, "/api/v1/organizations/{organization}/secrets/{name}", CHANGE),
    (Method::GET, "/api/v1/organizations/{organization}/runners", SEE),
    (Method::POST, "/api/v1/organizations/{organization}/runners", ADMINISTER),
    (Method::GET, "/api/v1/organizations/{organization}/runners/{name}", SEE),
    (Method::PATCH, "/api/v1/organizations/{organization}/runners/{name}", ADMINISTER),
    (Method::DELETE, "/api/v1/organizations/{organization}/runners/{name}", ADMINISTER),
    (Method::POST, "/api/v1/organizations/{organization}/runners/{name}/token", ADMINISTER),
    (Method::POST, "/api/v1/organizations/{organization}/request-tests", CHANGE),
    (Method::GET, "/api/v1/organizations/{organization}/activity", SEE),
    (Method::GET, "/api/v1/organizations/{organization}/activity/export", SEE),
    (Method::GET, "/api/v1/organizations/{organization}/activity/stream", SEE),
    (Method::GET, "/api/v1/organizations/{organization}/secrets/{name}/usage", SEE),
    (Method::GET, "/api/v1/organizations/{organization}/runners/{name}/usage", SEE),
];

/// Lets a request through whose principal has the right that its route takes.
pub(super) async fn enforce(
    Shared(state): Shared<State>,
    matched: MatchedPath,
    parameters: RawPathParams,
    principal: Principal,
    request: Request,
    next: Next,
) -> Response {
    let organization = parameters.iter().find(|(name, _)| *name == "organization").map(|(_, value)| value);
    let right = right(request.method(), matched.as_str());
    let open = right == Some(Right::Figures) && request.extensions().get::<OpenFigures>().is_some();
    match check(right, organization, &principal) {
        Err(_) if open => next.run(request).await,
        // Members are of what exists; whoever has the socket may name anything.
        Ok(()) if matches!(right, Some(Right::Role(_))) && !exists(&state, organization) => no_organization().into_response(),
        Ok(()) => next.run(request).await,
        Err(Refusal::WhoAreYou) => who_are_you(),
        Err(Refusal::Problem(problem)) => problem.into_response(),
    }
}

fn exists(state: &State, organization: Option<&str>) -> bool {
    let named = organization.and_then(|text| OrganizationName::parse(text).ok());
    named.is_some_and(|organization| state.members.has_organization(&organization))
}

/// What a route takes; `None` if nobody decided that.
fn right(method: &Method, path: &str) -> Option<Right> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    RIGHTS.iter().find(|(known, route, _)| known == method && *route == path).map(|(.., right)| *right)
}

/// What a route takes, in a sentence for its description.
pub(super) fn described(method: &Method, path: &str) -> Option<String> {
    let holder = match right(method, path)? {
        Right::Public => return None,
        Right::Known => "anybody who is signed in",
        Right::Figures => "a member of the organization `default`",
        Right::Role(role) => holder(role),
        Right::Operate => OPERATOR,
    };
    Some(format!("For {holder}."))
}

enum Refusal {
    WhoAreYou,
    Problem(Problem),
}

fn check(right: Option<Right>, organization: Option<&str>, principal: &Principal) -> Result<(), Refusal> {
    let Some(right) = right else {
        // The method is not one of the route's, or the table lacks a row: closed either way.
        let detail = "This cannot be done here.";
        return Err(Refusal::Problem(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)));
    };
    if right == Right::Public {
        return Ok(());
    }
    if !principal.is_known() {
        return Err(Refusal::WhoAreYou);
    }
    match right {
        Right::Public | Right::Known => Ok(()),
        Right::Figures if principal.role_in(&OrganizationName::default()).is_some() => Ok(()),
        Right::Figures => Err(Refusal::Problem(not_permitted("a member of the organization `default`"))),
        Right::Operate if principal.operates() => Ok(()),
        Right::Operate => Err(Refusal::Problem(not_permitted(OPERATOR))),
        Right::Role(wanted) => {
            let named = organization.and_then(|text| OrganizationName::parse(text).ok());
            let role = named.as_ref().and_then(|organization| principal.role_in(organization));
            match role {
                Some(role) if role >= wanted => Ok(()),
                Some(_) => Err(Refusal::Problem(not_permitted(holder(wanted)))),
                None => Err(Refusal::Problem(no_organization())),
            }
        }
    }
}

fn holder(role: Role) -> &'static str {
    match role {
        Role::Viewer => "a member of this organization",
        Role::Editor => "an editor or an administrator of this organization",
        Role::Administrator => "an administrator of this organization",
    }
}

fn not_permitted(holder: &str) -> Problem {
    let detail = format!("This can be done by {holder}. Ask an administrator for the right, or to do it.");
    Problem::new(StatusCode::FORBIDDEN, "not_permitted", detail)
}

/// There is no such organization, or none that whoever asks belongs to.
pub(super) fn no_organization() -> Problem {
    let detail = "There is no such organization, or you are not a member of it; `subrosa organization create` makes one.";
    Problem::new(StatusCode::NOT_FOUND, "organization_not_found", detail)
}

fn who_are_you() -> Response {
    let detail = "Sign in, or send a token: `Authorization: Bearer TOKEN`.";
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"subrosa\""));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    const SECRETS: &str = "/api/v1/organizations/{organization}/secrets";

    fn member(organization: &str, role: Role) -> Principal {
        let organization = OrganizationName::parse(organization).expect("a name");
        Principal::known("somebody", Arc::new(BTreeMap::from([(organization, role)])))
    }

    fn status(method: &Method, path: &str, organization: &str, principal: &Principal) -> u16 {
        match check(right(method, path), Some(organization), principal) {
            Ok(()) => 200,
            Err(Refusal::WhoAreYou) => 401,
            Err(Refusal::Problem(problem)) => problem.status().as_u16(),
        }
    }

    #[test]
    fn a_role_is_held_in_one_organization_and_reaches_down() {
        for (role, see, change) in [(Role::Viewer, 200, 403), (Role::Editor, 200, 200), (Role::Administrator, 200, 200)] {
            let somebody = member("acme", role);
            assert_eq!(status(&Method::GET, SECRETS, "acme", &somebody), see, "{role:?}");
            assert_eq!(status(&Method::HEAD, SECRETS, "acme", &somebody), see, "{role:?}");
            assert_eq!(status(&Method::POST, SECRETS, "acme", &somebody), change, "{role:?}");
            for elsewhere in ["default", "Acme", "acme2", "", "%"] {
                assert_eq!(status(&Method::GET, SECRETS, elsewhere, &somebody), 404, "{role:?} in {elsewhere}");
            }
        }
    }

    #[test]
    fn nobody_sees_what_is_public_and_the_owner_of_the_socket_does_everything() {
        for (method, path, right) in RIGHTS {
            let expected = if *right == Right::Public { 200 } else { 401 };
            assert_eq!(status(method, path, "default", &Principal::nobody()), expected, "{method} {path}");
            assert_eq!(status(method, path, "default", &Principal::local()), 200, "{method} {path}");
        }
    }

    #[test]
    fn what_nobody_decided_is_closed() {
        assert_eq!(status(&Method::PUT, SECRETS, "default", &Principal::local()), 405);
        assert_eq!(status(&Method::GET, "/api/v1/new", "default", &Principal::local()), 405);
    }
}
