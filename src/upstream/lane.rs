//! A request's way, reserved before anything is sent: a connection that rests, a place on one that is
//! shared, or addresses that may be dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::{Instant, timeout};

use super::carrier::Carrier;
use super::connection::Connection;
use super::dial;
use super::egress::Opened;
use super::error::{BoxError, Error, Wait};
use super::exchange::Exchange;
use super::greeting::Greeting;
use super::home::{Home, Kept, Key, Pinned, Tenant, WayHome};
use super::lookups::Lookups;
use super::multiplexed::{Multiplexed, Place};
use super::next_proxy;
use super::pool::Pool;
use super::resolve::Route;
use super::returning::Returning;
use super::settings::Settings;
use super::shared::Shared;
use super::stream::Stream;
use super::watched::Transport;
use crate::origin::{Origin, Scheme};

/// A connection that rested longer may have been closed without this thread having noticed: the
/// system is asked once more before it is used.
const FRESHLY_USED: Duration = Duration::from_secs(1);

/// The way out of one worker: settings that all share, and idle connections of its own.
pub struct Upstream<B> {
    pub(super) settings: Arc<Settings>,
    pub(super) pool: Pool<B>,
    pub(super) shared: Shared<B>,
    lookups: Lookups,
}

/// Which version of HTTP a request may be sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speech {
    /// HTTP/1.1 and nothing else: it asks for another protocol, or it authenticates its connection.
    Http1,
    /// Whichever the upstream agrees to in its TLS handshake; HTTP/1.1 where there is none.
    Agreed,
    /// The same, but HTTP/2 where there is no TLS: whoever asks knows that the upstream speaks it.
    /// An upstream that does not is spoken to in HTTP/1.1.
    PriorKnowledge,
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        let (pool, shared, lookups) = (self.pool.clone(), self.shared.clone(), self.lookups.clone());
        Self { settings: Arc::clone(&self.settings), pool, shared, lookups }
    }
}

/// A way for exactly one request.
pub struct Lane<B> {
    upstream: Upstream<B>,
    key: Key,
    pinned: Option<Pinned<B>>,
    speech: Speech,
    way: Way<B>,
    opened: Opened,
}

enum Way<B> {
    /// A connection that rested; it goes back to rest if it is not used.
    Kept(Kept<B>),
    /// A place on a connection that is shared.
    Shared(Place<B>),
    /// Addresses that may be dialled, and how much of the time to connect is left.
    Dial(Route, Duration),
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// A way out with no connections yet.
    pub fn new(settings: Arc<Settings>) -> Self {
        let (pool, shared) = (Pool::new(&settings), Shared::new(&settings));
        Self { settings, pool, shared, lookups: Lookups::default() }
    }

    /// Whether it was made for these very settings.
    pub fn is_under(&self, settings: &Arc<Settings>) -> bool {
        Arc::ptr_eq(&self.settings, settings)
    }

    /// Whether it was made for settings that were in force before these.
    pub fn is_older_than(&self, settings: &Settings) -> bool {
        self.settings.generation < settings.generation
    }

    /// A connection that is kept for this tenant and origin (the client's own in `pinned` first), a
    /// place on one that is shared, or else the addresses that may be dialled. No byte is sent, and
    /// nothing is dialled.
    pub async fn reserve(
        &self,
        tenant: &Tenant,
        origin: &Origin,
        pinned: Option<&Pinned<B>>,
        speech: Speech,
    ) -> Result<Lane<B>, Error> {
        let key = self.key(tenant, origin, speech);
        if let Some(pinned) = pinned
            && let Some(mut connection) = pinned.take(&key)
        {
            // Closed or not, its successor is the client's own as well.
            let pinned = Some(pinned.clone());
            if is_usable(&mut connection, FRESHLY_USED).await {
                return Ok(self.lane_kept(key, (pinned, Speech::Http1), connection));
            }
            return self.lane_to_dial(key, (pinned, Speech::Http1)).await;
        }
        // Before the others, so that who speaks HTTP/1.1 pays nothing for them. The cleartext ones know
        // nothing of an agreement.
        while let Some((mut connection, rested)) = self.pool.take(&key) {
            if is_usable(&mut connection, rested).await {
                return Ok(self.lane_kept(key, (None, speech), connection));
            }
        }
        if may_be_shared(origin, speech)
            && let Some(place) = self.place(&key).await
        {
            let opened = place.opened();
            return Ok(Lane { upstream: self.clone(), key, pinned: None, speech, way: Way::Shared(place), opened });
        }
        self.lane_to_dial(key, (None, speech)).await
    }

