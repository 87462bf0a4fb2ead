//! Is this request head unambiguous? Judged on the very bytes, before the HTTP library sees them.
//!
//! hyper hides some ambiguities (a Content-Length beside Transfer-Encoding, bare line feeds, two
//! Host fields) and answers others with an empty 400. Here each gets its refusal with a sentence,
//! and what passes has one meaning for every reader behind us (RFC 9112 sections 2.2, 3, 6).

use crate::inject::{Code, Refusal, first_reference, holds_reference};
use crate::origin::{Authority, AuthorityError, Host};

/// The most fields a head may have.
const MAX_FIELDS: usize = 256;
/// The longest target that the HTTP library can carry, in bytes.
const MAX_TARGET: usize = 65_534;

/// How long the content behind a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes; 0 where there is no content.
    Length(u64),
    /// Chunked, until its last chunk and trailers.
    Chunked,
}

/// What follows a head on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The content.
    pub(super) framing: Framing,
    /// After this head the bytes may stop being HTTP/1.1: CONNECT, or Upgrade without content.
    pub(super) may_switch: bool,
}

/// Finds the end of a head (behind its empty line) in `bytes`, looking at what came since
/// `scanned`. A line that does not end in CRLF, or a NUL, is refused at once: its sender might wait
/// for us forever.
pub(super) fn head_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Refusal> {
    let mut from = scanned;
    while let Some(found) = memchr::memchr3(b'\n', b'\r', 0, bytes.get(from..).unwrap_or_default()) {
        let at = from + found;
        match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) => {
                if bytes.get(at + 2..at + 4) == Some(b"\r\n") {
                    return Ok(Some(at + 4));
                }
                from = at + 2;
            }
            (b'\r', None) => return Ok(None),
            (b'\r', Some(_)) => {
                return Err(Refusal::malformed(
                    "A line of the head holds a carriage return that is not followed by a line feed. End lines with CRLF.",
                ));
            }
            // The CR was seen before, when it was the last byte.
            (b'\n', _) if at == scanned && at > 0 && bytes[at - 1] == b'\r' => {
                if bytes.get(at + 1..at + 3) == Some(b"\r\n") {
                    return Ok(Some(at + 3));
                }
                from = at + 1;
            }
            (b'\n', _) => return Err(Refusal::malformed("A line of the head ends in a bare line feed. End lines with CRLF.")),
            _ => return Err(Refusal::malformed("The head holds a NUL byte.")),
        }
    }
    Ok(None)
}

/// Judges a whole head, empty line included.
pub(super) fn judge(head: &[u8]) -> Result<Head, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Refusal::malformed("The head is not one whole HTTP/1.1 request head.")),
        Err(fault) => return Err(unparsable(head, fault)),
    }
    let method = request.method.unwrap_or_default();
    let is_1_1 = request.version == Some(1);
    let framing = Fields::gather(request.headers)?;
    let is_connect = method == "CONNECT";
    target(method, request.path.unwrap_or_default())?;
    framing.check(is_connect, is_1_1)
}

fn unparsable(head: &[u8], fault: httparse::Error) -> Refusal {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    match fault {
        httparse::Error::TooManyHeaders => {
            Refusal::new(Code::HeadTooLarge, format!("The head has more than {MAX_FIELDS} fields."))
        }
        httparse::Error::Version => Refusal::malformed(
            "The request line does not end in HTTP/1.1 or HTTP/1.0. This connection speaks HTTP/1.1. HTTP/2 is spoken inside tunnels: agreed on in their TLS handshake (ALPN), or from their first byte where there is no TLS.",
        ),
        httparse::Error::Token | httparse::Error::Status if holds_reference(authority_like(line)) => {
            in_authority(authority_like(line))
        }
        httparse::Error::HeaderName => Refusal::malformed(
            "A field name holds a blank or another character that no field name may hold; a line that begins with a blank (folding) and a blank before the colon count as such.",
        ),
        httparse::Error::HeaderValue => Refusal::malformed("A field value holds a control character."),
        _ => Refusal::malformed("The request line is not `METHOD target HTTP/1.1`."),
    }
}

/// The part of a request line in which an authority would stand.
fn authority_like(line: &[u8]) -> &[u8] {
    line.splitn(3, |&byte| byte == b' ').nth(1).unwrap_or_default()
}

