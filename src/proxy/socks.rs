//! SOCKS 5 (RFC 1928), another way to open a tunnel for the same runners under the same rules.
//!
//! The password (RFC 1929) is a runner's token. What is refused before the tunnel stands is told by a
//! reply code and in the audit log; what is refused later, inside, as in every tunnel. Only CONNECT is
//! served: the other commands are not for HTTP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::client_auth::{self, Caller};
use super::client_stream::ClientStream;
use super::context::Door;
use super::front::Client;
use super::refused_tunnel::RefusedTunnel;
use super::tunnel::Tunnel;
use super::wire;
use crate::inject::{Code, Refusal};
use crate::origin::Authority;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_NAME_AND_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
/// The version of RFC 1929's messages, and its answers.
const SUBNEGOTIATION: u8 = 1;
const WELCOME: u8 = 0;
const UNWELCOME: u8 = 1;

/// RFC 1928 section 6.
#[derive(Clone, Copy)]
enum Reply {
    Succeeded = 0,
    GeneralFailure = 1,
    NotAllowed = 2,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    CommandNotSupported = 7,
    AddressTypeNotSupported = 8,
}

/// One client.
struct Visit<'a> {
    door: &'a Door,
    client: &'a Arc<Client>,
    stream: TcpStream,
    began: Instant,
    caller: Option<Caller>,
    /// What it asked for, as it wrote it.
    target: String,
}

/// Why no tunnel came about.
enum Failure {
    /// The client went away, or speaks something else; there is nobody to tell.
    Gone(io::Error),
    /// It was told by these bytes.
    Told(Vec<u8>, Refusal),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(door: Door, stream: TcpStream, client: Arc<Client>, overloaded: bool) {
    let mut visit = Visit { door: &door, client: &client, stream, began: Instant::now(), caller: None, target: String::new() };
    let bound = door.shared.settings.load().client_head;
    let asked = match tokio::time::timeout(bound, visit.ask(overloaded)).await {
        Ok(asked) => asked,
        Err(_) => Err(Failure::Gone(io::ErrorKind::TimedOut.into())),
    };
    let opened = match asked {
        Ok((authority, caller)) => visit.open(authority, caller).await,
        Err(failure) => Err(failure),
    };
    match opened {
        Ok(tunnel) => tunnel.serve(ClientStream::Plain(visit.stream), BytesMut::new()).await,
        Err(failure) => visit.end(failure).await,
    }
}

impl Visit<'_> {
    /// Who wants to go where.
    async fn ask(&mut self, overloaded: bool) -> Result<(Authority, Caller), Failure> {
        let caller = self.greet().await?;
        self.caller = Some(caller.clone());
        let authority = self.request().await?;
        if overloaded {
            let detail = "Too many client connections are open (limits.connections). Try again in a moment.";
            return Err(told(Refusal::new(Code::Overloaded, detail)));
        }
        Ok((authority, caller))
    }

    async fn open(&mut self, authority: Authority, caller: Caller) -> Result<Tunnel, Failure> {
        let tunnel = Tunnel::open(self.door, authority, caller).await.map_err(told)?;
        self.stream.write_all(&reply(Reply::Succeeded)).await?;
        Ok(tunnel)
    }

    /// RFC 1928 section 3. A client that can show a password is asked for it, so that nobody who has a
    /// token is served as somebody without.
    async fn greet(&mut self) -> Result<Caller, Failure> {
        let [version, count] = self.take().await?;
        if version != VERSION {
            return Err(Failure::Gone(io::Error::other("no SOCKS 5")));
        }
        let mut methods = vec![0; usize::from(count)];
        self.stream.read_exact(&mut methods).await?;
        let shared = &self.door.shared;
        if methods.contains(&USER_NAME_AND_PASSWORD) {
            self.stream.write_all(&[VERSION, USER_NAME_AND_PASSWORD]).await?;
            return self.authenticate().await;
        }
        let unacceptable = |refusal| Failure::Told(vec![VERSION, NONE_ACCEPTABLE], refusal);
        if !methods.contains(&NO_AUTHENTICATION) {
            return Err(unacceptable(Refusal::malformed("The client offers neither a password nor to go without.")));
        }
        let caller = client_auth::without_token(shared, self.client).map_err(unacceptable)?;
        self.stream.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
        Ok(caller)
    }

