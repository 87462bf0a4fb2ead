//! One request and the head of its response, whichever connections that takes.
//!
//! A request is sent a second time in these cases only: the connection was closed before anything of it
//! was written; the upstream says that it did nothing with it (HTTP/2); or nothing at all came back on a
//! connection that had been resting. But for the first, the request has no content, and in the last its
//! method is idempotent (RFC 9110 section 9.2.2).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use super::carrier::{Again, Carrier, Sent};
use super::egress::Opened;
use super::error::{BoxError, Error, Wait};
use super::home::{Home, Key, Pinned, WayHome};
use super::lane::{Speech, Upstream};
use super::progress::Progress;
use super::resolve::Route;
use super::returning::Returning;
use super::sending::Sending;
use super::shape;
use super::tls_fault::TlsFault;
use crate::origin::Scheme;

/// One exchange, whichever connections it takes.
pub(super) struct Exchange<B> {
    upstream: Upstream<B>,
    key: Key,
    pinned: Option<Pinned<B>>,
    speech: Speech,
    /// What [`Lane::opened_by_config`] was answered from.
    opened: Opened,
    progress: Arc<Progress>,
}

/// Where an exchange stands when its connection failed it.
struct Second<B> {
    request: Request<Sending<B>>,
    speech: Speech,
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(upstream: Upstream<B>, key: Key, (pinned, speech): (Option<Pinned<B>>, Speech), opened: Opened) -> Self {
        Self { upstream, key, pinned, speech, opened, progress: Arc::new(Progress::new()) }
    }

    /// Dials a route and sends the request there.
    pub(super) async fn dial_and_send(
        self,
        route: Route,
        left: Duration,
        request: Request<B>,
    ) -> Result<Response<Returning<B>>, Error> {
        let request = self.prepared(request);
        // In a box, as everything that is rare: the common way is short of stack and quickly moved.
        let carrier = Box::pin(self.upstream.connect(&self.key, self.speech, route, left)).await?;
        self.first(carrier, request, false).await
    }

    /// Sends the request on a connection that was there, or on a new one where that failed without
    /// harm.
    pub(super) async fn send_on(self, carrier: Carrier<B>, request: Request<B>) -> Result<Response<Returning<B>>, Error> {
        let request = self.prepared(request);
        self.first(carrier, request, true).await
    }

    async fn first(
        self,
        mut carrier: Carrier<B>,
        request: Request<Sending<B>>,
        was_there: bool,
    ) -> Result<Response<Returning<B>>, Error> {
        if shape::wants_switch(&request) {
            carrier = Box::pin(self.that_can_switch(carrier)).await?;
        }
        let without_content = request.body().is_end_stream().then(|| head_of(&request));
        let second = match self.attempt(&mut carrier, request).await? {
            Sent::Answered(response) => return Ok(self.returning(response, carrier)),
            Sent::Unsent(request) if was_there || matches!(carrier, Carrier::Shared(_)) => {
                Second { request, speech: self.speech }
            }
            Sent::Failed { error, again } => match without_content {
                Some(head) if permits(again, head.method(), was_there) => {
                    let speech = if again == Again::InHttp1 { Speech::Http1 } else { self.speech };
                    Second { request: head.map(|()| Sending::nothing(Arc::clone(&self.progress))), speech }
                }
                _ => return Err(self.failure(&error)),
            },
            other => return Err(self.unanswered(&other)),
        };
        drop(carrier);
        Box::pin(self.second(second)).await
    }

    async fn second(self, Second { request, speech }: Second<B>) -> Result<Response<Returning<B>>, Error> {
        let mut carrier = self.reconnect(speech).await?;
        match self.attempt(&mut carrier, request).await? {
            Sent::Answered(response) => Ok(self.returning(response, carrier)),
            other => Err(self.unanswered(&other)),
        }
    }

    /// A connection on which another protocol can be asked for.
    async fn that_can_switch(&self, mut carrier: Carrier<B>) -> Result<Carrier<B>, Error> {
        if let Carrier::Shared(place) = &mut carrier {
            let limit = self.upstream.settings.head_timeout;
            let knows = tokio::time::timeout(limit, place.knows_extended_connect()).await;
            let late = |_| Error::Timeout { origin: self.key.origin.clone(), wait: Wait::Head, limit };
            if !knows.map_err(late)? {
                return self.reconnect(Speech::Http1).await;
            }
        }
        Ok(carrier)
    }

    fn prepared(&self, request: Request<B>) -> Request<Sending<B>> {
        request.map(|content| Sending::new(content, Arc::clone(&self.progress)))
    }

