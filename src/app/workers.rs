//! The running proxy: listeners, a worker thread per core, the admin doors, and an orderly end.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::doors::Doors;
use super::errands::Errands;
use super::front::{self, Front};
use super::{AppError, Rooms};
use crate::config::{self, CleartextSecrets, Config};
use crate::drain::Drain;
use crate::metrics::Registry;
use crate::proxy::{self, Budget, Budgets, Cleartext, Door, Entrance, Shared};
use crate::readiness::Readiness;
use crate::serve;
use crate::tls::{Authority, Leaves, Made};
use crate::upstream::{self, Upstream};

/// How many hosts' certificates are kept ready.
const LEAVES: usize = 4096;
/// Unused upstream connections that a worker keeps: for one runner and origin, and altogether.
const IDLE_PER_KEY: usize = 64;
const IDLE: usize = 1024;
/// How long people's requests may take to finish after those of runners have.
const LAST_WORD: Duration = Duration::from_secs(1);
/// So many connections over the limit hear why at a time; for each a head is waited for.
const TURNED_AWAY: u64 = 64;

/// Serves until a signal says stop; a second one ends at once. `ready` is called once everything
/// listens.
pub async fn serve(config: Config, ready: impl FnOnce()) -> Result<(), AppError> {
    let rooms = super::open_vaults(&config).await?;
    let (authority, made) =
        Authority::load_or_create(&config.intercept.ca_certificate, &config.intercept.ca_key, SystemTime::now())?;
    if matches!(made, Made::Created) {
        tracing::warn!(certificate = %config.intercept.ca_certificate.display(), key = %config.intercept.ca_key.display(), "a new certificate authority was made; clients must trust its certificate");
    }
    let mut signals = Signals::listen()?;
    let drain = Drain::new();
    let workers = worker_count(&config);
    let front = front::bind(&config, workers)?;
    let mut state = rooms.admin_state(&config, authority.certificate_pem(), &drain);
    // The port that was asked for may have been any.
    let listening = front.iter().find_map(|(_, sockets)| sockets.first()?.local_addr().ok());
    state.reach = super::reach(&config, listening);
    let doors = Doors::bind(&config, state)?;
    let own_ports = front
        .iter()
        .flat_map(|(_, sockets)| sockets)
        .chain(&doors.listeners)
        .filter_map(|listener| listener.local_addr().ok())
        .map(|address| address.port());
    let way_out = Arc::new(way_out(&config, &rooms, own_ports.collect())?);
    let shared = Arc::new(shared(&config, &rooms, Arc::new(authority), &drain)?);
    observe(&rooms.registry, &shared);

    for address in doors.listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
        tracing::info!(door = "admin", %address, "listening");
    }
    front::announce(&front);
    let grace = config.shutdown.grace.0;
    let threads = start_workers(front, workers, &shared, &way_out, (grace, &rooms.readiness))?;
    // People may see how the stopping goes.
    let last = Drain::new();
    doors.offer_setup()?;
    let errands = Errands(Door::new(Arc::clone(&shared), Upstream::new(Arc::clone(&way_out))));
    let mut people = doors.start(Arc::new(errands), &last);
    ready();
    rooms.custody.resume();

    let name = signals.next().await;
    tracing::info!(signal = name, grace = %humantime::format_duration(grace), "stopping: no new connections; exchanges under way may finish");
    drain.begin();
    tokio::select! {
        finished = drain.finished(grace) => {
            if !finished {
                tracing::warn!("the grace period is over; what was still under way was cut off");
            }
        }
        name = signals.next() => tracing::warn!(signal = name, "a second signal: ending at once"),
    }
    if tokio::time::timeout(LAST_WORD, rooms.activity.flush()).await.is_err() {
        tracing::warn!("the last second of activity could not be kept");
    }
    last.begin();
    let _ = tokio::time::timeout(LAST_WORD, async { while people.join_next().await.is_some() {} }).await;
    people.abort_all();
    drop(threads);
    Ok(())
}

fn worker_count(config: &Config) -> usize {
    match config.proxy.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        count => count,
    }
}

/// What all workers share on the way to upstreams.
fn way_out(config: &Config, rooms: &Rooms, own_ports: Vec<u16>) -> Result<upstream::Settings, AppError> {
    let allow = config.egress.allow.iter().map(|allowed| upstream::Allow { net: allowed.net, port: allowed.port });
    let resolve = config.egress.resolve.iter().map(|(host, to)| (host.clone(), upstream::ResolveTo { ip: to.ip, port: to.port }));
    let client_tls = super::client_tls::client_tls(config)?;
    Ok(upstream::Settings {
        own_ends: (!config.proxy.transparent.is_empty()).then(upstream::OwnEnds::default),
        rules: upstream::Rules { allow: allow.collect(), own_ports },
        resolve: resolve.collect(),
        next_proxy: super::next_proxy::next_proxy(config, &rooms.vault, &client_tls)?,
        client_tls,
        connect_timeout: config.timeouts.upstream_connect.0,
        head_timeout: config.timeouts.upstream_head.0,
        body_stall: config.timeouts.body.0,
        idle: config.timeouts.idle.0,
        max_idle_per_key: IDLE_PER_KEY,
        max_idle: IDLE,
        measures: upstream::Measures::new(&rooms.registry),
    })
}

