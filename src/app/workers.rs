//! The running proxy: listeners, a worker thread per core, the admin doors, and an orderly end.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot};

use super::doors::{self, Doors};
use super::errands::Errands;
use super::followed::{self, Lasting};
use super::front::{self, Front};
use super::handover::{self, HandedOn, Offer, Predecessor, Successor};
use super::prints::Printer;
use super::reload::{Parts, Phase, Reloader, Roof, Running};
use super::signals::{Hangups, Signals};
use super::sockets::{Inherited, Sockets};
use super::{AppError, Rooms};
use crate::admin::Reload as _;
use crate::config::Config;
use crate::drain::Drain;
use crate::metrics::Registry;
use crate::proxy::{self, Budget, Budgets, Door, Entrance, Shared};
use crate::readiness::Readiness;
use crate::serve;
use crate::stack;
use crate::tls::{Authority, Leaves};
use crate::upstream;

/// How long after a value was in hand a worker's stack is swept.
const SWEPT_AFTER: Duration = Duration::from_millis(100);
/// How the workers are called, before their number.
const WORKER: &str = "worker-";
/// How many hosts' certificates are kept ready.
const LEAVES: usize = 4096;
/// How long people's requests may take to finish after those of runners have.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long a connection at rest stays open when the server stops, for a request that is on its way already.
const REST: Duration = Duration::from_millis(500);
/// So many connections over the limit hear why at a time; for each a head is waited for.
const TURNED_AWAY: u64 = 64;

/// Serves until a signal says stop; a second one ends at once. `ready` is called once everything
/// listens. `roof` reads the configuration anew when a signal in `hangups`, or a person, says so.
pub async fn serve(config: Config, roof: Roof, mut hangups: Hangups, start: Start, ready: impl FnOnce()) -> Result<(), AppError> {
    let mut at_hand = Sockets::inherited(start.inherited, &config)?;
    let printer = Printer::new()?;
    // Before the files are read: one that changes meanwhile has changed since.
    let prints = printer.take(&config);
    let workers = worker_count(&config);
    let mut former = if start.take_over { handover::ask(&config.data_dir, &mut at_hand).await? } else { None };
    let mut bound = None;
    let mut lock = None;
    if let Some(former) = &mut former {
        // Whatever can be wrong is to be known before the former server lets go of anything.
        super::check_sources(&config)?;
        bound = Some(bind(&config, workers, &mut at_hand)?);
        lock = Some(former.release().await?);
    }
    let rooms = Arc::new(super::open_handed(&config, lock, true).await?);
    rooms.claim_node(&config).await?;
    let authority = super::authority::authority(&config, &rooms.ledger).await?;
    let mut signals = Signals::listen()?;
    let drain = Drain::new();
    let (front, listeners) = bound.map_or_else(|| bind(&config, workers, &mut at_hand), Ok)?;
    for address in at_hand.left() {
        tracing::warn!(%address, "the former server listened here, and this one does not: its configuration names no such address");
    }
    drop(at_hand);
    let mut state = rooms.admin_state(&config, authority.certificate_pem(), &drain);
    // The port that was asked for may have been any.
    let listening = front.iter().find_map(Front::address);
    state.reach = super::reach(&config, listening);
    let [socket, next] = match former.as_mut().and_then(Predecessor::local) {
        Some(local) => local,
        None => [doors::bind_socket(&super::admin_socket(&config))?, doors::bind_socket(&handover::socket(&config.data_dir))?],
    };
    let offer = Offer {
        rooms: Arc::clone(&rooms),
        drain: drain.clone(),
        data_dir: config.data_dir.clone(),
        sockets: handed_on(&front, &config, &listeners).map_err(|fault| AppError::Start(fault.to_string()))?,
        local: [&socket, &next].map(again).into_iter().collect::<Result<_, _>>()?,
    };
    let doors = Doors::new(&config, state, listeners, socket)?;
    let own_ports = front
        .iter()
        .flat_map(|front| &front.sockets)
        .chain(&doors.listeners)
        .filter_map(|listener| listener.local_addr().ok())
        .map(|address| address.port());
    let lasting = Lasting {
        own_ports: own_ports.collect(),
        own_ends: (!config.proxy.transparent.is_empty()).then(upstream::OwnEnds::default),
        measures: upstream::Measures::new(&rooms.registry),
    };
    let way_out = Arc::new(followed::way_out(&config, &rooms, &lasting, 1)?);
    let shared = Arc::new(shared(&config, &rooms, way_out, (Arc::new(authority), &drain))?);
    observe(&rooms.registry, &shared);

    let changes = former.is_some().then(|| rooms.lease.changes());
    if let Some(former) = &mut former {
        former.take_charge().await?;
    }
    rooms.lease.begin_writing();
    for address in doors.listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
        tracing::info!(door = "admin", %address, "listening");
    }
    front::announce(&front);
    let threads = start_workers(front, workers, &shared, (&rooms.readiness, &rooms.registry))?;
    // People may see how the stopping goes.
    let last = Drain::new();
    doors.offer_setup().await?;
    let errands = Errands(Door::new(Arc::clone(&shared)));
    let parts = Parts {
        rooms: Arc::clone(&rooms),
        shared: Arc::clone(&shared),
        doors: (doors.settings(), doors.presented.clone(), doors.bound()),
        lasting,
        drain: drain.clone(),
    };
    let reloader = Reloader(Running::new((config, prints), (roof, printer), parts));
    // Before anybody can ask for one.
    rooms.custody.resume();
    rooms.custody.follow();
    let mut people = doors.start(Arc::new(errands), Arc::new(reloader.clone()), &last);
    let (taken, taken_over) = oneshot::channel();
    tokio::spawn(handover::offer(next, offer, taken));
    if let (Some(former), Some(changes)) = (former, changes) {
        former.look_after(&rooms, changes, &drain);
    }
    ready();
    (reloader.roof().tell)(Phase::Ready);

    let successor = until_told(&mut signals, &mut hangups, taken_over, (&reloader, &rooms.readiness)).await;
    (reloader.roof().tell)(Phase::Stopping);
    drain.begin();
    if successor.is_some() {
        // People ask the other one.
        last.begin();
    }
    finish(&shared, successor.is_some(), (&mut signals, &mut hangups)).await;
    last_words(&rooms, successor).await;
    last.begin();
    let _ = tokio::time::timeout(LAST_WORD, async { while people.join_next().await.is_some() {} }).await;
    people.abort_all();
    drop(threads);
    Ok(())
}

