//! The admin port answers only to its own names: a page of another site whose name was made to
//! point here (DNS rebinding) gets 421.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::HOST;

use super::SharedSettings;
use super::problem::Problem;
use crate::origin::{Authority, Host};

/// Lets through what is addressed to one of the names in force, with or without a port.
pub(super) async fn check(State(settings): State<SharedSettings>, request: Request, next: Next) -> Response {
    if is_ours(&settings.load().hosts, &request) {
        return next.run(request).await;
    }
    let detail = "This address does not answer to that name; add the name to admin.hosts in the config if it should.";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail).into_response()
}

fn is_ours(hosts: &[Host], request: &Request) -> bool {
    let mut fields = request.headers().get_all(HOST).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Ok(Ok(named)) = field.to_str().map(Authority::parse) else { return false };
    // An absolute-form target replaces Host (RFC 9112, 3.2.2), so it has to agree.
    let target = request.uri().authority().map(|authority| Authority::parse(authority.as_str()));
    let agrees = target.is_none_or(|target| target.is_ok_and(|target| target.host == named.host));
    agrees && hosts.contains(&named.host)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_its_own_names_count() {
        let hosts: Vec<Host> = ["localhost", "127.0.0.1", "[::1]"].iter().filter_map(|text| Host::parse(text).ok()).collect();
        for (target, fields, ours) in [
            ("/livez", vec!["localhost"], true),
            ("/livez", vec!["LOCALHOST:8081"], true),
            ("/livez", vec!["[::1]:8081"], true),
            ("/livez", vec!["evil.test"], false),
            ("/livez", vec!["localhost.evil.test"], false),
            ("/livez", vec![], false),
            ("/livez", vec!["localhost", "localhost"], false),
            ("http://localhost/livez", vec!["localhost"], true),
            ("http://evil.test/livez", vec!["localhost"], false),
        ] {
            let request = fields.iter().fold(Request::builder().uri(target), |request, field| request.header(HOST, *field));
            let request = request.body(Body::empty()).expect("a request");
            assert_eq!(is_ours(&hosts, &request), ours, "{target} {fields:?}");
        }
    }
}
