//! Which fields go on, and does Host agree? RFC 9110 sections 7.2 and 7.6.1.

use std::borrow::Cow;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, Uri};

use super::wire;
use crate::inject::{Code, Refusal};
use crate::origin::Origin;
use crate::secret::Surfaces;

pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const SURFACES: HeaderName = HeaderName::from_static("subrosa-surfaces");
/// Tells a client what its request probably did not mean.
pub(super) const HINT: HeaderName = HeaderName::from_static("subrosa-hint");
/// Fields of this beginning are between a client and this proxy.
const OWN: &str = "subrosa-";
/// What Connection may not name: a message without these means something else (RFC 9110 section 7.6.1).
const ESSENTIAL: [&str; 6] = ["host", "content-length", "content-type", "content-encoding", "authorization", "cookie"];

/// Inside a tunnel Host must mean the tunnel's origin; an absent Host agrees (HTTP/1.0).
pub(super) fn host_agrees(fields: &HeaderMap, origin: &Origin) -> Result<(), Refusal> {
    let Some(host) = fields.get(HOST) else { return Ok(()) };
    let meant = wire::host_field(host.as_bytes())?;
    if origin.agrees_with(&meant) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(host.as_bytes());
    Err(misdirected(&format!("Host says `{text}`, but this tunnel was opened to `{origin}`.")))
}

/// SNI, Host or target disagrees with the origin.
pub(super) fn misdirected(what: &str) -> Refusal {
    Refusal::new(
        Code::Misdirected,
        format!("{what} A request goes to the host its tunnel was opened to; open another tunnel for another host."),
    )
}

/// Makes Host say `origin` where it says something else or nothing: an absolute-form target
/// replaces it (RFC 9112 section 3.2.2).
pub(super) fn set_host(fields: &mut HeaderMap, origin: &Origin) -> Result<(), Refusal> {
    let authority = origin.authority();
    if !fields.get(HOST).is_some_and(|host| is_written_as(host.as_bytes(), &authority, origin)) {
        let host = HeaderValue::try_from(authority)
            .map_err(|_| Refusal::malformed("The target's host cannot stand in a Host field."))?;
        fields.insert(HOST, host);
    }
    Ok(())
}

/// Whether a client wrote the origin as we would, but for case and the scheme's own port. Another
/// spelling of the same host is not passed on: its reader may take it for another.
fn is_written_as(host: &[u8], authority: &str, origin: &Origin) -> bool {
    let with_port =
        |port: &str| host.strip_suffix(port.as_bytes()).is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes()));
    host.eq_ignore_ascii_case(authority.as_bytes()) || with_port(&format!(":{}", origin.scheme.default_port()))
}

/// The surfaces a runner wants searched in this one request; all unless it says so.
pub(super) fn wanted_surfaces(fields: &HeaderMap) -> Result<Surfaces, Refusal> {
    let mut wanted = Surfaces::ALL;
    for value in fields.get_all(SURFACES) {
        let text = value.to_str().map_err(|_| Refusal::malformed("Subrosa-Surfaces holds bytes that are no text."))?;
        let surfaces = Surfaces::parse(text).map_err(|unknown| Refusal::malformed(format!("Subrosa-Surfaces: {unknown}.")))?;
        wanted = wanted.and(surfaces);
    }
    Ok(wanted)
}

