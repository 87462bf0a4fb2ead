//! THE ROAD: one request in, one response out.
//!
//! ```text
//! who may go where -> inject target and fields -> content held and injected, or streaming
//!   -> hop-by-hop fields go -> a connection is reserved -> cleartext? -> sent -> response head
//!   cleaned -> content streams back
//! ```
//! Every step works on a copy or may be thrown away: until the request is sent nothing has left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_EXTENSIONS, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use super::answer::Answer;
use super::client_auth::Caller;
use super::context::{Cleartext, Door, Settings};
use super::gate::Control;
use super::late::{About, Late};
use super::outgoing::Outgoing;
use super::received::Received;
use super::redaction::{Redacted, Watch};
use super::relay;
use super::right::Right;
use super::socket::Socket;
use super::{content, fields};
use crate::inject::{self, Code, Injection, Once, Plaintext, Reasons, Receipt, Refusal, Sent};
use crate::origin::{Origin, Scheme};
use crate::secret::{SecretName, Surface, Surfaces};
use crate::upstream::{self, Lane, Pinned, Returning, Speech};

/// One request's surroundings.
pub(super) struct Visit<'a> {
    pub(super) door: &'a Door,
    /// Those that were in force when it came; it is served by them to its end.
    pub(super) settings: &'a Settings,
    pub(super) caller: &'a Caller,
    pub(super) origin: &'a Origin,
    pub(super) control: &'a Arc<Control>,
    pub(super) pinned: &'a Pinned<Outgoing>,
    /// How the upstream is spoken to, unless the request itself needs it otherwise.
    pub(super) speech: Speech,
    /// The request itself, for what is written down later.
    pub(super) about: About<'a>,
    /// Another protocol is asked for by extended CONNECT, as an upstream of HTTP/2 may know it too.
    pub(super) by_connect: bool,
}

/// What was found in a request, for the audit trail; filled in as the road goes.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) injected: Once<(SecretName, Surface)>,
    unescaped: usize,
    /// A secret whose name stands in the target as if its braces had been left out.
    pub(super) bare: Option<SecretName>,
    /// Why the content, or a part of it, was not searched.
    pub(super) unsearched: Reasons,
    /// The secrets that went out, sealed.
    pub(super) values: Once<Sent>,
    /// What was taken out of the answer so far.
    pub(super) redacted: Redacted,
    /// Why the answer's content was not looked through, where it was to be.
    pub(super) answer_unsearched: Reasons,
    /// More may come out about its content.
    late: Option<Arc<Late>>,
    /// The request had begun to go out.
    pub(super) sent: bool,
    /// How long the upstream was waited for, of a request without content: then everything else was
    /// the proxy's own doing.
    pub(super) waited: Option<Duration>,
}

impl Seen {
    pub(super) fn held_reference(&self) -> bool {
        !self.injected.is_empty() || self.unescaped > 0
    }

    /// Keeps what was found.
    pub(super) fn take(&mut self, receipt: Receipt) {
        (self.injected, self.unescaped, self.unsearched) = (receipt.injected, receipt.unescaped, receipt.unsearched);
        self.values = receipt.sent;
    }

    /// Whether there is anything to write down of a request that was forwarded.
    pub(super) fn is_notable(&self) -> bool {
        self.held_reference() || self.unsearched.is_notable() || !self.redacted.is_empty() || self.answer_unsearched.is_notable()
    }
}

