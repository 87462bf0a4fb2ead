//! Server configurations per host: made once, cached whole, renewed in time, in bounded memory.
//!
//! All leaves share one P-256 key pair of this process, so that a host costs one signature and
//! nothing else. Callers that ask for one host at the same time share that signature too.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use lru::LruCache;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};

use super::authority::Authority;
use super::leaf::{LeafError, Term};
use super::{ALPN_HTTP_1_1, provider};
use crate::origin::Host;

/// Sessions of clients that resume without tickets, over all hosts.
const SESSIONS: usize = 1024;

/// The cache of server configurations.
pub struct Leaves {
    authority: Arc<Authority>,
    clock: fn() -> SystemTime,
    slots: Mutex<LruCache<Host, Arc<Slot>>>,
    /// Made at first use: a proxy that never intercepts needs none.
    shared: OnceLock<Shared>,
}

/// The place of one host. Its lock is held while a leaf is signed: others wait, then find it.
type Slot = Mutex<Option<(Arc<ServerConfig>, Term)>>;

/// What the configurations of all hosts have in common.
struct Shared {
    pair: KeyPair,
    signer: Arc<dyn SigningKey>,
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Leaves {
    /// A cache of `capacity` hosts, the least recently used of which go first.
    pub fn new(authority: Arc<Authority>, capacity: usize, clock: fn() -> SystemTime) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self { authority, clock, slots: Mutex::new(LruCache::new(capacity)), shared: OnceLock::new() }
    }

    /// The configuration under which the proxy answers as `host`: TLS 1.2 and 1.3, HTTP/1.1.
    pub fn server_config(&self, host: &Host) -> Result<Arc<ServerConfig>, LeafError> {
        let now = (self.clock)();
        let slot = self.slot(host);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((config, term)) = slot.as_ref()
            && term.is_fresh(now)
        {
            return Ok(Arc::clone(config));
        }
        let (config, term) = self.make(host, now)?;
        *slot = Some((Arc::clone(&config), term));
        Ok(config)
    }

    fn slot(&self, host: &Host) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.get_or_insert_ref(host, || Arc::new(Mutex::new(None))))
    }

    fn make(&self, host: &Host, now: SystemTime) -> Result<(Arc<ServerConfig>, Term), LeafError> {
        let failed = |cause: String| LeafError::Failed { host: host.clone(), cause };
        let shared = self.shared().map_err(failed)?;
        let (chain, term) = self.authority.issue(host, &shared.pair, now)?;
        let config = shared.server_config(chain).map_err(|cause| failed(cause.to_string()))?;
        Ok((Arc::new(config), term))
    }

    fn shared(&self) -> Result<&Shared, String> {
        if let Some(shared) = self.shared.get() {
            return Ok(shared);
        }
        let made = Shared::new()?;
        Ok(self.shared.get_or_init(|| made))
    }
}

impl Shared {
    fn new() -> Result<Self, String> {
        let pair = KeyPair::generate().map_err(|error| error.to_string())?;
        let der = PrivateKeyDer::try_from(pair.serialize_der())?;
        let signer = rustls::crypto::ring::sign::any_ecdsa_type(&der).map_err(|error| error.to_string())?;
        let tickets = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
        Ok(Self { pair, signer, tickets, sessions: ServerSessionMemoryCache::new(SESSIONS) })
    }

    fn server_config(&self, chain: Vec<CertificateDer<'static>>) -> Result<ServerConfig, rustls::Error> {
        let certified = CertifiedKey::new(chain, Arc::clone(&self.signer));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
        // One ticket key and one cache for all hosts: rustls resumes a session only under the
        // server name it was made for.
        config.ticketer = Arc::clone(&self.tickets);
        config.session_storage = Arc::clone(&self.sessions);
        Ok(config)
    }
}
