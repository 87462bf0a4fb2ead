//! `subrosa demo`: the whole story in one command, with nothing prepared and nothing left behind.
//!
//! It starts two TLS origins on loopback and this very binary as a proxy in a directory of its own,
//! stores a secret for one of the origins, sends the same request to both through the proxy, and
//! shows what the runner sent, what each origin received and what the runner got back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::CliError;
use super::out;

const ALLOWED: &str = "api.crm.example.com";
const FORBIDDEN: &str = "evil.example.net";
const VALUE: &str = "demo-3f9a1c-not-a-real-key";
/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs the demonstration.
pub(super) async fn run() -> Result<(), CliError> {
    let place = Place::make()?;
    let told = tokio::time::timeout(PATIENCE * 2, tell(&place.0)).await;
    told.map_err(|_| CliError::failed("the demonstration did not finish in time"))?
}

async fn tell(place: &Path) -> Result<(), CliError> {
    let authority = OriginAuthority::make(place)?;
    let allowed = DemoOrigin::start(&authority, ALLOWED).await?;
    let forbidden = DemoOrigin::start(&authority, FORBIDDEN).await?;
    let config = write_config(place, &allowed, &forbidden)?;
    let mut proxy = Proxy::start(&config).await?;
    store_secret(&config).await?;

    let ca = place.join("certs/ca.pem");
    let request = |host: &str| {
        format!(
            "GET /v1/contacts HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {{secrets.crm.apiKey}}\r\nConnection: close\r\n\r\n"
        )
    };
    let good = through(proxy.address, &ca, ALLOWED, &request(ALLOWED)).await?;
    let bad = through(proxy.address, &ca, FORBIDDEN, &request(FORBIDDEN)).await?;
    proxy.stop().await;

    out::line(&format!("The secret crm.apiKey is stored, its value is {VALUE}, and it may go to {ALLOWED} only."))?;
    show(&format!("1. What the runner sent to {ALLOWED} (and nothing else)"), &request(ALLOWED))?;
    show(&format!("2. What {ALLOWED} received, over verified TLS"), &allowed.received())?;
    show("3. What the runner got back", &good)?;
    show(&format!("4. The same request sent to {FORBIDDEN}: what the runner got back"), &bad)?;
    let connections = forbidden.connections();
    out::line(&format!(
        "\n5. What {FORBIDDEN} received: {} ({connections} connections)",
        if connections == 0 { "nothing" } else { "something, which is a fault in subrosa: please report it" }
    ))?;
    if connections == 0 && allowed.received().contains(VALUE) {
        Ok(())
    } else {
        Err(CliError::failed("the demonstration did not show what it should have shown"))
    }
}

fn show(title: &str, text: &str) -> Result<(), CliError> {
    out::line(&format!("\n{title}"))?;
    for line in text.trim_end().lines() {
        out::line(&format!("   | {}", line.trim_end()))?;
    }
    Ok(())
}

/// A directory of its own, removed at the end.
struct Place(PathBuf);

impl Place {
    fn make() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("subrosa-demo-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|fault| CliError::failed(format!("{} cannot be made: {fault}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The certificate authority of the two origins, which the proxy is told to trust.
struct OriginAuthority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: PathBuf,
}

impl OriginAuthority {
    fn make(place: &Path) -> Result<Self, CliError> {
        let key = rcgen::KeyPair::generate().map_err(CliError::failed)?;
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "subrosa demo origins");
        let certificate = params.self_signed(&key).map_err(CliError::failed)?;
        let pem = place.join("origin-ca.pem");
        std::fs::write(&pem, certificate.pem()).map_err(CliError::failed)?;
        Ok(Self { issuer: rcgen::Issuer::new(params, key), pem })
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
struct DemoOrigin {
    address: SocketAddr,
    name: &'static str,
    ca: PathBuf,
    seen: Arc<Mutex<(usize, Vec<u8>)>>,
}

impl DemoOrigin {
    async fn start(authority: &OriginAuthority, name: &'static str) -> Result<Self, CliError> {
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
        Ok(Self { address, name, ca: authority.pem.clone(), seen })
    }

    fn received(&self) -> String {
        String::from_utf8_lossy(&lock(&self.seen).1).into_owned()
    }

    fn connections(&self) -> usize {
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

fn write_config(place: &Path, allowed: &DemoOrigin, forbidden: &DemoOrigin) -> Result<PathBuf, CliError> {
    let path = place.join("subrosa.toml");
    let at = |name: &str| place.join(name).display().to_string();
    let text = format!(
        "data_dir = {:?}\n[proxy]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = [\"127.0.0.1:0\"]\n[intercept]\nca_certificate = {:?}\nca_key = {:?}\n[keys]\nfile = {:?}\n[egress]\nextra_roots = [{:?}]\n[egress.resolve]\n{:?} = \"{}\"\n{:?} = \"{}\"\n",
        at("data"),
        at("certs/ca.pem"),
        at("keys/ca-key.pem"),
        at("keys/kek"),
        allowed.ca.display().to_string(),
        allowed.name,
        allowed.address,
        forbidden.name,
        forbidden.address,
    );
    std::fs::write(&path, text).map_err(CliError::failed)?;
    Ok(path)
}

/// This binary, serving.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    async fn start(config: &Path) -> Result<Self, CliError> {
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

    async fn stop(&mut self) {
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

async fn store_secret(config: &Path) -> Result<(), CliError> {
    let mut child = command()?
        .args(["secret", "create", "crm.apiKey", "--value-stdin", "--allow", ALLOWED, "--config"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(CliError::failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(VALUE.as_bytes()).await.map_err(CliError::failed)?;
    }
    let output = child.wait_with_output().await.map_err(CliError::failed)?;
    if output.status.success() { Ok(()) } else { Err(CliError::failed(String::from_utf8_lossy(&output.stderr).into_owned())) }
}

/// Sends `request` through a tunnel, trusting nobody but the proxy's authority.
async fn through(proxy: SocketAddr, ca: &Path, host: &'static str, request: &str) -> Result<String, CliError> {
    let mut stream = TcpStream::connect(proxy).await.map_err(CliError::failed)?;
    stream
        .write_all(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").as_bytes())
        .await
        .map_err(CliError::failed)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.map_err(CliError::failed)? > 0 {}
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(CliError::failed)? {
        roots.add(certificate.map_err(CliError::failed)?).map_err(CliError::failed)?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CliError::failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host).map_err(CliError::failed)?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(CliError::failed)?;
    stream.write_all(request.as_bytes()).await.map_err(CliError::failed)?;
    let mut response = Vec::new();
    // A peer that closes without close_notify has still said what it said.
    let _ = stream.read_to_end(&mut response).await;
    Ok(String::from_utf8_lossy(&response).into_owned())
}