/// Whether a request asks to leave HTTP for something that may be relayed: h2c would leave the
/// inspected protocol unseen, and so would TLS.
pub(super) fn wants_upgrade(fields: &HeaderMap) -> bool {
    let mut tokens = tokens(fields, &UPGRADE).peekable();
    let named = self::tokens(fields, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    named && tokens.peek().is_some() && tokens.all(|token| !is_http_or_tls(token))
}

/// Whether a request that asks to leave HTTP asks for a WebSocket (RFC 6455).
pub(super) fn wants_websocket(fields: &HeaderMap) -> bool {
    tokens(fields, &UPGRADE).all(|token| token.eq_ignore_ascii_case("websocket"))
}

fn is_http_or_tls(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["h2c", "h2", "h3", "http", "tls"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn tokens<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    // By bytes: one that is no text does not hide the others.
    let tokens = fields.get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    tokens.filter_map(|token| std::str::from_utf8(token).ok()).map(str::trim).filter(|token| !token.is_empty())
}

/// Removes from a request what is between the client and this proxy.
pub(super) fn strip_request(fields: &mut HeaderMap, keeps_upgrade: bool) -> Result<(), Refusal> {
    if let Some(essential) =
        tokens(fields, &CONNECTION).find(|token| ESSENTIAL.iter().any(|name| token.eq_ignore_ascii_case(name)))
    {
        return Err(Refusal::malformed(format!(
            "Connection names `{essential}`, which belongs to the message and not to the connection."
        )));
    }
    let upgrade = keeps_upgrade.then(|| fields.get(UPGRADE).cloned()).flatten();
    let takes_trailers = tokens(fields, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    strip_hop_by_hop(fields);
    if takes_trailers {
        // gRPC servers want to hear it. It goes on over HTTP/2 only.
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    fields.remove(PROXY_AUTHORIZATION);
    fields.remove(HTTP2_SETTINGS);
    strip_own(fields);
    put_back(fields, upgrade);
    Ok(())
}

/// Removes from a response what is between the upstream and this proxy, and what only this proxy
/// may say.
pub(super) fn strip_response(fields: &mut HeaderMap, switches: bool) {
    let upgrade = switches.then(|| fields.get(UPGRADE).cloned()).flatten();
    strip_hop_by_hop(fields);
    strip_response_trailers(fields);
    put_back(fields, upgrade);
}

/// Removes from a response's trailers what only this proxy may say.
pub(super) fn strip_response_trailers(fields: &mut HeaderMap) {
    fields.remove(PROXY_AUTHENTICATE);
    strip_own(fields);
    strip_proxy_status(fields);
}

/// Makes a response say its length in one way, as it was read (RFC 9112 section 6.3); whether it said it otherwise. Then
/// nothing more should be read from where it came.
pub(super) fn settle_response_framing(fields: &mut HeaderMap) -> Result<bool, Refusal> {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            let detail = "The upstream's answer has a Transfer-Encoding other than exactly `chunked`.";
            return Err(Refusal::new(Code::UpstreamProtocol, detail));
        }
        return Ok(fields.remove(CONTENT_LENGTH).is_some());
    }
    let lengths: Vec<HeaderValue> = fields.get_all(CONTENT_LENGTH).iter().cloned().collect();
    let is_plain = |length: &HeaderValue| wire::parse_length(length.as_bytes()).is_ok();
    match &lengths[..] {
        [] => return Ok(false),
        [length] if is_plain(length) => return Ok(false),
        _ => {}
    }
    let mut numbers = lengths.iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(number);
    let first = numbers.next().flatten();
    let Some(length) = first.filter(|first| numbers.all(|other| other == Some(*first))) else {
        let detail = "The upstream's answer has a Content-Length that is not one number.";
        return Err(Refusal::new(Code::UpstreamProtocol, detail));
    };
    fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(true)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

fn put_back(fields: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if let Some(upgrade) = upgrade {
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, upgrade);
    }
}

fn strip_hop_by_hop(fields: &mut HeaderMap) {
    if fields.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(fields, &CONNECTION).filter_map(|token| token.parse().ok()).collect();
        for name in named {
            fields.remove(name);
        }
        fields.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        fields.remove(name);
    }
}

fn strip_own(fields: &mut HeaderMap) {
    if fields.keys().any(|name| name.as_str().starts_with(OWN)) {
        let own: Vec<HeaderName> = fields.keys().filter(|name| name.as_str().starts_with(OWN)).cloned().collect();
        for name in own {
            fields.remove(name);
        }
    }
}

/// Removes the members of Proxy-Status that claim to be ours. Its lines are one list to a reader
/// (RFC 9110 section 5.3); a list that is none says nothing.
fn strip_proxy_status(fields: &mut HeaderMap) {
    if !fields.contains_key(PROXY_STATUS) {
        return;
    }
    let lines: Vec<HeaderValue> = fields.get_all(PROXY_STATUS).iter().cloned().collect();
    fields.remove(PROXY_STATUS);
    let list = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
    let kept: Vec<&[u8]> = members(&list).unwrap_or_default().into_iter().filter(|member| !is_ours(member)).collect();
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_bytes(&kept.join(&b", "[..]))) {
        fields.insert(PROXY_STATUS, value);
    }
}

