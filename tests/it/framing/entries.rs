//! Every way in that speaks HTTP/1.1, and what a request has to look like there.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Response, tls_in};
use crate::support::origin::{find, until};
use crate::support::{CRM, Ca, Origin, World, reply, soon};

/// The origin that is spoken to in the clear.
pub const PLAIN: &str = "plain.crm.example.com";

/// A connection, whatever lies below it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The proxy's port.
    Port,
    /// The port that answers in TLS.
    TlsPort,
    /// TLS inside a tunnel.
    Tunnel,
    /// A tunnel without TLS inside.
    PlainTunnel,
    /// TLS inside a tunnel that SOCKS opened.
    Socks,
}

impl Entry {
    /// Whether a request names its host here, and not the tunnel.
    pub fn is_front(self) -> bool {
        matches!(self, Self::Port | Self::TlsPort)
    }

    /// The host that is spoken to.
    pub fn host(self) -> &'static str {
        if matches!(self, Self::Tunnel | Self::Socks) { CRM } else { PLAIN }
    }

    /// A request of the table in the form that this entry wants: `BASE` stands for what a target needs at the front,
    /// and `HOST` for the host.
    pub fn write(self, request: &str) -> String {
        let prefix = if self.is_front() { format!("http://{PLAIN}") } else { String::new() };
        request.replace("BASE", &prefix).replace("HOST", self.host())
    }
}

/// A world with every door open.
pub struct Doors {
    pub world: World,
}

impl Doors {
    pub async fn new() -> Self {
        let (ca, place) = (Ca::new(), tempfile::tempdir().expect("a directory"));
        ca.pair_files(place.path(), "proxy", &["proxy.test"]);
        let at = |name: &str| place.path().join(name).display().to_string();
        let config = format!(
            "[proxy]\nlisten = [\"127.0.0.1:0\"]\nsocks = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\ntls = {{ certificate = \"{}\", key = \"{}\" }}\n",
            at("proxy.pem"),
            at("proxy-key.pem")
        );
        let world = World::with(&config, reply("200 OK", "", "ok")).await;
        std::fs::write(world.proxy.path("proxy-ca.pem"), ca.pem()).expect("written");
        Self { world }
    }

    /// The origin that is reached by this way.
    pub fn origin(&self, entry: Entry) -> &Origin {
        if entry.host() == CRM { &self.world.crm } else { &self.world.crm_plain }
    }

    /// How many requests and connections all origins saw.
    pub fn seen(&self) -> (usize, usize) {
        let origins = [&self.world.crm, &self.world.crm_plain, &self.world.evil];
        (origins.iter().map(|it| it.received().len()).sum(), origins.iter().map(|it| it.connections()).sum())
    }

    pub async fn open(&self, entry: Entry) -> Box<dyn Stream> {
        let world = &self.world;
        match entry {
            Entry::Port => Box::new(world.connect().await),
            Entry::TlsPort => {
                let stream = soon(TcpStream::connect(world.proxy.door("proxy-tls").await)).await.expect("it listens");
                Box::new(tls_in(stream, "proxy.test", &world.proxy.path("proxy-ca.pem")).await.expect("trusted"))
            }
            Entry::Tunnel => Box::new(world.tls(CRM).await),
            Entry::PlainTunnel => Box::new(world.tunnel(&format!("{PLAIN}:80")).await),
            Entry::Socks => Box::new(tls_in(self.socks().await, CRM, &world.ca()).await.expect("the leaf is trusted")),
        }
    }

    async fn socks(&self) -> TcpStream {
        let mut stream = soon(TcpStream::connect(self.world.proxy.door("proxy-socks").await)).await.expect("it listens");
        let length = u8::try_from(CRM.len()).expect("short");
        for (said, answer) in [
            (vec![5, 1, 0], vec![5, 0]),
            ([&[5, 1, 0, 3, length], CRM.as_bytes(), &[1, 187]].concat(), vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        ] {
            stream.write_all(&said).await.expect("sent");
            let mut got = vec![0; answer.len()];
            soon(stream.read_exact(&mut got)).await.expect("an answer");
            assert_eq!(got, answer);
        }
        stream
    }
}

/// Sends bytes and reads one whole answer that says its length; or what came instead.
pub async fn ask(stream: &mut Box<dyn Stream>, bytes: &str) -> Result<Response, String> {
    soon(async {
        // What is wrong may be noticed, and the connection closed, while the rest is being sent.
        let _ = stream.write_all(bytes.as_bytes()).await;
        let _ = stream.flush().await;
        let mut buffer = Vec::new();
        let head = until(stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await;
        let head = head.ok_or_else(|| format!("no answer: {}", String::from_utf8_lossy(&buffer)))?;
        let mut response = Response { head: String::from_utf8_lossy(&head).into_owned(), body: Vec::new() };
        if response.status() >= 200 {
            let length = response.fields("content-length").first().and_then(|length| length.parse::<usize>().ok());
            let length = length.ok_or_else(|| format!("an answer without a length: {}", response.head))?;
            let body = until(stream, &mut buffer, |bytes| (bytes.len() >= length).then_some(length)).await;
            response.body = body.ok_or("an answer that breaks off")?;
        }
        if buffer.is_empty() { Ok(response) } else { Err(format!("more behind it: {}", String::from_utf8_lossy(&buffer))) }
    })
    .await
}

/// What comes behind the last answer, up to the end of the connection; a reset is an end too.
pub async fn rest(stream: &mut Box<dyn Stream>) -> String {
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    String::from_utf8_lossy(&rest).into_owned()
}

/// The code of a refusal of ours, which must be whole; or the status of another answer.
pub fn told(response: &Response) -> String {
    if response.fields("proxy-status").is_empty() { response.status().to_string() } else { response.refusal() }
}