fn in_authority(text: &[u8]) -> Refusal {
    Refusal::new(
        Code::SecretInAuthority,
        "A secret reference stands in the scheme, host, port or user part of the target, or in Host. Secrets may stand in path, query, fields and content only; write the host out.",
    )
    .naming(first_reference(text))
}

/// The fields that decide framing and host, as they stand.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    upgrade: bool,
}

impl<'a> Fields<'a> {
    fn gather(headers: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for header in headers {
            let name = header.name;
            if name.eq_ignore_ascii_case("host") {
                fields.host(header.value)?;
            } else if name.eq_ignore_ascii_case("content-length") {
                if fields.length.replace(header.value).is_some() {
                    return Err(Refusal::malformed("Content-Length stands twice. Send it once."));
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if fields.coding.replace(header.value).is_some() {
                    return Err(Refusal::malformed("Transfer-Encoding stands twice. Send it once, as `chunked`."));
                }
            } else if name.eq_ignore_ascii_case("upgrade") {
                fields.upgrade = true;
            } else {
                not_almost_framing(name)?;
            }
        }
        Ok(fields)
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Refusal::malformed("Host stands twice. Send it once."));
        }
        if holds_reference(value) { Err(in_authority(value)) } else { Ok(()) }
    }

    fn check(&self, is_connect: bool, is_1_1: bool) -> Result<Head, Refusal> {
        if self.hosts == 0 && is_1_1 && !is_connect {
            return Err(Refusal::malformed("An HTTP/1.1 request needs a Host field."));
        }
        let framing = match (self.coding, self.length) {
            (Some(_), Some(_)) => {
                return Err(Refusal::malformed(
                    "Content-Length stands beside Transfer-Encoding, so the content has two lengths. Send one of them.",
                ));
            }
            (Some(coding), None) => chunked(coding, is_1_1)?,
            (None, Some(length)) => Framing::Length(parse_length(length)?),
            (None, None) => Framing::Length(0),
        };
        if is_connect && framing != Framing::Length(0) {
            return Err(Refusal::malformed("A CONNECT request has no content."));
        }
        Ok(Head { framing, may_switch: is_connect || (self.upgrade && is_1_1 && framing == Framing::Length(0)) })
    }
}

fn chunked(coding: &[u8], is_1_1: bool) -> Result<Framing, Refusal> {
    if !coding.eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::malformed("Transfer-Encoding is something else than exactly `chunked`."));
    }
    if is_1_1 { Ok(Framing::Chunked) } else { Err(Refusal::malformed("Transfer-Encoding does not exist in HTTP/1.0.")) }
}

/// Readers behind us that make variables of fields (CGI and its like) take `_` for `-`.
pub(super) fn not_almost_framing(name: &str) -> Result<(), Refusal> {
    if ["content_length", "transfer_encoding"].iter().any(|almost| name.eq_ignore_ascii_case(almost)) {
        let detail = format!("A field is called {name}, which some readers take for the one with a hyphen.");
        return Err(Refusal::malformed(detail));
    }
    Ok(())
}

/// The number in a Content-Length field, written as nobody can read it as octal.
pub(super) fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    let digits = value.iter().all(u8::is_ascii_digit) && (value.len() < 2 || value[0] != b'0');
    let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    // Beyond this the HTTP library itself would say no.
    let sane = |length: &u64| digits && i64::try_from(*length).is_ok();
    length.filter(sane).ok_or_else(|| {
        Refusal::malformed("Content-Length is not one number in plain digits without zeros before it, or too large.")
    })
}

fn target(method: &str, target: &str) -> Result<(), Refusal> {
    if target.len() > MAX_TARGET {
        return Err(Refusal::new(Code::HeadTooLarge, format!("The target is over {MAX_TARGET} bytes long.")));
    }
    if method == "CONNECT" {
        if authority(target)?.port.is_none() {
            return Err(Refusal::malformed("CONNECT needs `host:port`, and the port is missing."));
        }
        return parsable(target);
    }
    if target.contains('#') {
        return Err(Refusal::malformed(
            "The target holds a fragment (`#`), which clients keep to themselves. Percent-encode it as %23 if it is meant.",
        ));
    }
    if !target.starts_with('/') && (target != "*" || method != "OPTIONS") {
        absolute(target)?;
    }
    parsable(target)
}

