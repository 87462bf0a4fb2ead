//! What a service manager hands to a server that it starts, and what it wants to be told: systemd's sockets, states and
//! watchdog. Without one nothing is handed over, and nobody is told.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

use super::error::CliError;
use crate::app::{Inherited, Phase};

/// The sockets that this process was started with (`LISTEN_FDS`). What cannot be listened on refuses the start: whoever wrote
/// the unit meant something by it.
pub(super) fn sockets() -> Result<Vec<Inherited>, CliError> {
    let text = |name| std::env::var(name).unwrap_or_default();
    // Sockets that were meant for another process are none of ours.
    if text("LISTEN_PID").parse() != Ok(std::process::id()) {
        return Ok(Vec::new());
    }
    let names = text("LISTEN_FDNAMES");
    let mut names = names.split(':').map(str::to_owned);
    let mut handed = ListenFd::from_env();
    let count = handed.len();
    let take = |index| {
        let name = names.next().unwrap_or_default();
        let fault =
            |why: String| CliError::failed(format!("the socket {name:?} that this was started with cannot be used: {why}"));
        let socket = handed.take_tcp_listener(index).map_err(|error| fault(error.to_string()))?;
        let socket = socket.ok_or_else(|| fault("it is gone".to_owned()))?;
        Ok(Inherited { name: name.clone(), socket })
    };
    (0..count).map(take).collect()
}

/// Who started this process, if it wants to be told how things stand.
pub(super) struct ServiceManager {
    /// `NOTIFY_SOCKET`.
    address: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says.
    pub(super) fn of_this_process() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET"), |name| std::env::var(name).ok())
    }

    fn new(socket: Option<OsString>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let address = socket.and_then(|socket| match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(&socket).ok(),
            _ => None,
        });
        let number = |name| variable(name).and_then(|text| text.parse::<u64>().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|within| is_for_us && *within > 0).map(Duration::from_micros);
        Self { address, watchdog }
    }

    /// Within which time it wants a sign of life.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it where the server stands. Nobody waits: who does not listen is not told.
    pub(super) fn tell(&self, phase: Phase) {
        let Some(address) = &self.address else { return };
        let told = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(message(phase).as_bytes(), address)
        });
        if let Err(fault) = told {
            tracing::debug!(%fault, ?phase, "the service manager could not be told");
        }
    }
}

fn message(phase: Phase) -> String {
    match phase {
        Phase::Ready => "READY=1".to_owned(),
        Phase::Reloading => {
            let now = clock_gettime(ClockId::Monotonic);
            format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
        }
        Phase::Alive => "WATCHDOG=1".to_owned(),
        Phase::Stopping => "STOPPING=1".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_by_path_and_by_abstract_name_and_keeps_silent_where_nobody_asked() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("bound");
        let name = format!("subrosa-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).expect("a name");
        let by_name = UnixDatagram::bind_addr(&abstract_address).expect("bound");
        for (socket, listener) in [(path.into_os_string(), by_path), (format!("@{name}").into(), by_name)] {
            let manager = ServiceManager::new(Some(socket), |_| None);
            for (phase, text) in [(Phase::Ready, "READY=1"), (Phase::Alive, "WATCHDOG=1"), (Phase::Stopping, "STOPPING=1")] {
                manager.tell(phase);
                let mut buffer = [0; 64];
                let length = listener.recv(&mut buffer).expect("told");
                assert_eq!(&buffer[..length], text.as_bytes());
            }
        }
        ServiceManager::new(None, |_| None).tell(Phase::Ready);
    }

    #[test]
    fn a_watchdog_is_minded_where_it_is_meant_for_this_process() {
        let own = std::process::id().to_string();
        let watchdog = |process: Option<&str>, within: &str| {
            let variable = |name: &str| match name {
                "WATCHDOG_PID" => process.map(str::to_owned),
                _ => Some(within.to_owned()),
            };
            ServiceManager::new(None, variable).watchdog()
        };
        assert_eq!(watchdog(Some(&own), "2000000"), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(None, "2000000"), Some(Duration::from_secs(2)));
        assert_eq!([watchdog(Some("1"), "2000000"), watchdog(None, "0"), watchdog(None, "soon")], [None; 3]);
    }
}