/// Forwards one request, or says why not.
pub(super) async fn exchange(
    visit: &Visit<'_>,
    mut request: Request<Received>,
    seen: &mut Seen,
) -> Result<Response<Answer>, Refusal> {
    // The gate waits for a decision under these conditions too (`wire`).
    let may_switch = request.version() == Version::HTTP_11 && request.body().is_end_stream();
    let upgrades = may_switch && fields::wants_upgrade(request.headers());
    let client_upgrade = upgrades.then(|| hyper::upgrade::on(&mut request));
    let bare = request.body().is_end_stream();
    let socket = socket_surfaces(visit, request.headers(), client_upgrade.is_some())?;
    if socket.is_some() {
        // Behind an extension a frame is not what it says.
        request.headers_mut().remove(SEC_WEBSOCKET_EXTENSIONS);
    }
    let mut outgoing = prepare(visit, request, client_upgrade.is_some(), seen).await?;
    if outgoing.body().lasts() {
        outgoing.body_mut().by(Right::of(visit, seen, seen.late.clone()));
    }
    let waits = Instant::now();
    let negotiates = holds_connection_auth(outgoing.headers(), AUTHORIZATION);
    // Both need a connection of their own.
    let needs_own = negotiates || (client_upgrade.is_some() && !visit.by_connect);
    let speech = if needs_own { Speech::Http1 } else { visit.speech };
    let upstream = visit.door.upstream(visit.settings);
    let lane = upstream.reserve(&visit.caller.tenant, visit.origin, Some(visit.pinned), speech).await?;
    cleartext(visit, &lane, seen)?;
    let right = Right::of(visit, seen, seen.late.clone());
    let sees = |surfaces| Socket::new(visit, surfaces, cleartext_for(visit, &lane), (&seen.values, right.used()));
    let socket = socket.map(sees);
    visit.door.shared.lately.sends(&visit.caller.organization, visit.origin, &seen.values);
    let sent = lane.send(outgoing).await;
    let late = seen.late.take();
    if let Some(late) = &late {
        late.bring(seen, sent.as_ref().ok().map(Response::status));
    }
    let sent = sent.map_err(|error| {
        // Without a connection nothing has left.
        seen.sent = !matches!(
            error.kind(),
            upstream::Kind::Refused
                | upstream::Kind::NoDescriptor
                | upstream::Kind::Tls
                | upstream::Kind::Denied
                | upstream::Kind::Unresolvable
        );
        own_fault(visit, error)
    })?;
    seen.waited = bare.then(|| waits.elapsed());
    let watch = Watch::begin(visit, seen, late)?;
    respond(visit, sent, (client_upgrade.map(|client| (client, socket)), negotiates), (watch, seen), right).await
}

/// The surfaces of a request for a WebSocket whose messages are to be looked at.
fn socket_surfaces(visit: &Visit<'_>, fields: &HeaderMap, upgrades: bool) -> Result<Option<Surfaces>, Refusal> {
    let settings = visit.settings;
    if !settings.websocket || !upgrades || !fields::wants_websocket(fields) {
        return Ok(None);
    }
    let surfaces = fields::wanted_surfaces(fields)?.and(settings.surfaces_for(&visit.origin.host));
    let is_looked_at = surfaces.contains(Surface::Body) || settings.redacts(&visit.origin.host);
    Ok(is_looked_at.then_some(surfaces))
}

/// What a client's content broke off for, where that is known; the upstream's fault otherwise.
fn own_fault(visit: &Visit<'_>, error: upstream::Error) -> Refusal {
    match error {
        upstream::Error::OwnBody(cause) => cause.downcast().map_or_else(|_| broken(visit), |refusal| *refusal),
        error => error.into(),
    }
}

/// Turns the client's request into the one that goes out; nothing is sent.
async fn prepare(
    visit: &Visit<'_>,
    request: Request<Received>,
    upgrades: bool,
    seen: &mut Seen,
) -> Result<Request<Outgoing>, Refusal> {
    visit.caller.may_reach(&visit.origin.host)?;
    let surfaces = fields::wanted_surfaces(request.headers())?.and(visit.settings.surfaces_for(&visit.origin.host));
    let (mut parts, content) = request.into_parts();
    let resolver = visit.door.shared.secrets.resolver(&visit.caller.organization, visit.caller.names());
    let mut injection =
        Injection::new(resolver.as_ref(), &visit.origin.host, surfaces).with_max_growth(visit.settings.max_growth);

    injection.check_framing(&parts.headers)?;
    fields::strip_request(&mut parts.headers, upgrades)?;
    let path_and_query = fields::origin_form(&parts.uri);
    let target = injection.target(path_and_query.as_bytes())?;
    seen.bare = injection.bare_name(path_and_query.as_bytes());
    let injected_fields = injection.fields(&parts.headers)?;
    let mut content = content::take(visit, &mut injection, &parts.headers, content, surfaces).await?;
    seen.late = content.late.take();
    note(seen, content.receipt.take().unwrap_or_else(|| injection.finish()), &parts.method)?;
    let uri = outgoing_target(&parts.uri, &path_and_query, target)?;

    if let Some(injected) = injected_fields {
        parts.headers = injected;
    }
    fields::set_host(&mut parts.headers, visit.origin)?;
    content.frame(&mut parts.headers);
    parts.uri = uri;
    parts.version = Version::HTTP_11;
    Ok(Request::from_parts(parts, content.outgoing))
}

/// Keeps what was found. TRACE would have the upstream echo the request, values included.
fn note(seen: &mut Seen, receipt: Receipt, method: &Method) -> Result<(), Refusal> {
    seen.take(receipt);
    if *method == Method::TRACE && seen.held_reference() {
        let refusal = Refusal::malformed("A TRACE request holds a secret reference; the upstream would send the value back.");
        return Err(match seen.injected.pop() {
            Some((secret, surface)) => refusal.about(&secret, surface),
            None => refusal,
        });
    }
    Ok(())
}

