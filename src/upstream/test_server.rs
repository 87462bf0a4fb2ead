//! For tests: an origin on loopback that follows a script, and settings that reach it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Allow, ClientTls, Error, Pinned, Rules, Settings, Speech, Tenant, Upstream};
use crate::origin::{Authority, Origin, Scheme};
use crate::tls::Roots;

/// What tests are patient for; nothing that works takes so long.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// An origin that counts its connections and keeps the heads it read.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

/// One connection of a [`Server`], by its number from 1.
pub(super) struct Visit {
    pub(super) number: usize,
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves every connection by `script`.
    pub(super) async fn start<F, S>(script: S) -> Self
    where
        S: Fn(Visit) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Self { address, accepted: Arc::default(), heads: Arc::default() };
        let counted = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let visit = Visit { number, stream, buffer: Vec::new(), heads: Arc::clone(&counted.heads) };
                tokio::spawn(script(visit));
            }
        });
        server
    }

    /// Answers every request on every connection with the same bytes.
    pub(super) async fn answering(response: &'static str) -> Self {
        Self::start(move |mut visit| async move {
            while visit.head().await.is_some() {
                visit.say(response).await;
            }
        })
        .await
    }

    pub(super) fn origin(&self) -> Origin {
        origin(&format!("127.0.0.1:{}", self.address.port()))
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("not poisoned").clone()
    }
}

impl Visit {
    /// The next head, its last line end included; `None` when the client has closed.
    pub(super) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let head = String::from_utf8(head).expect("a head in ASCII");
                self.heads.lock().expect("not poisoned").push(head.clone());
                return Some(head);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Everything until the client closes, what was read with a head included.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) > 0 {}
        std::mem::take(&mut self.buffer)
    }

    pub(super) async fn say(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.expect("the client reads");
    }
}

pub(super) fn origin(authority: &str) -> Origin {
    Origin::new(Scheme::Http, Authority::parse(authority).expect("an authority"))
}

pub(super) fn tenant(name: &str) -> Tenant {
    Tenant(name.into())
}

/// Settings under which loopback is open and nothing takes long.
pub(super) fn settings() -> Settings {
    Settings {
        generation: 1,
        rules: Rules { allow: vec![Allow::parse("127.0.0.0/8").expect("a network")], own_ports: Vec::new() },
        resolve: HashMap::new(),
        next_proxy: None,
        own_ends: None,
        client_tls: ClientTls::new(Roots::usual(), Vec::new(), Vec::new()).expect("roots"),
        connect_timeout: SOON,
        head_timeout: SOON,
        body_stall: SOON,
        idle: Duration::from_mins(1),
        max_idle_per_key: 8,
        max_idle: 64,
        measures: super::Measures::default(),
    }
}

/// An upstream under `settings`, for requests whose content is held.
pub(super) fn upstream(settings: Settings) -> Upstream<Full<Bytes>> {
    Upstream::new(Arc::new(settings))
}

pub(super) fn request(method: &str, content: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri("/a?b").header("host", "h.example");
    request.body(Full::new(Bytes::from_static(content.as_bytes()))).expect("a request")
}

/// Sends one request for tenant `t` and reads the response to its end.
pub(super) async fn fetch(upstream: &Upstream<Full<Bytes>>, origin: &Origin, method: &str) -> Result<String, Error> {
    fetch_as(upstream, origin, method, ("t", None)).await
}

/// The same for any tenant, and with a slot for a connection of the client's own.
pub(super) async fn fetch_as(
    upstream: &Upstream<Full<Bytes>>,
    origin: &Origin,
    method: &str,
    (name, pinned): (&str, Option<&Pinned<Full<Bytes>>>),
) -> Result<String, Error> {
    let lane = upstream.reserve(&tenant(name), origin, pinned, Speech::Agreed).await?;
    let response = lane.send(request(method, "")).await?;
    let content = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(content.to_vec()).expect("text"))
}
