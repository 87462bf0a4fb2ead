//! Listening: sockets that several workers share, and an accept loop that outlives bad moments.

pub mod passing;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::drain::Drain;

/// Connections the kernel keeps for us while we are busy.
const BACKLOG: i32 = 4096;
/// How long to wait when the process has no descriptors left, in milliseconds.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Listens on `address`. With `shared`, further sockets may be bound to the same address and the
/// kernel spreads connections over them (`SO_REUSEPORT`).
pub fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Where an address that is listened on is reached from the same machine: what listens everywhere
/// is reached on loopback.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Listens on `address` once for each of `workers`. The first socket is bound alone, so that a
/// port in use by another process is noticed instead of shared with it.
pub fn listen_for(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // A probe without SO_REUSEPORT fails where anybody else listens; it is closed before the rest.
    let probe = listen(address, false)?;
    let bound = probe.local_addr()?;
    drop(probe);
    (0..workers.max(1)).map(|_| listen(bound, true)).collect()
}

/// Makes ready to be used here what somebody else opened.
pub fn adopt(socket: &TcpListener) -> io::Result<()> {
    socket.set_nonblocking(true)
}

/// Gives each of `workers` what it accepts from: every socket somebody, and everybody one. Where there are fewer sockets than
/// workers, some are shared.
pub fn spread(sockets: Vec<TcpListener>, workers: usize) -> io::Result<Vec<(usize, TcpListener)>> {
    let count = sockets.len();
    let more = (count..workers).map(|worker| sockets[worker % count].try_clone());
    let more = more.collect::<io::Result<Vec<_>>>()?;
    Ok(sockets.into_iter().chain(more).enumerate().map(|(index, socket)| (index % workers.max(1), socket)).collect())
}

/// Accepts connections until draining begins and hands each to `welcome`.
pub async fn accept(listener: TcpListener, drain: Drain, mut welcome: impl FnMut(TcpStream, SocketAddr)) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    // So that one that was accepted last is counted before nobody seems to be busy.
    let _busy = drain.busy();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.begun() => return Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                // Without it a small answer waits for the peer's delayed ACK: 44 ms.
                let _ = stream.set_nodelay(true);
                welcome(stream, peer);
            }
            // The connection was gone before it was accepted, or descriptors have run out: neither
            // is a reason to stop listening.
            Err(fault) => {
                tracing::warn!(%fault, "a connection could not be accepted");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    }
}