fn outgoing_target(uri: &Uri, path_and_query: &str, injected: Option<Plaintext>) -> Result<Uri, Refusal> {
    let unusable = || Refusal::malformed("The target cannot be forwarded as it is.");
    match injected {
        Some(target) => Uri::from_maybe_shared(Bytes::from_owner(target)).map_err(|_| unusable()),
        None if uri.authority().is_none() => Ok(uri.clone()),
        None => path_and_query.parse().map_err(|_| unusable()),
    }
}

/// A content that broke off is never passed on as whole.
pub(super) fn broken(visit: &Visit<'_>) -> Refusal {
    visit.control.take_refusal().unwrap_or_else(|| Refusal::malformed("The content ended before it was complete."))
}

/// A secret goes out over plain http only where the config says so.
fn cleartext(visit: &Visit<'_>, lane: &Lane<Outgoing>, seen: &Seen) -> Result<(), Refusal> {
    match seen.injected.first() {
        None => Ok(()),
        Some((secret, surface)) => cleartext_for(visit, lane).map_err(|refusal| refusal.about(secret, *surface)),
    }
}

/// The same for a secret that may come later.
fn cleartext_for(visit: &Visit<'_>, lane: &Lane<Outgoing>) -> Result<(), Refusal> {
    if visit.origin.scheme == Scheme::Https {
        return Ok(());
    }
    let permitted = match visit.settings.cleartext {
        Cleartext::Anywhere => true,
        Cleartext::AllowedNetworks => lane.opened_by_config(),
        Cleartext::Never => false,
    };
    if permitted {
        return Ok(());
    }
    let detail = format!(
        "A secret would go to `{}` over plain http, where anybody on the way can read it. Use https, or name the address in egress.allow, or set egress.cleartext_secrets = \"anywhere\".",
        visit.origin.host
    );
    Err(Refusal::new(Code::CleartextRefused, detail))
}

/// Makes the upstream's response the client's.
async fn respond(
    visit: &Visit<'_>,
    mut sent: Response<Returning<Outgoing>>,
    (client_upgrade, negotiates): (Option<(OnUpgrade, Option<Socket>)>, bool),
    (watch, seen): (Option<Watch>, &mut Seen),
    right: Right,
) -> Result<Response<Answer>, Refusal> {
    if negotiates || holds_connection_auth(sent.headers(), WWW_AUTHENTICATE) {
        // Who authenticated a connection owns it: nobody else's request may travel on it.
        sent.body_mut().keep_for(visit.pinned);
    }
    if fields::settle_response_framing(sent.headers_mut())? {
        sent.body_mut().use_no_more();
    }
    let switches = sent.status() == StatusCode::SWITCHING_PROTOCOLS;
    let upstream_upgrade = switches.then(|| hyper::upgrade::on(&mut sent));
    let (mut parts, content) = sent.into_parts();
    fields::strip_response(&mut parts.headers, switches);
    if let Some(escaped) = inject::escape_response_fields(&parts.headers) {
        parts.headers = escaped;
    }
    drop_planted_reason(&mut parts.extensions);
    if let Some(watch) = &watch {
        watch.head(visit, &mut parts, seen)?;
    }
    parts.version = Version::HTTP_11;
    if let (Some((client, socket)), Some(upstream)) = (client_upgrade, upstream_upgrade) {
        relay::switch(visit.door.clone(), client, upstream, right, socket);
        return Ok(Response::from_parts(parts, Answer::own(Bytes::new())));
    }
    if switches {
        let detail = "The upstream switched protocols, which the request had not asked for.";
        return Err(Refusal::new(Code::UpstreamProtocol, detail));
    }
    let answer = match watch {
        Some(watch) => watch.content(visit, &mut parts, content, seen).await?,
        None => Answer::upstream(content),
    };
    Ok(Response::from_parts(parts, answer.by(right)))
}

/// NTLM and Negotiate authenticate a connection, not a request (RFC 4559 section 6).
fn holds_connection_auth(fields: &HeaderMap, name: http::HeaderName) -> bool {
    fields.get_all(name).iter().any(|value| {
        let scheme = value.as_bytes().split(|&byte| byte == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

fn drop_planted_reason(extensions: &mut http::Extensions) {
    let planted = |reason: &hyper::ext::ReasonPhrase| inject::holds_reference(reason.as_bytes());
    if extensions.get::<hyper::ext::ReasonPhrase>().is_some_and(planted) {
        extensions.remove::<hyper::ext::ReasonPhrase>();
    }
}
