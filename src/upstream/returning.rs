//! A response's content on its way back, which gives its connection back when it has ended.
//!
//! Content that is cut short is an error and never an end, so that nobody downstream of it takes
//! half an answer for a whole one. No task is spawned for giving back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::connection::Connection;
use super::error::{Error, Wait};
use super::pool::{Key, Pinned, Pool};
use super::progress::Progress;

/// The content of a response.
pub struct Returning<B> {
    content: Incoming,
    state: State,
    /// Taken when it goes home.
    connection: Option<Connection<B>>,
    way_home: WayHome<B>,
    request: Arc<Progress>,
    silence: Silence,
}

/// Where a connection belongs once its exchange is over.
pub(super) struct WayHome<B> {
    pub(super) key: Key,
    pub(super) home: Home<B>,
}

/// The place a connection rests in.
pub(super) enum Home<B> {
    Pool(Pool<B>),
    Pinned(Pinned<B>),
    /// Nowhere: it speaks another protocol from now on (a 101 response).
    Nowhere,
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
        connection: Connection<B>,
        way_home: WayHome<B>,
        (request, stall): (Arc<Progress>, Duration),
    ) -> Self {
        let silence = Silence { limit: stall, timer: None, running: false };
        Self { content, state: State::Reading, connection: Some(connection), way_home, request, silence }
    }

    /// The connection was authenticated as a connection: it belongs to this client from now on.
    pub fn keep_for(&mut self, pinned: &Pinned<B>) {
        if !matches!(self.way_home.home, Home::Nowhere) {
            self.way_home.home = Home::Pinned(pinned.clone());
        }
    }

    fn end(&mut self) {
        self.state = State::Ended;
        let Some(mut connection) = self.connection.take() else { return };
        let WayHome { key, home } = &self.way_home;
        match home {
            Home::Nowhere => connection.rest(),
            // Still busy with the request's content: nobody else can use it, so it is closed.
            _ if !self.request.has_ended() => {}
            Home::Pool(pool) => {
                connection.rest();
                pool.put(key.clone(), connection);
            }
            Home::Pinned(pinned) => {
                connection.rest();
                pinned.put(key.clone(), connection);
            }
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.state = State::Failed;
        self.connection = None;
        Poll::Ready(Some(Err(error)))
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
                let error = this.broken(format!("its response broke off ({error})"));
                this.fail(error)
            }
            Poll::Ready(None) if this.content.size_hint().lower() > 0 => {
                let error = this.broken("its response ended before its Content-Length".to_owned());
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
