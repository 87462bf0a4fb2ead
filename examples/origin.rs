//! An origin to try and to measure the proxy against: `cargo run --release --example origin DIR`.
//!
//! It listens on loopback, once in the clear and once with TLS, answers `200 ok` to everything, and
//! writes to DIR what a client needs: `ca.pem`, and `plain` and `tls` with the two addresses. A request
//! whose X-Want field is not contained in the rest of its head or in its content is answered 418, so
//! that a load generator sees what was not replaced.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the certificate is for.
const NAMES: [&str; 2] = ["origin.example.com", "127.0.0.1"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("name a directory for ca.pem, plain and tls")?);
    std::fs::create_dir_all(&dir)?;
    let acceptor = acceptor(&dir)?;
    let (plain, tls) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    std::fs::write(dir.join("plain"), plain.local_addr()?.to_string())?;
    std::fs::write(dir.join("tls"), tls.local_addr()?.to_string())?;
    println!(
        "http://{} and https://{} (as {NAMES:?}), whose authority is {}",
        plain.local_addr()?,
        tls.local_addr()?,
        dir.join("ca.pem").display()
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(serve(stream));
        }
    });
    loop {
        let (stream, _) = tls.accept().await?;
        let _ = stream.set_nodelay(true);
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        });
    }
}

/// An authority of its own, written down, and a certificate by it.
fn acceptor(dir: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let authority_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(dir.join("ca.pem"), authority.self_signed(&authority_key)?.pem())?;
    let key = rcgen::KeyPair::generate()?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let mut certificate = rcgen::CertificateParams::new(NAMES.map(str::to_owned))?;
    // Another name than the authority's: OpenSSL takes who bears its issuer's for self-signed.
    certificate.distinguished_name.push(rcgen::DnType::CommonName, NAMES[0]);
    let certificate = certificate.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S) {
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, content) = request.into_parts();
    let wanted = head.headers.get("x-want").map(http::HeaderValue::as_bytes);
    let in_content = look_through(content, wanted.unwrap_or_default()).await;
    let is_wanted = wanted.is_none_or(|wanted| {
        let mut others = head.headers.iter().filter(|(name, _)| *name != "x-want");
        let in_fields = others.any(|(_, value)| holds(value.as_bytes(), wanted));
        in_fields || in_content || holds(head.uri.path_and_query().map_or("", |target| target.as_str()).as_bytes(), wanted)
    });
    let mut response = Response::new(Full::new(Bytes::from_static(if is_wanted { b"ok" } else { b"it did not arrive" })));
    *response.status_mut() = if is_wanted { http::StatusCode::OK } else { http::StatusCode::IM_A_TEAPOT };
    Ok(response)
}

/// Whether a content holds what is wanted. Of a long one no more is kept than may still begin it.
async fn look_through(mut content: Incoming, wanted: &[u8]) -> bool {
    let (mut kept, mut is_there) = (Vec::new(), false);
    while let Some(Ok(frame)) = content.frame().await {
        let Ok(piece) = frame.into_data() else { continue };
        if is_there || wanted.is_empty() {
            continue;
        }
        kept.extend_from_slice(&piece);
        is_there = holds(&kept, wanted);
        kept.drain(..kept.len().saturating_sub(wanted.len() - 1));
    }
    is_there
}

fn holds(text: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(text, wanted).is_some()
}