/// What the config says about the door for runners.
fn settings(config: &Config) -> Result<proxy::Settings, AppError> {
    let narrow = config.injection.narrow.iter();
    Ok(proxy::Settings {
        anonymous: config.proxy.anonymous.clone(),
        tls: front::listener_tls(config)?,
        proxy_protocol: config.proxy.proxy_protocol.clone(),
        pass_through: config.intercept.pass_through.clone(),
        buffer: config.injection.buffer.bytes(),
        oversize: match config.injection.oversize {
            config::Oversize::Spool => proxy::Oversize::Spool,
            config::Oversize::Stream => proxy::Oversize::Stream,
            config::Oversize::Refuse => proxy::Oversize::Refuse,
        },
        spool: config.data_dir.join("spool"),
        hold: config.injection.hold.0,
        websocket: config.injection.websocket,
        max_growth: config.injection.max_growth.0,
        cleartext: match config.egress.cleartext_secrets {
            CleartextSecrets::AllowedNetworks => Cleartext::AllowedNetworks,
            CleartextSecrets::Anywhere => Cleartext::Anywhere,
            CleartextSecrets::Never => Cleartext::Never,
        },
        redaction: config.redaction.enabled,
        unredacted: config.redaction.except.clone(),
        narrow: narrow.map(|narrow| proxy::Narrow { hosts: narrow.hosts.clone(), surfaces: narrow.surfaces }).collect(),
        head_bytes: config.limits.head.bytes(),
        client_head: config.timeouts.client_head.0,
        idle: config.timeouts.idle.0,
        body: config.timeouts.body.0,
        tunnel: config.timeouts.tunnel.0,
    })
}

/// What all workers share on the road.
fn shared(config: &Config, rooms: &Rooms, authority: Arc<Authority>, drain: &Drain) -> Result<Shared, AppError> {
    let instance = getrandom::u32().map_err(|fault| AppError::Start(format!("the system gives no randomness: {fault}")))?;
    Ok(Shared {
        settings: settings(config)?,
        secrets: rooms.vault.clone(),
        identity: Arc::clone(&rooms.identity),
        audit: Arc::clone(&rooms.audit),
        leaves: Arc::new(Leaves::new(authority, LEAVES, SystemTime::now).measured_by(&rooms.registry)),
        held: Budget::new(config.limits.held.0),
        held_by_tenant: Budgets::new(config.limits.held.0 / 2),
        spooled: Budget::new(config.limits.spool.0),
        spooled_by_tenant: Budgets::new(config.limits.spool.0 / 2),
        connections: Budget::new(config.limits.connections as u64),
        turned_away: Budget::new(TURNED_AWAY),
        lately: proxy::Lately::default(),
        measures: proxy::Measures::new(&rooms.registry),
        drain: drain.clone(),
        instance,
        requests: AtomicU64::new(0),
    })
}

/// Registers what is known anyway and only looked at when somebody asks.
#[allow(clippy::cast_precision_loss, reason = "a figure, not an account")]
fn observe(registry: &Registry, shared: &Shared) {
    let connections = Arc::clone(&shared.connections);
    registry.observe("subrosa_client_connections", "Client connections that are open, tunnels included", move || {
        connections.taken() as f64
    });
    let held = Arc::clone(&shared.held);
    registry.observe("subrosa_held_bytes", "Bytes of content that are held", move || held.taken() as f64);
    let leaves = Arc::clone(&shared.leaves);
    registry.observe("subrosa_leaf_kept", "Hosts whose leaf certificate is kept ready", move || leaves.kept() as f64);
}

/// A worker for each column of `front`: its own thread, runtime, sockets and upstream connections,
/// so that a request is accepted, injected, sent and answered on one thread.
fn start_workers(
    front: Front,
    workers: usize,
    shared: &Arc<Shared>,
    way_out: &Arc<upstream::Settings>,
    (grace, readiness): (Duration, &Readiness),
) -> Result<Vec<JoinHandle<()>>, AppError> {
    let mut columns: Vec<Vec<(Entrance, TcpListener)>> = (0..workers).map(|_| Vec::new()).collect();
    for (entrance, sockets) in front {
        for (column, socket) in columns.iter_mut().zip(sockets) {
            column.push((entrance.clone(), socket));
        }
    }
    let start = |(index, sockets): (usize, Vec<(Entrance, TcpListener)>)| {
        let (shared, way_out) = (Arc::clone(shared), Arc::clone(way_out));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|fault| AppError::Start(fault.to_string()))?;
        let alive = readiness.alive(format!("worker-{index}"));
        let work = move || {
            let _alive = alive;
            runtime.block_on(work(sockets, shared, way_out, grace));
        };
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(work)
            .map_err(|fault| AppError::Start(fault.to_string()))
    };
    columns.into_iter().enumerate().map(start).collect()
}

/// One worker's life.
async fn work(sockets: Vec<(Entrance, TcpListener)>, shared: Arc<Shared>, way_out: Arc<upstream::Settings>, grace: Duration) {
    let drain = shared.drain.clone();
    let door = Door::new(shared, Upstream::new(way_out));
    for (entrance, socket) in sockets {
        let door = door.clone();
        let welcome = move |stream, peer| drop(tokio::spawn(door.clone().welcome(stream, peer, entrance.clone())));
        tokio::spawn(serve::accept(socket, drain.clone(), welcome));
    }
    drain.begun().await;
    drain.finished(grace).await;
}

/// The signals that mean: stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, AppError> {
        let on = |kind| signal(kind).map_err(|fault| AppError::Start(fault.to_string()));
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