    /// RFC 1929. The token is the password, or the user name where no password is; neither is nobody.
    async fn authenticate(&mut self) -> Result<Caller, Failure> {
        let [version] = self.take().await?;
        let unwelcome = |refusal| Failure::Told(vec![SUBNEGOTIATION, UNWELCOME], refusal);
        if version != SUBNEGOTIATION {
            return Err(unwelcome(Refusal::malformed("The message with user name and password is of an unknown version.")));
        }
        let (user, password) = (self.take_text().await?, self.take_text().await?);
        let token = if password.is_empty() { user } else { password };
        let shared = &self.door.shared;
        let caller = if token.is_empty() {
            client_auth::without_token(shared, self.client)
        } else {
            client_auth::with_token(shared, &token, self.client)
        };
        let caller = caller.map_err(unwelcome)?;
        self.stream.write_all(&[SUBNEGOTIATION, WELCOME]).await?;
        Ok(caller)
    }

    /// RFC 1928 section 4.
    async fn request(&mut self) -> Result<Authority, Failure> {
        let [version, command, _, kind] = self.take().await?;
        if version != VERSION {
            return Err(Failure::Gone(io::Error::other("no SOCKS 5")));
        }
        let host = match kind {
            IPV4 => Ipv4Addr::from(self.take::<4>().await?).to_string(),
            IPV6 => format!("[{}]", Ipv6Addr::from(self.take::<16>().await?)),
            NAME => written(&self.take_text().await?),
            _ => {
                let refusal = Refusal::malformed("The target is an address of an unknown kind.");
                return Err(Failure::Told(reply(Reply::AddressTypeNotSupported).to_vec(), refusal));
            }
        };
        self.target = format!("{host}:{}", u16::from_be_bytes(self.take().await?));
        if command != CONNECT {
            let refusal = Refusal::malformed("Only the command CONNECT is served.");
            return Err(Failure::Told(reply(Reply::CommandNotSupported).to_vec(), refusal));
        }
        wire::authority(&self.target).map_err(told)
    }

    async fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// A text behind its length. It may be a token.
    async fn take_text(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        let [length] = self.take().await?;
        let mut text = Zeroizing::new(vec![0; usize::from(length)]);
        self.stream.read_exact(&mut text).await?;
        Ok(text)
    }

    async fn end(&mut self, failure: Failure) {
        match failure {
            Failure::Gone(fault) => {
                tracing::debug!(target: "subrosa::proxy", client = %self.client.address, %fault, "a SOCKS client went away before it had a tunnel");
            }
            Failure::Told(bytes, refusal) => {
                let (client, caller) = (&**self.client, self.caller.as_ref());
                let refused = RefusedTunnel { client, caller, target: &self.target, began: self.began };
                refused.write_down(self.door, &refusal);
                // Gone or not, there is nothing more to say.
                let _ = self.stream.write_all(&bytes).await;
                let _ = self.stream.shutdown().await;
            }
        }
    }
}

/// A name as it stands in an authority: an IPv6 address that came as a name in brackets.
fn written(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name).into_owned();
    if text.parse::<Ipv6Addr>().is_ok() { format!("[{text}]") } else { text }
}

fn told(refusal: Refusal) -> Failure {
    let code = match refusal.code {
        Code::UpstreamUnresolvable | Code::UpstreamTimeout => Reply::HostUnreachable,
        Code::UpstreamRefused => Reply::ConnectionRefused,
        Code::Overloaded => Reply::GeneralFailure,
        _ => Reply::NotAllowed,
    };
    Failure::Told(reply(code).to_vec(), refusal)
}

/// The address that a reply names is of no use to the client of a proxy that resolves and pools.
fn reply(code: Reply) -> [u8; 10] {
    [VERSION, code as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
}
