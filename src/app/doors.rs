//! The doors for people, open beside the proxy: the socket in the data directory, and the TCP port.

use std::fs::{DirBuilder, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::AppError;
use super::sockets::Sockets;
use crate::admin::{self, Peer, Reload, Road, SharedProvider, SharedSettings, State, Way};
use crate::config::{AdminTls, Config};
use crate::drain::Drain;
use crate::members::{Members, MembersError};
use crate::serve;
use crate::tls::{CertifiedPair, Presented};

/// The port's name.
pub(super) const DOOR: &str = "admin";
/// Visitors of the port at a time.
const VISITORS: usize = 128;
/// How long a visitor may take for a request's head, or stay without one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a visitor's connection may last altogether.
const LONGEST: Duration = Duration::from_mins(10);

/// How long an answer that is on its way when the door closes may take.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// How often sessions that are over are removed, and those in use written down.
const TIDIED_EVERY: Duration = Duration::from_mins(10);

/// Bound and not yet served.
pub(super) struct Doors {
    pub(super) listeners: Vec<TcpListener>,
    socket: UnixListener,
    state: State,
    way: Way,
    /// What the port shows, where it speaks TLS.
    pub(super) presented: Option<Arc<Presented>>,
    tls: Option<TlsAcceptor>,
    groups_decide: bool,
}

impl Doors {
    /// On `listeners`, and on `socket` in the data directory.
    pub(super) fn new(
        config: &Config,
        state: State,
        listeners: Vec<TcpListener>,
        socket: UnixListener,
    ) -> Result<Self, AppError> {
        let presented = pair(config)?.as_ref().map(Presented::new);
        let tls = presented.clone().map(acceptor).transpose()?;
        let groups_decide = config.admin.oidc.as_ref().is_some_and(|oidc| !oidc.groups.is_empty());
        let bound = listeners.first().and_then(|listener| listener.local_addr().ok());
        state.settings.store(Arc::new(settings(config, bound, super::provider::provider(config)?)));
        Ok(Self { listeners, socket, state, way: way(config), presented, tls, groups_decide })
    }

    /// Where the port is, if anywhere.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        self.listeners.first().and_then(|listener| listener.local_addr().ok())
    }

    /// What the doors are told, for whoever changes it.
    pub(super) fn settings(&self) -> SharedSettings {
        Arc::clone(&self.state.settings)
    }

    /// Says how the first person gets in, as long as nobody has an account. The link is a credential in
    /// a log, so it works once and only for a quarter of an hour.
    pub(super) async fn offer_setup(&self) -> Result<(), AppError> {
        // Groups of an identity provider let the first person in.
        if self.listeners.is_empty() || self.groups_decide {
            return Ok(());
        }
        match self.state.members.offer_setup().await {
            Ok(Some(token)) => {
                let link = self.state.link(&format!("/setup/{}", token.show_once()));
                tracing::warn!(%link, "nobody has an account yet: open this link within 15 minutes to make the first administrator (it works once; a restart makes another)");
            }
            Ok(None) => {}
            // Runners are served all the same.
            Err(fault @ (MembersError::Store(_) | MembersError::Ledger(_))) => {
                tracing::warn!(%fault, "nobody has an account yet, and no link for the first administrator could be stored; restart to have one");
            }
            Err(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    /// Serves until draining begins; what people send for real goes by `road`, and `reload` reads the configuration anew.
    pub(super) fn start(mut self, road: Arc<dyn Road>, reload: Arc<dyn Reload>, drain: &Drain) -> JoinSet<()> {
        (self.state.road, self.state.reload) = (Some(road), Some(reload));
        let mut tasks = JoinSet::new();
        let room = Arc::new(Semaphore::new(VISITORS));
        for listener in self.listeners {
            let local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
            // With somebody in front, visitors from elsewhere look as if they were local.
            let port = admin::port_router(self.state.clone(), self.way, local && !self.way.fronted);
            let (drain, room, tls) = (drain.clone(), Arc::clone(&room), self.tls.clone());
            let over = drain.clone();
            let visit = move |stream, peer| welcome((stream, peer), tls.as_ref(), &port, (&room, &over));
            tasks.spawn(async move { ended(serve::accept(listener, drain, visit).await) });
        }
        tasks.spawn(tidy(Arc::clone(&self.state.members), drain.clone()));
        let (socket, router, drain): (_, Router, _) = (self.socket, admin::socket_router(self.state), drain.clone());
        tasks.spawn(async move {
            ended(axum::serve(socket, router).with_graceful_shutdown(async move { drain.begun().await }).await);
        });
        tasks
    }
}

/// Takes what is at hand for the port, and binds its other addresses.
pub(super) fn bind(config: &Config, at_hand: &mut Sockets) -> Result<Vec<TcpListener>, AppError> {
    let mut listeners = Vec::new();
    for address in &config.admin.listen {
        let taken = at_hand.take(DOOR, *address);
        if taken.is_empty() {
            let bound = serve::listen(*address, false).map_err(|source| AppError::listen("admin.listen", *address, &source))?;
            listeners.push(bound);
        }
        listeners.extend(taken);
    }
    Ok(listeners)
}

/// Serves one visitor of the port, if there is room. Nobody is known here yet, so nobody may stay
/// for long or in numbers.
fn welcome(
    (stream, peer): (TcpStream, SocketAddr),
    tls: Option<&TlsAcceptor>,
    port: &Router,
    (room, drain): (&Arc<Semaphore>, &Drain),
) {
    let Ok(permit) = Arc::clone(room).try_acquire_owned() else { return };
    let service = port.clone().map_request(move |mut request: http::Request<_>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request
    });
    let service = TowerToHyperService::new(service);
    let (tls, drain) = (tls.cloned(), drain.clone());
    tokio::spawn(async move {
        let visit = async {
            let Some(tls) = tls else { return talk(stream, service, drain).await };
            // Who speaks something else, or does not trust the certificate, has gone already.
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                talk(stream, service, drain).await;
            }
        };
        let _ = tokio::time::timeout(LONGEST, visit).await;
        drop(permit);
    });
}

async fn talk<S, V>(stream: S, service: V, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: hyper::service::HttpService<hyper::body::Incoming, ResBody = axum::body::Body>,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A visitor who goes away early is nobody's fault.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = drain.begun() => {
            // What is asked next is for another server, if there is one.
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
        }
    }
}