    /// An upstream that might agree to HTTP/2 is asked: its connections of the one kind rest apart from
    /// those of the other.
    fn key(&self, tenant: &Tenant, origin: &Origin, speech: Speech) -> Key {
        let kind = match (speech, origin.scheme) {
            (Speech::Http1, Scheme::Https) | (Speech::PriorKnowledge, Scheme::Http) if !self.shared.speaks_http1(origin) => {
                speech
            }
            _ => Speech::Agreed,
        };
        Key { tenant: tenant.clone(), origin: origin.clone(), kind, generation: self.settings.generation }
    }

    /// A place on a shared connection that is not known to have closed.
    async fn place(&self, key: &Key) -> Option<Place<B>> {
        loop {
            let place = self.shared.find(key)?;
            if place.rested() >= FRESHLY_USED {
                tokio::task::yield_now().await;
            }
            if !place.is_closed() {
                return Some(place);
            }
        }
    }

    /// A connection for a tunnel that is passed through: resolved, checked and dialled.
    pub async fn dial(&self, tenant: &Tenant, origin: &Origin) -> Result<Stream, Error> {
        let (route, left) = self.route(tenant, origin).await?;
        let through = route.beyond.is_some();
        let dialled = within(origin, left, &self.settings, dial::stream(origin, route)).await;
        dialled.map_err(|error| if through { error.on_the_way_through() } else { error })
    }

    /// Whether a connection that comes in from `address` is one of those that go out from here, of any
    /// worker. Only said where it could be (`proxy.transparent`).
    pub fn is_own_end(&self, address: SocketAddr) -> bool {
        self.settings.own_ends.as_ref().is_some_and(|ends| ends.holds(address))
    }

    async fn lane_to_dial(&self, key: Key, (pinned, speech): (Option<Pinned<B>>, Speech)) -> Result<Lane<B>, Error> {
        let (route, left) = self.route(&key.tenant, &key.origin).await?;
        Ok(Lane { upstream: self.clone(), key, pinned, speech, opened: route.opened, way: Way::Dial(route, left) })
    }

    fn lane_kept(&self, key: Key, (pinned, speech): (Option<Pinned<B>>, Speech), connection: Connection<B>) -> Lane<B> {
        let opened = connection.opened();
        let home = pinned.clone().map_or_else(|| Home::Pool(self.pool.clone()), Home::Pinned);
        let kept = Kept::new(connection, WayHome { key: key.clone(), home });
        Lane { upstream: self.clone(), key, pinned, speech, opened, way: Way::Kept(kept) }
    }

    /// Resolves and checks; what is left of the time to connect comes with it.
    pub(super) async fn route(&self, tenant: &Tenant, origin: &Origin) -> Result<(Route, Duration), Error> {
        let begun = Instant::now();
        let limit = self.settings.connect_timeout;
        let route = next_proxy::route(&self.settings, origin, &self.lookups, tenant);
        let route = within(origin, limit, &self.settings, route).await?;
        Ok((route, limit.saturating_sub(begun.elapsed())))
    }

    /// Dials a route and begins HTTP there, or finds a place on a connection that somebody else has made
    /// meanwhile.
    pub(super) async fn connect(&self, key: &Key, speech: Speech, route: Route, left: Duration) -> Result<Carrier<B>, Error> {
        if !may_be_shared(&key.origin, speech) || self.shared.speaks_http1(&key.origin) {
            return self.connect_anew(key, speech, route, left).await;
        }
        let begun = Instant::now();
        let turn = within(&key.origin, left, &self.settings, async { Ok(self.shared.turn(key).await) }).await?;
        if let Some(place) = self.shared.find(key) {
            return Ok(Carrier::Shared(place));
        }
        // Whoever had the turn before has learned that there is nothing to share.
        let _turn = turn.filter(|_| !self.shared.speaks_http1(&key.origin));
        self.connect_anew(key, speech, route, left.saturating_sub(begun.elapsed())).await
    }

    async fn connect_anew(&self, key: &Key, speech: Speech, route: Route, left: Duration) -> Result<Carrier<B>, Error> {
        let (origin, settings) = (&key.origin, &self.settings);
        let begun = Instant::now();
        let config = settings.client_tls.of(&origin.host);
        let dialled = dial::transport(origin, route.clone(), &config, speech);
        let through = route.beyond.is_some();
        let transport = within(origin, left, settings, dialled).await;
        let transport = transport.map_err(|error| if through { error.on_the_way_through() } else { error })?;
        settings.measures.dialled.add(1);
        if transport.agreed_on_http2() {
            return self.begin_http2(key, transport, route.opened).await;
        }
        if speech == Speech::PriorKnowledge && origin.scheme == Scheme::Http && !self.shared.speaks_http1(origin) {
            let left = left.saturating_sub(begun.elapsed());
            return self.ask_for_http2(key, transport, route, left).await;
        }
        if may_be_shared(origin, speech) {
            self.shared.remember_http1(origin);
        }
        self.begin_http1(origin, transport, route.opened).await
    }