    async fn attempt(&self, carrier: &mut Carrier<B>, request: Request<Sending<B>>) -> Result<Sent<B>, Error> {
        let limit = self.upstream.settings.head_timeout;
        self.progress.restart();
        tokio::select! {
            biased;
            sent = carrier.send(request, &self.key.origin) => Ok(sent),
            () = self.progress.exhausted(limit) => {
                Err(Error::Timeout { origin: self.key.origin.clone(), wait: Wait::Head, limit })
            }
        }
    }

    /// Dials anew for a connection that had gone. What was promised about its address still holds,
    /// or nothing is sent: a secret may be on its way in cleartext because of that promise.
    async fn reconnect(&self, speech: Speech) -> Result<Carrier<B>, Error> {
        let origin = &self.key.origin;
        let (route, left) = self.upstream.route(&self.key.tenant, origin).await?;
        if origin.scheme == Scheme::Http && self.opened == Opened::ByConfig && route.opened != Opened::ByConfig {
            let cause = "its address changed meanwhile to one that the config does not open; try again".to_owned();
            return Err(Error::Refused { origin: origin.clone(), cause });
        }
        self.upstream.connect(&self.key, speech, route, left).await
    }

    fn returning(self, response: Response<Incoming>, carrier: Carrier<B>) -> Response<Returning<B>> {
        let Self { upstream, mut key, pinned, progress, .. } = self;
        if key.kind != Speech::Agreed && upstream.shared.speaks_http1(&key.origin) {
            // That was learned on the way: there is one kind of connection to it.
            key.kind = Speech::Agreed;
        }
        let home = match pinned {
            _ if response.status() == StatusCode::SWITCHING_PROTOCOLS => Home::Nowhere,
            Some(pinned) => Home::Pinned(pinned),
            None => Home::Pool(upstream.pool.clone()),
        };
        let stall = upstream.settings.body_stall;
        response.map(|content| Returning::new(content, carrier, WayHome { key, home }, (progress, stall)))
    }

    fn unanswered(&self, sent: &Sent<B>) -> Error {
        match sent {
            Sent::Failed { error, .. } => self.failure(error),
            Sent::Impossible => self.protocol("its host cannot stand in an HTTP/2 request".to_owned()),
            _ => self.protocol("it closed the connection as soon as that was made".to_owned()),
        }
    }

    fn failure(&self, error: &hyper::Error) -> Error {
        match self.progress.take_failure() {
            Some(failure) => Error::OwnBody(failure),
            None => match TlsFault::refused(error) {
                Some(fault) => Error::TlsRefused { origin: self.key.origin.clone(), fault },
                None => self.protocol(explained(error)),
            },
        }
    }

    fn protocol(&self, cause: String) -> Error {
        Error::Protocol { origin: self.key.origin.clone(), cause }
    }
}

/// Whether a request without content may be sent once more.
fn permits(again: Again, method: &Method, was_there: bool) -> bool {
    const IDEMPOTENT: [Method; 6] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
    match again {
        Again::Never => false,
        Again::IfIdempotent => was_there && IDEMPOTENT.contains(method),
        Again::Always | Again::InHttp1 => true,
    }
}

/// A request's head once more; the extensions carry the case of its field names.
fn head_of<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    *head.extensions_mut() = request.extensions().clone();
    head
}

