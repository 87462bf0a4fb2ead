//! A response's content on its way back, which gives its connection back when it has ended.
//!
//! Content that is cut short is an error and never an end, so that nobody downstream of it takes
//! half an answer for a whole one. No task is spawned for giving back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::carrier::Carrier;
use super::error::{Error, Wait};
use super::home::{Home, Pinned, WayHome};
use super::progress::Progress;

/// The content of a response.
pub struct Returning<B> {
    content: Incoming,
    state: State,
    /// Taken when it goes home.
    carrier: Option<Carrier<B>>,
    way_home: WayHome<B>,
    request: Arc<Progress>,
    silence: Silence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed,
}

impl<B> Returning<B> {
    pub(super) fn new(
        content: Incoming,
        carrier: Carrier<B>,
        way_home: WayHome<B>,
        (request, stall): (Arc<Progress>, Duration),
    ) -> Self {
        let silence = Silence { limit: stall, timer: None, running: false };
        Self { content, state: State::Reading, carrier: Some(carrier), way_home, request, silence }
    }

    /// The connection was authenticated as a connection: it belongs to this client from now on.
    pub fn keep_for(&mut self, pinned: &Pinned<B>) {
        if !matches!(self.way_home.home, Home::Nowhere) {
            self.way_home.home = Home::Pinned(pinned.clone());
        }
    }

    /// The connection is used for nothing more: where this content ends, others might see it otherwise.
    pub fn use_no_more(&mut self) {
        self.way_home.home = Home::Nowhere;
    }

