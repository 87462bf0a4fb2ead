//! The doors for people, open beside the proxy: the socket in the data directory, and the TCP port.

use std::net::TcpListener;
use std::path::Path;

use axum::Router;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::AppError;
use crate::admin::{self, State};
use crate::config::Config;
use crate::drain::Drain;
use crate::serve;

/// Bound and not yet served.
pub(super) struct Doors {
    pub(super) listeners: Vec<TcpListener>,
    socket: UnixListener,
    state: State,
    hosts: Vec<crate::origin::Host>,
}

impl Doors {
    /// Binds the port's addresses and the socket.
    pub(super) fn bind(config: &Config, state: State) -> Result<Self, AppError> {
        let bind = |address: &std::net::SocketAddr| {
            serve::listen(*address, false).map_err(|source| AppError::listen("admin.listen", *address, &source))
        };
        let listeners = config.admin.listen.iter().map(bind).collect::<Result<_, _>>()?;
        let socket = bind_socket(&super::admin_socket(config))?;
        Ok(Self { listeners, socket, state, hosts: config.admin.hosts.clone() })
    }

    /// Serves until draining begins.
    pub(super) fn start(self, drain: &Drain) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let port = admin::port_router(self.state.clone(), self.hosts);
        for listener in self.listeners {
            let (port, drain) = (port.clone(), drain.clone());
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                tasks.spawn(async move {
                    ended(axum::serve(listener, port).with_graceful_shutdown(async move { drain.begun().await }).await)
                });
            }
        }
        let (socket, router, drain): (_, Router, _) = (self.socket, admin::socket_router(self.state), drain.clone());
        tasks.spawn(async move {
            ended(axum::serve(socket, router).with_graceful_shutdown(async move { drain.begun().await }).await)
        });
        tasks
    }
}

fn ended(outcome: std::io::Result<()>) {
    if let Err(fault) = outcome {
        tracing::error!(%fault, "a door for people closed");
    }
}

/// The store is locked by this process, so a socket that is still there was left by one that died.
fn bind_socket(path: &Path) -> Result<UnixListener, AppError> {
    use std::os::unix::fs::PermissionsExt;
    let fault = |fault: std::io::Error| AppError::Start(format!("the socket {} cannot be made: {fault}", path.display()));
    match std::fs::remove_file(path) {
        Err(gone) if gone.kind() != std::io::ErrorKind::NotFound => return Err(fault(gone)),
        _ => {}
    }
    // The directory is 0700: nobody else can reach the socket before its mode is set.
    let socket = UnixListener::bind(path).map_err(fault)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fault)?;
    Ok(socket)
}
