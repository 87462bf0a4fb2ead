//! Which form of request is this? One connection's requests are told apart here and sent on:
//! CONNECT to `tunnel`, everything else to `exchange`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use http::header::{HeaderValue, UPGRADE};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::answer::Answer;
use super::budget::Room;
use super::client_auth::{self, Caller};
use super::context::Door;
use super::exchange::{self, Visit};
use super::front::Client;
use super::gate::{Control, Gate, REFUSED, RefusedLine};
use super::late::About;
use super::received::Received;
use super::resting::Lent;
use super::{error, fields, grpc, stream_head, tunnel, websocket, wire};
use crate::audit;
use crate::drain::Drain;
use crate::inject::{self, Code, Refusal};
use crate::origin::{Authority, Origin, Scheme};
use crate::upstream::{Pinned, Speech};

/// The most bytes hyper keeps of a connection: above the largest head, so that ours is the limit
/// that is met.
const HYPER_BUFFER_SLACK: usize = 64 * 1024;

/// How long a connection that begins while the server stops is waited for: its client has sent something, or is about to.
const FIRST_WORD: Duration = Duration::from_secs(1);

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
    let bounds = door.shared.settings.load().bounds();
    let (mut gate, control) = Gate::new(stream, early, bounds);
    let (pinned, speech) = (Pinned::default(), Speech::Agreed);
    let visitor = Arc::new(Visitor { door: door.clone(), place, control: Arc::clone(&control), pinned, speech, is_http2: false });
    let service = service_fn(move |request| {
        let visitor = Arc::clone(&visitor);
        async move { Ok::<_, std::convert::Infallible>(visitor.gated(request).await) }
    });
    let mut over = std::pin::pin!(rest_over(&door.shared.drain));
    loop {
        let (lent, back) = Lent::new(gate);
        let connection = http1::Builder::new()
            .preserve_header_case(true)
            .auto_date_header(false)
            .header_read_timeout(None)
            .max_headers(256)
            .max_buf_size(bounds.head_bytes + HYPER_BUFFER_SLACK)
            .serve_connection(TokioIo::new(lent), service.clone())
            .with_upgrades();
        let mut connection = Box::pin(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = over.as_mut() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
            () = control.rests() => {
                drop(connection);
                let Some(rests) = back.take() else { return };
                gate = rests;
                let _resting = door.shared.measures.resting.hold();
                let goes_on = tokio::select! {
                    // What was sent in time is answered.
                    biased;
                    wakes = gate.wakes() => wakes,
                    () = over.as_mut() => false,
                };
                if goes_on {
                    continue;
                }
                // The client may be gone already.
                let _ = gate.shutdown().await;
                return;
            }
        };
        if let Err(fault) = ended {
            tracing::debug!(%fault, "a client connection ended early");
        }
        return;
    }
}

/// Resolves when this connection may close although its client may be about to ask for something: not before it had a moment
/// for that since it began.
async fn rest_over(drain: &Drain) {
    let began = Instant::now();
    drain.rest_over().await;
    tokio::time::sleep(FIRST_WORD.saturating_sub(began.elapsed())).await;
}

/// One connection, or one tunnel, with whoever speaks on it.
pub(super) struct Visitor {
    door: Door,
    place: Place,
    control: Arc<Control>,
    pinned: Pinned<super::Outgoing>,
    /// How upstreams are spoken to.
    speech: Speech,
    is_http2: bool,
}

