//! Small exchanges with a server that the operator named: an identity provider, a subrosa elsewhere.
//! Verified TLS (or this machine in the clear), bounded in size, never redirected. Not the road of runners.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// Where a server is: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: Host<String>,
    port: u16,
    secure: bool,
}

/// Why a URL is none that is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is neither https nor http, or has no host, or a user in it.
    #[error("this is no URL of a server: https://HOST or https://HOST:PORT, without a user in it")]
    NoServer,
    /// Credentials in the clear.
    #[error("credentials go over plain http to this machine only; use https")]
    Cleartext,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{target} cannot be reached: {cause}")]
pub struct FetchError {
    target: String,
    cause: String,
}

impl Target {
    /// Where `url` leads; what stands behind the port does not matter.
    pub fn of(url: &Url) -> Result<Self, TargetError> {
        let named = url.username().is_empty() && url.password().is_none();
        let host = url.host().map(|host| host.to_owned()).filter(|_| named);
        let (host, port) = host.zip(url.port_or_known_default()).ok_or(TargetError::NoServer)?;
        match url.scheme() {
            "https" => Ok(Self { host, port, secure: true }),
            "http" if is_local(&host) => Ok(Self { host, port, secure: false }),
            "http" => Err(TargetError::Cleartext),
            _ => Err(TargetError::NoServer),
        }
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The host without the brackets of an address.
    fn name(&self) -> String {
        self.host.to_string().trim_matches(['[', ']']).to_owned()
    }
}

/// Speaks to servers that these roots vouch for.
#[derive(Clone)]
pub struct Fetch(TlsConnector);

impl Fetch {
    /// Under this configuration, which verifies.
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self(TlsConnector::from(config))
    }

    /// One exchange. `request` has a path as its target; of the answer at most `limit` bytes are read.
    pub async fn send(
        &self,
        target: &Target,
        mut request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let failed = |cause: &dyn std::fmt::Display| FetchError { target: target.authority(), cause: cause.to_string() };
        let host = HeaderValue::try_from(target.authority()).map_err(|fault| failed(&fault))?;
        request.headers_mut().insert(HOST, host);
        let stream = connect(target).await.map_err(|fault| failed(&fault))?;
        if !target.secure {
            return exchange(stream, request, limit).await.map_err(|fault| failed(&fault));
        }
        let name = ServerName::try_from(target.name()).map_err(|fault| failed(&fault))?;
        let stream = self.0.connect(name, stream).await.map_err(|fault| failed(&fault))?;
        exchange(stream, request, limit).await.map_err(|fault| failed(&fault))
    }
}

async fn connect(target: &Target) -> std::io::Result<TcpStream> {
    let name = target.name();
    let found = tokio::net::lookup_host((name.as_str(), target.port)).await?;
    // What was checked is what is dialled.
    let addresses: Vec<SocketAddr> = found.filter(|address| target.secure || address.ip().is_loopback()).collect();
    TcpStream::connect(addresses.as_slice()).await
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let content = Limited::new(body, limit).collect().await?.to_bytes();
        if head.status.is_redirection() && head.status != StatusCode::NOT_MODIFIED {
            return Err(format!("it answers {} and wants to lead elsewhere", head.status).into());
        }
        Ok(Response::from_parts(head, content))
    };
    let answer = answer.await;
    connection.abort();
    answer
}

fn is_local(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_reached_over_tls_or_on_this_machine() {
        for (url, outcome) in [
            ("https://id.example.com", Ok("id.example.com:443")),
            ("https://id.example.com:8443/realms/a?b#c", Ok("id.example.com:8443")),
            ("http://127.0.0.1:8080", Ok("127.0.0.1:8080")),
            ("http://[::1]:8080", Ok("[::1]:8080")),
            ("http://localhost", Ok("localhost:80")),
            ("http://id.example.com", Err(TargetError::Cleartext)),
            ("http://localhost.example.com", Err(TargetError::Cleartext)),
            ("https://user@id.example.com", Err(TargetError::NoServer)),
            ("ftp://id.example.com", Err(TargetError::NoServer)),
            ("file:///etc/passwd", Err(TargetError::NoServer)),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(Target::of(&url).map(|target| target.authority()), outcome.map(str::to_owned), "{url}");
        }
    }
}
