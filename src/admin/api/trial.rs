//! A request that is only tried: its parts as the road would see them.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::admin::problem::Problem;
use crate::identity::RunnerView;
use crate::inject::{Code, Plaintext, Refusal, holds_reference};
use crate::origin::{Authority, AuthorityError, Host, Origin, Scheme};
use crate::secret::Surfaces;

/// The field by which a runner narrows the surfaces of one request.
const SURFACES: &str = "subrosa-surfaces";

/// A request that is only tried.
pub(super) struct Trial {
    pub(super) method: Method,
    pub(super) origin: Origin,
    /// Path and query, as written.
    pub(super) target: Vec<u8>,
    pub(super) fields: HeaderMap,
    pub(super) content: Vec<u8>,
    /// What the request itself narrows the surfaces to.
    pub(super) surfaces: Surfaces,
}

/// What injection made of the parts; `None` where nothing changed.
pub(super) struct Sent {
    pub(super) target: Option<Plaintext>,
    pub(super) fields: Option<HeaderMap>,
    pub(super) content: Option<Plaintext>,
}

impl Trial {
    /// Takes a request apart, or says with what the road would refuse it.
    pub(super) fn new(method: Method, url: &str, mut fields: HeaderMap, content: Vec<u8>) -> Result<Self, Refusal> {
        let (origin, target) = split(url)?;
        let surfaces = surfaces(&fields)?;
        if fields.get(HOST).is_some_and(|host| holds_reference(host.as_bytes())) {
            return Err(in_authority());
        }
        // An absolute-form target replaces Host (RFC 9112 section 3.2.2).
        let host = HeaderValue::from_str(&origin.authority()).map_err(|_| malformed("the host cannot stand in a field"))?;
        fields.insert(HOST, host);
        Ok(Self { method, origin, target, fields, content, surfaces })
    }
}

impl Trial {
    /// The request itself, as a client would send it.
    pub(super) fn into_request(self) -> Result<Request<Bytes>, Problem> {
        let unusable = || Problem::invalid("url", "this target cannot be sent as it is");
        let target = Uri::from_maybe_shared(Bytes::from(self.target)).map_err(|_| unusable())?;
        let mut request = Request::new(Bytes::from(self.content));
        (*request.method_mut(), *request.uri_mut()) = (self.method, target);
        *request.headers_mut() = self.fields;
        // How long the content is is said by whoever sends it.
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION] {
            request.headers_mut().remove(name);
        }
        Ok(request)
    }
}

/// Fields as they are sent; a name or value that no request can hold is told.
pub(super) fn fields(pairs: &[(String, String)]) -> Result<HeaderMap, Problem> {
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Problem::invalid("headers", format!("`{name}` is no field name")))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Problem::invalid("headers", format!("the field `{name}` holds what no field may hold")))?;
        fields.append(parsed, value);
    }
    Ok(fields)
}

/// Whether `runner` may send requests to `host` at all.
pub(super) fn may_reach(runner: &RunnerView, host: &Host) -> Result<(), Refusal> {
    if runner.hosts.permits(host) {
        return Ok(());
    }
    let detail = format!("The runner `{}` may not send requests to `{host}`: it is limited to {}.", runner.name, runner.hosts);
    Err(Refusal::new(Code::RunnerNotPermitted, detail))
}

fn split(url: &str) -> Result<(Origin, Vec<u8>), Refusal> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("a target begins with http:// or https://"))?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if holds_reference(scheme.as_bytes()) => return Err(in_authority()),
        _ => return Err(malformed("only http and https targets can be forwarded")),
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if holds_reference(authority.as_bytes()) {
        return Err(in_authority());
    }
    let authority = Authority::parse(authority).map_err(|fault| match fault {
        AuthorityError::Userinfo => {
            malformed("a user name or password stands before the host; send credentials in an Authorization field")
        }
        fault => malformed(&fault.to_string()),
    })?;
    // A fragment is never sent (RFC 9110 section 4.2.5).
    let target = target.split('#').next().unwrap_or_default();
    if target.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
        return Err(malformed("a blank or control character stands in it; percent-encode it"));
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((Origin::new(scheme, authority), format!("{slash}{target}").into_bytes()))
}

fn surfaces(fields: &HeaderMap) -> Result<Surfaces, Refusal> {
    fields.get_all(SURFACES).iter().try_fold(Surfaces::ALL, |surfaces, value| {
        let text = value.to_str().map_err(|_| Refusal::malformed("Subrosa-Surfaces holds bytes that are no text."))?;
        let wanted = Surfaces::parse(text).map_err(|fault| Refusal::malformed(format!("Subrosa-Surfaces: {fault}.")))?;
        Ok(surfaces.and(wanted))
    })
}

fn malformed(fault: &str) -> Refusal {
    Refusal::malformed(format!("The target cannot be used: {fault}."))
}

fn in_authority() -> Refusal {
    let detail = "A secret reference stands in the scheme, host, port or user part of the target. Write these out.";
    Refusal::new(Code::SecretInAuthority, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_apart_and_kept_byte_for_byte() {
        for (url, origin, target) in [
            ("https://API.test", "https://api.test", "/"),
            ("HTTP://a.test:8080?q=1", "http://a.test:8080", "/?q=1"),
            ("https://a.test/{secrets.a}/%2F?x={secrets.b}#f", "https://a.test", "/{secrets.a}/%2F?x={secrets.b}"),
            ("https://a.test:443/", "https://a.test", "/"),
        ] {
            let (found, rest) = split(url).expect(url);
            assert_eq!((found.to_string().as_str(), rest.as_slice()), (origin, target.as_bytes()));
        }
    }

    #[test]
    fn what_the_road_would_refuse_is_refused() {
        for (url, code) in [
            ("https://{secrets.host}/", Code::SecretInAuthority),
            ("https://u:{secrets.p}@a.test/", Code::SecretInAuthority),
            ("https://a.test:%7Bsecrets.port%7D/", Code::SecretInAuthority),
            ("{secrets.scheme}://a.test/", Code::SecretInAuthority),
            ("https://u:p@a.test/", Code::MalformedRequest),
            ("ftp://a.test/", Code::MalformedRequest),
            ("a.test/", Code::MalformedRequest),
            ("https://0x7f.1/", Code::MalformedRequest),
            ("https://a.test/a b", Code::MalformedRequest),
        ] {
            assert_eq!(split(url).err().map(|refusal| refusal.code), Some(code), "{url}");
        }
    }
}
