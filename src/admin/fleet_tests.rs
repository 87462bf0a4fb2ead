//! What people are told and may do while the store that nodes share cannot be reached.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::Request;
use http::header::{AUTHORIZATION, HOST};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::tests::state;
use super::*;
use crate::members::{NewToken, Role};
use crate::secret::{OrganizationName, TokenName};

const SECRETS: &str = "/api/v1/organizations/default/secrets";
const PAGE: &str = "/organizations/default/secrets";

async fn get(router: &Router, path: &str, token: Option<&str>) -> (u16, String) {
    let request = Request::builder().uri(path).header(HOST, "localhost");
    let request = match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    let response = router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("answered");
    let status = response.status().as_u16();
    let content = response.into_body().collect().await.expect("whole").to_bytes();
    (status, String::from_utf8_lossy(&content).into_owned())
}

#[tokio::test]
async fn how_old_what_is_known_is_stands_above_each_page_and_in_readyz_and_beyond_the_bound_nobody_is_known() {
    let state = state().await;
    let (staleness, home) = (state.operations.staleness.clone(), OrganizationName::default());
    let new = NewToken { name: TokenName::parse("ci").expect("a name"), role: Role::Viewer, expires_at: unix_now() + 7_200 };
    let (_, token) = state.members.create_token(&home, new, "ada").await.expect("made");
    let token = Some(token.show_once());
    let (socket, port) = (socket_router(state.clone()), port_router(state, Way::default(), true));
    assert_eq!(get(&port, SECRETS, token).await.0, 200);
    assert_eq!(get(&port, "/readyz", None).await, (200, "ready\n".to_owned()));

    staleness.trust_for(Duration::from_hours(1));
    staleness.behind(Instant::now(), "no member answers");
    assert_eq!(get(&port, SECRETS, token).await.0, 200, "it goes on");
    let (status, ready) = get(&port, "/readyz", None).await;
    assert!(
        status == 200 && ready.contains("store: What is stored was known here last") && ready.contains("no member answers"),
        "{ready}"
    );
    let (status, page) = get(&socket, PAGE, None).await;
    assert!(status == 200 && page.contains("role=\"status\"") && page.contains("no member answers"), "{page}");

    staleness.trust_for(Duration::ZERO);
    while staleness.check().is_ok() {}
    let (status, refused) = get(&port, SECRETS, token).await;
    assert!(status == 503 && refused.contains("\"store_unavailable\"") && refused.contains("store.stale_for"), "{refused}");
    let (status, ready) = get(&port, "/readyz", None).await;
    assert!(status == 503 && ready.starts_with("store: ") && ready.contains("no member answers"), "{ready}");
    // Whoever owns the server can look, and reads it on each page.
    let (status, page) = get(&socket, PAGE, None).await;
    assert!(status == 200 && page.contains("store.stale_for"), "{page}");

    staleness.current();
    assert_eq!(get(&port, SECRETS, token).await.0, 200);
}

fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_secs()).expect("small")
}
