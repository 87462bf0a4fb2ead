//! Who comes through the port: a program with a token, a person with a session, or nobody; and
//! whether a change was asked for by one of our own pages.
//!
//! A browser sends its cookie wherever another site makes it send something. So a change that a cookie
//! stands for needs the session's CSRF token, and no change is taken from a page of another site. A
//! token in Authorization is never sent by a browser by itself, and needs neither.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, USER_AGENT, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::body::MAX_CONTENT;
use super::principal::{Principal, Standing};
use super::problem::Problem;
use super::session::{Csrf, Way};
use crate::members::{Members, Person, Program, Roles, Visitor};
use crate::origin::Authority;
use crate::staleness::Stale;
use zeroize::Zeroizing;

const CSRF_FIELD: HeaderName = HeaderName::from_static("x-csrf-token");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORM: &str = "application/x-www-form-urlencoded";

/// The address that a request's connection came from; put into each request by whoever accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// What tells who is there.
#[derive(Clone)]
pub(super) struct Gatekeeper {
    pub(super) members: Arc<Members>,
    pub(super) way: Way,
}

/// Says who acts in a request, or refuses it.
pub(super) async fn authenticate(State(gatekeeper): State<Gatekeeper>, mut request: Request, next: Next) -> Response {
    let visitor = visitor(gatekeeper.way, &request);
    request.extensions_mut().insert(gatekeeper.way);
    request.extensions_mut().insert(visitor);
    match gatekeeper.admit(request).await {
        Ok(request) => next.run(request).await,
        Err(Refusal::Problem(problem)) => problem.into_response(),
        Err(Refusal::UnknownToken) => unknown_token(),
    }
}

enum Refusal {
    UnknownToken,
    Problem(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Gatekeeper {
    fn check_trusted(&self) -> Result<(), Problem> {
        self.members.check_trusted().map_err(|stale| not_trusted(&stale))
    }

    async fn admit(&self, mut request: Request) -> Result<Request, Refusal> {
        if let Some(token) = bearer(request.headers())? {
            self.check_trusted()?;
            let program = self.members.by_token(token).ok_or(Refusal::UnknownToken)?;
            let (members, token) = (Arc::clone(&self.members), Zeroizing::new(token.to_vec()));
            request.extensions_mut().insert(Standing::asked(move |organization| {
                members.by_token(&token).is_some_and(|program| program.organization == *organization)
            }));
            request.extensions_mut().insert(acting(&program));
            return Ok(request);
        }
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if changes {
            check_site(request.headers())?;
        }
        let session = self.way.session(request.headers()).map(str::to_owned);
        let known = session.clone().and_then(|token| Some((self.members.by_session(token.as_bytes())?, Csrf::of(&token))));
        let Some((person, csrf)) = known else {
            request.extensions_mut().insert(Principal::nobody());
            return Ok(request);
        };
        self.check_trusted()?;
        if changes {
            request = check_csrf(request, &csrf).await?;
        }
        let (members, token) = (Arc::clone(&self.members), Zeroizing::new(session.unwrap_or_default()));
        request.extensions_mut().insert(Standing::asked(move |organization| {
            members.roles_in_session(token.as_bytes()).is_some_and(|roles| roles.contains_key(organization))
        }));
        request.extensions_mut().insert(Principal::known(person.login.as_str(), Arc::clone(&person.roles)));
        request.extensions_mut().insert(person);
        request.extensions_mut().insert(csrf);
        Ok(request)
    }
}

/// Whether whoever is known has the right still is not known where the store has not been reached for too long.
fn not_trusted(stale: &Stale) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", stale.to_string())
}

/// The token of a program. Another scheme is somebody else's business, as of a proxy in front.
fn bearer(fields: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let all: Vec<_> = fields.get_all(AUTHORIZATION).iter().collect();
    let field = match all[..] {
        [] => return Ok(None),
        [field] => field,
        _ => return Err(Problem::malformed("Authorization was sent twice.")),
    };
    let bytes = field.as_bytes();
    let is_bearer = bytes.len() >= 7 && bytes[..7].eq_ignore_ascii_case(b"bearer ");
    Ok(is_bearer.then(|| bytes[7..].trim_ascii()))
}

fn acting(program: &Program) -> Principal {
    let roles = Roles::from([(program.organization.clone(), program.role)]);
    Principal::known(format!("token {}", program.name), Arc::new(roles))
}

/// Never somebody without rights instead: whoever shows a token means to be known.
fn unknown_token() -> Response {
    let detail = "This token is unknown, revoked, or no longer valid.";
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail).into_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"subrosa\", error=\"invalid_token\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// That a change comes from a page of ours, as far as the browser says.
fn check_site(fields: &HeaderMap) -> Result<(), Problem> {
    let elsewhere = || {
        let detail = "This was sent by a page of another site, and was not done. Open the page here and try again.";
        Problem::new(StatusCode::FORBIDDEN, "cross_site", detail)
    };
    let site = fields.get(FETCH_SITE).map(HeaderValue::as_bytes);
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return Err(elsewhere());
    }
    let Some(origin) = fields.get(ORIGIN) else { return Ok(()) };
    // Browsers say so where a page keeps its address to itself; then what they say of the site counts.
    if origin == "null" && site.is_some() {
        return Ok(());
    }
    let origin = origin.to_str().ok().and_then(|text| text.strip_prefix("https://").or(text.strip_prefix("http://")));
    let authority = |text: &str| Authority::parse(text).ok().map(|authority| (authority.host, authority.port));
    let own = fields.get(HOST).and_then(|host| host.to_str().ok()).and_then(authority);
    if own.is_some() && origin.and_then(authority) == own { Ok(()) } else { Err(elsewhere()) }
}

