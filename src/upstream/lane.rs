//! One request's way: reserved first, without a byte to the upstream, and then used once.
//!
//! A request is sent a second time in two cases only, both on a connection that had been resting:
//! it was closed before anything of the request was written; or nothing at all came back, the
//! method is idempotent and there is no content (RFC 9110 section 9.2.2).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::connection::{Connection, Sent};
use super::dial;
use super::egress::Opened;
use super::error::{BoxError, Error, Wait};
use super::pool::{Key, Pinned, Pool, Tenant};
use super::progress::Progress;
use super::resolve::{Route, resolve};
use super::returning::{Home, Returning, WayHome};
use super::sending::Sending;
use super::settings::Settings;
use crate::origin::{Origin, Scheme};

/// A connection that rested longer may have been closed without this thread having noticed: the
/// system is asked once more before it is used.
const FRESHLY_USED: Duration = Duration::from_secs(1);

/// The way out of one worker: settings that all share, and idle connections of its own.
pub struct Upstream<B> {
    settings: Arc<Settings>,
    pool: Pool<B>,
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings), pool: self.pool.clone() }
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
    /// A connection that rested.
    Kept(Connection<B>),
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
        Self { settings, pool }
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
                return Ok(self.lane(key, pinned, connection.opened(), Way::Kept(connection)));
            }
            return self.lane_to_dial(key, pinned).await;
        }
        while let Some((mut connection, rested)) = self.pool.take(&key) {
            if is_usable(&mut connection, rested).await {
                return Ok(self.lane(key, None, connection.opened(), Way::Kept(connection)));
            }
        }
        self.lane_to_dial(key, None).await
    }

    /// A TCP connection for a tunnel that is passed through: resolved, checked and dialled.
    pub async fn dial(&self, origin: &Origin) -> Result<TcpStream, Error> {
        let (route, left) = self.route(origin).await?;
        within(origin, left, &self.settings, dial::tcp(origin, route)).await
    }

    async fn lane_to_dial(&self, key: Key, pinned: Option<Pinned<B>>) -> Result<Lane<B>, Error> {
        let (route, left) = self.route(&key.origin).await?;
        Ok(self.lane(key, pinned, route.opened, Way::Dial(route, left)))
    }

    fn lane(&self, key: Key, pinned: Option<Pinned<B>>, opened: Opened, way: Way<B>) -> Lane<B> {
        Lane { upstream: self.clone(), key, pinned, way, opened }
    }

    async fn route(&self, origin: &Origin) -> Result<(Route, Duration), Error> {
        let begun = Instant::now();
        let limit = self.settings.connect_timeout;
        let route = within(origin, limit, &self.settings, resolve(&self.settings, origin)).await?;
        Ok((route, limit.saturating_sub(begun.elapsed())))
    }

    async fn connect(&self, origin: &Origin, route: Route, left: Duration) -> Result<Connection<B>, Error> {
        self.pool.sweep();
        let opened = route.opened;
        let dialled = dial::transport(origin, route, &self.settings.client_config);
        let transport = within(origin, left, &self.settings, dialled).await?;
        let begun = Connection::begin(transport, opened).await;
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
        let exchange = Exchange { upstream, key, pinned, opened, progress: Arc::new(Progress::new()) };
        let progress = Arc::clone(&exchange.progress);
        let mut request = request.map(|content| Sending::new(content, progress));
        *request.version_mut() = Version::HTTP_11;
        match way {
            Way::Dial(route, left) => {
                let connection = exchange.upstream.connect(&exchange.key.origin, route, left).await?;
                exchange.on_new(connection, request).await
            }
            Way::Kept(connection) => exchange.on_kept(connection, request).await,
        }
    }
}

