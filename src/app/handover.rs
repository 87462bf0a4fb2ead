//! A server takes another's place without losing a request: the sockets are handed over open, then the store, and the former
//! one finishes what it has under way.
//!
//! The next server asks at `next.sock` in the data directory. Until it says that it has everything, and is told to go on, the
//! former one can take its store back and go on as if nobody had asked: it serves runners all the time. What is asked of its
//! store meanwhile waits.
//!
//! ```text
//! next     Ask ▸                 ▸ Prepared            ▸ Ready        ▸ Taken   serves
//! former       ◂ Socket… Offered           ◂ Released        ◂ Go               drains
//!              serves and writes           serves      serves                   Entry…, to be kept ▸
//!                                                                               ◂ Changed…, to be minded
//! ```

mod former;
mod next;

pub(super) use former::{HandedOn, Offer, Successor, offer};
pub(super) use next::{Predecessor, ask};

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::audit::Recorded;

/// The version of what is said here.
const PROTOCOL: u32 = 1;

/// Where the next server asks.
pub(super) fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("next.sock")
}

/// What the next server says.
#[derive(Debug, Serialize, Deserialize)]
enum FromNext {
    /// It wants to take over.
    Ask { protocol: u32, version: String },
    /// It has its configuration, certificates and addresses, and needs the store.
    Prepared,
    /// It has opened everything.
    Ready,
    /// It serves from now on, whatever comes.
    Taken,
    /// Something stored was changed: what lies under a key now, in base64.
    Changed { key: String, now: Option<String> },
    /// More was changed than it can tell.
    Lost,
}

/// What the former server says.
#[derive(Debug, Serialize, Deserialize)]
enum FromFormer {
    /// Not now.
    Refused { why: String },
    /// So many sockets of a door; they come beside this.
    Sockets { door: String, configured: SocketAddr, count: usize },
    /// The sockets in the data directory, `admin.sock` and `next.sock`, come beside this. There are no more.
    Offered,
    /// The store is closed; its lock comes beside this.
    Released,
    /// It will not take its store back.
    Go,
    /// An entry of the audit trail, to be kept.
    Entry(Arc<Recorded>),
}

/// Whether the other end may be talked to about this: it acts for this user, or for root.
fn is_one_of_us(stream: &UnixStream, data_dir: &Path) -> std::io::Result<bool> {
    let peer = stream.peer_cred()?.uid();
    // The other end of a pair is this process.
    let me = UnixStream::pair()?.0.peer_cred()?.uid();
    let owner = std::fs::metadata(data_dir)?.uid();
    Ok(peer == me || peer == 0 || (me == 0 && peer == owner))
}
