//! Which form of request is this? One connection's requests are told apart here and sent on:
//! CONNECT to `tunnel`, everything else to `exchange`.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use http::header::{HeaderValue, UPGRADE};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::Answer;
use super::client_auth::{self, Caller};
use super::context::Door;
use super::exchange::{self, Visit};
use super::front::Client;
use super::gate::{Bounds, Control, Gate, REFUSED, RefusedLine};
use super::{error, fields, tunnel, wire};
use crate::audit;
use crate::inject::{self, Code, Refusal};
use crate::origin::{Authority, Origin, Scheme};
use crate::upstream::Pinned;

/// The most bytes hyper keeps of a connection: above the largest head, so that ours is the limit
/// that is met.
const HYPER_BUFFER_SLACK: usize = 64 * 1024;

/// Where on a connection a request stands.
#[derive(Clone)]
pub(super) enum Place {
    /// On the port itself.
    Front {
        /// Who is at the other end.
        client: Arc<Client>,
        /// There are too many connections already: every request is refused.
        overloaded: bool,
    },
    /// Inside a tunnel to `origin`.
    Inside {
        /// What the tunnel was opened to.
        origin: Origin,
        /// Who opened it.
        caller: Box<Caller>,
        /// Why every request in here is misdirected, if it is.
        misdirected: Option<String>,
    },
}

