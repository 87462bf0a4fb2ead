//! An origin or two and this very binary as a proxy, in a directory that goes away: for commands that show
//! or try something without touching what is stored.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::error::CliError;

/// The file with the certificate of the origins' authority.
const ROOTS: &str = "origin-ca.pem";

/// A directory of its own, removed at the end.
pub(super) struct Place(PathBuf);

impl Place {
    /// Makes one, for the command called `what`. Nobody else may look into it.
    pub(super) fn make(what: &str) -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("subrosa-{what}-{}", std::process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|fault| CliError::failed(format!("{} cannot be made: {fault}", path.display())))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The certificate authority of the two origins, which the proxy is told to trust.
pub(super) struct OriginAuthority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl OriginAuthority {
    /// Makes one, with its certificate in `place`.
    pub(super) fn make(place: &Path) -> Result<Self, CliError> {
        let key = rcgen::KeyPair::generate().map_err(CliError::failed)?;
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "origins of a subrosa sandbox");
        let certificate = params.self_signed(&key).map_err(CliError::failed)?;
        std::fs::write(place.join(ROOTS), certificate.pem()).map_err(CliError::failed)?;
        Ok(Self { issuer: rcgen::Issuer::new(params, key) })
    }

    fn acceptor(&self, name: &str) -> Result<TlsAcceptor, CliError> {
        let key = rcgen::KeyPair::generate().map_err(CliError::failed)?;
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(CliError::failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(CliError::failed)?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CliError::failed)?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .map_err(CliError::failed)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// A TLS server that keeps what it received.
pub(super) struct Origin {
    address: SocketAddr,
    name: &'static str,
    seen: Arc<Mutex<(usize, Vec<u8>)>>,
}

impl Origin {
    /// Starts one that is called `name`.
    pub(super) async fn start(authority: &OriginAuthority, name: &'static str) -> Result<Self, CliError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(CliError::failed)?;
        let address = listener.local_addr().map_err(CliError::failed)?;
        let (acceptor, seen) = (authority.acceptor(name)?, Arc::new(Mutex::new((0, Vec::new()))));
        let record = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                lock(&record).0 += 1;
                let _ = answer(&acceptor, stream, &record).await;
            }
        });
        Ok(Self { address, name, seen })
    }

    /// The head it received last.
    pub(super) fn received(&self) -> String {
        String::from_utf8_lossy(&lock(&self.seen).1).into_owned()
    }

    /// How many connections it has seen.
    pub(super) fn connections(&self) -> usize {
        lock(&self.seen).0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(acceptor: &TlsAcceptor, stream: TcpStream, record: &Mutex<(usize, Vec<u8>)>) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
    lock(record).1 = head;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"contacts\": []}")
        .await?;
    stream.flush().await
}

/// A config that knows the way to `origins`, with everything in `place`.
pub(super) fn write_config(place: &Path, origins: &[&Origin]) -> Result<PathBuf, CliError> {
    let path = place.join("subrosa.toml");
    let at = |name: &str| place.join(name).display().to_string();
    let text = format!(
        "data_dir = {:?}\n[proxy]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = []\n[intercept]\nca_certificate = {:?}\nca_key = {:?}\n[keys]\nfile = {:?}\n[egress]\nextra_roots = [{:?}]\n[egress.resolve]\n",
        at("data"),
        at("certs/ca.pem"),
        at("keys/ca-key.pem"),
        at("keys/kek"),
        at(ROOTS),
    );
    let ways = origins.iter().map(|origin| format!("{:?} = \"{}\"\n", origin.name, origin.address));
    std::fs::write(&path, text + &ways.collect::<String>()).map_err(CliError::failed)?;
    Ok(path)
}

/// This binary, serving.
pub(super) struct Proxy {
    child: Child,
    /// Where runners connect to.
    pub(super) address: SocketAddr,
}

impl Proxy {
    /// Starts it with the config at `config`.
    pub(super) async fn start(config: &Path) -> Result<Self, CliError> {
        let mut child = command()?
            .arg("serve")
            .arg("--config")
            .arg(config)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(CliError::failed)?;
        let mut lines =
            BufReader::new(child.stderr.take().ok_or_else(|| CliError::failed("the proxy's log cannot be read"))?).lines();
        let mut said = String::new();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(address) = proxy_address(&line) {
                // Its log goes on; somebody must read it.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self { child, address });
            }
            said.push_str(&line);
            said.push('\n');
        }
        Err(CliError::failed(format!("the proxy did not start:\n{said}")))
    }

    /// Ends it.
    pub(super) async fn stop(&mut self) {
        let _ = self.child.kill().await;
    }
}

/// The address in the log line that announces the door for runners.
fn proxy_address(line: &str) -> Option<SocketAddr> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = event.get("fields")?;
    (fields.get("message")? == "listening" && fields.get("door")? == "proxy")
        .then(|| fields.get("address")?.as_str()?.parse().ok())?
}

fn command() -> Result<Command, CliError> {
    let mut command = Command::new(std::env::current_exe().map_err(CliError::failed)?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SUBROSA_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    Ok(command)
}

/// Stores a secret for one domain, as a person would.
pub(super) async fn store_secret(config: &Path, name: &str, value: &str, domain: &str) -> Result<(), CliError> {
    let mut child = command()?
        .args(["secret", "create", name, "--value-stdin", "--allow", domain, "--config"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(CliError::failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(value.as_bytes()).await.map_err(CliError::failed)?;
    }
    let output = child.wait_with_output().await.map_err(CliError::failed)?;
    if output.status.success() { Ok(()) } else { Err(CliError::failed(String::from_utf8_lossy(&output.stderr).into_owned())) }
}

/// TLS with `host` in a tunnel through the proxy, trusting nobody but the authority in `ca`.
pub(super) async fn tunnel(
    proxy: &str,
    ca: &Path,
    host: &str,
    port: u16,
    token: Option<&str>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let other = |fault: &dyn std::fmt::Display| std::io::Error::other(fault.to_string());
    let mut stream = TcpStream::connect(proxy).await?;
    let credentials = token.map(|token| format!("Proxy-Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{credentials}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    // Of a refusal the content comes too, and the connection stays open.
    while memchr::memmem::find(&answer, b"\r\n\r\n").is_none() && stream.read_buf(&mut answer).await? > 0 {}
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(other(&String::from_utf8_lossy(&answer).lines().next().unwrap_or("no answer")));
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|fault| other(&fault))? {
        roots.add(certificate.map_err(|fault| other(&fault))?).map_err(|fault| other(&fault))?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|fault| other(&fault))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|fault| other(&fault))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
