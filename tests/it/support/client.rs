//! Clients of our own, for exact bytes: a raw one, and one with TLS inside a tunnel.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::origin::{find, until};
use super::{World, soon};

#[derive(Clone, Debug)]
pub struct Response {
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {:?}", self.head))
    }

    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {}", self.text()))
    }

    /// The code of a refusal of ours; checks everything that every refusal must have.
    pub fn refusal(&self) -> String {
        let problem = self.json();
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!(self.fields("content-type"), ["application/problem+json"], "{}", self.head);
        let proxy_status = self.fields("proxy-status");
        assert!(
            proxy_status[0].starts_with("subrosa; error=") && proxy_status[0].contains(&format!("details=\"{code}: ")),
            "{proxy_status:?}"
        );
        assert_eq!(problem["type"], format!("urn:subrosa:{code}"));
        assert_eq!(problem["status"], self.status());
        for member in ["title", "detail", "request_id"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {problem}");
        }
        code
    }
}

/// Reads one response; `is_head`: it has no content whatever its fields say.
pub async fn read_response<S: AsyncRead + Unpin>(stream: &mut S, is_head: bool) -> Response {
    soon(async {
        let mut buffer = Vec::new();
        let head = until(stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await;
        let head = head.unwrap_or_else(|| panic!("no response head, only {:?}", String::from_utf8_lossy(&buffer)));
        let mut response = Response { head: String::from_utf8_lossy(&head).into_owned(), body: Vec::new() };
        if is_head || matches!(response.status(), 100..=199 | 204 | 304) {
            return response;
        }
        let length = response.fields("content-length").first().and_then(|length| length.parse::<usize>().ok());
        response.body = match length {
            Some(length) => {
                until(stream, &mut buffer, |bytes| (bytes.len() >= length).then_some(length)).await.expect("the content is whole")
            }
            None if response.fields("transfer-encoding") == ["chunked"] => until(stream, &mut buffer, |bytes| {
                if bytes.starts_with(b"0\r\n\r\n") { Some(5) } else { find(bytes, b"\r\n0\r\n\r\n").map(|at| at + 7) }
            })
            .await
            .expect("the content is whole"),
            None => {
                let _ = stream.read_to_end(&mut buffer).await;
                buffer.clone()
            }
        };
        response
    })
    .await
}

pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> Response {
    exchange_bytes(stream, request.as_bytes()).await
}

pub async fn exchange_bytes<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> Response {
    stream.write_all(request).await.expect("it can be sent");
    stream.flush().await.expect("it can be sent");
    let is_head = request.starts_with(b"HEAD ") || request.starts_with(b"CONNECT ");
    read_response(stream, is_head).await
}

/// The same with the content of a refusal, whatever the method.
pub async fn exchange_whole<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Response {
    stream.write_all(request.as_bytes()).await.expect("it can be sent");
    stream.flush().await.expect("it can be sent");
    read_response(&mut stream, false).await
}

impl World {
    /// A connection to the proxy.
    pub async fn connect(&self) -> TcpStream {
        let stream = soon(TcpStream::connect(self.proxy.address)).await.expect("the proxy listens");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    /// One request as raw bytes on a connection of its own.
    pub async fn send(&self, request: &str) -> Response {
        exchange(&mut self.connect().await, request).await
    }

    /// A tunnel to `authority`, whatever is spoken in it.
    pub async fn tunnel(&self, authority: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let response = exchange(&mut stream, &format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        assert_eq!(response.status(), 200, "{}{}", response.head, response.text());
        stream
    }

    /// A tunnel to `host`, with TLS inside that trusts the proxy's authority and nobody else.
    pub async fn tls(&self, host: &'static str) -> TlsStream<TcpStream> {
        tls_in(self.tunnel(&format!("{host}:443")).await, host, &self.ca()).await.expect("the leaf is trusted")
    }

    /// One request inside a tunnel of its own.
    pub async fn send_tls(&self, host: &'static str, request: &str) -> Response {
        exchange(&mut self.tls(host).await, request).await
    }
}

/// TLS on a connection, trusting one authority.
pub async fn tls_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &'static str,
    ca: &Path,
) -> std::io::Result<TlsStream<S>> {
    tls_with(stream, host, ca, &[]).await
}

/// The same, offering `protocols` (ALPN).
pub async fn tls_with<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &'static str,
    ca: &Path,
    protocols: &[&str],
) -> std::io::Result<TlsStream<S>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("a PEM file") {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    soon(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host).expect("a name"), stream)).await
}