/// `http://authority/…` or `https://authority/…`.
fn absolute(target: &str) -> Result<(), Refusal> {
    let before_path = target.split_once("://").map_or(target, |(scheme, rest)| {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        &target[..scheme.len() + 3 + end]
    });
    if holds_reference(before_path.as_bytes()) {
        return Err(in_authority(before_path.as_bytes()));
    }
    let Some((scheme, rest)) = before_path.split_once("://") else {
        return Err(Refusal::malformed(
            "The target is neither a path, nor an absolute http:// or https:// URL, nor the `*` of OPTIONS.",
        ));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::malformed("Only http:// and https:// targets can be forwarded."));
    }
    authority(rest).map(drop)
}

/// An authority, with a sentence for each fault.
pub(super) fn authority(text: &str) -> Result<Authority, Refusal> {
    if holds_reference(text.as_bytes()) {
        return Err(in_authority(text.as_bytes()));
    }
    Authority::parse(text).map_err(|fault| match fault {
        AuthorityError::Userinfo => Refusal::malformed(
            "A user name or password stands before the host of the target. Send credentials in an Authorization field.",
        ),
        fault => Refusal::malformed(format!("The target's host cannot be used: {fault}.")),
    })
}

/// The HTTP library must be able to carry the target as it is.
fn parsable(target: &str) -> Result<(), Refusal> {
    if target.parse::<http::Uri>().is_ok() {
        return Ok(());
    }
    Err(Refusal::malformed(match target.bytes().find(|byte| matches!(byte, b'"' | b'<' | b'>')) {
        Some(b'"') => "The target holds a raw `\"`. Percent-encode it as %22.",
        Some(b'<') => "The target holds a raw `<`. Percent-encode it as %3C.",
        Some(_) => "The target holds a raw `>`. Percent-encode it as %3E.",
        None => "The target holds a character that must be percent-encoded.",
    }))
}

/// Whether `text`, as it stands in a Host field, can be a host at all.
pub(super) fn host_field(text: &[u8]) -> Result<Authority, Refusal> {
    let text = std::str::from_utf8(text).map_err(|_| Refusal::malformed("Host holds bytes that no host name may hold."))?;
    authority(text)
}

