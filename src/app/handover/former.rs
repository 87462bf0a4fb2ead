//! The server whose place another takes.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::{FromFormer, FromNext, PROTOCOL, is_one_of_us};
use crate::app::Rooms;
use crate::audit::Recorded;
use crate::drain::Drain;
use crate::serve::passing::{self, Receiving, Sending};
use crate::store::{Changed, LetGo};

/// How long the next server may take for a step; it opens the whole store in one.
const STEP: Duration = Duration::from_mins(1);
/// Between two attempts to take the store back, while the next server still has its files open.
const AGAIN: Duration = Duration::from_millis(100);
/// Entries that wait to be sent.
const ENTRIES: usize = 1024;

/// What can be handed over.
pub(in crate::app) struct Offer {
    pub(in crate::app) rooms: Arc<Rooms>,
    pub(in crate::app) drain: Drain,
    pub(in crate::app) data_dir: PathBuf,
    /// Let go of when the server stops: a socket that nobody accepts from must not stay open.
    pub(in crate::app) sockets: Vec<HandedOn>,
    /// `admin.sock` and `next.sock`.
    pub(in crate::app) local: Vec<OwnedFd>,
}

/// The sockets of an address: the door's name, and what the configuration says of the address.
pub(in crate::app) type HandedOn = (&'static str, SocketAddr, Vec<TcpListener>);

/// The server that has taken over.
pub(in crate::app) struct Successor {
    entries: mpsc::Sender<Legacy>,
}

/// What the next server is sent.
enum Legacy {
    Entry(Arc<Recorded>),
    /// Everything before has been sent.
    Sent(oneshot::Sender<()>),
}

/// Hands everything over to the first server that asks and gets everything; tells `taken` then. One at a time.
pub(in crate::app) async fn offer(listener: UnixListener, offer: Offer, taken: oneshot::Sender<Successor>) {
    let drain = offer.drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.begun() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        if let Some(successor) = one(&offer, stream).await {
            let _ = taken.send(successor);
            return;
        }
    }
}

/// One attempt.
async fn one(offer: &Offer, stream: UnixStream) -> Option<Successor> {
    if !is_one_of_us(&stream, &offer.data_dir).unwrap_or(false) {
        tracing::warn!("another user asked to take over, and was not answered");
        return None;
    }
    let (sending, mut receiving) = passing::ends(stream);
    if let Err(why) = begin(offer, &sending, &mut receiving).await {
        tracing::warn!(why, "no server takes over; nothing was changed");
        return None;
    }
    tracing::info!("another server takes over: the store is closed here until it has it");
    offer.rooms.activity.hold().await;
    let let_go = match offer.rooms.lease.let_go().await {
        Ok(Some(let_go)) => let_go,
        other => {
            let why = other.err().map_or_else(|| "there is nothing on a disk".to_owned(), |fault| fault.to_string());
            tracing::error!(why, "the store could not be handed over");
            offer.rooms.activity.resume().await;
            return None;
        }
    };
    if let Err(why) = finish(&let_go, &sending, &mut receiving).await {
        tracing::error!(why, "the other server did not take over: this one takes its store back and goes on");
        drop((sending, receiving));
        take_back(let_go).await;
        offer.rooms.activity.resume().await;
        return None;
    }
    let (entries, legacy) = mpsc::channel(ENTRIES);
    let heir = entries.clone();
    // From here on the store is another's.
    offer
        .rooms
        .activity
        .bequeath(Box::new(move |entry| {
            let heir = heir.clone();
            Box::pin(async move { heir.send(Legacy::Entry(entry)).await.is_ok() })
        }))
        .await;
    drop(let_go);
    offer.rooms.lease.give_up();
    tokio::spawn(send_on(sending, legacy));
    tokio::spawn(mind(Arc::clone(&offer.rooms), receiving, offer.drain.clone()));
    Some(Successor { entries })
}

