//! One HTTP/2 connection to an upstream: many exchanges at once, each on a stream of its own.
//!
//! PING frames are never sent: some servers take them for abuse, and a connection that is dead is
//! noticed by the timeouts of the exchanges on it.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use http_body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;
use tokio::time::Instant;

use super::carrier::{Again, Sent};
use super::egress::Opened;
use super::error::BoxError;
use super::greeting::Greeting;
use super::sending::Sending;
use super::watched::{Transport, Watched};

/// What an upstream may send on one stream before it was read: 25 MB a second over a round trip of 40 ms.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same for a whole connection, and thereby what a worker may hold of it for slow readers.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What is taken from a client before the upstream took it, on each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// The largest head of a response, as in HTTP/1.1.
const MAX_HEAD: u32 = 128 * 1024;
/// Streams on one connection, if the upstream permits as many: beyond, a lost segment delays too many.
const MAX_STREAMS: u32 = 100;

/// A connection that many share. It is let go by whoever keeps it; streams that are open go on.
pub(super) struct Multiplexed<B> {
    sender: SendRequest<Sending<B>>,
    greeting: watch::Receiver<Greeting>,
    load: Arc<Load>,
    opened: Opened,
}

/// The streams that are open on one connection.
struct Load {
    streams: AtomicUsize,
    /// Since when there are none.
    rests_since: Mutex<Instant>,
}

/// A place for one exchange on a connection that is shared; given back when dropped.
pub(super) struct Place<B>(Multiplexed<B>);

impl<B> Multiplexed<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Begins HTTP/2 on a transport. The connection lives until the future that comes with it ends: it
    /// does when the connection has closed, or rested for `idle`.
    pub(super) async fn begin(
        transport: Transport,
        opened: Opened,
        idle: Duration,
    ) -> hyper::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        let (io, greeting) = Watched::greeted(transport);
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD)
            .handshake(TokioIo::new(io))
            .await?;
        let load = Arc::new(Load { streams: AtomicUsize::new(0), rests_since: Mutex::new(Instant::now()) });
        let rested = Arc::clone(&load);
        let lives = async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::trace!(%error, "an upstream connection ended with an error");
                },
                () = rested.rests_for(idle) => {}
            }
        };
        Ok((Self { sender, greeting, load, opened }, lives))
    }
}

impl<B> Multiplexed<B> {
    /// A place on it. `beyond`: also where there are as many streams already as the upstream takes; the
    /// request then waits for one of them to end.
    pub(super) fn place(&self, beyond: bool) -> Option<Place<B>> {
        if self.sender.is_closed() || (!beyond && self.streams() >= self.capacity()) {
            return None;
        }
        self.load.streams.fetch_add(1, Ordering::Relaxed);
        Some(Place(self.clone()))
    }

    pub(super) fn streams(&self) -> usize {
        self.load.streams.load(Ordering::Relaxed)
    }

    /// Since when it is used by nobody, if that is so.
    pub(super) fn rests_since(&self) -> Option<Instant> {
        (self.streams() == 0).then(|| self.load.since())
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.load, &other.load)
    }

    /// What the upstream says first.
    pub(super) async fn greeting(&mut self) -> Greeting {
        match self.greeting.wait_for(|greeting| *greeting != Greeting::Awaited).await {
            Ok(greeting) => *greeting,
            Err(_) => Greeting::Foreign,
        }
    }

    fn capacity(&self) -> usize {
        let permitted = match *self.greeting.borrow() {
            Greeting::Settings { max_streams, .. } => max_streams.min(MAX_STREAMS),
            Greeting::Awaited | Greeting::Foreign => MAX_STREAMS,
        };
        usize::try_from(permitted).unwrap_or(usize::MAX)
    }
}

impl<B> Clone for Multiplexed<B> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), greeting: self.greeting.clone(), load: Arc::clone(&self.load), opened: self.opened }
    }
}

