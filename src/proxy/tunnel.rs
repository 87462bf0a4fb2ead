//! Tunnels, whoever opened them: refused, passed through or intercepted.
//!
//! A tunnel that will be intercepted stands as soon as the runner is known: what goes wrong later is
//! answered inside, where clients show it. A tunnel that is passed through is dialled first, since
//! nobody could answer inside it.

use std::future::Future;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use tokio::io::AsyncReadExt;

use super::answer::Answer;
use super::client_auth::Caller;
use super::client_stream::ClientStream;
use super::context::Door;
use super::received::Received;
use super::relay::{Prefixed, client_side};
use super::right::Right;
use super::service::{self, Place};
use super::{http2, intercept, measures, relay};
use crate::inject::Refusal;
use crate::origin::{Authority, Origin, Scheme};
use crate::upstream::{Speech, Stream};

/// The first byte of a TLS record that holds a handshake message (RFC 8446 section 5.1).
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// Answers CONNECT and leaves a task behind that serves the tunnel.
pub(super) async fn connect(
    door: &Door,
    mut request: Request<Received>,
    authority: Authority,
    caller: Caller,
) -> Result<Response<Answer>, Refusal> {
    let upgrade = hyper::upgrade::on(&mut request);
    let tunnel = Tunnel::open(door, authority, caller).await?;
    let busy = door.shared.drain.busy();
    tokio::spawn(async move {
        let _busy = busy;
        if let Some((stream, early)) = client_side(upgrade).await {
            tunnel.serve(stream, early).await;
        }
    });
    Ok(Response::new(Answer::own(Bytes::new())))
}

/// A tunnel that stands.
pub(super) struct Tunnel {
    door: Door,
    authority: Authority,
    caller: Caller,
    /// The upstream of a tunnel that is passed through.
    upstream: Option<Stream>,
}

impl Tunnel {
    /// Opens one as far as it has to be before the client is told so.
    pub(super) async fn open(door: &Door, authority: Authority, caller: Caller) -> Result<Self, Refusal> {
        door.belongs_to(&caller.tenant)?;
        let settings = door.shared.settings.load_full();
        let upstream = if settings.passes_through(&authority.host) {
            caller.may_reach(&authority.host)?;
            let origin = Origin::new(Scheme::Https, authority.clone());
            Some(door.upstream(&settings).dial(&caller.tenant, &origin).await?)
        } else {
            None
        };
        let kind = if upstream.is_some() { measures::Tunnel::PassedThrough } else { measures::Tunnel::Intercepted };
        door.shared.measures.tunnel(kind);
        Ok(Self { door: door.clone(), authority, caller, upstream })
    }

    /// Serves it to its end; `early` is what the client sent already. Boxed: a tunnel holds a connection
    /// that is served like the one it came from.
    pub(super) fn serve(self, stream: ClientStream, early: BytesMut) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let _busy = self.door.shared.drain.busy();
            let _open = self.door.shared.measures.tunnels.hold();
            match self.upstream {
                Some(upstream) => {
                    let right = Right::to_reach(&self.door.shared, self.caller, self.authority.host);
                    relay::pass_through(&self.door, Prefixed::new(early.freeze(), stream), upstream, right).await;
                }
                None => self.look_inside(stream, early).await,
            }
        })
    }

    async fn look_inside(self, mut stream: ClientStream, mut early: BytesMut) {
        let Self { door, authority, caller, .. } = self;
        if !heard(&door, &mut stream, &mut early, &authority).await {
            return;
        }
        let bound = door.shared.settings.load().client_head;
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
    }
}

/// Waits for the first bytes. A client that waits for the server to speak first speaks neither TLS nor
/// HTTP.
pub(super) async fn heard(door: &Door, stream: &mut ClientStream, early: &mut BytesMut, authority: &Authority) -> bool {
    let bound = door.shared.settings.load().client_head;
    while early.is_empty() {
        match tokio::time::timeout(bound, stream.read_buf(early)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return false,
            Err(_) => {
                tracing::info!(target: "subrosa::proxy", host = %authority.host, "a tunnel was closed: its client sent nothing; hosts whose protocol is neither HTTP nor TLS belong in intercept.pass_through");
                return false;
            }
        }
    }
    true
}