fn explained(error: &hyper::Error) -> String {
    use std::error::Error as _;
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "it closed the connection before its response head was complete".to_owned();
    }
    if error.is_parse_too_large() {
        return "the head of its response is too large".to_owned();
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;
    use http_body_util::combinators::BoxBody;
    use http_body_util::{BodyExt as _, Full};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::{mpsc, oneshot};
    use tokio::time::timeout;

    use super::super::error::Kind;
    use super::super::settings::Settings;
    use super::super::test_server::{SOON, Server, fetch, origin, request, settings, tenant, upstream};
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[tokio::test]
    async fn writes_the_head_as_it_is_given_and_nothing_of_its_own() {
        let server = Server::answering(OK).await;
        fetch(&upstream(settings()), &server.origin(), "GET").await.expect("an answer");
        assert_eq!(server.heads(), ["GET /a?b HTTP/1.1\r\nhost: h.example\r\n\r\n"]);
    }

    /// Closes the first connection when told to, after one answer.
    async fn closing_when_told() -> (Server, oneshot::Sender<()>, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        let (done, closed) = oneshot::channel();
        let script = std::sync::Mutex::new(Some((told, done)));
        let server = Server::start(move |mut visit| {
            let first = script.lock().expect("not poisoned").take();
            async move {
                while visit.head().await.is_some() {
                    visit.say(OK).await;
                    if let Some((told, done)) = first {
                        let _ = told.await;
                        drop(visit);
                        let _ = done.send(());
                        return;
                    }
                }
            }
        })
        .await;
        (server, tell, closed)
    }

    #[tokio::test]
    async fn a_connection_that_closed_after_it_was_reserved_is_replaced_also_for_post() {
        let (server, tell, closed) = closing_when_told().await;
        let upstream = upstream(settings());
        fetch(&upstream, &server.origin(), "GET").await.expect("an answer");
        let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
        tell.send(()).expect("listening");
        closed.await.expect("closed");
        // Each yield is a look at the sockets, which have the end by now.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let response = lane.send(request("POST", "content")).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!((server.accepted(), server.heads().len()), (2, 2));
    }

    /// Answers once, then reads one more request on the first connection and closes, having said
    /// `last`; other connections answer.
    async fn silent_after_the_first(last: &'static str) -> Server {
        Server::start(move |mut visit| async move {
            let mut count = 0;
            while visit.head().await.is_some() {
                count += 1;
                if visit.number == 1 && count == 2 {
                    return visit.say(last).await;
                }
                visit.say(OK).await;
            }
        })
        .await
    }

    #[tokio::test]
    async fn only_idempotent_requests_without_content_that_met_silence_are_sent_again() {
        for (method, content, last, sent_again) in [
            ("GET", "", "", true),
            ("DELETE", "", "", true),
            ("PUT", "", "", true),
            ("POST", "", "", false),
            ("PATCH", "", "", false),
            ("PUT", "content", "", false),
            ("GET", "", "HTTP/1.1 2", false),
            ("GET", "", "HTTP/1.1 100 Continue\r\n\r\n", false),
        ] {
            let server = silent_after_the_first(last).await;
            let upstream = upstream(settings());
            fetch(&upstream, &server.origin(), "GET").await.expect("an answer");
            let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
            let answer = lane.send(request(method, content)).await;
            let case = format!("{method} {content:?} {last:?}");
            let heads = server.heads();
            assert_eq!((server.accepted(), heads.len()), if sent_again { (2, 3) } else { (1, 2) }, "{case}");
            match answer {
                Ok(_) => assert!(sent_again && heads[1] == heads[2], "{case}"),
                Err(error) => assert!(!sent_again && error.kind() == Kind::Protocol, "{case}: {error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_new_connection_is_given_no_second_chance() {
        let server = Server::start(|mut visit| async move { drop(visit.head().await) }).await;
        let error = fetch(&upstream(settings()), &server.origin(), "GET").await.expect_err("closed");
        assert_eq!(error.kind(), Kind::Protocol);
        assert!(error.to_string().contains("closed the connection before its response head"), "{error}");
        assert_eq!((server.accepted(), server.heads().len()), (1, 1));
    }

    #[tokio::test]
    async fn what_was_promised_about_an_address_holds_when_it_is_dialled_again() {
        let public = Settings { rules: super::super::Rules::default(), ..settings() };
        let key = Key { tenant: tenant("t"), origin: origin("1.1.1.1"), kind: Speech::Agreed, generation: 1 };
        let exchange = Exchange::new(upstream(public), key, (None, Speech::Agreed), Opened::ByConfig);
        let Err(error) = exchange.reconnect(Speech::Agreed).await else { panic!("it dialled") };
        assert!(error.to_string().contains("the config does not open"), "{error}");
    }

    #[tokio::test]
    async fn an_upstream_that_does_not_answer_is_waited_for_until_the_limit() {
        let server = Server::start(|mut visit| async move { drop(visit.rest().await) }).await;
        let limit = Duration::from_millis(50);
        let error = fetch(&upstream(Settings { head_timeout: limit, ..settings() }), &server.origin(), "GET").await;
        assert!(matches!(error, Err(Error::Timeout { wait: Wait::Head, .. })));
    }

    /// Content that a test hands over piece by piece.
    struct Fed(mpsc::UnboundedReceiver<Result<Bytes, std::io::Error>>);

    impl Body for Fed {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.poll_recv(cx).map(|item| item.map(|item| item.map(Frame::data)))
        }
    }

    type Boxed = BoxBody<Bytes, std::io::Error>;

    fn fed() -> (mpsc::UnboundedSender<Result<Bytes, std::io::Error>>, Request<Boxed>) {
        let (feed, receiver) = mpsc::unbounded_channel();
        let request = Request::post("/").header("host", "h.example").body(BoxBody::new(Fed(receiver)));
        (feed, request.expect("a request"))
    }

    #[tokio::test]
    async fn a_long_upload_is_not_cut_while_the_client_still_sends() {
        let server = Server::start(|mut visit| async move {
            visit.head().await;
            let mut seen = Vec::new();
            while !seen.ends_with(b"0\r\n\r\n") {
                seen.push(visit.stream.read_u8().await.expect("more"));
            }
            visit.say(OK).await;
        })
        .await;
        let limit = Duration::from_millis(60);
        let upstream = Upstream::<Boxed>::new(Arc::new(Settings { head_timeout: limit, ..settings() }));
        let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
        let (feed, request) = fed();
        let feeding = tokio::spawn(async move {
            for _ in 0..3 {
                feed.send(Ok(Bytes::from_static(b"piece"))).expect("read");
                tokio::time::sleep(limit * 2).await;
            }
        });
        assert_eq!(lane.send(request).await.expect("an answer").status(), 200);
        feeding.await.expect("fed");
    }

    #[tokio::test]
    async fn an_upstream_that_stops_reading_is_not_waited_for_for_ever() {
        let server = Server::start(|mut visit| async move {
            visit.head().await;
            std::future::pending::<()>().await;
        })
        .await;
        let settings = Settings { head_timeout: Duration::from_millis(60), ..settings() };
        let upstream = Upstream::<Boxed>::new(Arc::new(settings));
        let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
        let (feed, request) = fed();
        for _ in 0..64 {
            feed.send(Ok(Bytes::from(vec![0; 1024 * 1024]))).expect("kept");
        }
        let error = timeout(SOON, lane.send(request)).await.expect("in time").err();
        assert!(matches!(error, Some(Error::Timeout { wait: Wait::Head, .. })));
    }

    #[tokio::test]
    async fn content_that_breaks_off_is_told_as_it_is_and_never_looks_complete() {
        let (tell, told) = oneshot::channel();
        let tell = std::sync::Mutex::new(Some(tell));
        let server = Server::start(move |mut visit| {
            let tell = tell.lock().expect("not poisoned").take();
            async move {
                visit.head().await;
                let seen = visit.rest().await;
                let _ = tell.expect("one connection").send(seen);
            }
        })
        .await;
        let upstream = Upstream::<Boxed>::new(Arc::new(settings()));
        let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
        let (feed, request) = fed();
        feed.send(Ok(Bytes::from_static(b"half"))).expect("read");
        feed.send(Err(std::io::Error::other("the client went away"))).expect("read");
        let error = lane.send(request).await.err().expect("broken off");
        let Error::OwnBody(cause) = error else { panic!("{error}") };
        assert!(cause.downcast_ref::<std::io::Error>().is_some_and(|cause| cause.to_string() == "the client went away"));
        let seen = timeout(SOON, told).await.expect("in time").expect("told");
        assert!(!seen.ends_with(b"0\r\n\r\n"), "the last chunk must not be there: {seen:?}");
    }

    #[tokio::test]
    async fn a_connection_whose_request_was_answered_early_is_closed_and_not_used_again() {
        let server = Server::start(|mut visit| async move {
            visit.head().await;
            visit.say(OK).await;
            visit.rest().await;
        })
        .await;
        let upstream = Upstream::<Boxed>::new(Arc::new(settings()));
        for expected in [1, 2] {
            let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
            let (feed, request) = fed();
            let response = lane.send(request).await.expect("an answer");
            assert_eq!(response.into_body().collect().await.expect("content").to_bytes(), "ok");
            assert_eq!(server.accepted(), expected);
            timeout(SOON, feed.closed()).await.expect("nobody asks for the request's content any more");
        }
    }

    #[tokio::test]
    async fn an_upgrade_hands_the_connection_over_with_what_came_early() {
        let server = Server::start(|mut visit| async move {
            visit.head().await;
            visit.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly").await;
            let mut got = [0; 4];
            visit.stream.read_exact(&mut got).await.expect("four bytes");
            visit.stream.write_all(&got).await.expect("written");
        })
        .await;
        let upstream = upstream(settings());
        let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
        let response = lane.send(request("GET", "")).await.expect("a head");
        assert_eq!(response.status(), 101);
        let upgraded = hyper::upgrade::on(response).await.expect("upgraded");
        let mut io = hyper_util::rt::TokioIo::new(upgraded);
        io.write_all(b"ping").await.expect("written");
        let mut got = [0; 9];
        io.read_exact(&mut got).await.expect("nine bytes");
        assert_eq!(&got, b"earlyping");
    }

    #[tokio::test]
    async fn a_broken_head_is_a_protocol_error() {
        for head in ["HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n"]
        {
            let server = Server::answering(head).await;
            let error = fetch(&upstream(settings()), &server.origin(), "GET").await.expect_err(head);
            assert_eq!(error.kind(), Kind::Protocol, "{head:?}: {error}");
        }
    }

    #[test]
    fn futures_may_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let upstream = upstream(settings());
        let (tenant, origin) = (tenant("t"), origin("h.example"));
        is_send(&upstream.reserve(&tenant, &origin, None, Speech::Agreed));
        is_send(&upstream.dial(&tenant, &origin));
        let sending = async { upstream.reserve(&tenant, &origin, None, Speech::Agreed).await?.send(request("GET", "")).await };
        is_send(&sending);
        let _: Option<Full<Bytes>> = None;
    }
}