/// That a change by cookie carries the session's token: in a field, or in the form that it sends.
async fn check_csrf(request: Request, csrf: &Csrf) -> Result<Request, Problem> {
    if let Some(sent) = request.headers().get(CSRF_FIELD) {
        return if csrf.is(sent.to_str().unwrap_or_default()) { Ok(request) } else { Err(no_csrf()) };
    }
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        return Err(no_csrf());
    }
    let (head, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_CONTENT)
        .await
        .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The form broke off, or is too large."))?;
    let sent = url::form_urlencoded::parse(&bytes).any(|(name, value)| name == "csrf" && csrf.is(&value));
    if sent { Ok(Request::from_parts(head, Body::from(bytes))) } else { Err(no_csrf()) }
}

fn no_csrf() -> Problem {
    let detail = "This page is of another session, so nothing was done. Open it again and repeat what you did.";
    Problem::new(StatusCode::FORBIDDEN, "csrf_token_missing", detail)
}

/// Where somebody comes from. Only whoever is in front may say it for them, and speaks last.
fn visitor(way: Way, request: &Request) -> Visitor {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0);
    let text = |name| request.headers().get_all(name).iter().next_back().and_then(|value: &HeaderValue| value.to_str().ok());
    let forwarded = text(FORWARDED_FOR).and_then(|list| list.rsplit(',').next()?.trim().parse().ok());
    let address = forwarded.filter(|_| way.fronted).unwrap_or(peer);
    Visitor { address, agent: text(USER_AGENT).unwrap_or_default().to_owned() }
}

/// The person who is signed in; a program is none.
pub(super) struct SignedIn(pub(super) Person);

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let person = parts.extensions.get::<Person>().cloned().map(Self);
        let detail = "This belongs to a person's account; sign in with a browser.";
        person.ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "not_permitted", detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_change_comes_from_our_own_pages() {
        const OWN: (HeaderName, &str) = (HOST, "admin.test:8081");
        for (sent, taken) in [
            (vec![], true),
            (vec![(FETCH_SITE, "same-origin")], true),
            (vec![(FETCH_SITE, "none")], true),
            (vec![(FETCH_SITE, "same-site")], false),
            (vec![(FETCH_SITE, "cross-site")], false),
            (vec![(FETCH_SITE, "")], false),
            (vec![(ORIGIN, "https://admin.test:8081")], true),
            (vec![(ORIGIN, "https://ADMIN.test:8081")], true),
            (vec![(ORIGIN, "https://admin.test")], false),
            (vec![(ORIGIN, "https://evil.test")], false),
            (vec![(ORIGIN, "null")], false),
            (vec![(ORIGIN, "null"), (FETCH_SITE, "same-origin")], true),
            (vec![(ORIGIN, "https://evil.test"), (FETCH_SITE, "same-origin")], false),
        ] {
            let sent = [&sent[..], &[OWN]].concat();
            assert_eq!(check_site(&fields(&sent)).is_ok(), taken, "{sent:?}");
        }
    }

    #[test]
    fn only_whoever_is_in_front_says_where_somebody_comes_from() {
        let request = |forwarded: &'static str| {
            let request = http::Request::builder().header(FORWARDED_FOR, forwarded).extension(Peer([10, 0, 0, 1].into()));
            request.body(Body::empty()).expect("a request")
        };
        let address = |fronted, forwarded| visitor(Way { secure: true, fronted }, &request(forwarded)).address.to_string();
        assert_eq!(address(false, "192.0.2.7"), "10.0.0.1");
        assert_eq!(address(true, "192.0.2.7"), "192.0.2.7");
        assert_eq!(address(true, "192.0.2.7, 198.51.100.1"), "198.51.100.1", "what a visitor claims stands before it");
        assert_eq!(address(true, "unknown"), "10.0.0.1");
    }

    #[test]
    fn a_token_is_of_the_bearer_scheme() {
        for (sent, token) in
            [("Bearer sat_x", Some("sat_x")), ("bearer  sat_x ", Some("sat_x")), ("Basic eDp5", None), ("Bearer", None)]
        {
            let fields = fields(&[(AUTHORIZATION, sent)]);
            assert_eq!(bearer(&fields), Ok(token.map(str::as_bytes)), "{sent}");
        }
        let mut twice = fields(&[(AUTHORIZATION, "Bearer a")]);
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert!(bearer(&twice).is_err());
    }
}