    async fn begin_http1(&self, origin: &Origin, transport: Transport, opened: Opened) -> Result<Carrier<B>, Error> {
        self.pool.sweep();
        Connection::begin(transport, opened).await.map(Carrier::Own).map_err(|error| unspoken(origin, &error))
    }

    async fn begin_http2(&self, key: &Key, transport: Transport, opened: Opened) -> Result<Carrier<B>, Error> {
        let begun = Multiplexed::begin(transport, opened, self.settings.idle).await;
        let (connection, lives) = begun.map_err(|error| unspoken(&key.origin, &error))?;
        self.share(key, connection, lives).ok_or_else(|| closed(&key.origin))
    }

    /// Begins HTTP/2 without an agreement, and HTTP/1.1 on another connection if the upstream's first
    /// bytes say that it does not know it. No request has been sent by then.
    async fn ask_for_http2(&self, key: &Key, transport: Transport, route: Route, left: Duration) -> Result<Carrier<B>, Error> {
        let (origin, settings, begun) = (&key.origin, &self.settings, Instant::now());
        let (mut connection, lives) =
            Multiplexed::begin(transport, route.opened, settings.idle).await.map_err(|error| unspoken(origin, &error))?;
        let mut lives = Box::pin(lives);
        let greeting = async {
            tokio::select! {
                greeting = connection.greeting() => Ok(greeting),
                () = lives.as_mut() => Ok(Greeting::Foreign),
            }
        };
        if within(origin, left, settings, greeting).await? != Greeting::Foreign {
            return self.share(key, connection, lives).ok_or_else(|| closed(origin));
        }
        self.shared.remember_http1(origin);
        let opened = route.opened;
        let config = settings.client_tls.of(&origin.host);
        let dialled = dial::transport(origin, route, &config, Speech::Http1);
        let transport = within(origin, left.saturating_sub(begun.elapsed()), settings, dialled).await?;
        self.begin_http1(origin, transport, opened).await
    }

    /// Keeps a connection for all of the key's exchanges; the first place on it.
    fn share(
        &self,
        key: &Key,
        connection: Multiplexed<B>,
        lives: impl Future<Output = ()> + Send + 'static,
    ) -> Option<Carrier<B>> {
        let place = connection.place(true);
        self.shared.adopt(key, connection, lives);
        place.map(Carrier::Shared)
    }
}

/// Whether exchanges of this kind can go over a connection that others use at the same time.
fn may_be_shared(origin: &Origin, speech: Speech) -> bool {
    match speech {
        Speech::Http1 => false,
        Speech::Agreed => origin.scheme == Scheme::Https,
        Speech::PriorKnowledge => true,
    }
}

fn closed(origin: &Origin) -> Error {
    let cause = "it closed the connection as soon as that was made".to_owned();
    Error::Protocol { origin: origin.clone(), cause }
}

fn unspoken(origin: &Origin, error: &hyper::Error) -> Error {
    Error::Protocol { origin: origin.clone(), cause: error.to_string() }
}

/// Bounds a part of connecting by what is left of its time; the error names the whole.
async fn within<T>(
    origin: &Origin,
    left: Duration,
    settings: &Settings,
    part: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = |_| Error::Timeout { origin: origin.clone(), wait: Wait::Connect, limit: settings.connect_timeout };
    timeout(left, part).await.map_err(late)?
}

async fn is_usable<B>(connection: &mut Connection<B>, rested: Duration) -> bool {
    if rested >= FRESHLY_USED {
        // Lets the runtime look at its sockets, and the connection's task at what they say.
        tokio::task::yield_now().await;
    }
    connection.is_ready_soon().await
}

impl<B> Lane<B> {
    /// Whether the config opened the address (`egress.allow`, `egress.resolve`). It then holds for
    /// the sending too, also if that has to dial again.
    pub fn opened_by_config(&self) -> bool {
        self.opened == Opened::ByConfig
    }
}

impl<B> Lane<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends one request, in origin-form with its Host field set, in whichever version of HTTP is spoken,
    /// and waits for the head of its response. Interim responses (1xx but 101) are passed over.
    pub async fn send(self, request: Request<B>) -> Result<Response<Returning<B>>, Error> {
        let Self { upstream, key, pinned, speech, way, opened } = self;
        if !matches!(way, Way::Dial(..)) {
            upstream.settings.measures.reused.add(1);
        }
        let exchange = Exchange::new(upstream, key, (pinned, speech), opened);
        match way {
            Way::Dial(route, left) => exchange.dial_and_send(route, left, request).await,
            Way::Kept(kept) => exchange.send_on(Carrier::Own(kept.into_connection()), request).await,
            Way::Shared(place) => exchange.send_on(Carrier::Shared(place), request).await,
        }
    }
}