/// What is known of a request before the road begins.
pub(super) struct Asked<'a> {
    pub(super) control: &'a Arc<Control>,
    /// Why it is refused already.
    pub(super) refused: Option<Refusal>,
    /// It was an extended CONNECT, and wants to be answered like one.
    pub(super) websocket: Option<websocket::Key>,
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
    /// Those of a connection that speaks HTTP/2.
    pub(super) fn streams(door: Door, place: Place, speech: Speech) -> Self {
        let (control, pinned) = (Arc::default(), Pinned::default());
        Self { door, place, control, pinned, speech, is_http2: true }
    }

    /// Room for what a head takes, in the budgets of whoever speaks.
    pub(super) fn room(&self, bytes: u64) -> Result<Option<Room>, Refusal> {
        let Place::Inside { caller, .. } = &self.place else { return Ok(None) };
        let mut room = self.door.room_for(&caller.tenant);
        room.grow(bytes)?;
        Ok(Some(room))
    }

    /// Judges the head of a stream.
    pub(super) fn judge(&self, parts: &mut http::request::Parts) -> Result<Option<websocket::Key>, Refusal> {
        let Place::Inside { origin, .. } = &self.place else {
            return Err(Refusal::malformed("HTTP/2 is spoken inside tunnels only."));
        };
        stream_head::judge(parts, origin, self.door.shared.settings.load().head_bytes)
    }

    /// How long a client may be silent within a content.
    pub(super) fn patience(&self) -> Duration {
        self.door.shared.settings.load().body
    }

    /// A request that passed the gate, or was put in the place of one that did not.
    async fn gated(&self, mut request: Request<Incoming>) -> Response<Answer> {
        let refused = request.headers_mut().remove(REFUSED).and_then(|_| self.control.take_refusal());
        let asked = Asked { control: &self.control, refused, websocket: None };
        self.answer(request.map(Received::gated), asked).await
    }

    /// Answers one request and writes down what became of it.
    pub(super) async fn answer(&self, request: Request<Received>, asked: Asked<'_>) -> Response<Answer> {
        let control = asked.control;
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
        let is_grpc = self.is_http2 && grpc::is_call(request.headers());
        let mut seen = exchange::Seen::default();
        let is_last = asked.refused.is_some();
        if is_last {
            case.refused = control.take_line();
            if let Place::Inside { origin, caller, .. } = &self.place {
                (case.caller, case.origin) = (Some(caller.as_ref().clone()), Some(origin.clone()));
            }
        }
        let mut outcome = match asked.refused {
            Some(refusal) => Err(refusal),
            None => self.route(request, control, (&mut case, &mut seen)).await,
        };
        if let Some(key) = asked.websocket {
            outcome = outcome.and_then(|response| key.answer(response));
        }
        let switched = matches!(&outcome, Ok(response) if is_switch(&case.method, response));
        if !(switched && case.method == Method::CONNECT) {
            self.count(&case, &seen, &outcome);
        }
        let hint = seen.bare.as_ref().map(inject::bare_hint);
        self.write_down(&case, &seen, &outcome, hint.as_deref());
        let mut response = outcome.unwrap_or_else(|refusal| {
            let target = case.origin.as_ref().map(ToString::to_string);
            let mut response = error::respond(&refusal, &case.id, target.as_deref(), hint.as_deref());
            if is_grpc {
                response = grpc::told(response, &refusal);
            }
            let closes = !self.is_http2 && (is_last || refusal.code == Code::Overloaded);
            if closes { error::closing(response) } else { response }
        });
        if let Some(hint) = hint.and_then(|hint| HeaderValue::try_from(hint).ok()) {
            response.headers_mut().insert(fields::HINT, hint);
        }
        if !self.is_http2 && !switched && self.door.shared.drain.has_begun() {
            // The client learns it from the answer, and loses no request that it sends meanwhile.
            response = error::closing(response);
        }
        match (may_switch, switched) {
            (true, true) => control.switched(),
            (true, false) => control.stays_http(),
            (false, _) => {}
        }
        response.map(|answer| answer.told_to(control))
    }

    async fn route(
        &self,
        request: Request<Received>,
        control: &Arc<Control>,
        (case, seen): (&mut Case, &mut exchange::Seen),
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
                    Form::Absolute(origin) => {
                        self.door.belongs_to(&caller.tenant)?;
                        (origin, caller)
                    }
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
        let (door, pinned, speech) = (&self.door, &self.pinned, self.speech);
        let by_connect = self.is_http2;
        let about = About { id: &case.id, client: self.client(), began: case.began, method: &case.method, uri: &case.uri };
        let settings = &door.shared.settings.load();
        let visit = Visit { door, settings, caller: &caller, origin: &origin, control, pinned, speech, by_connect, about };
        exchange::exchange(&visit, request, seen).await
    }

    /// A request inside a tunnel must be for the tunnel's origin, by whoever may still use it: the caller
    /// with its rights as they are now.
    fn inside(&self, request: &Request<Received>, form: Form, origin: &Origin, caller: &Caller) -> Result<Caller, Refusal> {
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
        request: Request<Received>,
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

    fn client(&self) -> Option<SocketAddr> {
        match &self.place {
            Place::Front { client, .. } => Some(client.address),
            Place::Inside { caller, .. } => caller.address(),
        }
    }

    /// One audit entry for each exchange that held a reference, was refused, has a hint to give, or has a
    /// content that may hold a reference nobody saw.
    fn write_down(&self, case: &Case, seen: &exchange::Seen, outcome: &Result<Response<Answer>, Refusal>, hint: Option<&str>) {
        if outcome.is_ok() && !seen.is_notable() && hint.is_none() {
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
            client: self.client(),
            runner: case.caller.as_ref().and_then(Caller::runner_name),
            organization: case.caller.as_ref().map(|caller| &caller.organization),
            method,
            url: &url,
            origin: origin.as_deref(),
            host: case.origin.as_ref().map(|origin| &origin.host),
            secrets: &secrets,
            redacted: &seen.redacted,
            unsearched: seen.unsearched,
            answer_unsearched: seen.answer_unsearched,
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
    fn of(request: &Request<Received>) -> Result<Self, Refusal> {
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
