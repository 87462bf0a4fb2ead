//! The PROXY protocol, version 2: a balancer in front says who the client is, before anything else.
//!
//! It is read from the networks that the config names, and there it must come: whoever could leave it out
//! could pass for the balancer itself. The text of version 1 is not read; every balancer that speaks it
//! speaks version 2 too.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first twelve bytes, which no other protocol begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The balancer's own connection (a health check): it speaks for itself.
const LOCAL: u8 = 0x20;
/// Version 2, on behalf of a client.
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// Addresses and what balancers say beside them (TLS, ids) take far less.
const MAX_LENGTH: usize = 4096;

/// Reads the header and nothing behind it: the client's address; `None` where the balancer speaks for
/// itself.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 16];
    stream.read_exact(&mut head[..1]).await?;
    // What is no header is noticed at once, not when sixteen bytes are there.
    if head[0] != SIGNATURE[0] {
        return Err(unfit("it does not begin with one"));
    }
    stream.read_exact(&mut head[1..]).await?;
    if head[..12] != SIGNATURE {
        return Err(unfit("it does not begin with one"));
    }
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > MAX_LENGTH {
        return Err(unfit("it is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match (head[12], head[13]) {
        (LOCAL, _) => Ok(None),
        (PROXY, TCP_OVER_IPV4) => address::<4>(&rest).map(|(ip, port)| Some((Ipv4Addr::from(ip), port).into())),
        (PROXY, TCP_OVER_IPV6) => address::<16>(&rest).map(|(ip, port)| Some((Ipv6Addr::from(ip), port).into())),
        (PROXY, _) => Err(unfit("it names no client that speaks TCP")),
        _ => Err(unfit("it is of another version")),
    }
}

/// The source address and port, before and behind those of the destination.
fn address<const N: usize>(rest: &[u8]) -> io::Result<([u8; N], u16)> {
    let short = || unfit("it is too short");
    let ip = rest.first_chunk::<N>().ok_or_else(short)?;
    let port = rest.get(2 * N..2 * N + 2).ok_or_else(short)?;
    let _destination_port = rest.get(2 * N + 2..2 * N + 4).ok_or_else(short)?;
    Ok((*ip, u16::from_be_bytes([port[0], port[1]])))
}

fn unfit(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the header of the PROXY protocol (version 2): {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 1, 187];

    #[tokio::test]
    async fn names_the_client_and_leaves_the_rest() {
        let with_more = [&V4[..], &[4, 0, 1, 0]].concat();
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[33] = 80;
        for (header, named) in [
            (header(PROXY, TCP_OVER_IPV4, &V4), Some("192.0.2.7:12345")),
            (header(PROXY, TCP_OVER_IPV4, &with_more), Some("192.0.2.7:12345")),
            (header(PROXY, TCP_OVER_IPV6, &v6), Some("[::1]:80")),
            (header(LOCAL, 0, &[]), None),
            (header(LOCAL, TCP_OVER_IPV4, &V4), None),
        ] {
            let bytes = [&header[..], b"GET "].concat();
            let mut stream = &bytes[..];
            let named = named.map(|text| text.parse().expect("an address"));
            assert_eq!(read(&mut stream).await.expect("a header"), named);
            assert_eq!(stream, b"GET ");
        }
    }

    #[tokio::test]
    async fn refuses_what_is_no_header_and_what_names_nobody() {
        for bytes in [
            b"GET http://h/ HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n".to_vec(),
            b"\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
            header(0x11, TCP_OVER_IPV4, &V4),
            header(0x2f, TCP_OVER_IPV4, &V4),
            header(PROXY, 0, &[]),
            header(PROXY, 0x12, &V4),
            header(PROXY, 0x31, &[0; 216]),
            header(PROXY, TCP_OVER_IPV4, &V4[..11]),
            header(PROXY, TCP_OVER_IPV6, &V4),
            header(PROXY, TCP_OVER_IPV4, &[0; MAX_LENGTH + 1]),
            header(PROXY, TCP_OVER_IPV4, &V4)[..20].to_vec(),
            Vec::new(),
        ] {
            assert!(read(&mut &bytes[..]).await.is_err(), "{bytes:?}");
        }
    }
}
