//! The way from the command line to what the server keeps: the REST API, always.
//!
//! With a server running it answers on its socket, or over the network (`remote`); with none, the store is opened here and the
//! same routes answer in this process. So there is one set of rules, and one code path.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HOST, IF_MATCH};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tower::ServiceExt;
use zeroize::Zeroizing;

use super::Place;
use super::error::CliError;
use super::remote::Remote;
use crate::config::{Config, Engine};
use crate::drain::Drain;
use crate::{admin, app};

/// For one call: the longest of them syncs a disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read: ten thousand secrets with long descriptions.
pub(super) const MAX_ANSWER: usize = 64 << 20;

/// Entries of a page, as many as the server gives.
const PAGE: usize = 1000;

/// Whoever answers.
pub(super) enum Api {
    /// A running server, through its socket.
    Server(std::path::PathBuf),
    /// One elsewhere.
    Remote(Remote),
    /// This process, the server being stopped.
    Here {
        /// The same routes as on the socket.
        router: axum::Router,
        /// What is recorded of it.
        activity: std::sync::Arc<crate::activity::Activity>,
        /// Whether what is written lasts.
        lasting: bool,
    },
}

/// One call.
pub(super) struct Call {
    method: Method,
    path: String,
    revision: Option<String>,
    body: Option<Zeroizing<Vec<u8>>>,
}

/// What was answered.
pub(super) struct Answer {
    /// The content; null when there was none.
    pub(super) content: Value,
    /// The revision, as it goes into the next `If-Match`.
    pub(super) revision: Option<String>,
}

impl Call {
    /// A call without content. `path` is what follows `/api/v1`.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), revision: None, body: None }
    }

    /// With content.
    pub(super) fn with_body(self, body: Zeroizing<Vec<u8>>) -> Self {
        Self { body: Some(body), ..self }
    }

    /// With content that holds no value.
    pub(super) fn with_json(self, content: &Value) -> Self {
        self.with_body(Zeroizing::new(content.to_string().into_bytes()))
    }

    /// Only if nobody changed it meanwhile.
    pub(super) fn if_match(self, revision: Option<String>) -> Self {
        Self { revision, ..self }
    }

    pub(super) fn into_request<B>(self, host: &str, body: impl FnOnce(Bytes) -> B) -> Result<Request<B>, CliError> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("/api/v1{}", self.path))
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json");
        if let Some(revision) = self.revision {
            request = request.header(IF_MATCH, revision);
        }
        // The buffer is wiped when the last reader lets it go.
        let content = self.body.map_or_else(Bytes::new, Bytes::from_owner);
        request.body(body(content)).map_err(|fault| CliError::usage(format!("this cannot be asked for: {fault}")))
    }
}

impl Api {
    /// Finds out who answers.
    pub(super) async fn open(place: &Place) -> Result<Self, CliError> {
        Self::find(place, true).await
    }

    /// The same for what can only be done where something is: nothing is made.
    pub(super) async fn open_present(place: &Place) -> Result<Self, CliError> {
        Self::find(place, false).await
    }

    /// A server that runs, here or elsewhere.
    pub(super) async fn open_running(place: &Place) -> Result<Self, CliError> {
        let socket = app::admin_socket(&place.config);
        if place.remote.is_none() && UnixStream::connect(&socket).await.is_err_and(|fault| is_absent(&fault)) {
            return Err(CliError::failed(format!(
                "no server answers at {}, so nothing is to be reloaded; if data_dir was changed since it was started, send it SIGHUP",
                socket.display()
            )));
        }
        Self::open(place).await
    }

    async fn find(Place { config, remote }: &Place, may_begin: bool) -> Result<Self, CliError> {
        if let Some(remote) = remote {
            return Ok(Self::Remote(remote.clone()));
        }
        let socket = app::admin_socket(config);
        match UnixStream::connect(&socket).await {
            Ok(stream) => check_peer(&stream, &socket, config).map(|()| Self::Server(socket)),
            Err(fault) if is_absent(&fault) => {
                let store = config.data_dir.join("store");
                if !may_begin && config.store.engine == Engine::Sled && !store.exists() {
                    return Err(CliError::failed(format!(
                        "there is no store at {} and no server is running; is this the right directory, or --config?",
                        store.display()
                    )));
                }
                let uid = |path: &std::path::Path| std::fs::metadata(path).ok().map(|metadata| metadata.uid());
                if let (Some(owner), Ok((mine, _))) = (uid(&store), UnixStream::pair())
                    && mine.peer_cred().is_ok_and(|me| me.uid() != owner)
                {
                    return Err(CliError::failed(format!(
                        "{} belongs to another user (id {owner}), whose server could not read what is written here; run this as that user",
                        store.display()
                    )));
                }
                let rooms = app::open_vaults(config).await?;
                // Nobody asks for the CA's certificate here; it may not have been made yet.
                let router = admin::socket_router(rooms.admin_state(config, "", &Drain::new()));
                let activity = rooms.activity;
                Ok(Self::Here { router, activity, lasting: config.store.engine != Engine::Memory })
            }
            Err(fault) => Err(CliError::failed(format!(
                "the server's socket {} cannot be reached: {fault}; run this as the user that the server runs as",
                socket.display()
            ))),
        }
    }

    /// Sends a call; what is not done is an error in one sentence.
    pub(super) async fn send(&self, call: Call) -> Result<Answer, CliError> {
        let exchanged = tokio::time::timeout(PATIENCE, self.exchange(call)).await;
        let (status, fields, content) = exchanged.map_err(|_| CliError::failed("the server did not answer within 30 s"))??;
        let content: Value = if content.is_empty() { Value::Null } else { serde_json::from_slice(&content).unwrap_or_default() };
        if !status.is_success() {
            return Err(CliError::failed(sentence(status, &content)));
        }
        let revision = fields.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok(Answer { content, revision })
    }