/// Serves until a signal says stop, or another server has taken over.
async fn until_told(
    signals: &mut Signals,
    hangups: &mut Hangups,
    mut taken_over: oneshot::Receiver<Successor>,
    (reloader, readiness): (&Reloader, &Readiness),
) -> Option<Successor> {
    let mut alive = reloader.roof().watchdog.map(|within| tokio::time::interval(within / 2));
    loop {
        tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "stopping: no new connections; exchanges under way may finish");
                return None;
            }
            Ok(successor) = &mut taken_over => {
                tracing::info!("another server has taken over: no new connections; exchanges under way may finish");
                return Some(successor);
            }
            () = next_sign(&mut alive) => sign_of_life(readiness, reloader.roof()),
            // Its outcome is logged.
            () = hangups.next() => drop(reloader.reload("SIGHUP")),
        }
    }
}

/// Waits until what is under way has finished, for the grace period at most.
async fn finish(shared: &Shared, is_succeeded: bool, (signals, hangups): (&mut Signals, &mut Hangups)) {
    let (drain, grace) = (&shared.drain, shared.settings.load().grace);
    // With another server there a connection can rest until its client asks for something; without, it keeps the next one waiting.
    let rest = if is_succeeded { grace.saturating_sub(REST * 2) } else { REST };
    let resting = drain.clone();
    tokio::spawn(async move {
        tokio::time::sleep(rest).await;
        resting.end_rest();
    });
    tokio::select! {
        finished = drain.finished(grace) => {
            if !finished {
                let grace = humantime::format_duration(grace);
                tracing::warn!(%grace, "the grace period is over; what was still under way was cut off");
            }
        }
        () = drain.cut_off() => tracing::warn!("what was still under way was cut off: it is not known what rules it"),
        name = signals.next() => tracing::warn!(signal = name, "a second signal: ending at once"),
        () = hangups.ignore() => {}
    }
}

/// Has everything kept that was recorded.
async fn last_words(rooms: &Rooms, successor: Option<Successor>) {
    if tokio::time::timeout(LAST_WORD, rooms.activity.flush()).await.is_err() {
        tracing::warn!("the last second of activity could not be kept");
    }
    if let Some(successor) = successor
        && tokio::time::timeout(LAST_WORD, successor.has_everything()).await.is_err()
    {
        tracing::warn!("the last second of activity could not be handed over");
    }
}

/// Resolves when a sign of life is due; never, if nobody waits for one.
async fn next_sign(alive: &mut Option<tokio::time::Interval>) {
    match alive {
        Some(alive) => drop(alive.tick().await),
        None => std::future::pending().await,
    }
}

/// Whoever watches is to start this anew when a worker has died.
fn sign_of_life(readiness: &Readiness, roof: &Roof) {
    if !readiness.faults().iter().any(|(part, _)| part.starts_with(WORKER)) {
        (roof.tell)(Phase::Alive);
    }
}

/// How a server starts.
#[derive(Default)]
pub struct Start {
    /// Sockets that it was started with.
    pub inherited: Vec<Inherited>,
    /// Whether it takes the place of the server that has the data directory, if one is there.
    pub take_over: bool,
}

/// Takes what is at hand for the doors, and binds the rest.
fn bind(config: &Config, workers: usize, at_hand: &mut Sockets) -> Result<(Vec<Front>, Vec<TcpListener>), AppError> {
    Ok((front::bind(config, workers, at_hand)?, doors::bind(config, at_hand)?))
}

/// A socket once more.
fn again(socket: &impl AsFd) -> Result<OwnedFd, AppError> {
    socket.as_fd().try_clone_to_owned().map_err(|fault| AppError::Start(fault.to_string()))
}

