//! A request's way, reserved before anything is sent: a connection that rests, or addresses that
//! may be dialled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::dial;
use super::egress::Opened;
use super::error::{BoxError, Error, Wait};
use super::exchange::Exchange;
use super::home::{Home, Kept, Key, Pinned, Tenant, WayHome};
use super::lookups::Lookups;
use super::next_proxy;
use super::pool::Pool;
use super::resolve::Route;
use super::returning::Returning;
use super::settings::Settings;
use super::stream::Stream;
use crate::origin::Origin;

/// A connection that rested longer may have been closed without this thread having noticed: the
/// system is asked once more before it is used.
const FRESHLY_USED: Duration = Duration::from_secs(1);

/// The way out of one worker: settings that all share, and idle connections of its own.
pub struct Upstream<B> {
    pub(super) settings: Arc<Settings>,
    pub(super) pool: Pool<B>,
    lookups: Lookups,
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings), pool: self.pool.clone(), lookups: self.lookups.clone() }
    }
}

/// A way for exactly one request.
pub struct Lane<B> {
    upstream: Upstream<B>,
    key: Key,
    pinned: Option<Pinned<B>>,
    way: Way<B>,
    opened: Opened,
}

enum Way<B> {
    /// A connection that rested; it goes back to rest if it is not used.
    Kept(Kept<B>),
    /// Addresses that may be dialled, and how much of the time to connect is left.
    Dial(Route, Duration),
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// A way out with no connections yet.
    pub fn new(settings: Arc<Settings>) -> Self {
        let pool = Pool::new(&settings);
        Self { settings, pool, lookups: Lookups::default() }
    }

    /// A connection that is kept for this tenant and origin (the client's own in `pinned` first),
    /// or else the addresses that may be dialled. No byte is sent, and nothing is dialled.
    pub async fn reserve(&self, tenant: &Tenant, origin: &Origin, pinned: Option<&Pinned<B>>) -> Result<Lane<B>, Error> {
        let key = Key { tenant: tenant.clone(), origin: origin.clone() };
        if let Some(pinned) = pinned
            && let Some(mut connection) = pinned.take(&key)
        {
            // Closed or not, its successor is the client's own as well.
            let pinned = Some(pinned.clone());
            if is_usable(&mut connection, FRESHLY_USED).await {
                return Ok(self.lane_kept(key, pinned, connection));
            }
            return self.lane_to_dial(key, pinned).await;
        }
        while let Some((mut connection, rested)) = self.pool.take(&key) {
            if is_usable(&mut connection, rested).await {
                return Ok(self.lane_kept(key, None, connection));
            }
        }
        self.lane_to_dial(key, None).await
    }

    /// A connection for a tunnel that is passed through: resolved, checked and dialled.
    pub async fn dial(&self, tenant: &Tenant, origin: &Origin) -> Result<Stream, Error> {
        let (route, left) = self.route(tenant, origin).await?;
        let through = route.beyond.is_some();
        let dialled = within(origin, left, &self.settings, dial::stream(origin, route)).await;
        dialled.map_err(|error| if through { error.on_the_way_through() } else { error })
    }

    async fn lane_to_dial(&self, key: Key, pinned: Option<Pinned<B>>) -> Result<Lane<B>, Error> {
        let (route, left) = self.route(&key.tenant, &key.origin).await?;
        Ok(Lane { upstream: self.clone(), key, pinned, opened: route.opened, way: Way::Dial(route, left) })
    }

    fn lane_kept(&self, key: Key, pinned: Option<Pinned<B>>, connection: Connection<B>) -> Lane<B> {
        let opened = connection.opened();
        let home = pinned.clone().map_or_else(|| Home::Pool(self.pool.clone()), Home::Pinned);
        let kept = Kept::new(connection, WayHome { key: key.clone(), home });
        Lane { upstream: self.clone(), key, pinned, opened, way: Way::Kept(kept) }
    }

    /// Resolves and checks; what is left of the time to connect comes with it.
    pub(super) async fn route(&self, tenant: &Tenant, origin: &Origin) -> Result<(Route, Duration), Error> {
        let begun = Instant::now();
        let limit = self.settings.connect_timeout;
        let route = next_proxy::route(&self.settings, origin, &self.lookups, tenant);
        let route = within(origin, limit, &self.settings, route).await?;
        Ok((route, limit.saturating_sub(begun.elapsed())))
    }

    /// Dials a route, and begins HTTP there.
    pub(super) async fn connect(&self, origin: &Origin, route: Route, left: Duration) -> Result<Connection<B>, Error> {
        self.pool.sweep();
        let config = self.settings.client_tls.of(&origin.host);
        let (opened, through) = (route.opened, route.beyond.is_some());
        let dialled = dial::transport(origin, route, &config);
        let transport = within(origin, left, &self.settings, dialled).await;
        let transport = transport.map_err(|error| if through { error.on_the_way_through() } else { error })?;
        let begun = Connection::begin(transport, opened).await;
        let begun = begun.inspect(|_| self.settings.measures.dialled.add(1));
        begun.map_err(|error| Error::Protocol { origin: origin.clone(), cause: error.to_string() })
    }
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
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends one request, in origin-form with its Host field set, as HTTP/1.1, and waits for the
    /// head of its response. Interim responses (1xx but 101) are passed over.
    pub async fn send(self, request: Request<B>) -> Result<Response<Returning<B>>, Error> {
        let Self { upstream, key, pinned, way, opened } = self;
        if matches!(way, Way::Kept(_)) {
            upstream.settings.measures.reused.add(1);
        }
        let exchange = Exchange::new(upstream, key, pinned, opened);
        match way {
            Way::Dial(route, left) => exchange.dial_and_send(route, left, request).await,
            Way::Kept(kept) => exchange.send_on(kept.into_connection(), request).await,
        }
    }
}
