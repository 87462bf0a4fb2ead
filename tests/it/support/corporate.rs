//! A proxy of somebody else's, between the one under test and the origins: it keeps what it was asked
//! and shown, and leads where the test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Ca;
use super::origin::{find, until};

/// What it was asked for, and what it was shown: a field's value, or `user:password`.
pub type Asked = (String, Option<String>);

#[derive(Clone, Copy)]
pub enum Speaks {
    Http,
    Socks,
}

pub struct Corporate {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    leads: Arc<Mutex<HashMap<String, SocketAddr>>>,
}

impl Corporate {
    /// One that wants `credentials` (in its own form), if any.
    pub async fn start(speaks: Speaks, tls: Option<(&Ca, &str)>, credentials: Option<&'static str>) -> Self {
        let acceptor = tls.map(|(ca, name)| ca.acceptor(&[name]));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let corporate = Self { address, asked: Arc::default(), leads: Arc::default() };
        let (asked, leads) = (Arc::clone(&corporate.asked), Arc::clone(&corporate.leads));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, asked, leads) = (acceptor.clone(), Arc::clone(&asked), Arc::clone(&leads));
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => serve(tls_of(acceptor, stream).await?, speaks, credentials, (asked, leads)).await,
                        None => serve(stream, speaks, credentials, (asked, leads)).await,
                    }
                });
            }
        });
        corporate
    }

    /// Who is asked for `target` is led to `to`.
    pub fn leads(&self, target: &str, to: SocketAddr) {
        self.leads.lock().expect("no test panics with it").insert(target.to_owned(), to);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panics with it").clone()
    }
}

async fn tls_of(acceptor: TlsAcceptor, stream: TcpStream) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    acceptor.accept(stream).await.ok()
}

type Book = (Arc<Mutex<Vec<Asked>>>, Arc<Mutex<HashMap<String, SocketAddr>>>);

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    speaks: Speaks,
    wanted: Option<&str>,
    (asked, leads): Book,
) -> Option<()> {
    let (target, shown) = match speaks {
        Speaks::Http => read_connect(&mut stream).await?,
        Speaks::Socks => read_socks(&mut stream, wanted.is_some()).await?,
    };
    asked.lock().expect("no test panics with it").push((target.clone(), shown.clone()));
    let to = leads.lock().expect("no test panics with it").get(&target).copied();
    let upstream = match to {
        _ if wanted != shown.as_deref() => None,
        Some(to) => TcpStream::connect(to).await.ok(),
        None => None,
    };
    let answer: &[u8] = match (speaks, &upstream) {
        (Speaks::Http, Some(_)) => b"HTTP/1.1 200 OK\r\n\r\n",
        (Speaks::Http, None) if wanted != shown.as_deref() => {
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"corp\"\r\nContent-Length: 0\r\n\r\n"
        }
        (Speaks::Http, None) => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever",
        (Speaks::Socks, Some(_)) => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        (Speaks::Socks, None) => &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0],
    };
    stream.write_all(answer).await.ok()?;
    stream.flush().await.ok()?;
    tokio::io::copy_bidirectional(&mut stream, &mut upstream?).await.ok()?;
    Some(())
}

async fn read_connect<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Asked> {
    let mut buffer = Vec::new();
    let head = until(stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await?;
    assert!(buffer.is_empty(), "nothing may be sent before the answer");
    let head = String::from_utf8(head).ok()?;
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let shown = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: ")).map(str::to_owned);
    Some((target, shown))
}

async fn read_socks<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, with_password: bool) -> Option<Asked> {
    let mut two = [0; 2];
    stream.read_exact(&mut two).await.ok()?;
    let mut methods = vec![0; usize::from(two[1])];
    stream.read_exact(&mut methods).await.ok()?;
    let mut shown = None;
    if with_password && methods.contains(&2) {
        stream.write_all(&[5, 2]).await.ok()?;
        stream.flush().await.ok()?;
        let _version = stream.read_u8().await.ok()?;
        shown = Some(format!("{}:{}", text(stream).await?, text(stream).await?));
        stream.write_all(&[1, 0]).await.ok()?;
    } else {
        stream.write_all(&[5, 0]).await.ok()?;
    }
    stream.flush().await.ok()?;
    let mut four = [0; 4];
    stream.read_exact(&mut four).await.ok()?;
    let host = match four[3] {
        1 => {
            let mut address = [0; 4];
            stream.read_exact(&mut address).await.ok()?;
            std::net::Ipv4Addr::from(address).to_string()
        }
        _ => text(stream).await?,
    };
    Some((format!("{host}:{}", stream.read_u16().await.ok()?), shown))
}

async fn text<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await.ok()?)];
    stream.read_exact(&mut bytes).await.ok()?;
    String::from_utf8(bytes).ok()
}