/// The sockets once more, for the next server.
fn handed_on(front: &[Front], config: &Config, listeners: &[TcpListener]) -> std::io::Result<Vec<HandedOn>> {
    let again = |sockets: &[TcpListener]| sockets.iter().map(TcpListener::try_clone).collect::<std::io::Result<Vec<_>>>();
    let of_runners = front.iter().map(|front| Ok((front.door, front.configured, again(&front.sockets)?)));
    let of_people = config.admin.listen.iter().zip(listeners);
    let of_people = of_people.map(|(configured, socket)| Ok((doors::DOOR, *configured, again(std::slice::from_ref(socket))?)));
    of_runners.chain(of_people).collect()
}

fn worker_count(config: &Config) -> usize {
    match config.proxy.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        count => count,
    }
}

/// What all workers share on the road.
fn shared(
    config: &Config,
    rooms: &Rooms,
    way_out: Arc<upstream::Settings>,
    (authority, drain): (Arc<Authority>, &Drain),
) -> Result<Shared, AppError> {
    let limits = followed::limits(config);
    let instance = getrandom::u32().map_err(|fault| AppError::Start(format!("the system gives no randomness: {fault}")))?;
    Ok(Shared {
        settings: ArcSwap::from_pointee(followed::settings(config, way_out, front::listener_tls(config)?)),
        secrets: rooms.vault.clone(),
        identity: Arc::clone(&rooms.identity),
        audit: Arc::clone(&rooms.audit),
        leaves: Arc::new(Leaves::new(authority, LEAVES, SystemTime::now).measured_by(&rooms.registry)),
        held: Budget::new(limits.held),
        held_by_tenant: Budgets::new(limits.held / 2),
        spooled: Budget::new(limits.spooled),
        spooled_by_tenant: Budgets::new(limits.spooled / 2),
        connections: Budget::new(limits.connections),
        connections_by_tenant: Budgets::new(limits.connections_each()),
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

/// The workers, each with its part of `front`: its own thread, runtime, sockets and upstream connections,
/// so that a request is accepted, injected, sent and answered on one thread.
#[allow(clippy::cast_precision_loss, reason = "a figure, not an account")]
fn start_workers(
    front: Vec<Front>,
    workers: usize,
    shared: &Arc<Shared>,
    (readiness, registry): (&Readiness, &Registry),
) -> Result<Vec<JoinHandle<()>>, AppError> {
    let mut columns: Vec<Vec<(Entrance, TcpListener)>> = (0..workers).map(|_| Vec::new()).collect();
    for Front { entrance, sockets, .. } in front {
        let spread = serve::spread(sockets, workers).map_err(|fault| AppError::Start(fault.to_string()))?;
        for (worker, socket) in spread {
            columns[worker].push((entrance.clone(), socket));
        }
    }
    let mut runtimes = Vec::new();
    let mut start = |(index, sockets): (usize, Vec<(Entrance, TcpListener)>)| {
        let shared = Arc::clone(shared);
        let sweeps = Arc::new(Notify::new());
        let asks = Arc::clone(&sweeps);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || stack::sweep_when_due(|| asks.notify_one()))
            .build()
            .map_err(|fault| AppError::Start(fault.to_string()))?;
        runtimes.push(runtime.handle().clone());
        let alive = readiness.alive(format!("{WORKER}{index}"));
        let work = move || {
            let _alive = alive;
            runtime.spawn(sweep(sweeps));
            runtime.block_on(work(sockets, shared));
        };
        std::thread::Builder::new()
            .name(format!("{WORKER}{index}"))
            .spawn(work)
            .map_err(|fault| AppError::Start(fault.to_string()))
    };
    let threads = columns.into_iter().enumerate().map(&mut start).collect::<Result<_, _>>()?;
    let alive = move || runtimes.iter().map(|runtime| runtime.metrics().num_alive_tasks()).sum::<usize>();
    registry.observe("subrosa_tasks", "Tasks of the workers: connections, streams, and what looks after them", move || {
        alive() as f64
    });
    Ok(threads)
}

/// Has a worker's stack swept a moment after it had a value in hand.
async fn sweep(wanted: Arc<Notify>) {
    loop {
        wanted.notified().await;
        tokio::time::sleep(SWEPT_AFTER).await;
        stack::due();
    }
}

/// One worker's life.
async fn work(sockets: Vec<(Entrance, TcpListener)>, shared: Arc<Shared>) {
    let drain = shared.drain.clone();
    let door = Door::new(Arc::clone(&shared));
    for (entrance, socket) in sockets {
        let (door, ending) = (door.clone(), drain.clone());
        let welcome = move |stream, peer| {
            // From here on, not from when the task is first looked at: the server must not end in between.
            let (busy, door, entrance) = (ending.busy(), door.clone(), entrance.clone());
            tokio::spawn(async move {
                let _busy = busy;
                door.welcome(stream, peer, entrance).await;
            });
        };
        tokio::spawn(serve::accept(socket, drain.clone(), welcome));
    }
    drain.begun().await;
    drain.finished(shared.settings.load().grace).await;
}