impl Load {
    fn since(&self) -> Instant {
        *self.rests_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves once no stream was open for `limit`.
    async fn rests_for(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            // A stream that is open ends now at the earliest: to look again after a whole limit is early enough.
            let end = if self.streams.load(Ordering::Relaxed) == 0 { self.since() + limit } else { now + limit };
            if end <= now {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

impl<B> Place<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends one request and waits for the head of its response. Given up, the stream is reset.
    pub(super) async fn send(&mut self, request: Request<Sending<B>>) -> Sent<B> {
        match self.0.sender.try_send_request(request).await {
            Ok(response) => Sent::Answered(response),
            Err(mut refused) => {
                if let Some(request) = refused.take_message() {
                    return Sent::Unsent(request);
                }
                let error = refused.into_error();
                Sent::Failed { again: again(&error), error }
            }
        }
    }
}

impl<B> Place<B> {
    /// By whose leave the address was dialled.
    pub(super) fn opened(&self) -> Opened {
        self.0.opened
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.sender.is_closed()
    }

    /// Whether the upstream knows extended CONNECT; its first frame is waited for.
    pub(super) async fn knows_extended_connect(&mut self) -> bool {
        matches!(self.0.greeting().await, Greeting::Settings { extended_connect: true, .. })
    }

    /// For how long nobody had used the connection before this stream.
    pub(super) fn rested(&self) -> Duration {
        if self.0.streams() > 1 { Duration::ZERO } else { self.0.load.since().elapsed() }
    }
}

/// What an upstream's way to end a stream says about the request on it.
fn again(error: &hyper::Error) -> Again {
    let Some(fault) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else { return Again::Never };
    match fault.reason() {
        // Streams that a GOAWAY does not cover were not looked at (RFC 9113 section 6.8).
        _ if fault.is_go_away() && fault.is_remote() => Again::Always,
        Some(Reason::REFUSED_STREAM) if fault.is_remote() => Again::Always,
        Some(Reason::HTTP_1_1_REQUIRED) if fault.is_remote() => Again::InHttp1,
        _ if fault.is_io() => Again::IfIdempotent,
        _ => Again::Never,
    }
}

impl<B> Drop for Place<B> {
    fn drop(&mut self) {
        let load = &self.0.load;
        if load.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *load.rests_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use h2::server::SendResponse;
    use http::Response;
    use http_body_util::{BodyExt as _, Full};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::super::error::{Error, Kind};
    use super::super::lane::{Speech, Upstream};
    use super::super::returning::Returning;
    use super::super::settings::Settings;
    use super::super::test_server::{SOON, Server, origin, request, settings, tenant, upstream};
    use super::*;
    use crate::origin::Origin;

    type Asked = (Request<h2::RecvStream>, SendResponse<Bytes>);

    /// An HTTP/2 origin; `answer` gets each request with the number of its connection.
    struct Http2 {
        origin: Origin,
        accepted: Arc<AtomicUsize>,
    }

    impl Http2 {
        async fn start<F>(max_streams: u32, answer: impl Fn(usize, Asked) -> F + Clone + Send + 'static) -> Self
        where
            F: Future<Output = ()> + Send + 'static,
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let origin = origin(&listener.local_addr().expect("an address").to_string());
            let accepted = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&accepted);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                    tokio::spawn(serve(stream, max_streams, number, answer.clone()));
                }
            });
            Self { origin, accepted }
        }

        async fn answering() -> Self {
            Self::start(100, |_, (_, mut respond)| async move { say(&mut respond, "ok") }).await
        }

        fn accepted(&self) -> usize {
            self.accepted.load(Ordering::SeqCst)
        }
    }

    async fn serve<F>(stream: TcpStream, max_streams: u32, number: usize, answer: impl Fn(usize, Asked) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut builder = h2::server::Builder::new();
        let mut connection = builder.max_concurrent_streams(max_streams).handshake(stream).await.expect("HTTP/2");
        while let Some(Ok(asked)) = connection.accept().await {
            if asked.0.uri().path() == "/last" {
                connection.graceful_shutdown();
            }
            tokio::spawn(answer(number, asked));
        }
    }

    fn say(respond: &mut SendResponse<Bytes>, content: &'static str) {
        let mut stream = respond.send_response(Response::new(()), false).expect("open");
        stream.send_data(Bytes::from_static(content.as_bytes()), true).expect("open");
    }