fn is_ours(member: &[u8]) -> bool {
    let name = member.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
    name.eq_ignore_ascii_case(b"subrosa")
}

/// The members of a structured-field list: commas outside quotes part them. `None` if a quote is
/// left open.
fn members(line: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut members, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, &byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                members.push(line[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(line[start..].trim_ascii());
    (!quoted).then_some(members)
}

/// The target as an upstream expects it: path and query only, and a path in any case.
pub(super) fn origin_form(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str) {
        query if query.starts_with('?') => format!("/{query}").into(),
        target => target.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn removes_what_connection_names_and_what_is_ours() {
        let mut given = fields(&[
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eA=="),
            ("subrosa-surfaces", "none"),
            ("x-end", "2"),
        ]);
        strip_request(&mut given, false).expect("nothing essential is named");
        assert_eq!(given, fields(&[("x-end", "2")]));
    }

    #[test]
    fn refuses_a_connection_field_that_names_the_message() {
        for essential in ["Host", "content-length", "close, Authorization"] {
            let mut given = HeaderMap::new();
            given.insert(CONNECTION, HeaderValue::from_static(essential));
            assert_eq!(
                strip_request(&mut given, false).map_err(|refusal| refusal.code),
                Err(Code::MalformedRequest),
                "{essential}"
            );
        }
    }

    #[test]
    fn relays_websockets_and_never_h2c() {
        for (upgrade, connection, relayed) in [
            ("websocket", "Upgrade", true),
            ("h2c", "Upgrade, HTTP2-Settings", false),
            ("websocket", "notupgrade", false),
            ("websocket, h2c", "upgrade", false),
        ] {
            let given = fields(&[("upgrade", upgrade), ("connection", connection)]);
            assert_eq!(wants_upgrade(&given), relayed, "{upgrade} {connection}");
        }
    }

    #[test]
    fn a_response_says_its_length_once_and_plainly() {
        for (given, settled, in_doubt) in [
            (&[("content-length", "10")][..], &[("content-length", "10")][..], false),
            (&[("transfer-encoding", "Chunked")], &[("transfer-encoding", "Chunked")], false),
            (&[("content-length", "010")], &[("content-length", "10")], true),
            (&[("content-length", "10, 10")], &[("content-length", "10")], true),
            (&[("content-length", "1"), ("transfer-encoding", "chunked")], &[("transfer-encoding", "chunked")], true),
        ] {
            let mut given = fields(given);
            assert_eq!(settle_response_framing(&mut given), Ok(in_doubt), "{given:?}");
            assert_eq!(given, fields(settled));
        }
        for given in [
            &[("content-length", "1, 2")][..],
            &[("content-length", "+1")],
            &[("content-length", "")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "identity")],
        ] {
            let settled = settle_response_framing(&mut fields(given));
            assert_eq!(settled.map_err(|refusal| refusal.code), Err(Code::UpstreamProtocol), "{given:?}");
        }
    }

    #[test]
    fn removes_only_our_members_of_proxy_status() {
        let mut given = fields(&[("proxy-status", "cache; details=\"a, subrosa\", subrosa; error=x, \"SUBROSA\", edge")]);
        strip_response(&mut given, false);
        assert_eq!(given, fields(&[("proxy-status", "cache; details=\"a, subrosa\", edge")]));
        // Two lines are one list: what looks quoted in each is not in both together.
        let mut split = HeaderMap::new();
        for line in ["x; details=\"a", "b\", subrosa; error=x; details=\"c\""] {
            split.append(PROXY_STATUS, HeaderValue::from_static(line));
        }
        strip_response(&mut split, false);
        assert_eq!(split, fields(&[("proxy-status", "x; details=\"a, b\"")]));
        let mut open = fields(&[("proxy-status", "x; details=\"a, subrosa")]);
        strip_response(&mut open, false);
        assert!(open.is_empty());
    }
}