    /// Sends a call that is answered with a file, and hands that on piece by piece.
    pub(super) async fn download(&self, call: Call, take: &mut dyn FnMut(&[u8]) -> Result<(), CliError>) -> Result<(), CliError> {
        match self {
            Self::Server(socket) => {
                let (response, connection) = asked(socket, call).await?;
                let outcome = handed_on(response, take).await;
                connection.abort();
                outcome
            }
            Self::Here { router, activity, .. } => {
                let request = call.into_request("localhost", Body::from)?;
                let response = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
                handed_on(response, take).await?;
                activity.flush().await;
                Ok(())
            }
            Self::Remote(_) => Err(CliError::usage("this is done on the machine of the server")),
        }
    }

    /// Every entry of a list, page by page; `member` is what the list is called in an answer.
    pub(super) async fn all(&self, path: &str, member: &str) -> Result<Vec<Value>, CliError> {
        let (mut entries, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut answer = self.send(Call::new(Method::GET, format!("{path}?limit={PAGE}{cursor}"))).await?.content;
            if let Value::Array(page) = answer[member].take() {
                entries.extend(page);
            }
            match answer["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(entries),
            }
        }
    }

    async fn exchange(&self, call: Call) -> Result<(StatusCode, HeaderMap, Bytes), CliError> {
        match self {
            Self::Server(socket) => over_socket(socket, call).await,
            Self::Remote(remote) => remote.exchange(call).await,
            Self::Here { router, activity, lasting } => {
                let is_write = call.method != Method::GET && !call.path.ends_with("/request-tests");
                if is_write && !lasting {
                    return Err(CliError::failed(
                        "store.engine is \"memory\" and no server is running, so nothing would be kept; start the server first",
                    ));
                }
                let request = call.into_request("localhost", Body::from)?;
                let response = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
                let answer = collected(response).await;
                activity.flush().await;
                answer
            }
        }
    }
}

/// Whether nobody answers, rather than somebody who cannot be reached.
fn is_absent(fault: &std::io::Error) -> bool {
    matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// Values go to nobody but this user's server, root's, or (for root) that of the directory's owner:
/// where others may write, others may have put the socket.
fn check_peer(stream: &UnixStream, socket: &std::path::Path, config: &Config) -> Result<(), CliError> {
    let unknown = |fault| CliError::failed(format!("whose server answers at {} cannot be told: {fault}", socket.display()));
    let peer = stream.peer_cred().map_err(unknown)?.uid();
    // The other end of a pair is this process.
    let (mine, _) = UnixStream::pair().map_err(unknown)?;
    let me = mine.peer_cred().map_err(unknown)?.uid();
    let owner = std::fs::metadata(&config.data_dir).map_err(unknown)?.uid();
    if peer == me || peer == 0 || (me == 0 && peer == owner) {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "{} is answered by another user (id {peer}), and values are not handed to others; run this as that user, \
         or see who made the socket",
        socket.display()
    )))
}

async fn over_socket(socket: &std::path::Path, call: Call) -> Result<(StatusCode, HeaderMap, Bytes), CliError> {
    let (response, connection) = asked(socket, call).await?;
    let answer = collected(response).await;
    connection.abort();
    answer
}

type Connection = tokio::task::JoinHandle<hyper::Result<()>>;

/// The response to a call, and the connection that it comes over.
async fn asked(socket: &std::path::Path, call: Call) -> Result<(http::Response<Incoming>, Connection), CliError> {
    let lost =
        |fault: &dyn std::fmt::Display| CliError::failed(format!("the connection to the server was lost: {fault}; try again"));
    let stream = UnixStream::connect(socket).await.map_err(|fault| lost(&fault))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|fault| lost(&fault))?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(call.into_request("localhost", Full::new)?).await.map_err(|fault| lost(&fault))?;
    Ok((response, connection))
}

/// Hands on the content of an answer, if it is none that says no.
async fn handed_on<B>(response: http::Response<B>, take: &mut dyn FnMut(&[u8]) -> Result<(), CliError>) -> Result<(), CliError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + std::fmt::Display,
{
    if !response.status().is_success() {
        let (status, _, content) = collected(response).await?;
        return Err(CliError::failed(sentence(status, &serde_json::from_slice(&content).unwrap_or_default())));
    }
    let mut content = response.into_body();
    let late = |_| CliError::failed("the server did not go on within 30 s");
    while let Some(frame) = tokio::time::timeout(PATIENCE, content.frame()).await.map_err(late)? {
        let frame = frame.map_err(|fault| CliError::failed(format!("the server's answer cannot be read: {fault}")))?;
        if let Some(piece) = frame.data_ref() {
            take(piece)?;
        }
    }
    Ok(())
}

async fn collected<B>(response: http::Response<B>) -> Result<(StatusCode, HeaderMap, Bytes), CliError>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = response.into_parts();
    let content = Limited::new(body, MAX_ANSWER).collect().await;
    let content = content.map_err(|fault| CliError::failed(format!("the server's answer cannot be read: {fault}")))?;
    Ok((head.status, head.headers, content.to_bytes()))
}

/// What a problem document says (RFC 9457).
fn sentence(status: StatusCode, problem: &Value) -> String {
    match problem["detail"].as_str() {
        Some(detail) => super::out::plain(detail),
        None => format!("the server answered {status} without saying why; its log tells more"),
    }
}

/// Where an organization's things are.
pub(super) fn of(organization: &crate::secret::OrganizationName, rest: &str) -> String {
    format!("/organizations/{organization}/{rest}")
}
