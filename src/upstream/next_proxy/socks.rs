//! SOCKS 5, as a client of another proxy (RFC 1928, with user name and password of RFC 1929).

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::Target;
use super::fault::NextProxyFault as Fault;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_NAME_AND_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Has the proxy at the other end of `stream` connect to `target`.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    target: &Target,
    pair: Option<Zeroizing<Vec<u8>>>,
) -> Result<S, Fault> {
    match method(&mut stream, pair.is_some()).await? {
        NO_AUTHENTICATION => {}
        USER_NAME_AND_PASSWORD if pair.is_some() => authenticate(&mut stream, &pair.unwrap_or_default()).await?,
        NONE_ACCEPTABLE if pair.is_some() => {
            return Err(Fault::CredentialsRefused("it accepts neither none nor a password".to_owned()));
        }
        NONE_ACCEPTABLE => return Err(Fault::CredentialsWanted("it accepts no client without".to_owned())),
        other => return Err(Fault::Protocol(format!("the method {other}, which was not offered"))),
    }
    send(&mut stream, &request(target)).await?;
    let [version, reply, _, kind] = take::<4, _>(&mut stream).await?;
    if version != VERSION {
        return Err(Fault::Protocol("no SOCKS 5".to_owned()));
    }
    if reply != 0 {
        return Err(refused(target, reply));
    }
    skip_address(&mut stream, kind).await?;
    Ok(stream)
}

/// Offers what can be shown; which of it the proxy chose.
async fn method<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, with_password: bool) -> Result<u8, Fault> {
    let offer: &[u8] =
        if with_password { &[VERSION, 2, NO_AUTHENTICATION, USER_NAME_AND_PASSWORD] } else { &[VERSION, 1, NO_AUTHENTICATION] };
    send(stream, offer).await?;
    match take::<2, _>(stream).await? {
        [VERSION, method] => Ok(method),
        _ => Err(Fault::Protocol("no SOCKS 5".to_owned())),
    }
}

async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, pair: &[u8]) -> Result<(), Fault> {
    let unfit = || Fault::Credentials("SOCKS 5 wants user:password, each of 1 to 255 bytes".to_owned());
    let colon = pair.iter().position(|&byte| byte == b':').ok_or_else(unfit)?;
    let (user, password) = (&pair[..colon], &pair[colon + 1..]);
    let mut message = Zeroizing::new(Vec::with_capacity(3 + pair.len()));
    message.push(1);
    for part in [user, password] {
        message.push(u8::try_from(part.len()).ok().filter(|length| *length > 0).ok_or_else(unfit)?);
        message.extend_from_slice(part);
    }
    send(stream, &message).await?;
    match take::<2, _>(stream).await? {
        [_, 0] => Ok(()),
        [_, status] => Err(Fault::CredentialsRefused(format!("status {status}"))),
    }
}

fn request(target: &Target) -> Vec<u8> {
    let mut request = vec![VERSION, CONNECT, 0];
    let port = match target {
        Target::Address(SocketAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.ip().octets());
            address.port()
        }
        Target::Address(SocketAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.ip().octets());
            address.port()
        }
        Target::Name(name, port) => {
            // A host has 253 bytes at most.
            request.extend_from_slice(&[NAME, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
            request.extend_from_slice(name.as_bytes());
            *port
        }
    };
    request.extend_from_slice(&port.to_be_bytes());
    request
}

/// The address that the proxy connected from; of no use here.
async fn skip_address<S: AsyncRead + Unpin>(stream: &mut S, kind: u8) -> Result<(), Fault> {
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(take::<1, _>(stream).await?[0]),
        _ => return Err(Fault::Protocol("an address of an unknown kind".to_owned())),
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).await.map_err(|error| Fault::io(&error))?;
    Ok(())
}

/// RFC 1928 section 6.
fn refused(target: &Target, reply: u8) -> Fault {
    let (target, answer) = (target.to_string(), format!("reply {reply}"));
    let unreachable = |what: &str| Fault::TargetUnreachable { target: target.clone(), answer: format!("{what} ({answer})") };
    match reply {
        1 => unreachable("a general failure"),
        3 => unreachable("network unreachable"),
        4 => unreachable("host unreachable"),
        5 => unreachable("connection refused"),
        6 => unreachable("it took too long"),
        8 => unreachable("it does not know this kind of address"),
        _ => Fault::Forbidden { target, answer },
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), Fault> {
    stream.write_all(bytes).await.map_err(|error| Fault::io(&error))?;
    stream.flush().await.map_err(|error| Fault::io(&error))
}

async fn take<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|error| Fault::io(&error))?;
    Ok(bytes)
}
