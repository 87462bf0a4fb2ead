//! The server that takes another's place.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{FromFormer, FromNext, PROTOCOL, is_one_of_us, socket};
use crate::app::sockets::{DOORS, Sockets};
use crate::app::{AppError, Rooms};
use crate::drain::Drain;
use crate::ledger;
use crate::serve::passing::{Receiving, Sending};
use crate::serve::{self, passing};
use crate::store::{Changed, Told};

/// How long the former server may take for a step.
const STEP: Duration = Duration::from_secs(30);

/// The server whose place is taken.
pub(in crate::app) struct Predecessor {
    sending: Sending,
    receiving: Receiving,
    /// `admin.sock` and `next.sock`.
    local: Vec<UnixListener>,
}

/// Asks the server that has the data directory, if one is there, for its place; its sockets are `at_hand` then.
pub(in crate::app) async fn ask(data_dir: &Path, at_hand: &mut Sockets) -> Result<Option<Predecessor>, AppError> {
    let path = socket(data_dir);
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(fault) if matches!(fault.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
            tracing::info!(socket = %path.display(), "no server is there to take over from");
            return Ok(None);
        }
        Err(fault) => return Err(failed(&format!("{} cannot be reached: {fault}", path.display()))),
    };
    if !is_one_of_us(&stream, data_dir).map_err(|fault| failed(&fault.to_string()))? {
        return Err(failed(&format!("{} is answered by another user", path.display())));
    }
    let (sending, mut receiving) = passing::ends(stream);
    let ask = FromNext::Ask { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() };
    sending.send(&ask, &[]).await.map_err(|fault| failed(&fault.to_string()))?;
    loop {
        match heard(&mut receiving).await? {
            FromFormer::Refused { why } => return Err(failed(&why)),
            FromFormer::Sockets { door, configured, count } => {
                let door = DOORS.iter().find(|(known, _)| *known == door);
                for descriptor in handed(&mut receiving, count)? {
                    let socket = TcpListener::from(descriptor);
                    serve::adopt(&socket).map_err(|fault| failed(&fault.to_string()))?;
                    // One for a door that is not known here is not for this server.
                    if let Some((door, _)) = door {
                        at_hand.add(door, configured, socket);
                    }
                }
            }
            FromFormer::Offered => break,
            other => return Err(failed(&format!("the former server said {other:?}"))),
        }
    }
    let local = handed(&mut receiving, 2)?.into_iter().map(local).collect::<Result<_, _>>()?;
    Ok(Some(Predecessor { sending, receiving, local }))
}

/// A socket in the data directory.
fn local(descriptor: OwnedFd) -> Result<UnixListener, AppError> {
    let socket = std::os::unix::net::UnixListener::from(descriptor);
    let adopted = socket.set_nonblocking(true).and_then(|()| UnixListener::from_std(socket));
    adopted.map_err(|fault| failed(&fault.to_string()))
}

impl Predecessor {
    /// `admin.sock` and `next.sock`; once.
    pub(in crate::app) fn local(&mut self) -> Option<[UnixListener; 2]> {
        std::mem::take(&mut self.local).try_into().ok()
    }

    /// The lock of the data directory, once the former server has closed what lies in it.
    pub(in crate::app) async fn release(&mut self) -> Result<File, AppError> {
        self.say(&FromNext::Prepared).await?;
        match heard(&mut self.receiving).await? {
            FromFormer::Released => {}
            other => return Err(failed(&format!("the former server said {other:?}"))),
        }
        let lock = handed(&mut self.receiving, 1)?.pop();
        lock.map(File::from).ok_or_else(|| failed("the lock is missing"))
    }

    /// Everything is open here: the former server serves nobody new from now on. Until this returns nothing may be written.
    pub(in crate::app) async fn take_charge(&mut self) -> Result<(), AppError> {
        self.say(&FromNext::Ready).await?;
        match heard(&mut self.receiving).await? {
            FromFormer::Go => self.say(&FromNext::Taken).await,
            other => Err(failed(&format!("the former server said {other:?}"))),
        }
    }

    /// Keeps what the former server records still, and tells it what is changed here, until it has ended.
    pub(in crate::app) fn look_after(self, rooms: &Arc<Rooms>, changes: Receiver<Told>, drain: &Drain) {
        let Self { sending, mut receiving, .. } = self;
        let telling = tokio::spawn(tell(sending, changes));
        let (rooms, busy) = (Arc::clone(rooms), drain.busy());
        tokio::spawn(async move {
            let _busy = busy;
            let fault = loop {
                match receiving.receive().await {
                    Ok(Some(FromFormer::Entry(entry))) => rooms.audit.keep(Arc::unwrap_or_clone(entry)).await,
                    Ok(Some(other)) => break Some(format!("it said {other:?}")),
                    Ok(None) => break None,
                    Err(fault) => break Some(fault.to_string()),
                }
            };
            telling.abort();
            match fault {
                None => tracing::info!("the former server has ended"),
                Some(fault) => tracing::warn!(fault, "the former server broke off; what it recorded last is in its log only"),
            }
        });
    }

    async fn say(&self, message: &FromNext) -> Result<(), AppError> {
        self.sending.send(message, &[]).await.map_err(|fault| failed(&format!("the former server has gone: {fault}")))
    }
}

/// Tells the former server what is changed here, so that it rules there as well.
async fn tell(sending: Sending, mut told: Receiver<Told>) {
    loop {
        let messages = match told.recv().await {
            Ok(Told::Commit { changes, .. }) => changes.into_iter().filter_map(message).collect(),
            Ok(Told::LoadAgain) | Err(RecvError::Lagged(_)) => vec![FromNext::Lost],
            Err(RecvError::Closed) => return,
        };
        for message in messages {
            // It may have ended.
            if sending.send(&message, &[]).await.is_err() {
                return;
            }
        }
    }
}

/// A change of a record; what belongs to records is of no use there.
fn message(Changed { key, now }: Changed) -> Option<FromNext> {
    let now = now.map(|(_, bytes)| BASE64_STANDARD.encode(bytes));
    ledger::is_record(&key).then_some(FromNext::Changed { key, now })
}

async fn heard(receiving: &mut Receiving) -> Result<FromFormer, AppError> {
    match tokio::time::timeout(STEP, receiving.receive()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(failed("the former server gave it up, or has ended; its log says why")),
        Ok(Err(fault)) => Err(failed(&format!("the former server cannot be understood: {fault}"))),
        Err(_) => Err(failed("the former server does not answer")),
    }
}

fn handed(receiving: &mut Receiving, count: usize) -> Result<Vec<OwnedFd>, AppError> {
    receiving.descriptors(count).map_err(|fault| failed(&fault.to_string()))
}

fn failed(why: &str) -> AppError {
    AppError::Start(format!("this server cannot take over: {why}"))
}
