//! A relay in front of the proxy that sees who comes and what the proxy answers at its door. Everything is
//! passed on as it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long a connection may outlive the runtime that opened it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much of each side's first bytes is looked at.
const LOOK: usize = 4096;

/// What came through.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// How many connections.
    pub(super) connections: usize,
    /// What the proxy answered first on the last of them: its status line and fields.
    pub(super) answer: String,
    /// A tunnel was opened and TLS was begun in it.
    pub(super) tls: bool,
    /// The last of them asked for a tunnel.
    pub(super) is_tunnel: bool,
    /// How many connections have not ended.
    open: usize,
}

impl Seen {
    /// A runtime came, and this is all that is known of it.
    #[cfg(test)]
    pub(super) fn made_up(connections: usize, answer: &str, tls: bool) -> Self {
        Self { connections, answer: answer.to_owned(), tls, is_tunnel: tls, open: 0 }
    }
}

/// The relay.
pub(super) struct Watch {
    pub(super) port: u16,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Starts one in front of `proxy`.
    pub(super) async fn start(proxy: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let changed = Arc::new(Notify::new());
        let (record, tell) = (Arc::clone(&seen), Arc::clone(&changed));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                {
                    let mut seen = lock(&record);
                    (seen.connections, seen.open) = (seen.connections + 1, seen.open + 1);
                }
                let (proxy, record, tell) = (proxy.clone(), Arc::clone(&record), Arc::clone(&tell));
                tokio::spawn(async move {
                    let _ = relay(client, &proxy, &record).await;
                    lock(&record).open -= 1;
                    tell.notify_one();
                });
            }
        });
        Ok(Self { port, seen, changed, task })
    }

    /// What came through, once whoever came has gone: what they sent last may still be under way when
    /// they have ended.
    pub(super) async fn seen(&self) -> Seen {
        let gone = async {
            while lock(&self.seen).open > 0 {
                self.changed.notified().await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, gone).await;
        lock(&self.seen).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn relay(client: TcpStream, proxy: &str, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let proxy = TcpStream::connect(proxy).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_proxy, mut to_proxy) = proxy.into_split();
    let up = async {
        let mut first = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return to_proxy.shutdown().await;
            }
            look(&mut first, &buffer[..count]);
            {
                let mut seen = lock(seen);
                seen.tls |= begins_tls(&first);
                seen.is_tunnel = first.starts_with(b"CONNECT ");
            }
            to_proxy.write_all(&buffer[..count]).await?;
        }
    };
    let down = async {
        let mut first = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_proxy.read(&mut buffer).await?;
            if count == 0 {
                return to_client.shutdown().await;
            }
            look(&mut first, &buffer[..count]);
            lock(seen).answer = head(&first);
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    tokio::try_join!(up, down).map(drop)
}

fn look(first: &mut Vec<u8>, bytes: &[u8]) {
    let room = LOOK.saturating_sub(first.len()).min(bytes.len());
    first.extend_from_slice(&bytes[..room]);
}

/// Whether a TLS handshake follows a CONNECT, the last one where a 407 made it come twice.
fn begins_tls(bytes: &[u8]) -> bool {
    let ends = memchr::memmem::find_iter(bytes, b"\r\n\r\n");
    bytes.starts_with(b"CONNECT ") && ends.last().is_some_and(|at| bytes.get(at + 4) == Some(&0x16))
}

/// The last whole head among the first bytes.
fn head(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let from = text.rfind("HTTP/1.1 ").unwrap_or(0);
    text[from..].split("\r\n\r\n").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_seen_behind_the_last_connect() {
        assert!(begins_tls(b"CONNECT a:443 HTTP/1.1\r\n\r\n\x16\x03\x01"));
        assert!(begins_tls(b"CONNECT a:443 HTTP/1.1\r\n\r\nCONNECT a:443 HTTP/1.1\r\nProxy-Authorization: x\r\n\r\n\x16"));
        assert!(!begins_tls(b"CONNECT a:443 HTTP/1.1\r\n\r\n"));
        assert!(!begins_tls(b"GET http://a/ HTTP/1.1\r\n\r\n\x16"));
    }

    #[test]
    fn the_last_head_counts() {
        assert_eq!(head(b"HTTP/1.1 407 No\r\nA: b\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n\x16"), "HTTP/1.1 200 OK");
    }
}
