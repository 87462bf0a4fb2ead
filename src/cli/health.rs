//! `subrosa health`: is the server alive? For container health checks; says nothing when it is.

use std::time::Duration;

use http::Request;
use http::header::HOST;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::error::CliError;
use crate::app;
use crate::config::{AdminTls, Config};
use crate::serve::reachable;

/// Less than the usual patience of health checks.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the socket, and where that is not to be had (another user's) the admin port.
pub(super) async fn run(config: &Config) -> Result<(), CliError> {
    let socket = app::admin_socket(config);
    let alive = tokio::time::timeout(PATIENCE, async {
        match UnixStream::connect(&socket).await {
            Ok(stream) => is_alive(stream, "localhost").await,
            Err(_) => port_is_alive(config).await,
        }
    });
    match alive.await {
        Ok(Some(())) => Ok(()),
        _ => Err(CliError::failed(format!("no server is alive at {}; start it with `subrosa serve`", socket.display()))),
    }
}

async fn port_is_alive(config: &Config) -> Option<()> {
    let address = reachable(*config.admin.listen.first()?);
    let host = config.admin.hosts.first()?.to_string();
    let stream = TcpStream::connect(address).await.ok()?;
    // KNOWN GAP: behind TLS of its own, that it accepts connections has to do.
    if matches!(config.admin.tls, Some(AdminTls::Files(_))) {
        return Some(());
    }
    is_alive(stream, &host).await
}

async fn is_alive<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, host: &str) -> Option<()> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/livez").header(HOST, host).body(Empty::<bytes::Bytes>::new()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    connection.abort();
    response.status().is_success().then_some(())
}