/// One exchange, whichever connections it takes.
struct Exchange<B> {
    upstream: Upstream<B>,
    key: Key,
    pinned: Option<Pinned<B>>,
    /// What [`Lane::opened_by_config`] was answered from.
    opened: Opened,
    progress: Arc<Progress>,
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn on_kept(self, mut connection: Connection<B>, request: Request<Sending<B>>) -> Result<Response<Returning<B>>, Error> {
        let again = repeatable(&request).then(|| head_of(&request));
        let request = match self.attempt(&mut connection, request).await? {
            Sent::Answered(response) => return Ok(self.returning(response, connection)),
            Sent::Unsent(request) => request,
            Sent::Failed { error, silent } => match again {
                Some(head) if silent => head.map(|()| Sending::nothing(Arc::clone(&self.progress))),
                _ => return Err(self.failure(&error)),
            },
        };
        drop(connection);
        let connection = self.reconnect().await?;
        self.on_new(connection, request).await
    }

    async fn on_new(self, mut connection: Connection<B>, request: Request<Sending<B>>) -> Result<Response<Returning<B>>, Error> {
        match self.attempt(&mut connection, request).await? {
            Sent::Answered(response) => Ok(self.returning(response, connection)),
            Sent::Unsent(_) => Err(self.protocol("it closed the connection as soon as that was made".to_owned())),
            Sent::Failed { error, .. } => Err(self.failure(&error)),
        }
    }

    async fn attempt(&self, connection: &mut Connection<B>, request: Request<Sending<B>>) -> Result<Sent<B>, Error> {
        let limit = self.upstream.settings.head_timeout;
        self.progress.restart();
        tokio::select! {
            biased;
            sent = connection.send(request) => Ok(sent),
            () = self.progress.exhausted(limit) => {
                Err(Error::Timeout { origin: self.key.origin.clone(), wait: Wait::Head, limit })
            }
        }
    }

    /// Dials anew for a connection that had gone. What was promised about its address still holds,
    /// or nothing is sent: a secret may be on its way in cleartext because of that promise.
    async fn reconnect(&self) -> Result<Connection<B>, Error> {
        let origin = &self.key.origin;
        let (route, left) = self.upstream.route(origin).await?;
        if origin.scheme == Scheme::Http && self.opened == Opened::ByConfig && route.opened != Opened::ByConfig {
            let cause = "its address changed meanwhile to one that the config does not open; try again".to_owned();
            return Err(Error::Refused { origin: origin.clone(), cause });
        }
        self.upstream.connect(origin, route, left).await
    }

    fn returning(self, response: Response<hyper::body::Incoming>, connection: Connection<B>) -> Response<Returning<B>> {
        let Self { upstream, key, pinned, progress, .. } = self;
        let home = match pinned {
            _ if response.status() == StatusCode::SWITCHING_PROTOCOLS => Home::Nowhere,
            Some(pinned) => Home::Pinned(pinned),
            None => Home::Pool(upstream.pool.clone()),
        };
        let stall = upstream.settings.body_stall;
        response.map(|content| Returning::new(content, connection, WayHome { key, home }, (progress, stall)))
    }

    fn failure(&self, error: &hyper::Error) -> Error {
        match self.progress.take_failure() {
            Some(failure) => Error::OwnBody(failure),
            None => self.protocol(explained(error)),
        }
    }

    fn protocol(&self, cause: String) -> Error {
        Error::Protocol { origin: self.key.origin.clone(), cause }
    }
}

fn repeatable<B>(request: &Request<Sending<B>>) -> bool
where
    Sending<B>: Body,
{
    const IDEMPOTENT: [Method; 6] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
    request.body().is_end_stream() && IDEMPOTENT.contains(request.method())
}

/// A request's head once more; the extensions carry the case of its field names.
fn head_of<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    *head.extensions_mut() = request.extensions().clone();
    head
}

fn explained(error: &hyper::Error) -> String {
    use std::error::Error as _;
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "it closed the connection before its response head was complete".to_owned();
    }
    if error.is_parse_too_large() {
        return "the head of its response is too large".to_owned();
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
