//! CONNECT: refused, passed through or intercepted.
//!
//! A tunnel that will be intercepted is answered 200 as soon as the runner is known: what goes
//! wrong later is answered inside, where clients show it. A tunnel that is passed through is
//! dialled first, since nobody could answer inside it.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use tokio::io::AsyncReadExt;

use super::answer::Answer;
use super::client_auth::Caller;
use super::context::Door;
use super::measures::Tunnel;
use super::received::Received;
use super::relay::{Prefixed, client_side};
use super::service::{self, Place};
use super::{http2, intercept, relay};
use crate::inject::Refusal;
use crate::origin::{Authority, Origin, Scheme};
use crate::upstream::Speech;

/// The first byte of a TLS record that holds a handshake message (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Answers CONNECT and leaves a task behind that serves the tunnel.
pub(super) async fn connect(
    door: &Door,
    mut request: Request<Received>,
    authority: Authority,
    caller: Caller,
) -> Result<Response<Answer>, Refusal> {
    let upgrade = hyper::upgrade::on(&mut request);
    if door.shared.settings.passes_through(&authority.host) {
        caller.may_reach(&authority.host)?;
        let host = authority.host.clone();
        let upstream = door.upstream.dial(&caller.tenant, &Origin::new(Scheme::Https, authority)).await?;
        door.shared.measures.tunnel(Tunnel::PassedThrough);
        relay::pass_through(door.clone(), upgrade, upstream, relay::Bearer { caller, host });
    } else {
        door.shared.measures.tunnel(Tunnel::Intercepted);
        tokio::spawn(look_inside(door.clone(), upgrade, authority, caller));
    }
    Ok(Response::new(Answer::own(Bytes::new())))
}

/// Boxed: a tunnel holds a connection that is served like the one it came from.
fn look_inside(door: Door, upgrade: OnUpgrade, authority: Authority, caller: Caller) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let _busy = door.shared.drain.busy();
        let _open = door.shared.measures.tunnels.hold();
        let Some((mut stream, mut early)) = client_side(upgrade).await else { return };
        let bound = door.shared.settings.client_head;
        // A client that waits for the server to speak first speaks neither TLS nor HTTP.
        while early.is_empty() {
            match tokio::time::timeout(bound, stream.read_buf(&mut early)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return,
                Err(_) => {
                    return tracing::info!(target: "subrosa::proxy", host = %authority.host, "a tunnel was closed: its client sent nothing; hosts whose protocol is neither HTTP nor TLS belong in intercept.pass_through");
                }
            }
        }
        while http2::may_begin(&early) && !http2::begins(&early) {
            match tokio::time::timeout(bound, stream.read_buf(&mut early)).await {
                Ok(Ok(1..)) => {}
                _ => return,
            }
        }
        if early[0] == TLS_HANDSHAKE {
            let origin = Origin::new(Scheme::Https, authority);
            intercept::intercept(door, Prefixed::new(early.freeze(), stream), origin, caller).await;
            return;
        }
        let place = Place::Inside { origin: Origin::new(Scheme::Http, authority), caller: Box::new(caller), misdirected: None };
        if http2::begins(&early) {
            http2::serve(door, Prefixed::new(early.freeze(), stream), place, Speech::PriorKnowledge).await;
        } else {
            service::serve(door, stream, early, place).await;
        }
    })
}
