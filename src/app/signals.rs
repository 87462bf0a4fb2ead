//! The signals that the server listens for: two that stop it, and one that has it read its configuration anew.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::AppError;

/// The signals that mean: stop.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, AppError> {
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signal that means: read the configuration anew (SIGHUP). From when this is made on it ends nobody; one that comes
/// before the server is ready is heard when it is.
pub struct Hangups(Signal);

impl Hangups {
    /// Listens.
    pub fn listen() -> Result<Self, AppError> {
        on(SignalKind::hangup()).map(Self)
    }

    pub(super) async fn next(&mut self) {
        self.0.recv().await;
    }

    /// Says of each that it comes too late.
    pub(super) async fn ignore(&mut self) {
        loop {
            self.next().await;
            tracing::info!(signal = "SIGHUP", "ignored: the server is stopping, and what it is started with next is read then");
        }
    }
}

fn on(kind: SignalKind) -> Result<Signal, AppError> {
    signal(kind).map_err(|fault| AppError::Start(fault.to_string()))
}
