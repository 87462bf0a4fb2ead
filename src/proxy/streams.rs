//! The streams of one HTTP/2 client connection: how many are open, since when none is, and which of them
//! wait for a client that takes nothing.
//!
//! The library runs each stream in a task that it asks for here. So a stream whose client opens no room for the
//! answer can be ended by itself, and with it what it holds upstream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::budget::Room;

/// The streams of one connection; each clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    open: usize,
    none_since: Instant,
    /// The stream that was opened last, until its task is asked for.
    opened: Option<Weak<Turn>>,
    tasks: Vec<(Weak<Turn>, AbortHandle)>,
}

/// One stream, from its head to the end of both contents.
#[derive(Debug)]
pub(super) struct Open {
    streams: Streams,
    turn: Arc<Turn>,
    /// What its head takes of the budgets.
    _room: Option<Room>,
}

/// Since when the client has content to take, if it has.
#[derive(Debug, Default)]
pub(super) struct Turn(Mutex<Option<Instant>>);

impl Streams {
    pub(super) fn new() -> Self {
        let state = State { open: 0, none_since: Instant::now(), opened: None, tasks: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A stream begins; the task that is asked for next is its.
    pub(super) fn open(&self, room: Option<Room>) -> Open {
        let turn = Arc::new(Turn::default());
        let mut state = self.state();
        state.open += 1;
        state.opened = Some(Arc::downgrade(&turn));
        Open { streams: self.clone(), turn, _room: room }
    }

    /// For how long no stream has been open.
    pub(super) fn idle(&self) -> Option<Duration> {
        let state = self.state();
        (state.open == 0).then(|| state.none_since.elapsed())
    }

    /// Ends the streams whose client has taken nothing for `bound`.
    pub(super) fn end_stalled(&self, bound: Duration) {
        self.state().tasks.retain(|(turn, task)| match turn.upgrade() {
            None => false,
            Some(turn) if turn.waits().is_some_and(|waited| waited >= bound) => {
                task.abort();
                false
            }
            Some(_) => true,
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let task = tokio::spawn(future).abort_handle();
        let mut state = self.state();
        if let Some(turn) = state.opened.take() {
            if state.tasks.len() > 2 * state.open {
                state.tasks.retain(|(turn, _)| turn.strong_count() > 0);
            }
            state.tasks.push((turn, task));
        }
    }
}

impl Open {
    /// Whose turn it is.
    pub(super) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.streams.state();
        state.open -= 1;
        state.none_since = Instant::now();
    }
}

impl Turn {
    /// Content was handed over: the client has to take it before more is asked for.
    pub(super) fn is_the_clients(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// More is asked for and has not come.
    pub(super) fn is_ours(&self) {
        *self.lock() = None;
    }

    fn waits(&self) -> Option<Duration> {
        self.lock().map(|since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
