//! A server elsewhere, spoken to over the network with an API token.
//!
//! The token comes from `SUBROSA_TOKEN` or a file, never from an argument, which everybody on the
//! machine can read. It goes over https with a verified certificate, or to this machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::client::{Call, collected};
use super::error::CliError;
use crate::secret::line_end;
use crate::tls;

/// Where the token comes from without `--token-file`.
const VARIABLE: &str = "SUBROSA_TOKEN";
/// The longest file that is taken for a token.
const MAX_TOKEN: u64 = 4096;

/// Which server, if it is not the one of this directory.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RemoteArguments {
    /// A server elsewhere, as in <https://subrosa.example.com:8081>; needs an API token.
    #[arg(long, global = true, value_name = "URL")]
    server: Option<Url>,
    /// A PEM file of certificates that the server's may be signed by, beside the system's.
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    server_ca: Option<PathBuf>,
    /// A file that holds the API token; without it, `SUBROSA_TOKEN` does.
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
}

/// A server elsewhere.
#[derive(Clone)]
pub(super) struct Remote {
    host: Host<String>,
    port: u16,
    tls: Option<TlsConnector>,
    authorization: HeaderValue,
}

impl RemoteArguments {
    /// The server that is meant, if one is.
    pub(super) fn resolve(self) -> Result<Option<Remote>, CliError> {
        let Some(url) = &self.server else { return Ok(None) };
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let host = url.host().map(|host| host.to_owned()).filter(|_| plain && url.password().is_none());
        let no_server = || CliError::usage("--server is https://HOST or https://HOST:PORT, with nothing behind it");
        let (host, port) = host.zip(url.port_or_known_default()).ok_or_else(no_server)?;
        let tls = match url.scheme() {
            "https" => Some(connector(self.server_ca.as_slice())?),
            "http" if is_local(&host) => None,
            "http" => return Err(CliError::usage("a token goes over plain http to this machine only; use https")),
            _ => return Err(no_server()),
        };
        let token = token(self.token_file.as_ref())?;
        let text = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let mut authorization = HeaderValue::from_str(&text)
            .map_err(|_| CliError::failed("what is given as the token is none: it holds blanks or controls"))?;
        authorization.set_sensitive(true);
        Ok(Some(Remote { host, port, tls, authorization }))
    }
}

impl Remote {
    /// One call.
    pub(super) async fn exchange(&self, call: Call) -> Result<(StatusCode, HeaderMap, bytes::Bytes), CliError> {
        let stream = self.connect().await?;
        match &self.tls {
            None => self.speak(stream, call).await,
            Some(connector) => {
                let name = ServerName::try_from(self.host.to_string().trim_matches(['[', ']']).to_owned());
                let name = name.map_err(|fault| self.unreachable(&fault))?;
                let stream = connector.connect(name, stream).await.map_err(|fault| self.unreachable(&fault))?;
                self.speak(stream, call).await
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, CliError> {
        let host = self.host.to_string();
        let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), self.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|fault| self.unreachable(&fault))?.collect();
        // What was checked is what is dialled.
        if self.tls.is_none() && addresses.iter().any(|address| !address.ip().is_loopback()) {
            return Err(CliError::usage("a token goes over plain http to this machine only; use https"));
        }
        TcpStream::connect(addresses.as_slice()).await.map_err(|fault| self.unreachable(&fault))
    }

    async fn speak<S>(&self, stream: S, call: Call) -> Result<(StatusCode, HeaderMap, bytes::Bytes), CliError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut request = call.into_request(&format!("{}:{}", self.host, self.port), Full::new)?;
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|fault| self.unreachable(&fault))?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|fault| self.unreachable(&fault))?;
        let answer = collected(response).await;
        connection.abort();
        answer
    }

    fn unreachable(&self, fault: &dyn std::fmt::Display) -> CliError {
        CliError::failed(format!("the server at {}:{} cannot be reached: {fault}", self.host, self.port))
    }
}

fn connector(extra: &[PathBuf]) -> Result<TlsConnector, CliError> {
    let roots = tls::Roots::usual().with_files(extra, "--server-ca").map_err(CliError::failed)?;
    let config = roots.client_config(None).map_err(CliError::failed)?;
    Ok(TlsConnector::from(config))
}

fn is_local(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn token(file: Option<&PathBuf>) -> Result<Zeroizing<String>, CliError> {
    let text = match file {
        Some(path) => {
            let unreadable = |fault| CliError::failed(format!("the token in {} cannot be read: {fault}", path.display()));
            if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_TOKEN {
                return Err(CliError::failed(format!("{} is no token: it is too long", path.display())));
            }
            Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?)
        }
        None => Zeroizing::new(std::env::var(VARIABLE).map_err(|_| {
            CliError::usage(format!("--server needs an API token: put it into {VARIABLE}, or name a file with --token-file"))
        })?),
    };
    let token = Zeroizing::new(text[..text.len() - line_end(text.as_bytes())].to_owned());
    match token.as_str() {
        "" => Err(CliError::failed("the token is empty")),
        runner if runner.starts_with("srt_") => Err(CliError::failed(
            "this is a runner's token, which opens the proxy; an API token (`subrosa token create`) begins with sat_",
        )),
        _ => Ok(token),
    }
}
