//! What carries one exchange: an HTTP/1.1 connection of its own, or a stream of an HTTP/2 connection.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use super::connection::Connection;
use super::error::BoxError;
use super::multiplexed::Place;
use super::sending::Sending;
use super::shape;
use crate::origin::Origin;

/// What carries one exchange.
pub(super) enum Carrier<B> {
    Own(Connection<B>),
    Shared(Place<B>),
}

/// What became of a request that was handed over.
pub(super) enum Sent<B> {
    /// A response has begun.
    Answered(Response<Incoming>),
    /// The connection was closed before it took the request; here it is again.
    Unsent(Request<Sending<B>>),
    /// It was sent, in part at least, and no response came of it.
    Failed { error: hyper::Error, again: Again },
    /// It can never be sent.
    Impossible,
}

/// Whether a request without content that failed may be sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// Nothing came back, so nobody knows: only if twice is the same as once.
    IfIdempotent,
    /// The upstream says that it did nothing with it (RFC 9113 section 8.7).
    Always,
    /// The same, and that it wants it in HTTP/1.1 (NTLM and Negotiate need that).
    InHttp1,
}

impl<B> Carrier<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends one request in the shape it needs, and waits for the head of its response.
    pub(super) async fn send(&mut self, mut request: Request<Sending<B>>, origin: &Origin) -> Sent<B> {
        match self {
            Self::Own(connection) => {
                shape::as_http1(&mut request);
                connection.send(request).await
            }
            Self::Shared(place) => {
                if shape::as_http2(&mut request, origin).is_none() {
                    return Sent::Impossible;
                }
                request.body_mut().may_be_stopped();
                let switches = request.method() == Method::CONNECT;
                let mut sent = place.send(request).await;
                if let Sent::Answered(response) = &mut sent
                    && switches
                    && response.status() == StatusCode::OK
                {
                    shape::switched(response);
                }
                sent
            }
        }
    }
}