    fn end(&mut self) {
        self.state = State::Ended;
        match self.carrier.take() {
            Some(Carrier::Own(mut connection)) if matches!(self.way_home.home, Home::Nowhere) => connection.rest(),
            Some(Carrier::Own(connection)) if self.request.has_ended() => self.way_home.take_in(connection),
            // It is busy with the request's content still: nobody else can use it.
            Some(Carrier::Own(_)) | None => {}
            Some(Carrier::Shared(_)) => self.request.stop(),
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.state = State::Failed;
        self.let_go();
        Poll::Ready(Some(Err(error)))
    }

    /// Ends the exchange where it stands, the sending of the request's content included.
    fn let_go(&mut self) {
        if let Some(Carrier::Shared(_)) = self.carrier.take() {
            self.request.stop();
        }
    }

    /// Whether content that ended did so too early. A stream that was reset without an error reads like
    /// one that ended, but is not at its end.
    fn is_cut(&self) -> bool {
        match self.carrier {
            Some(Carrier::Shared(_)) => !self.content.is_end_stream(),
            _ => self.content.size_hint().lower() > 0,
        }
    }

    fn broken_by(&self, error: &hyper::Error) -> Error {
        use std::error::Error as _;
        let reason = error.source().and_then(|source| source.downcast_ref::<h2::Error>()).and_then(h2::Error::reason);
        match reason {
            // These say that nothing was done, and would have a client try again.
            Some(Reason::NO_ERROR | Reason::REFUSED_STREAM | Reason::HTTP_1_1_REQUIRED) | None => {
                self.broken(format!("its response broke off ({error})"))
            }
            Some(reason) => match self.request.take_failure() {
                Some(failure) => Error::OwnBody(failure),
                None => Error::Reset { origin: self.way_home.key.origin.clone(), fault: reason.into() },
            },
        }
    }

    fn broken(&self, cause: String) -> Error {
        match self.request.take_failure() {
            Some(failure) => Error::OwnBody(failure),
            None => Error::Protocol { origin: self.way_home.key.origin.clone(), cause },
        }
    }
}

impl<B> Body for Returning<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.state != State::Reading {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.content).poll_frame(cx) {
            Poll::Pending if this.silence.poll_over(cx) => {
                let origin = this.way_home.key.origin.clone();
                this.fail(Error::Timeout { origin, wait: Wait::Content, limit: this.silence.limit })
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                this.silence.stop();
                // Readers that know the length do not ask again after the last frame.
                if frame.is_trailers() || this.content.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = this.broken_by(&error);
                this.fail(error)
            }
            Poll::Ready(None) if this.is_cut() => {
                let error = this.broken("its response ended before it was complete".to_owned());
                this.fail(error)
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Reading => self.content.is_end_stream(),
            State::Ended => true,
            State::Failed => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl<B> Unpin for Returning<B> {}

impl<B> Drop for Returning<B> {
    fn drop(&mut self) {
        // Without content (HEAD, 204, 304, length 0) nobody ever asks for a frame.
        if self.state == State::Reading && self.content.is_end_stream() {
            self.end();
        }
        self.let_go();
    }
}

/// A clock that runs while content is waited for.
struct Silence {
    limit: Duration,
    /// Made when it is needed first, and then used again.
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Silence {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        if !self.running {
            self.running = true;
            timer.as_mut().reset(Instant::now() + self.limit);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    fn stop(&mut self) {
        self.running = false;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::super::error::Kind;
    use super::super::lane::Speech;
    use super::super::settings::Settings;
    use super::super::test_server::{Server, fetch, request, settings, tenant, upstream};
    use super::*;

    #[tokio::test]
    async fn a_connection_is_used_again_once_its_response_was_read_to_the_end() {
        for (method, response, content) in [
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
            ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"),
            ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n", "ok"),
            ("GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", ""),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", ""),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", ""),
        ] {
            let server = Server::answering(response).await;
            let upstream = upstream(settings());
            for _ in 0..3 {
                assert_eq!(fetch(&upstream, &server.origin(), method).await.expect(response), content);
            }
            assert_eq!((server.accepted(), server.heads().len()), (1, 3), "{response:?}");
        }
    }

    #[tokio::test]
    async fn a_response_without_content_goes_home_without_being_read() {
        let server = Server::answering("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n").await;
        let upstream = upstream(settings());
        for _ in 0..3 {
            let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
            let content = lane.send(request("GET", "")).await.expect("a head").into_body();
            assert!(content.is_end_stream());
            assert_eq!(content.size_hint().exact(), Some(0));
        }
        assert_eq!(server.accepted(), 1);
    }

    #[tokio::test]
    async fn a_response_that_was_not_read_to_the_end_closes_its_connection() {
        let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
        let upstream = upstream(settings());
        for expected in [1, 2] {
            let lane = upstream.reserve(&tenant("t"), &server.origin(), None, Speech::Agreed).await.expect("a lane");
            let response = lane.send(request("GET", "")).await.expect("a head");
            assert_eq!(response.body().size_hint().exact(), Some(5));
            drop(response);
            assert_eq!(server.accepted(), expected);
        }
    }

    #[tokio::test]
    async fn content_that_is_cut_is_an_error_and_content_that_ends_with_the_connection_is_not() {
        for (response, whole) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello", None),
            ("HTTP/1.1 200 OK\r\n\r\nhello", Some("hello")),
            ("HTTP/1.0 200 OK\r\n\r\nhello", Some("hello")),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", Some("hello")),
        ] {
            let server = Server::start(move |mut visit| async move {
                visit.head().await;
                visit.say(response).await;
            })
            .await;
            match fetch(&upstream(settings()), &server.origin(), "GET").await {
                Ok(content) => assert_eq!(Some(content.as_str()), whole, "{response:?}"),
                Err(error) => assert!(whole.is_none() && error.kind() == Kind::Protocol, "{response:?}: {error}"),
            }
        }
    }

    #[tokio::test]
    async fn content_that_stands_still_is_waited_for_until_the_limit() {
        let server = Server::start(|mut visit| async move {
            visit.head().await;
            visit.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
            visit.rest().await;
        })
        .await;
        let upstream = upstream(Settings { body_stall: Duration::from_millis(50), ..settings() });
        let error = fetch(&upstream, &server.origin(), "GET").await;
        assert!(matches!(error, Err(Error::Timeout { wait: Wait::Content, .. })), "{error:?}");
    }

    #[tokio::test]
    async fn a_connection_kept_for_one_client_serves_nobody_else() {
        let server = Server::answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
        let upstream = upstream(settings());
        let (tenant, origin) = (tenant("t"), server.origin());
        let (own, other) = (Pinned::<Full<Bytes>>::new(), Pinned::<Full<Bytes>>::new());

        let lane = upstream.reserve(&tenant, &origin, Some(&own), Speech::Agreed).await.expect("a lane");
        let mut response = lane.send(request("GET", "")).await.expect("a head");
        response.body_mut().keep_for(&own);
        drop(response.into_body().collect().await.expect("content"));
        assert_eq!(server.accepted(), 1);

        // Again without being told: it stays the client's own.
        for _ in 0..2 {
            let lane = upstream.reserve(&tenant, &origin, Some(&own), Speech::Agreed).await.expect("a lane");
            drop(lane.send(request("GET", "")).await.expect("a head").into_body().collect().await);
        }
        // A lane that is not used gives it back.
        drop(upstream.reserve(&tenant, &origin, Some(&own), Speech::Agreed).await.expect("a lane"));
        assert!(
            own.take(&super::super::home::Key {
                tenant: tenant.clone(),
                origin: origin.clone(),
                kind: Speech::Agreed,
                generation: 1
            })
            .is_some()
        );
        assert_eq!(server.accepted(), 1);

        for pinned in [None, Some(&other)] {
            let lane = upstream.reserve(&tenant, &origin, pinned, Speech::Agreed).await.expect("a lane");
            drop(lane.send(request("GET", "")).await.expect("a head").into_body().collect().await);
        }
        assert_eq!(server.accepted(), 2);
    }
}
