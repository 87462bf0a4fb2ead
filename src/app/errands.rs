//! The road for people: what they send for real goes through a door of its own, on the main thread.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use crate::admin::{Answered, Errand, Pending, Road, Undone};
use crate::proxy::Door;

/// One connection's buffer.
const BUFFER: usize = 64 * 1024;
/// For one errand altogether; the road's own timeouts are shorter unless they were raised.
const PATIENCE: Duration = Duration::from_mins(2);
/// Frames of a response that are read and dropped, so that its connection can be used again.
const FRAMES: usize = 64;

/// Sends errands through `door`.
pub(super) struct Errands(pub(super) Door);

impl Road for Errands {
    fn send(&self, errand: Errand) -> Pending {
        let door = self.0.clone();
        Box::pin(async move {
            let late = || Undone(format!("Nothing was answered within {}.", humantime::format_duration(PATIENCE)));
            tokio::time::timeout(PATIENCE, send(door, errand)).await.map_err(|_| late())?
        })
    }
}

async fn send(door: Door, errand: Errand) -> Result<Answered, Undone> {
    let Errand { organization, runner, origin, request } = errand;
    let lost = |fault: hyper::Error| Undone(format!("The exchange broke off: {fault}."));
    let (near, far) = tokio::io::duplex(BUFFER);
    let served = tokio::spawn(async move { door.welcome_errand(far, origin, &organization, runner.as_ref()).await });
    let served = AbortOnDrop(served);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(near))
        .await
        .map_err(lost)?;
    let driven = AbortOnDrop(tokio::spawn(connection));
    let began = Instant::now();
    let mut response = sender.send_request(request.map(Full::<Bytes>::new)).await.map_err(lost)?;
    let answered = Answered { status: response.status(), refusal: refusal(&response), took: began.elapsed() };
    for _ in 0..FRAMES {
        if !matches!(response.body_mut().frame().await, Some(Ok(_))) {
            break;
        }
    }
    drop((served, driven));
    Ok(answered)
}

/// The code in our own member of Proxy-Status; an upstream's was removed on the road.
fn refusal(response: &Response<Incoming>) -> Option<String> {
    let status = response.headers().get("proxy-status")?.to_str().ok()?;
    let details = status.strip_prefix("subrosa;")?.split_once("details=\"")?.1;
    Some(details.split(':').next()?.to_owned())
}

/// A task that ends with whoever started it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
