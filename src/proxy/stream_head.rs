//! Is the head of an HTTP/2 request unambiguous? It is judged, and put into the shape of an HTTP/1.1 head that
//! passed the gate, so that the road knows one shape only (RFC 9113 section 8.3).
//!
//! The library has seen to frames, to the names and number of pseudo-header fields, to lower case and to fields
//! that belong to a connection; it resets such streams, as section 8.1.1 wants. What it lets pass is
//! judged here, and refused with a sentence.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Uri, Version, request};
use hyper::ext::Protocol;

use super::websocket::Key;
use super::{fields, wire};
use crate::inject::{Code, Refusal};
use crate::origin::Origin;

/// The most fields a head may have, as in HTTP/1.1.
const MAX_FIELDS: usize = 256;
/// What a field counts beyond its bytes (RFC 9113 section 6.5.2).
const FIELD: usize = 32;

/// Judges a head of a stream inside a tunnel to `origin`, and reshapes it. The key is that of a WebSocket
/// that was asked for by extended CONNECT.
pub(super) fn judge(parts: &mut request::Parts, origin: &Origin, limit: usize) -> Result<Option<Key>, Refusal> {
    if parts.headers.len() > MAX_FIELDS {
        return Err(Refusal::new(Code::HeadTooLarge, format!("The head has more than {MAX_FIELDS} fields.")));
    }
    if size(parts) > limit {
        return Err(Refusal::new(Code::HeadTooLarge, format!("The request head is over {limit} bytes long (limits.head).")));
    }
    check_fields(&parts.headers)?;
    let key = match parts.extensions.get::<Protocol>() {
        Some(protocol) if protocol.as_str().eq_ignore_ascii_case("websocket") => Some(Key::new()?),
        Some(_) => return Err(Refusal::malformed("Extended CONNECT is understood for the protocol `websocket` only.")),
        // It names an authority and nothing else; that no tunnel is opened inside a tunnel is said elsewhere.
        None if parts.method == Method::CONNECT => {
            parts.version = Version::HTTP_11;
            return Ok(None);
        }
        None => None,
    };
    target(parts, origin)?;
    join_cookies(&mut parts.headers);
    if let Some(key) = &key {
        parts.method = Method::GET;
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        parts.headers.insert(SEC_WEBSOCKET_KEY, key.field());
    }
    parts.version = Version::HTTP_11;
    Ok(key)
}

/// The size of a head as its sender counts it.
pub(super) fn size(parts: &request::Parts) -> usize {
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    fields + target + parts.uri.authority().map_or(0, |authority| authority.as_str().len())
}

fn check_fields(fields: &HeaderMap) -> Result<(), Refusal> {
    // Behind us a reader of HTTP/1.1 would drop the blanks (RFC 9113 section 8.2.1).
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if let Some((name, _)) = fields.iter().find(|(_, value)| blank(value.as_bytes().first()) || blank(value.as_bytes().last())) {
        return Err(Refusal::malformed(format!("The field {name} begins or ends with a blank.")));
    }
    fields.keys().try_for_each(|name| wire::not_almost_framing(name.as_str()))?;
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        if lengths.next().is_some() {
            return Err(Refusal::malformed("Content-Length stands twice. Send it once."));
        }
        wire::parse_length(length.as_bytes())?;
    }
    if fields.get_all(HOST).iter().count() > 1 {
        return Err(Refusal::malformed("Host stands twice. Send it once."));
    }
    Ok(())
}

/// Scheme and authority agree with the tunnel; the path alone stays, with a Host field beside it.
fn target(parts: &mut request::Parts, origin: &Origin) -> Result<(), Refusal> {
    let scheme = parts.uri.scheme_str().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(origin.scheme.as_str()) {
        return Err(fields::misdirected(&format!(":scheme says `{scheme}`, but this tunnel was opened to `{origin}`.")));
    }
    match (parts.uri.authority(), parts.headers.get(HOST)) {
        (Some(authority), host) => {
            let meant = wire::authority(authority.as_str())?;
            if !origin.agrees_with(&meant) {
                return Err(fields::misdirected(&format!(
                    ":authority says `{authority}`, but this tunnel was opened to `{origin}`."
                )));
            }
            if let Some(host) = host
                && wire::host_field(host.as_bytes())? != meant
            {
                return Err(Refusal::malformed("Host and :authority name different hosts. Send one of them."));
            }
            let host = HeaderValue::from_str(authority.as_str());
            let host = host.map_err(|_| Refusal::malformed("The target's host cannot stand in a Host field."))?;
            parts.headers.insert(HOST, host);
        }
        (None, Some(_)) => {}
        (None, None) => return Err(Refusal::malformed("The request has neither :authority nor Host.")),
    }
    let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let is_path = path.as_str().starts_with('/') || (path.as_str() == "*" && parts.method == Method::OPTIONS);
    if !is_path {
        return Err(Refusal::malformed(":path does not begin with `/`."));
    }
    parts.uri = Uri::from(path);
    Ok(())
}

