//! Listening sockets that somebody holds for this process: each goes to the address that the configuration gives it, or
//! the start is refused.

use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;

use super::AppError;
use crate::config::Config;
use crate::serve;

/// The doors by the names that they have in the log, in socket units and in a handover, with the key that lists their addresses.
pub(super) const DOORS: [(&str, &str); 5] = [
    ("proxy", "proxy.listen"),
    ("proxy-tls", "proxy.listen_tls"),
    ("proxy-socks", "proxy.socks"),
    ("proxy-transparent", "proxy.transparent"),
    ("admin", "admin.listen"),
];

/// A socket that this process was started with (systemd's socket activation).
#[derive(Debug)]
pub struct Inherited {
    /// What its unit calls it; one of our doors, or anything else.
    pub name: String,
    /// The socket.
    pub socket: TcpListener,
}

/// The sockets at hand, each with its door and where it is.
#[derive(Default)]
pub(super) struct Sockets(Vec<AtHand>);

struct AtHand {
    door: &'static str,
    /// As the configuration said it, where that may be any port.
    configured: SocketAddr,
    socket: TcpListener,
}

impl Sockets {
    /// What was inherited; refused unless `config` says of each what it is for.
    pub(super) fn inherited(inherited: Vec<Inherited>, config: &Config) -> Result<Self, AppError> {
        let at_hand = inherited.into_iter().map(|inherited| at_hand(inherited, config));
        at_hand.collect::<Result<_, _>>().map(Self)
    }

    /// Adds one that another server handed over.
    pub(super) fn add(&mut self, door: &'static str, configured: SocketAddr, socket: TcpListener) {
        self.0.push(AtHand { door, configured, socket });
    }

    /// Where those are that nothing was found for: who connects there hears nothing from here.
    pub(super) fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|it| it.socket.local_addr().ok())
    }

    /// Those for an address of a door; none if it is to be bound.
    pub(super) fn take(&mut self, door: &str, address: SocketAddr) -> Vec<TcpListener> {
        let is_meant = |it: &mut AtHand| match address.port() {
            0 => it.door == door && it.configured == address,
            _ => it.socket.local_addr().is_ok_and(|at| at == address),
        };
        self.0.extract_if(.., is_meant).map(|it| it.socket).collect()
    }
}

fn at_hand(Inherited { name, socket }: Inherited, config: &Config) -> Result<AtHand, AppError> {
    let refused = |why: String| AppError::Start(format!("the socket {name:?} that this was started with {why}"));
    let address = socket.local_addr().map_err(|fault| refused(format!("has no address: {fault}")))?;
    if !SockRef::from(&socket).is_listener().unwrap_or(false) {
        return Err(refused(format!("on {address} does not listen (Accept=yes in its unit?)")));
    }
    serve::adopt(&socket).map_err(|fault| refused(format!("on {address} cannot be used: {fault}")))?;
    let named = DOORS.iter().find(|(door, _)| *door == name);
    let meant = addresses(config).find(|(_, listed)| *listed == address);
    match (named, meant) {
        (_, None) => Err(refused(format!(
            "listens on {address}, which the configuration does not name: name exactly that in {}",
            named.map_or("proxy.listen or admin.listen", |(_, key)| key)
        ))),
        (Some((door, key)), Some((other, _))) if *door != other => Err(refused(format!(
            "listens on {address}, which is not an address of {key}: name it there, or the socket otherwise"
        ))),
        (_, Some((door, _))) => Ok(AtHand { door, configured: address, socket }),
    }
}

/// Every address that the configuration names, with its door.
pub(super) fn addresses(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let [plain, tls, socks, transparent, admin] = DOORS.map(|(door, _)| door);
    let proxy = &config.proxy;
    let plain = proxy.listen.iter().map(move |address| (plain, *address));
    let tls = proxy.listen_tls.iter().map(move |address| (tls, *address));
    let socks = proxy.socks.iter().map(move |address| (socks, *address));
    let transparent = proxy.transparent.iter().map(move |entry| (transparent, entry.listen));
    plain.chain(tls).chain(socks).chain(transparent).chain(config.admin.listen.iter().map(move |address| (admin, *address)))
}