/// Up to where the next server needs the store.
async fn begin(offer: &Offer, sending: &Sending, receiving: &mut Receiving) -> Result<(), String> {
    match heard(receiving).await? {
        FromNext::Ask { protocol: PROTOCOL, version } => tracing::info!(version, "another server asks to take over"),
        FromNext::Ask { version, .. } => {
            let why = format!("version {version} asks in a way that {} does not know", env!("CARGO_PKG_VERSION"));
            return refuse(sending, &format!("{why}: stop this server, and start that one")).await;
        }
        other => return Err(format!("it began with {other:?}")),
    }
    if offer.drain.has_begun() {
        return refuse(sending, "this server is stopping already: start the other one once it has").await;
    }
    if !offer.rooms.lease.can_be_let_go() {
        let why = "only a store of files (store.engine = \"sled\") is handed over: stop this server, and start the other one; of a fleet, one node after the other";
        return refuse(sending, why).await;
    }
    for (door, configured, sockets) in &offer.sockets {
        for sockets in sockets.chunks(passing::MOST) {
            let beside: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            let message = FromFormer::Sockets { door: (*door).to_owned(), configured: *configured, count: sockets.len() };
            sent(sending.send(&message, &beside).await)?;
        }
    }
    let beside: Vec<BorrowedFd<'_>> = offer.local.iter().map(AsFd::as_fd).collect();
    sent(sending.send(&FromFormer::Offered, &beside).await)?;
    match heard(receiving).await? {
        FromNext::Prepared => Ok(()),
        other => Err(format!("it said {other:?}")),
    }
}

/// From there to where it has everything.
async fn finish(let_go: &LetGo, sending: &Sending, receiving: &mut Receiving) -> Result<(), String> {
    sent(sending.send(&FromFormer::Released, &[let_go.lock().as_fd()]).await)?;
    match heard(receiving).await? {
        FromNext::Ready => {}
        other => return Err(format!("it said {other:?}")),
    }
    sent(sending.send(&FromFormer::Go, &[]).await)?;
    // However long it takes: it writes from when it has said so.
    match receiving.receive().await {
        Ok(Some(FromNext::Taken)) => Ok(()),
        other => Err(format!("it was told to go on and did not: {other:?}")),
    }
}

async fn refuse(sending: &Sending, why: &str) -> Result<(), String> {
    sent(sending.send(&FromFormer::Refused { why: why.to_owned() }, &[]).await)?;
    Err(why.to_owned())
}

fn sent(outcome: std::io::Result<()>) -> Result<(), String> {
    outcome.map_err(|fault| format!("it could not be told: {fault}"))
}

async fn heard(receiving: &mut Receiving) -> Result<FromNext, String> {
    match tokio::time::timeout(STEP, receiving.receive()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err("it ended; its own log says why".to_owned()),
        Ok(Err(fault)) => Err(format!("it could not be understood: {fault}")),
        Err(_) => Err(format!("it said nothing for {}", humantime::format_duration(STEP))),
    }
}

/// Opens the store again; not before the other server's process has closed it.
async fn take_back(mut let_go: LetGo) {
    let mut told = false;
    loop {
        match let_go.take_back().await {
            Ok(()) => return tracing::info!("the store is open here again"),
            Err((still, fault)) => {
                if !told {
                    tracing::error!(%fault, "the store cannot be opened here yet; runners are served, and changes wait");
                    told = true;
                }
                let_go = still;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Sends what is to be kept.
async fn send_on(sending: Sending, mut legacy: mpsc::Receiver<Legacy>) {
    while let Some(legacy) = legacy.recv().await {
        match legacy {
            Legacy::Entry(entry) => {
                if let Err(fault) = sending.send(&FromFormer::Entry(entry), &[]).await {
                    tracing::error!(%fault, "the server that took over has gone: activity from here on is in the log only");
                    return;
                }
            }
            // Whoever asked may have gone away.
            Legacy::Sent(done) => drop(done.send(())),
        }
    }
}

/// Follows what is changed by the server that took over. Without knowing that, nothing more is served.
async fn mind(rooms: Arc<Rooms>, mut receiving: Receiving, drain: Drain) {
    loop {
        let changed = match receiving.receive().await {
            Ok(Some(FromNext::Changed { key, now })) => {
                now.map(|now| BASE64_STANDARD.decode(now)).transpose().map(|now| (key, now))
            }
            Ok(Some(other)) => {
                tracing::warn!(?other, "what was changed by the server that took over is not known");
                break;
            }
            // It is stopping, or has died; nobody changes anything any more.
            Ok(None) => return,
            Err(fault) => {
                tracing::warn!(%fault, "what was changed by the server that took over is not known");
                break;
            }
        };
        let Ok((key, now)) = changed else { break };
        rooms.ledger.learn(&key, now.clone());
        rooms.lease.pass_on(Changed { key, now: now.map(|bytes| (0, bytes)) });
    }
    drain.cut();
}

impl Successor {
    /// Waits until everything that was bequeathed has been sent.
    pub(in crate::app) async fn has_everything(&self) {
        let (done, told) = oneshot::channel();
        if self.entries.send(Legacy::Sent(done)).await.is_ok() {
            let _ = told.await;
        }
    }
}