/// One field again of what a client split for the sake of compression (RFC 9113 section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        fields.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::origin::{Authority, Scheme};

    fn origin() -> Origin {
        Origin::new(Scheme::Https, Authority::parse("h.example").expect("an authority"))
    }

    fn judged(method: &str, target: &str, fields: &[(&str, &str)]) -> Result<request::Parts, Code> {
        let mut request = Request::builder().method(method).uri(target).version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        judge(&mut parts, &origin(), 4096).map(|_| parts).map_err(|refusal| refusal.code)
    }

    #[test]
    fn gives_what_has_one_meaning_the_shape_of_the_road() {
        for (target, fields, uri, host) in [
            ("https://h.example/a?b", &[][..], "/a?b", "h.example"),
            ("https://H.EXAMPLE:443/", &[("host", "h.example:443")], "/", "H.EXAMPLE:443"),
            ("https://h.example", &[], "/", "h.example"),
        ] {
            let parts = judged("GET", target, fields).expect(target);
            assert_eq!((parts.uri.to_string().as_str(), parts.version), (uri, Version::HTTP_11));
            assert_eq!(parts.headers["host"], host);
        }
        let cookies = [("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d")];
        let parts = judged("GET", "https://h.example/", &cookies).expect("joined");
        assert_eq!(parts.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3; d"]);
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for (target, fields, code) in [
            ("https://other.example/", &[][..], Code::Misdirected),
            ("https://h.example:8443/", &[], Code::Misdirected),
            ("http://h.example/", &[], Code::Misdirected),
            ("https://h.example/", &[("host", "other.example")], Code::MalformedRequest),
            ("https://h.example/", &[("host", "h.example"), ("host", "h.example")], Code::MalformedRequest),
            ("https://h.example/", &[("x", " a")], Code::MalformedRequest),
            ("https://h.example/", &[("x", "a\t")], Code::MalformedRequest),
            ("https://h.example/", &[("content-length", "1"), ("content-length", "1")], Code::MalformedRequest),
            ("https://h.example/", &[("content-length", "+1")], Code::MalformedRequest),
            ("https://h.example/", &[("content-length", "01")], Code::MalformedRequest),
            ("https://h.example/", &[("content_length", "1")], Code::MalformedRequest),
            ("https://u:p@h.example/", &[], Code::MalformedRequest),
            ("/", &[], Code::Misdirected),
        ] {
            assert_eq!(judged("POST", target, fields).map(|parts| parts.uri), Err(code), "{target} {fields:?}");
        }
        let many: Vec<_> = (0..257).map(|_| ("x", "y")).collect();
        let long = "y".repeat(5000);
        for fields in [&many[..], &[("x", &long)]] {
            assert_eq!(judged("GET", "https://h.example/", fields).map(|parts| parts.uri), Err(Code::HeadTooLarge));
        }
    }

    #[test]
    fn a_websocket_becomes_an_upgrade() {
        let request = Request::builder().method("CONNECT").uri("https://h.example/chat").header("sec-websocket-version", "13");
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        parts.extensions.insert(Protocol::from_static("websocket"));
        let key = judge(&mut parts, &origin(), 4096).expect("unambiguous").expect("a key");
        assert_eq!((parts.method, parts.uri.path()), (Method::GET, "/chat"));
        assert_eq!(
            (&parts.headers["upgrade"], &parts.headers["connection"]),
            (&"websocket".parse().expect("a value"), &"upgrade".parse().expect("a value"))
        );
        assert_eq!(parts.headers["sec-websocket-key"], key.field());
        let request = Request::builder().method("CONNECT").uri("https://h.example/x");
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        parts.extensions.insert(Protocol::from_static("connect-udp"));
        assert_eq!(judge(&mut parts, &origin(), 4096).map(drop).map_err(|refusal| refusal.code), Err(Code::MalformedRequest));
    }
}
