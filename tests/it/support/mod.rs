//! A world for one test: origins, the real binary with a directory of its own, and clients.

pub mod ca;
pub mod client;
pub mod corporate;
pub mod frames;
pub mod http2;
pub mod network;
pub mod origin;
pub mod provider;
pub mod proxy;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use ca::Ca;
pub use client::{Response, read_response};
pub use origin::{Origin, reply};
pub use proxy::Proxy;

/// How long anything may take before a test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The origin that secrets are for, over TLS and in the clear.
pub const CRM: &str = "api.crm.example.com";
/// An origin that no secret is for.
pub const EVIL: &str = "evil.example.net";
/// What no log, answer or file may hold.
pub const VALUE: &str = "abc123-Zx/9+=secret";

/// Bounds a wait.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}

/// Origins and a proxy that knows the way to them.
pub struct World {
    pub crm: Origin,
    pub crm_plain: Origin,
    pub evil: Origin,
    pub proxy: Proxy,
}

impl World {
    /// Origins that answer `200 ok`, a proxy, and `crm.apiKey` for [`CRM`] only.
    pub async fn new() -> Self {
        Self::with("", reply("200 OK", "", "ok")).await
    }

    /// The same with further config and with origins that answer by `script`. Keys before the first
    /// section are for `[egress]`.
    pub async fn with(config: &str, script: origin::Script) -> Self {
        Self::beside(&Ca::new(), &[], config, script).await
    }

    /// The same, with `others` that the proxy knows the way to.
    pub async fn beside(ca: &Ca, others: &[(&str, SocketAddr)], config: &str, script: origin::Script) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ca_file = dir.path().join("origin-ca.pem");
        std::fs::write(&ca_file, ca.pem()).expect("it can be written");
        let crm = Origin::tls(ca, &[CRM, "127.0.0.1"], script.clone()).await;
        let crm_plain = Origin::plain(script.clone()).await;
        let evil = Origin::tls(ca, &[EVIL], script).await;
        let mut resolve = format!(
            "[egress.resolve]\n\"{CRM}\" = \"{}\"\n\"{EVIL}\" = \"{}\"\n\"plain.crm.example.com\" = \"{}\"\n",
            crm.address, evil.address, crm_plain.address
        );
        for (host, address) in others {
            let _ = writeln!(resolve, "\"{host}\" = \"{address}\"");
        }
        let sections = if config.starts_with('[') { 0 } else { config.find("\n[").unwrap_or(config.len()) };
        let (egress, sections) = config.split_at(sections);
        let text = format!("[egress]\nextra_roots = [{:?}]\n{egress}{resolve}{sections}", ca_file.display().to_string());
        let proxy = Proxy::start(dir, &text).await;
        proxy.create_secret("crm.apiKey", VALUE, &["*.crm.example.com"]).await;
        Self { crm, crm_plain, evil, proxy }
    }

    /// Asserts that no origin saw so much as a connection.
    pub fn untouched(&self) {
        let seen = [self.crm.connections(), self.crm_plain.connections(), self.evil.connections()];
        assert_eq!(seen, [0, 0, 0]);
    }

    /// Where the proxy's own authority lies.
    pub fn ca(&self) -> PathBuf {
        self.proxy.path("certs/ca.pem")
    }
}
