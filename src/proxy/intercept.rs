//! Ends a client's TLS as the origin would: `ClientHello`, SNI agrees, leaf certificate, and the
//! requests inside are served.

use bytes::BytesMut;
use rustls::server::Acceptor;
use tokio_rustls::LazyConfigAcceptor;

use super::client_auth::Caller;
use super::client_stream::ClientStream;
use super::context::Door;
use super::relay::Prefixed;
use super::service::{self, Place};
use super::{http2, wire};
use crate::origin::{Host, Origin};
use crate::tls::ALPN_HTTP_2;
use crate::upstream::Speech;

/// Intercepts one tunnel to `origin` that begins with a TLS handshake.
pub(super) async fn intercept(door: Door, stream: Prefixed<ClientStream>, origin: Origin, caller: Caller) {
    let bound = door.shared.settings.load().client_head;
    let handshake = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let (leaf, misdirected) = named(start.client_hello().server_name(), &origin);
        let config = door.shared.leaves.server_config(&leaf).map_err(std::io::Error::other)?;
        start.into_stream(config).await.map(|stream| (stream, misdirected))
    };
    match tokio::time::timeout(bound, handshake).await {
        Ok(Ok((stream, misdirected))) => {
            let place = Place::Inside { origin, caller: Box::new(caller), misdirected };
            if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP_2) {
                http2::serve(door, stream, place, Speech::Agreed).await;
            } else {
                service::serve(door, stream, BytesMut::new(), place).await;
            }
        }
        Ok(Err(fault)) => {
            // Most often the client does not trust our CA, and only this line says so.
            tracing::info!(target: "subrosa::proxy", %origin, runner = caller.runner_name().map(tracing::field::display), %fault, "a client ended the TLS handshake inside its tunnel; it must trust the certificate that `subrosa ca export` prints");
        }
        Err(_) => {
            tracing::info!(target: "subrosa::proxy", %origin, "a client did not finish the TLS handshake inside its tunnel in time");
        }
    }
}

/// The host whose certificate the client expects, and why its requests are misdirected if that is
/// not the tunnel's. Absent SNI agrees.
fn named(server_name: Option<&str>, origin: &Origin) -> (Host, Option<String>) {
    match server_name.map(|name| (name, wire::server_name(name))) {
        None => (origin.host.clone(), None),
        Some((_, Some(host))) if host == origin.host => (host, None),
        Some((name, host)) => {
            let what = format!("The TLS handshake names `{name}` (SNI), but this tunnel was opened to `{origin}`.");
            (host.unwrap_or_else(|| origin.host.clone()), Some(what))
        }
    }
}
