//! `subrosa demo`: the whole story in one command, with nothing prepared and nothing left behind.
//!
//! It starts two TLS origins on loopback and this very binary as a proxy in a directory of its own,
//! stores a secret for one of the origins, sends the same request to both through the proxy, and
//! shows what the runner sent, what each origin received and what the runner got back.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::CliError;
use super::out;
use super::sandbox::{self, Origin, OriginAuthority, Place, Proxy};

const ALLOWED: &str = "api.crm.example.com";
const FORBIDDEN: &str = "evil.example.net";
const SECRET: &str = "crm.apiKey";
const VALUE: &str = "demo-3f9a1c-not-a-real-key";
/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs the demonstration.
pub(super) async fn run() -> Result<(), CliError> {
    let place = Place::make("demo")?;
    let told = tokio::time::timeout(PATIENCE * 2, tell(place.path())).await;
    told.map_err(|_| CliError::failed("the demonstration did not finish in time"))?
}

async fn tell(place: &Path) -> Result<(), CliError> {
    let authority = OriginAuthority::make(place)?;
    let allowed = Origin::start(&authority, ALLOWED).await?;
    let forbidden = Origin::start(&authority, FORBIDDEN).await?;
    let config = sandbox::write_config(place, &[&allowed, &forbidden])?;
    let mut proxy = Proxy::start(&config).await?;
    sandbox::store_secret(&config, SECRET, VALUE, ALLOWED).await?;

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

/// Sends `request` through a tunnel, trusting nobody but the proxy's authority.
async fn through(proxy: SocketAddr, ca: &Path, host: &'static str, request: &str) -> Result<String, CliError> {
    let mut stream = sandbox::tunnel(&proxy.to_string(), ca, host, 443, None).await.map_err(CliError::failed)?;
    stream.write_all(request.as_bytes()).await.map_err(CliError::failed)?;
    let mut response = Vec::new();
    // A peer that closes without close_notify has still said what it said.
    let _ = stream.read_to_end(&mut response).await;
    Ok(String::from_utf8_lossy(&response).into_owned())
}