/// Serves the HTTP/1.1 requests of one connection, or of one tunnel, until it ends.
pub(super) async fn serve<S>(door: Door, stream: S, early: BytesMut, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &door.shared.settings;
    let bounds = Bounds { head_bytes: settings.head_bytes, head: settings.client_head, idle: settings.idle, body: settings.body };
    let (gate, control) = Gate::new(stream, early, bounds);
    let visitor = Arc::new(Visitor { door: door.clone(), place, control, pinned: Pinned::default() });
    let service = service_fn(move |request| {
        let visitor = Arc::clone(&visitor);
        async move { Ok::<_, std::convert::Infallible>(visitor.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .header_read_timeout(None)
        .max_headers(256)
        .max_buf_size(bounds.head_bytes + HYPER_BUFFER_SLACK)
        .serve_connection(TokioIo::new(gate), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = door.shared.drain.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "a client connection ended early");
    }
}

/// One connection, or one tunnel, with whoever speaks on it.
struct Visitor {
    door: Door,
    place: Place,
    control: Arc<Control>,
    pinned: Pinned<super::Outgoing>,
}

/// What is known of a request when its answer is written down.
struct Case {
    id: String,
    began: Instant,
    method: Method,
    uri: http::Uri,
    /// What a refused head asked for, in whose place another one stands.
    refused: Option<RefusedLine>,
    caller: Option<Caller>,
    origin: Option<Origin>,
}

impl Visitor {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Answer> {
        let may_switch = request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE);
        let mut case = Case {
            id: self.door.request_id(),
            began: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            refused: None,
            caller: None,
            origin: None,
        };
        let mut seen = exchange::Seen::default();
        let gate_refusal = request.headers_mut().remove(REFUSED).and_then(|_| self.control.take_refusal());
        let is_last = gate_refusal.is_some();
        if is_last {
            case.refused = self.control.take_line();
            if let Place::Inside { origin, caller, .. } = &self.place {
                (case.caller, case.origin) = (Some(caller.as_ref().clone()), Some(origin.clone()));
            }
        }
        let outcome = match gate_refusal {
            Some(refusal) => Err(refusal),
            None => self.route(request, &mut case, &mut seen).await,
        };
        let switched = matches!(&outcome, Ok(response) if is_switch(&case.method, response));
        if !(switched && case.method == Method::CONNECT) {
            self.count(&case, &seen, &outcome);
        }
        let hint = seen.bare.as_ref().map(inject::bare_hint);
        self.write_down(&case, &seen, &outcome, hint.as_deref());
        let mut response = outcome.unwrap_or_else(|refusal| {
            let target = case.origin.as_ref().map(ToString::to_string);
            let response = error::respond(&refusal, &case.id, target.as_deref(), hint.as_deref());
            if is_last || refusal.code == Code::Overloaded { error::closing(response) } else { response }
        });
        if let Some(hint) = hint.and_then(|hint| HeaderValue::try_from(hint).ok()) {
            response.headers_mut().insert(fields::HINT, hint);
        }
        match (may_switch, switched) {
            (true, true) => self.control.switched(),
            (true, false) => self.control.stays_http(),
            (false, _) => {}
        }
        response.map(|answer| answer.told_to(&self.control))
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        case: &mut Case,
        seen: &mut exchange::Seen,
    ) -> Result<Response<Answer>, Refusal> {
        let form = Form::of(&request)?;
        let (origin, caller) = match &self.place {
            Place::Front { client, overloaded } => {
                if *overloaded {
                    return Err(Refusal::new(
                        Code::Overloaded,
                        "Too many client connections are open (limits.connections). Try again in a moment.",
                    ));
                }
                let caller = client_auth::identify(&self.door.shared, request.headers(), client)?;
                case.caller = Some(caller.clone());
                match form {
                    Form::Connect(authority) => return self.connect(request, authority, caller, case).await,
                    Form::Absolute(origin) => (origin, caller),
                    Form::Path => {
                        return Err(Refusal::malformed(
                            "This is a forward proxy, and the request names no host. Set HTTP_PROXY and HTTPS_PROXY to this address instead of sending requests to it.",
                        ));
                    }
                }
            }
            Place::Inside { origin, caller, misdirected } => {
                (case.caller, case.origin) = (Some(caller.as_ref().clone()), Some(origin.clone()));
                if let Some(what) = misdirected {
                    return Err(fields::misdirected(what));
                }
                (origin.clone(), self.inside(&request, form, origin, caller)?)
            }
        };
        case.origin = Some(origin.clone());
        let visit = Visit { door: &self.door, caller: &caller, origin: &origin, control: &self.control, pinned: &self.pinned };
        exchange::exchange(&visit, request, seen).await
    }

    /// A request inside a tunnel must be for the tunnel's origin, by whoever may still use it: the caller
    /// with its rights as they are now.
    fn inside(&self, request: &Request<Incoming>, form: Form, origin: &Origin, caller: &Caller) -> Result<Caller, Refusal> {
        match form {
            Form::Connect(_) => return Err(Refusal::malformed("A tunnel cannot be opened inside a tunnel.")),
            Form::Absolute(other) if other != *origin => {
                return Err(fields::misdirected(&format!(
                    "The target says `{other}`, but this tunnel was opened to `{origin}`."
                )));
            }
            // The absolute form replaces Host.
            Form::Absolute(_) => {}
            Form::Path => fields::host_agrees(request.headers(), origin)?,
        }
        caller.refreshed(&self.door.shared)
    }

    async fn connect(
        &self,
        request: Request<Incoming>,
        authority: Authority,
        caller: Caller,
        case: &mut Case,
    ) -> Result<Response<Answer>, Refusal> {
        case.origin = Some(Origin::new(Scheme::Https, authority.clone()));
        tunnel::connect(&self.door, request, authority, caller).await
    }

    /// Counts an exchange; a tunnel that was opened is none.
    fn count(&self, case: &Case, seen: &exchange::Seen, outcome: &Result<Response<Answer>, Refusal>) {
        let measures = &self.door.shared.measures;
        let (code, status) = match outcome {
            Ok(response) => (None, response.status()),
            Err(refusal) => (Some(refusal.code), refusal.code.status()),
        };
        let took = case.began.elapsed();
        measures.exchange(ended(seen, code), code, status, took);
        if outcome.is_ok() {
            seen.injected.iter().for_each(|(_, surface)| measures.injection(*surface));
            seen.waited.iter().for_each(|waited| measures.added(took.saturating_sub(*waited)));
        }
    }

    /// One audit entry for each exchange that held a reference, was refused, or has a hint to give.
    fn write_down(&self, case: &Case, seen: &exchange::Seen, outcome: &Result<Response<Answer>, Refusal>, hint: Option<&str>) {
        if outcome.is_ok() && !seen.held_reference() && hint.is_none() {
            return;
        }
        let (method, url) = match &case.refused {
            Some(line) => (line.method.as_str(), line.target.clone()),
            None => (case.method.as_str(), case.uri.to_string()),
        };
        let origin = case.origin.as_ref().map(ToString::to_string);
        let refusal = outcome.as_ref().err();
        let refused = refusal.and_then(|refusal| refusal.secret.clone().zip(refusal.surface));
        let secrets: Vec<_> = seen.injected.iter().cloned().chain(refused).collect();
        let status = outcome.as_ref().map_or_else(|refusal| refusal.code.status(), Response::status);
        self.door.shared.audit.record(&audit::Entry {
            request_id: &case.id,
            runner: case.caller.as_ref().and_then(Caller::runner_name),
            organization: case.caller.as_ref().map(|caller| &caller.organization),
            method,
            url: &url,
            origin: origin.as_deref(),
            host: case.origin.as_ref().map(|origin| &origin.host),
            secrets: &secrets,
            outcome: ended(seen, refusal.map(|refusal| refusal.code)),
            code: refusal.map(|refusal| refusal.code),
            detail: refusal.map(|refusal| refusal.detail.as_str()),
            hint,
            status: Some(status.as_u16()),
            duration: case.began.elapsed(),
            at: SystemTime::now(),
        });
    }
}

fn ended(seen: &exchange::Seen, code: Option<Code>) -> audit::Outcome {
    match code {
        None => audit::Outcome::Forwarded,
        Some(_) if seen.sent => audit::Outcome::Aborted,
        Some(_) => audit::Outcome::Refused,
    }
}

fn is_switch(method: &Method, response: &Response<Answer>) -> bool {
    let status = response.status();
    status == http::StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success())
}

/// The forms of a request target (RFC 9112 section 3.2).
enum Form {
    /// `host:port`, of CONNECT.
    Connect(Authority),
    /// `http://…` or `https://…`.
    Absolute(Origin),
    /// `/…` or `*`.
    Path,
}

impl Form {
    /// The gate has judged the target already; what it let through parses.
    fn of(request: &Request<Incoming>) -> Result<Self, Refusal> {
        let uri = request.uri();
        let Some(authority) = uri.authority() else { return Ok(Self::Path) };
        let authority = wire::authority(authority.as_str())?;
        if request.method() == Method::CONNECT {
            return Ok(Self::Connect(authority));
        }
        match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => Ok(Self::Absolute(Origin::new(Scheme::Https, authority))),
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => Ok(Self::Absolute(Origin::new(Scheme::Http, authority))),
            _ => Err(Refusal::malformed("Only http:// and https:// targets can be forwarded.")),
        }
    }
}
