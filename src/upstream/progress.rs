//! How far the content of a request has come: whose turn it is, since when, and why it broke off.
//!
//! Sending and waiting happen in different tasks. The sending body notes here what it does, so
//! that the wait for a response head runs only while it is the upstream's turn: a long upload is
//! not cut, and an upstream that stops reading is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::error::BoxError;

/// The progress of one request's content.
pub(super) struct Progress(Mutex<State>);

struct State {
    turn: Turn,
    since: Instant,
    failure: Option<BoxError>,
    stopped: bool,
    /// Who waits for the client's content, on a connection that is shared.
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Content is asked for, and the client has not sent it yet.
    Client,
    /// The upstream has content to read.
    Upstream,
    /// All content was handed over; the upstream has to answer.
    Ended,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { turn: Turn::Upstream, since: Instant::now(), failure: None, stopped: false, waiting: None }))
    }

    pub(super) fn awaits_client(&self) {
        self.turn(Turn::Client);
    }

    /// Nobody wants the rest of the content any more: on a connection that others use too, it has to
    /// be broken off by itself.
    pub(super) fn stop(&self) {
        let waiting = {
            let mut state = self.state();
            state.stopped = true;
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Whether the content is to be broken off; if not, `waiting` is woken when it is.
    pub(super) fn is_stopped(&self, waiting: &Waker) -> bool {
        let mut state = self.state();
        if !state.stopped && !state.waiting.as_ref().is_some_and(|known| known.will_wake(waiting)) {
            state.waiting = Some(waiting.clone());
        }
        state.stopped
    }

    pub(super) fn moved(&self) {
        self.turn(Turn::Upstream);
    }

    pub(super) fn ended(&self) {
        self.turn(Turn::Ended);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().turn == Turn::Ended
    }

    pub(super) fn failed(&self, error: BoxError) {
        self.state().failure = Some(error);
    }

    /// Why the content broke off, if it did; told once.
    pub(super) fn take_failure(&self) -> Option<BoxError> {
        self.state().failure.take()
    }

    /// Starts the clock again, for another attempt.
    pub(super) fn restart(&self) {
        self.state().since = Instant::now();
    }

    /// Resolves once it has been the upstream's turn for `limit` without anything happening.
    pub(super) async fn exhausted(&self, limit: Duration) {
        loop {
            let (turn, since) = {
                let state = self.state();
                (state.turn, state.since)
            };
            let now = Instant::now();
            // While it is the client's turn, the earliest end is a whole limit away: to look again
            // then is exact, and nobody need wake this task in between.
            let end = if turn == Turn::Client { now + limit } else { since + limit };
            if end <= now {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    fn turn(&self, turn: Turn) {
        let mut state = self.state();
        // The client's turn begins once, however often its content is asked for.
        if state.turn != turn || turn == Turn::Upstream {
            state.turn = turn;
            state.since = Instant::now();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
