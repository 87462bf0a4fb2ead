//! CONNECT, as a client of another HTTP proxy (RFC 9110 section 9.3.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use zeroize::Zeroizing;

use super::Target;
use super::fault::NextProxyFault as Fault;

/// The longest head of an answer to CONNECT, in bytes; they are small.
const MAX_HEAD: usize = 16 * 1024;
/// Fields of such a head.
const MAX_FIELDS: usize = 64;
/// Interim answers (1xx) before the real one.
const MAX_INTERIM: usize = 8;

/// Has the proxy at the other end of `stream` connect to `target`. What it sends behind its answer is
/// the tunnel's.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    target: &Target,
    pair: Option<Zeroizing<Vec<u8>>>,
) -> Result<BufReader<S>, Fault> {
    let mut stream = BufReader::with_capacity(MAX_FIELDS * 16, stream);
    let request = request(target, pair.as_deref().map(Vec::as_slice));
    stream.write_all(&request).await.map_err(|error| Fault::io(&error))?;
    stream.flush().await.map_err(|error| Fault::io(&error))?;
    for _ in 0..=MAX_INTERIM {
        let answer = read(&mut stream).await?;
        match answer.status {
            100..=199 => {}
            200..=299 => return Ok(stream),
            _ => return Err(refused(target, pair.is_some(), answer)),
        }
    }
    Err(Fault::Protocol("it answered without end (1xx)".to_owned()))
}

/// Wiped when dropped: it holds the credentials.
fn request(target: &Target, pair: Option<&[u8]>) -> Zeroizing<Vec<u8>> {
    let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes());
    if let Some(pair) = pair {
        request.extend_from_slice(b"Proxy-Authorization: Basic ");
        request.extend_from_slice(Zeroizing::new(STANDARD.encode(pair)).as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The head of an answer, as far as it matters.
struct Answer {
    status: u16,
    /// The authentication schemes it offers, in words.
    schemes: Vec<String>,
}

/// Reads one head and nothing behind it.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Result<Answer, Fault> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let more = stream.fill_buf().await.map_err(|error| Fault::io(&error))?;
        if more.is_empty() {
            return Err(Fault::Protocol("it closed the connection without an answer to CONNECT".to_owned()));
        }
        head.extend_from_slice(more);
        let read = more.len();
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&head) {
            Ok(httparse::Status::Complete(end)) => {
                let answer = Answer { status: response.code.unwrap_or_default(), schemes: schemes(response.headers) };
                stream.consume(end - before);
                return Ok(answer);
            }
            Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => stream.consume(read),
            Ok(httparse::Status::Partial) => return Err(Fault::Protocol(format!("a head over {MAX_HEAD} bytes"))),
            Err(fault) => return Err(Fault::Protocol(format!("no HTTP ({fault})"))),
        }
    }
}

fn schemes(fields: &[httparse::Header<'_>]) -> Vec<String> {
    let offers = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("proxy-authenticate"));
    let schemes = offers.map(|field| field.value.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-'));
    schemes.map(|scheme| scheme.take(32).map(|&byte| char::from(byte)).collect()).collect()
}

fn refused(target: &Target, shown: bool, Answer { status, schemes }: Answer) -> Fault {
    let answer = format!("status {status}");
    let offered = if schemes.is_empty() { answer.clone() } else { format!("{answer}, {}", schemes.join(", ")) };
    match status {
        // Tinyproxy says 401 to wrong credentials.
        401 | 407 if shown => Fault::CredentialsRefused(offered),
        401 | 407 => Fault::CredentialsWanted(offered),
        500..=599 => Fault::TargetUnreachable { target: target.to_string(), answer },
        _ => Fault::Forbidden { target: target.to_string(), answer },
    }
}
