//! A request's head in the shape that each version of HTTP wants it in (RFC 9113 section 8.3).
//!
//! The road hands over HTTP/1.1: origin-form with a Host field. In HTTP/2 the host is a part of the
//! target, what belongs to a connection has no field, and an upgrade is an extended CONNECT (RFC 8441). Either shape can be made from the other, since
//! a request may meet one connection after the other.

use http::header::{CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::ext::Protocol;

use crate::origin::{Origin, Scheme};

/// What an upgrade loses by becoming an extended CONNECT.
#[derive(Clone)]
struct Upgrade {
    protocol: HeaderValue,
    key: Option<HeaderValue>,
}

/// An extended CONNECT was agreed to: there is no proof as in a WebSocket's handshake of HTTP/1.1, and none is needed.
#[derive(Clone, Copy, Debug)]
pub struct Agreed;

/// Whether a request asks for another protocol.
pub(super) fn wants_switch<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(UPGRADE)
}

/// The answer to an extended CONNECT as one to an upgrade.
pub(super) fn switched<B>(response: &mut Response<B>) {
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.extensions_mut().insert(Agreed);
}

/// Origin-form and a Host field.
pub(super) fn as_http1<B: Body>(request: &mut Request<B>) {
    if let Some(authority) = request.uri().authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().insert(HOST, host);
        }
        let content = request.body();
        if !content.is_end_stream() && content.size_hint().exact().is_none() {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    }
    if let Some(Upgrade { protocol, key }) = request.extensions_mut().remove::<Upgrade>() {
        request.extensions_mut().remove::<Protocol>();
        *request.method_mut() = Method::GET;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(UPGRADE, protocol);
        key.map(|key| request.headers_mut().insert(SEC_WEBSOCKET_KEY, key));
    }
    // It would need a Connection field beside it, and nothing is gained: chunked contents carry
    // their trailers either way.
    request.headers_mut().remove(TE);
    *request.version_mut() = Version::HTTP_11;
}

/// Scheme, authority and path; no field that belongs to a connection. `None` if the Host field cannot
/// stand in a target.
pub(super) fn as_http2<B>(request: &mut Request<B>, origin: &Origin) -> Option<()> {
    if request.uri().authority().is_none() {
        let host = request.headers_mut().remove(HOST);
        let authority = match host {
            Some(host) => Authority::try_from(host.as_bytes()).ok()?,
            None => origin.authority().parse().ok()?,
        };
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(match origin.scheme {
            Scheme::Http => UriScheme::HTTP,
            Scheme::Https => UriScheme::HTTPS,
        });
        parts.authority = Some(authority);
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
    }
    if let Some(protocol) = request.headers_mut().remove(UPGRADE) {
        let name = Protocol::from(protocol.to_str().ok()?);
        let key = request.headers_mut().remove(SEC_WEBSOCKET_KEY);
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(name);
        request.extensions_mut().insert(Upgrade { protocol, key });
    }
    for name in [CONNECTION, TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    *request.version_mut() = Version::HTTP_2;
    Some(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    fn request(target: &str) -> Request<Full<Bytes>> {
        let request = Request::builder().method("POST").uri(target).header("host", "H.example:8443");
        let request = request.header("te", "trailers").header("x", "y").header("transfer-encoding", "chunked");
        request.body(Full::default()).expect("a request")
    }

    fn origin() -> Origin {
        Origin::new(Scheme::Https, crate::origin::Authority::parse("h.example:8443").expect("an authority"))
    }

    #[test]
    fn a_request_changes_its_shape_and_back() {
        for (target, absolute) in [
            ("/a?b", "https://H.example:8443/a?b"),
            ("/", "https://H.example:8443/"),
            ("//x/y", "https://H.example:8443//x/y"),
            ("/{secrets.x}?{\"a\"}|", "https://H.example:8443/{secrets.x}?{\"a\"}|"),
        ] {
            let Ok(uri) = target.parse::<Uri>() else { continue };
            let mut given = request("/");
            *given.uri_mut() = uri;
            as_http2(&mut given, &origin()).expect("a host");
            assert_eq!((given.uri().to_string().as_str(), given.version()), (absolute, Version::HTTP_2));
            let mut names: Vec<_> = given.headers().keys().map(http::HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["te", "x"], "{target}");
            as_http1(&mut given);
            assert_eq!((given.uri().to_string().as_str(), given.version()), (target, Version::HTTP_11));
            assert_eq!(given.headers()["host"], "H.example:8443");
            assert!(!given.headers().contains_key("te"));
        }
    }

    #[test]
    fn an_upgrade_becomes_an_extended_connect_and_back() {
        let mut given = request("/chat");
        *given.method_mut() = Method::GET;
        for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-key", "abc")] {
            given.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        assert!(wants_switch(&given));
        as_http2(&mut given, &origin()).expect("a host");
        assert_eq!(
            (given.method(), given.extensions().get::<Protocol>().map(Protocol::as_str)),
            (&Method::CONNECT, Some("websocket"))
        );
        assert!(["upgrade", "connection", "sec-websocket-key"].iter().all(|name| !given.headers().contains_key(*name)));
        as_http1(&mut given);
        assert_eq!((given.method(), &given.headers()["sec-websocket-key"]), (&Method::GET, &HeaderValue::from_static("abc")));
        assert_eq!(given.headers()["upgrade"], "websocket");
        assert!(given.extensions().get::<Protocol>().is_none());
    }

    #[test]
    fn an_asterisk_stays_one() {
        let mut given = request("*");
        *given.method_mut() = http::Method::OPTIONS;
        as_http2(&mut given, &origin()).expect("a host");
        assert_eq!((given.uri().path(), given.uri().host()), ("*", Some("H.example")));
        as_http1(&mut given);
        assert_eq!(given.uri().to_string(), "*");
    }
}