    async fn ask(
        upstream: &Upstream<Full<Bytes>>,
        to: &Http2,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Returning<Full<Bytes>>>, Error> {
        let lane = upstream.reserve(&tenant("t"), &to.origin, None, Speech::PriorKnowledge).await?;
        timeout(SOON, lane.send(request)).await.expect("in time")
    }

    async fn fetch(upstream: &Upstream<Full<Bytes>>, to: &Http2, request: Request<Full<Bytes>>) -> Result<String, Error> {
        let content = ask(upstream, to, request).await?.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8(content.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn many_exchanges_that_begin_at_once_share_one_connection() {
        let gate = Arc::new(Semaphore::new(0));
        let open = Arc::clone(&gate);
        let server = Http2::start(100, move |_, (_, mut respond)| {
            let open = Arc::clone(&open);
            async move {
                open.acquire().await.expect("open").forget();
                say(&mut respond, "ok");
            }
        })
        .await;
        let upstream = upstream(settings());
        let asked = (0..100).map(|_| fetch(&upstream, &server, request("POST", "content")));
        let answers = futures_of(asked);
        gate.add_permits(100);
        for answer in answers.await {
            assert_eq!(answer.expect("an answer"), "ok");
        }
        assert_eq!(server.accepted(), 1);
    }

    /// All of them at the same time.
    async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
        let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
        std::future::poll_fn(|cx| {
            for (future, answer) in pending.iter_mut().filter(|(_, answer)| answer.is_none()) {
                if let std::task::Poll::Ready(ready) = future.as_mut().poll(cx) {
                    *answer = Some(ready);
                }
            }
            if pending.iter().all(|(_, answer)| answer.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        pending.into_iter().filter_map(|(_, answer)| answer).collect()
    }

    #[tokio::test]
    async fn more_streams_than_the_upstream_takes_get_another_connection() {
        let server = Http2::start(2, |_, (_, respond)| async move { hold(respond).await }).await;
        let upstream = upstream(settings());
        fetch_first_settings(&upstream, &server).await;
        let (first, second) = (ask(&upstream, &server, request("GET", "")), ask(&upstream, &server, request("GET", "")));
        let held = futures_of([Box::pin(first), Box::pin(second)].into_iter()).await;
        assert_eq!(server.accepted(), 2, "one stream was open already");
        drop(held);
    }

    /// Answers with a head and then with nothing for ever.
    async fn hold(mut respond: SendResponse<Bytes>) {
        let stream = respond.send_response(Response::new(()), false).expect("open");
        std::future::pending::<()>().await;
        drop(stream);
    }

    /// Opens a stream that stays, so that the upstream's limit is known.
    async fn fetch_first_settings(upstream: &Upstream<Full<Bytes>>, server: &Http2) {
        let held = ask(upstream, server, request("GET", "")).await.expect("a head");
        std::mem::forget(held);
    }

    #[tokio::test]
    async fn tenants_share_nothing() {
        let server = Http2::answering().await;
        let upstream = upstream(settings());
        for (name, expected) in [("a", 1), ("b", 2), ("a", 2), ("b", 2)] {
            let lane = upstream.reserve(&tenant(name), &server.origin, None, Speech::PriorKnowledge).await.expect("a lane");
            drop(lane.send(request("GET", "")).await.expect("a head").into_body().collect().await.expect("content"));
            assert_eq!(server.accepted(), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn what_the_upstream_did_not_look_at_is_sent_again_if_it_has_no_content() {
        for (method, content, again) in [("GET", "", true), ("POST", "", true), ("POST", "content", false)] {
            let times = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&times);
            let server = Http2::start(100, move |_, (_, mut respond)| {
                let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                async move { if first { respond.send_reset(Reason::REFUSED_STREAM) } else { say(&mut respond, "ok") } }
            })
            .await;
            let answer = fetch(&upstream(settings()), &server, request(method, content)).await;
            assert_eq!(answer.is_ok(), again, "{method} {content}: {answer:?}");
            assert_eq!(times.load(Ordering::SeqCst), if again { 2 } else { 1 }, "{method} {content}");
        }
    }

    #[tokio::test]
    async fn what_was_looked_at_is_not_sent_again() {
        let times = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&times);
        let server = Http2::start(100, move |_, (_, mut respond)| {
            count.fetch_add(1, Ordering::SeqCst);
            async move { respond.send_reset(Reason::INTERNAL_ERROR) }
        })
        .await;
        let error = fetch(&upstream(settings()), &server, request("GET", "")).await.expect_err("reset");
        assert_eq!((error.kind(), times.load(Ordering::SeqCst)), (Kind::Protocol, 1), "{error}");
    }

    #[tokio::test]
    async fn after_a_goaway_the_next_request_takes_another_connection_and_the_last_one_ends() {
        let server = Http2::answering().await;
        let upstream = upstream(settings());
        let mut last = request("POST", "content");
        *last.uri_mut() = "/last".parse().expect("a target");
        assert_eq!(fetch(&upstream, &server, last).await.expect("an answer"), "ok");
        assert_eq!(fetch(&upstream, &server, request("POST", "content")).await.expect("an answer"), "ok");
        assert_eq!(server.accepted(), 2);
    }

    #[tokio::test]
    async fn a_reset_within_a_content_is_never_its_end_and_one_behind_it_takes_nothing_away() {
        for (reason, ended, whole) in [
            (Reason::NO_ERROR, false, false),
            (Reason::CANCEL, false, false),
            (Reason::INTERNAL_ERROR, false, false),
            (Reason::NO_ERROR, true, true),
        ] {
            let server = Http2::start(100, move |_, (_, mut respond)| async move {
                let mut stream = respond.send_response(Response::new(()), false).expect("open");
                stream.send_data(Bytes::from_static(b"hello"), ended).expect("open");
                // What was sent before the reset goes out before it.
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.send_reset(reason);
            })
            .await;
            let answer = fetch(&upstream(settings()), &server, request("GET", "")).await;
            assert_eq!(answer.is_ok(), whole, "{reason:?} {ended}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn a_response_that_nobody_reads_is_reset_and_the_connection_stays() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let server = Http2::start(100, move |_, (asked, mut respond)| {
            let tell = tell.clone();
            async move {
                if asked.uri().path() == "/long" {
                    let mut stream = respond.send_response(Response::new(()), false).expect("open");
                    let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.expect("a reset");
                    tell.send(reason).expect("the test waits");
                } else {
                    say(&mut respond, "ok");
                }
            }
        })
        .await;
        let upstream = upstream(settings());
        let mut long = request("GET", "");
        *long.uri_mut() = "/long".parse().expect("a target");
        drop(ask(&upstream, &server, long).await.expect("a head"));
        assert_eq!(timeout(SOON, told.recv()).await.expect("in time"), Some(Reason::CANCEL));
        assert_eq!(fetch(&upstream, &server, request("GET", "")).await.expect("an answer"), "ok");
        assert_eq!(server.accepted(), 1);
    }

    #[tokio::test]
    async fn an_upstream_that_does_not_know_http2_is_spoken_to_in_http_1_1() {
        let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let upstream = upstream(settings());
        for _ in 0..3 {
            let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::PriorKnowledge).await.expect("a lane");
            let answer = lane.send(request("GET", "")).await.expect("a head").into_body().collect().await;
            assert_eq!(answer.expect("content").to_bytes(), "ok");
        }
        let heads = server.heads();
        assert!(heads[0].starts_with("PRI * HTTP/2.0"), "{heads:?}");
        let asked = heads.iter().filter(|head| head.starts_with("GET ")).count();
        assert_eq!((server.accepted(), asked), (2, 3), "asked once, then one connection for all: {heads:?}");
    }

    #[tokio::test]
    async fn a_connection_that_rested_too_long_is_closed() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = origin(&listener.local_addr().expect("an address").to_string());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            serve(stream, 100, 1, |_, (_, mut respond)| async move { say(&mut respond, "ok") }).await;
            tell.send(()).expect("the test waits");
        });
        let server = Http2 { origin: to, accepted: Arc::default() };
        let upstream = upstream(Settings { idle: Duration::from_millis(50), ..settings() });
        assert_eq!(fetch(&upstream, &server, request("GET", "")).await.expect("an answer"), "ok");
        assert_eq!(timeout(SOON, told.recv()).await, Ok(Some(())));
    }

    #[tokio::test]
    async fn what_is_sensitive_never_enters_a_compression_table() {
        use tokio::io::AsyncReadExt as _;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = origin(&listener.local_addr().expect("an address").to_string());
        let server = Http2 { origin: to, accepted: Arc::default() };
        let mut asked = request("GET", "");
        let mut value = http::HeaderValue::from_static("QUIET");
        value.set_sensitive(true);
        asked.headers_mut().insert("x-key", value);
        asked.headers_mut().insert("x-open", http::HeaderValue::from_static("OPEN"));
        let upstream = upstream(settings());
        let heard = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            tokio::io::AsyncWriteExt::write_all(&mut stream, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("open");
            let mut bytes = Vec::new();
            while stream.read_buf(&mut bytes).await.expect("open") > 0 {
                if let Some(block) = header_block(&bytes) {
                    return block;
                }
            }
            panic!("no HEADERS frame in {bytes:?}");
        };
        let block = tokio::select! {
            block = heard => block,
            _ = ask(&upstream, &server, asked) => panic!("nobody answers"),
        };
        // RFC 7541 section 6.2.3: 0001xxxx is a literal that is never indexed; 01xxxxxx one that is.
        let at = |name: u8| block.iter().enumerate().filter(|(_, byte)| **byte == name).map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!((at(0x10).len(), at(0x40).len()), (1, 1), "{block:?}");
    }

    /// The payload of the first HEADERS frame behind the preface.
    fn header_block(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut rest = bytes.get(24..)?;
        loop {
            let (head, after) = rest.split_at_checked(9)?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let payload = after.get(..length)?;
            if head[3] == 1 {
                return Some(payload.to_vec());
            }
            rest = &after[length..];
        }
    }
}