/// The certificate of the port, from the files that the configuration names.
pub(super) fn pair(config: &Config) -> Result<Option<CertifiedPair>, AppError> {
    let Some(AdminTls::Files(files)) = &config.admin.tls else { return Ok(None) };
    let pair = CertifiedPair::load(&files.certificate, &files.key);
    Ok(Some(pair.map_err(|fault| config.fault("admin.tls", fault.to_string()))?))
}

fn acceptor(presented: Arc<Presented>) -> Result<TlsAcceptor, AppError> {
    let server = presented.server_config().map_err(|fault| AppError::Start(format!("TLS cannot be set up: {fault}")))?;
    Ok(TlsAcceptor::from(server))
}

/// What the configuration says about these doors. `bound` is the address that the port listens on, once it does.
pub(super) fn settings(config: &Config, bound: Option<SocketAddr>, provider: SharedProvider) -> admin::Settings {
    let narrow = config.injection.narrow.iter().map(|narrow| (narrow.hosts.clone(), narrow.surfaces));
    admin::Settings { hosts: config.admin.hosts.clone(), base: base(config, bound), provider, narrow: narrow.collect() }
}

/// Removes sessions and invitations that are over, now and then.
async fn tidy(members: Arc<Members>, drain: Drain) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TIDIED_EVERY) => {}
            () = drain.begun() => return,
        }
        if let Err(fault) = members.tidy().await {
            tracing::warn!(%fault, "sessions that are over could not be removed");
        }
    }
}

/// How visitors reach the port.
fn way(config: &Config) -> Way {
    let fronted = config.admin.tls == Some(AdminTls::TerminatedElsewhere);
    Way { secure: config.admin.tls.is_some(), fronted }
}

/// How links to the port begin. `bound` is the address that it listens on, once it does; behind
/// somebody else the port is theirs.
fn base(config: &Config, bound: Option<SocketAddr>) -> String {
    let Way { secure, fronted } = way(config);
    let scheme = if secure { "https" } else { "http" };
    let Some(host) = config.admin.hosts.first() else { return String::new() };
    let port = bound.or_else(|| config.admin.listen.first().copied()).map(|address| address.port());
    match port.filter(|_| !fronted) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

fn ended(outcome: std::io::Result<()>) {
    if let Err(fault) = outcome {
        tracing::error!(%fault, "a door for people closed");
    }
}

/// A directory of this user alone, made where it is absent.
pub(super) fn private_directory(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Makes the socket where only this user may enter, and moves it into place with its mode set: at
/// no moment can anybody else reach it, whatever the directory's own mode is (a mounted volume's).
/// What is there already was left by a server that died; this one holds the store or its ports.
pub(super) fn bind_socket(path: &Path) -> Result<UnixListener, AppError> {
    let fault = |fault: std::io::Error| AppError::Start(format!("the socket {} cannot be made: {fault}", path.display()));
    let directory = path.parent().unwrap_or(Path::new("."));
    let apart = directory.join(".admin");
    private_directory(directory).and_then(|()| private_directory(&apart)).map_err(fault)?;
    for own in [directory, &apart] {
        let metadata = std::fs::metadata(own).map_err(fault)?;
        if metadata.mode() & 0o022 != 0 {
            let own = own.display();
            return Err(AppError::Start(format!(
                "{own} may be written by others (mode {:o}), who could put a socket of theirs there and be handed values: chmod go-w {own}",
                metadata.mode() & 0o777
            )));
        }
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let path = path.display();
        return Err(AppError::Start(format!("another server answers at {path}; stop that one, or choose another data_dir")));
    }
    let bare = apart.join("sock");
    match std::fs::remove_file(&bare) {
        Err(gone) if gone.kind() != std::io::ErrorKind::NotFound => return Err(fault(gone)),
        _ => {}
    }
    let socket = UnixListener::bind(&bare).map_err(fault)?;
    std::fs::set_permissions(&bare, Permissions::from_mode(0o600)).map_err(fault)?;
    std::fs::rename(&bare, path).map_err(fault)?;
    // An empty directory that stays harms nobody.
    let _ = std::fs::remove_dir(&apart);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_replaces_what_died() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("data/admin.sock");
        drop(bind_socket(&path).expect("made with its directory"));
        let _second = bind_socket(&path).expect("made over the first");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("it has one"))), (0o600, 0o700));
        assert!(tokio::net::UnixStream::connect(&path).await.is_ok());
    }
}