/// The name a client asked for by SNI.
pub(super) fn server_name(text: &str) -> Option<Host> {
    Host::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges as the gate does: find the end, then judge.
    fn judged(head: &str) -> Result<Head, Code> {
        let end = head_end(head.as_bytes(), 0).map_err(|refusal| refusal.code)?;
        assert_eq!(end, Some(head.len()), "{head:?}");
        judge(head.as_bytes()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn passes_what_has_one_meaning() {
        let plain = Head { framing: Framing::Length(0), may_switch: false };
        for (head, meaning) in [
            ("GET /a?b={secrets.x} HTTP/1.1\r\nHost: h\r\n\r\n", plain),
            ("GET http://h/ HTTP/1.0\r\n\r\n", plain),
            ("GET https://h:8443/{secrets.x} HTTP/1.1\r\nHost: other\r\n\r\n", plain),
            ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", plain),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", Head { framing: Framing::Length(5), ..plain }),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n", Head { framing: Framing::Chunked, ..plain }),
            ("CONNECT h:443 HTTP/1.0\r\n\r\n", Head { may_switch: true, ..plain }),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
                Head { may_switch: true, ..plain },
            ),
        ] {
            assert_eq!(judged(head), Ok(meaning), "{head:?}");
        }
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        for head in [
            with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            with("Transfer-Encoding: gzip, chunked\r\n"),
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            with("Transfer-Encoding: xchunked\r\n"),
            with("Content-Length: 5\r\nContent-Length: 5\r\n"),
            with("Content-Length: 5, 5\r\n"),
            with("Content-Length: +5\r\n"),
            with("Content-Length: -5\r\n"),
            with("Content-Length: 0x5\r\n"),
            with("Content-Length: 05\r\n"),
            with("content_length: 5\r\n"),
            with("Transfer_Encoding: chunked\r\n"),
            with("Content-Length: 99999999999999999999\r\n"),
            with("Content-Length:\r\n"),
            with("Host: i\r\n"),
            with("X: a\r\n b\r\n"),
            with("X : a\r\n"),
            with(" X: a\r\n"),
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            "GET / HTTP/1.1\r\n\r\n".into(),
            "GET /\r\n\r\n".into(),
            "PRI * HTTP/2.0\r\n\r\n".into(),
            "GET * HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "GET /#a HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "GET /?a=\"b\" HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "GET http://u:p@h/ HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "GET http://[[x]]/ HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "GET http://0x7f.1/ HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "GET h HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n".into(),
        ] {
            assert_eq!(judged(&head), Err(Code::MalformedRequest), "{head:?}");
        }
    }

    #[test]
    fn names_a_reference_in_the_authority_as_such() {
        for head in [
            "GET http://{secrets.h}/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://%7Bsecrets.h%7D/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://{secrets.u}:x@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h:{secrets.p}/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET {secrets.s}://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: {secrets.h}\r\n\r\n",
            "CONNECT {secrets.h}:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert_eq!(judged(head), Err(Code::SecretInAuthority), "{head:?}");
        }
    }

    /// What readers that are lax in one way or another take for the framing of a head.
    fn as_lax_readers_see_it(head: &str) -> Vec<(Option<String>, bool)> {
        let ends: [fn(char) -> bool; 3] =
            [|it| it == '\n', |it| matches!(it, '\r' | '\n'), |it| matches!(it, '\r' | '\n' | '\0')];
        let blank = |it: char| it.is_whitespace() || it.is_control();
        let mut seen = Vec::new();
        for (end, takes_last, takes_underscores) in
            ends.into_iter().flat_map(|end| [(end, false, false), (end, true, false), (end, false, true)])
        {
            let (mut length, mut chunked) = (None, false);
            for line in head.split(end).skip(1) {
                let Some((name, value)) = line.split_once(':') else { continue };
                let name = name.trim_matches(blank).to_ascii_lowercase();
                let name = if takes_underscores { name.replace('_', "-") } else { name };
                match name.as_str() {
                    "content-length" if takes_last || length.is_none() => length = Some(value.trim_matches(blank).to_owned()),
                    "transfer-encoding" => chunked |= value.to_ascii_lowercase().contains("chunked"),
                    _ => {}
                }
            }
            seen.push((length, chunked));
        }
        seen
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 3000, ..Default::default() })]

        #[test]
        fn what_passes_is_framed_alike_for_every_lax_reader(parts in proptest::collection::vec(proptest::sample::select(vec![
            "Content-Length", "content-length", "Content_Length", "Transfer-Encoding", "transfer_encoding", "Host", "X", ":", ": ", " ", "\t", "\r\n",
            "\r\n", "\n", "\r", "\0", "\u{b}", "\u{a0}", "5", "0", "10", "+", "-", ",", "chunked", "Chunked", "identity", "gzip", "h", ";", "\"",
            "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "X: y\r\n", "Connection: close\r\n",
        ]), 0..10)) {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{}\r\n\r\n", parts.concat());
            // An empty line within ends it there.
            let Ok(Some(end)) = head_end(head.as_bytes(), 0) else { return Ok(()) };
            let Ok(passed) = judge(&head.as_bytes()[..end]) else { return Ok(()) };
            let meant = match passed.framing {
                Framing::Chunked => (None, true),
                Framing::Length(0) if !head[..end].to_ascii_lowercase().contains("\ncontent-length:") => (None, false),
                Framing::Length(length) => (Some(length.to_string()), false),
            };
            for seen in as_lax_readers_see_it(&head[..end]) {
                proptest::prop_assert_eq!(&seen, &meant, "{:?}", head);
            }
        }
    }

    #[test]
    fn line_ends_are_judged_as_they_come_in() {
        for broken in ["GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", "GET / HTTP/1.1\r\nX: \0\r\n\r\n"] {
            assert!(head_end(broken.as_bytes(), 0).is_err(), "{broken:?}");
        }
        let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for length in 0..head.len() {
            let scanned = length.saturating_sub(3);
            assert_eq!(head_end(&head[..length], 0), Ok(None), "{length}");
            assert_eq!(head_end(head, scanned), Ok(Some(head.len())), "{length}");
        }
    }
}
