//! HTTP/2 origins that keep what they received, and HTTP/2 clients inside tunnels.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::client::tls_with;
use super::origin::Script;
use super::{Ca, World, reply, soon};

/// An origin that speaks HTTP/2 and HTTP/1.1, over TLS.
pub const H2: &str = "h2.crm.example.com";
/// An origin that speaks HTTP/2 and nothing else, in the clear.
pub const H2_PLAIN: &str = "h2-plain.crm.example.com";

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// `:protocol` of an extended CONNECT.
    pub protocol: Option<String>,
    pub uri: Uri,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Why the client broke the stream off, if it did; `STREAM_CLOSED` if the connection went.
    pub broken: Option<Reason>,
}

impl Received {
    /// The one value of a field.
    pub fn field(&self, name: &str) -> String {
        let values: Vec<_> = self.fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        assert_eq!(values.len(), 1, "{name} in {:?}", self.fields);
        values[0].clone().into_owned()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What an origin does with a request whose content was read.
#[derive(Clone)]
pub enum Does {
    /// Answers with a status, fields, content and trailers.
    Answers(u16, Vec<(&'static str, &'static str)>, &'static str, Vec<(&'static str, &'static str)>),
    /// Answers with a head and some content, and then resets the stream.
    Breaks(&'static str, Reason),
    /// Resets the stream.
    Resets(Reason),
    /// Sends back what it received, as it comes.
    Echoes,
    /// The same for gRPC: every message goes back, and the call ends well.
    Calls,
    /// Answers with a head and nothing more.
    Hangs,
    /// Answers with content without end, as fast as it is taken, until the client has enough.
    Floods,
}

pub struct Http2Origin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    record: Record,
}

/// What came in: how many requests began, and those that ended.
#[derive(Clone, Default)]
struct Record {
    begun: Arc<AtomicUsize>,
    ended: Arc<Mutex<Vec<Received>>>,
}

impl Http2Origin {
    pub async fn start(acceptor: Option<tokio_rustls::TlsAcceptor>, does: fn(&Uri) -> Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (connections, record) = (Arc::new(AtomicUsize::new(0)), Record::default());
        let (count, kept) = (Arc::clone(&connections), record.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let (acceptor, record) = (acceptor.clone(), kept.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, does, record).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                                serve(stream, does, record).await;
                            } else {
                                // Only requests that need a connection of their own come here.
                                let script: Script = Arc::new(|request: &super::origin::Received| {
                                    let answer = if request.fields("upgrade").is_empty() { KEEP } else { SWITCH };
                                    (answer.into(), false)
                                });
                                super::origin::serve(stream, number, &script, &Mutex::default()).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, connections, record }
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn received(&self) -> Vec<Received> {
        self.record.ended.lock().expect("no test panics with it").clone()
    }

    /// Waits until `count` requests began.
    pub async fn begun(&self, count: usize) {
        soon(async {
            while self.record.begun.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until `count` requests ended, one way or the other.
    pub async fn ended(&self, count: usize) -> Vec<Received> {
        soon(async {
            while self.received().len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.received()
    }
}

const KEEP: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, does: fn(&Uri) -> Does, record: Record) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        record.begun.fetch_add(1, Ordering::SeqCst);
        let (does, record) = (does(request.uri()), Arc::clone(&record.ended));
        tokio::spawn(answer(request, respond, does, record));
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, does: Does, record: Arc<Mutex<Vec<Received>>>) {
    let (head, mut content) = request.into_parts();
    let mut early = match does {
        Does::Calls => {
            let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a response");
            respond.send_response(head, false).ok()
        }
        Does::Echoes | Does::Hangs => respond.send_response(Response::new(()), false).ok(),
        _ => None,
    };
    let protocol = head.extensions.get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().to_owned());
    let mut received = Received { protocol, uri: head.uri, fields: head.headers, body: Vec::new(), trailers: None, broken: None };
    while let Some(chunk) = content.data().await {
        match chunk {
            Ok(chunk) => {
                let _ = content.flow_control().release_capacity(chunk.len());
                received.body.extend_from_slice(&chunk);
                if let (Does::Echoes | Does::Calls, Some(stream)) = (&does, &mut early) {
                    let _ = stream.send_data(chunk, false);
                }
            }
            Err(fault) => {
                received.broken = Some(fault.reason().unwrap_or(Reason::STREAM_CLOSED));
                break;
            }
        }
    }
    if received.broken.is_none() {
        match content.trailers().await {
            Ok(trailers) => received.trailers = trailers,
            Err(fault) => received.broken = Some(fault.reason().unwrap_or(Reason::STREAM_CLOSED)),
        }
    }
    record.lock().expect("no test panics with it").push(received);
    match does {
        Does::Answers(status, fields, text, trailers) => {
            let mut response = Response::builder().status(status);
            for (name, value) in fields {
                response = response.header(name, value);
            }
            let is_last = text.is_empty() && trailers.is_empty();
            let Ok(mut stream) = respond.send_response(response.body(()).expect("a response"), is_last) else { return };
            if is_last {
                return;
            }
            let _ = stream.send_data(Bytes::from_static(text.as_bytes()), trailers.is_empty());
            if !trailers.is_empty() {
                let pairs = trailers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
                let _ = stream.send_trailers(pairs.collect());
            }
        }
        Does::Breaks(text, reason) => {
            let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
            let _ = stream.send_data(Bytes::from_static(text.as_bytes()), false);
            // The library drops what it has not written yet when a stream is reset.
            while stream.capacity() > 0 && !is_written(&mut stream) {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            stream.send_reset(reason);
        }
        Does::Resets(reason) => respond.send_reset(reason),
        Does::Echoes => {
            if let Some(mut stream) = early {
                let _ = stream.send_data(Bytes::new(), true);
            }
        }
        Does::Calls => {
            if let Some(mut stream) = early {
                let ended = [("grpc-status".parse().expect("a name"), "0".parse().expect("a value"))];
                let _ = stream.send_trailers(ended.into_iter().collect());
            }
        }
        Does::Floods => {
            let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
            loop {
                stream.reserve_capacity(16 * 1024);
                let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                if stream.send_data(Bytes::from(vec![0; room]), false).is_err() {
                    return;
                }
            }
        }
        Does::Hangs => {
            let Some(mut stream) = early else { return };
            let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        }
    }
}

fn is_written(stream: &mut SendStream<Bytes>) -> bool {
    stream.capacity() == 0
}

/// So that connections can be counted.
pub const ONE_WORKER: &str = "[proxy]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n";

/// A world with origins that speak HTTP/2.
pub struct Http2World {
    pub world: World,
    pub h2: Http2Origin,
    pub h2_plain: Http2Origin,
}

impl Http2World {
    /// With one worker, so that connections can be counted.
    pub async fn new(does: fn(&Uri) -> Does) -> Self {
        Self::with(ONE_WORKER, does).await
    }

    pub async fn with(config: &str, does: fn(&Uri) -> Does) -> Self {
        Self::build(config, does, reply("200 OK", "", "ok")).await
    }

    /// The same with HTTP/1.1 origins that answer by `script`.
    pub async fn scripted(does: fn(&Uri) -> Does, script: Script) -> Self {
        Self::build(ONE_WORKER, does, script).await
    }

    /// With HTTP/1.1 origins that answer by `script`, and further config.
    pub async fn serving(config: &str, does: fn(&Uri) -> Does, script: Script) -> Self {
        Self::build(config, does, script).await
    }

    async fn build(config: &str, does: fn(&Uri) -> Does, script: Script) -> Self {
        let ca = Ca::new();
        let h2 = Http2Origin::start(Some(ca.acceptor_speaking(&[H2], &["h2", "http/1.1"])), does).await;
        let h2_plain = Http2Origin::start(None, does).await;
        let others = [(H2, h2.address), (H2_PLAIN, h2_plain.address)];
        let world = World::beside(&ca, &others, config, script).await;
        Self { world, h2, h2_plain }
    }
}

/// Says `ok` to everything.
pub fn ok(_: &Uri) -> Does {
    Does::Answers(200, vec![("content-length", "2")], "ok", Vec::new())
}

impl World {
    /// An HTTP/2 client inside a tunnel to `host`, by ALPN.
    pub async fn http2(&self, host: &'static str) -> h2::client::SendRequest<Bytes> {
        self.http2_with(host, 65_535).await
    }

    /// The same, taking so much on a connection.
    pub async fn http2_with(&self, host: &'static str, window: u32) -> h2::client::SendRequest<Bytes> {
        let stream = self.tunnel(&format!("{host}:443")).await;
        let stream = tls_with(stream, host, &self.ca(), &["h2"]).await.expect("the leaf is trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        client_with(stream, window).await
    }
}

/// An HTTP/2 client on a connection.
pub async fn client<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> h2::client::SendRequest<Bytes> {
    client_with(stream, 65_535).await
}

async fn client_with<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    window: u32,
) -> h2::client::SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_connection_window_size(window).handshake(stream);
    let (sender, connection) = soon(handshake).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    sender
}

/// A whole response.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answered {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The head, as HTTP/1.1 would write it.
    pub fn head(&self) -> String {
        self.fields.iter().fold(format!("HTTP/2 {} \r\n", self.status), |mut head, (name, value)| {
            let _ = write!(head, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
            head
        })
    }

    /// The code of a refusal of ours; checks everything that every refusal must have.
    pub fn refusal(&self) -> String {
        super::client::Response { head: self.head(), body: self.body.clone() }.refusal()
    }
}

/// Sends one request with its whole content and reads the whole response.
pub async fn ask(client: &h2::client::SendRequest<Bytes>, request: Request<&'static str>) -> Result<Answered, h2::Error> {
    let (head, content) = request.into_parts();
    let mut client = soon(client.clone().ready()).await?;
    let (response, mut stream) = client.send_request(Request::from_parts(head, ()), content.is_empty())?;
    if !content.is_empty() {
        stream.send_data(Bytes::from_static(content.as_bytes()), true)?;
    }
    read(response).await
}

/// Reads a whole response.
pub async fn read(response: h2::client::ResponseFuture) -> Result<Answered, h2::Error> {
    soon(async {
        let (head, mut content) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(chunk) = content.data().await {
            let chunk = chunk?;
            content.flow_control().release_capacity(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        let trailers = content.trailers().await?;
        Ok(Answered { status: head.status.as_u16(), fields: head.headers, body, trailers })
    })
    .await
}

/// A request to `host`.
pub fn to(method: &str, host: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("https://{host}{path}"))
}

/// The status and fields of the answer, and both directions.
pub type Opened = (u16, HeaderMap, SendStream<Bytes>, RecvStream);

/// Asks for a WebSocket by extended CONNECT, with a reference in a field.
pub async fn websocket(client: &h2::client::SendRequest<Bytes>, host: &str, path: &str) -> Opened {
    let mut client = soon(client.clone().ready()).await.expect("open");
    soon(async {
        // The proxy offers it in its first frame.
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut request = to("CONNECT", host, path)
        .header("sec-websocket-version", "13")
        .header("x-key", "{secrets.crm.apiKey}")
        .body(())
        .expect("a request");
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (response, stream) = client.send_request(request, false).expect("sent");
    let (head, content) = soon(response).await.expect("an answer").into_parts();
    (head.status.as_u16(), head.headers, stream, content)
}
