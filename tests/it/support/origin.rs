//! Origins that keep the exact bytes they received.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Ca;

/// One request as it came in.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The head's bytes, empty line included.
    pub head: String,
    /// The content's bytes as they were framed.
    pub body: Vec<u8>,
    /// The number of the connection it came on, from 1.
    pub connection: usize,
}

impl Received {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The values of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The one value of a field.
    pub fn field(&self, name: &str) -> &str {
        match self.fields(name)[..] {
            [value] => value,
            ref other => panic!("{name} stands {} times in\n{}", other.len(), self.head),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What an origin answers: raw bytes, and whether it closes the connection afterwards.
pub type Script = Arc<dyn Fn(&Received) -> (Vec<u8>, bool) + Send + Sync>;

/// A whole response on a connection that stays open. `fields` end in CRLF each.
pub fn reply(status: &str, fields: &str, body: &str) -> Script {
    let bytes = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    Arc::new(move |_| (bytes.clone(), false))
}

/// Exactly these bytes, then the connection is closed or kept.
pub fn raw(bytes: &str, closes: bool) -> Script {
    let bytes = bytes.as_bytes().to_vec();
    Arc::new(move |_| (bytes.clone(), closes))
}

pub struct Origin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Origin {
    pub async fn plain(script: Script) -> Self {
        Self::start("127.0.0.1", None, script).await
    }

    pub async fn tls(ca: &Ca, names: &[&str], script: Script) -> Self {
        Self::start("127.0.0.1", Some(ca.acceptor(names)), script).await
    }

    /// The same on another address of this machine.
    pub async fn tls_on(ip: &str, ca: &Ca, names: &[&str], script: Script) -> Self {
        Self::start(ip, Some(ca.acceptor(names)), script).await
    }

    /// One that accepts by `acceptor`.
    pub async fn accepting(acceptor: tokio_rustls::TlsAcceptor, script: Script) -> Self {
        Self::start("127.0.0.1", Some(acceptor), script).await
    }

    async fn start(ip: &str, acceptor: Option<tokio_rustls::TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("an address of this machine");
        let address = listener.local_addr().expect("bound");
        let (connections, received) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let broken = Arc::new(AtomicUsize::new(0));
        let (count, record, broke) = (Arc::clone(&connections), Arc::clone(&received), Arc::clone(&broken));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                // Otherwise each handshake waits for an acknowledgement that is held back.
                stream.set_nodelay(true).expect("a socket");
                let (acceptor, script, record) = (acceptor.clone(), script.clone(), Arc::clone(&record));
                let broke = Arc::clone(&broke);
                tokio::spawn(async move {
                    let served = match acceptor {
                        None => serve(stream, number, &script, &record).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream, number, &script, &record).await,
                            Err(_) => None,
                        },
                    };
                    if served.is_none() {
                        broke.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { address, connections, broken, received }
    }

    /// How many connections were opened, TLS or not.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections ended within a request, or before one.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::SeqCst)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no test panics with it").clone()
    }

    /// The only request that came.
    pub fn only(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:#?}");
        received[0].clone()
    }
}

pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    connection: usize,
    script: &Script,
    record: &Mutex<Vec<Received>>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let head = until(&mut stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut request = Received { head, body: Vec::new(), connection };
        request.body = body(&mut stream, &mut buffer, &request).await?;
        record.lock().expect("no test panics with it").push(request.clone());
        let (answer, closes) = script(&request);
        stream.write_all(&answer).await.ok()?;
        stream.flush().await.ok()?;
        if answer.starts_with(b"HTTP/1.1 101") && !closes {
            return echo(stream, buffer).await;
        }
        if closes {
            let _ = stream.shutdown().await;
            return Some(());
        }
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut early: Vec<u8>) -> Option<()> {
    loop {
        stream.write_all(&early).await.ok()?;
        stream.flush().await.ok()?;
        early.clear();
        if stream.read_buf(&mut early).await.ok()? == 0 {
            return Some(());
        }
    }
}

async fn body<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>, request: &Received) -> Option<Vec<u8>> {
    if let Some(length) = request.fields("content-length").first() {
        let length: usize = length.parse().ok()?;
        return until(stream, buffer, |bytes| (bytes.len() >= length).then_some(length)).await;
    }
    if request.fields("transfer-encoding").is_empty() {
        return Some(Vec::new());
    }
    until(stream, buffer, |bytes| {
        if bytes.starts_with(b"0\r\n") {
            find(bytes, b"\r\n\r\n")
        } else {
            find(bytes, b"\r\n0\r\n").and_then(|at| find(&bytes[at + 2..], b"\r\n\r\n").map(|end| at + 2 + end))
        }
        .map(|end| end + 4)
    })
    .await
}

/// Reads until `complete` says how many bytes belong together.
pub async fn until<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    complete: impl Fn(&[u8]) -> Option<usize>,
) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = complete(buffer) {
            return Some(buffer.drain(..end).collect());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
