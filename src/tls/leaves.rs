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
use super::{ALPN_HTTP_1_1, ALPN_HTTP_2, provider};
use crate::metrics::{Counter, Registry};
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
    hits: Counter,
    minted: Counter,
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
        Self {
            authority,
            clock,
            slots: Mutex::new(LruCache::new(capacity)),
            shared: OnceLock::new(),
            hits: Counter::default(),
            minted: Counter::default(),
        }
    }

    /// The same, counting in `registry`.
    #[must_use]
    pub fn measured_by(mut self, registry: &Registry) -> Self {
        self.hits = registry.counter("subrosa_leaf_hits", "Handshakes for which a leaf certificate was ready");
        self.minted = registry.counter("subrosa_leaf_minted", "Leaf certificates that were made");
        self
    }

    /// Of how many hosts a configuration is kept.
    pub fn kept(&self) -> usize {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The configuration under which the proxy answers as `host`: TLS 1.2 and 1.3, HTTP/2
    /// and HTTP/1.1.
    pub fn server_config(&self, host: &Host) -> Result<Arc<ServerConfig>, LeafError> {
        let now = (self.clock)();
        let slot = self.slot(host);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((config, term)) = slot.as_ref()
            && term.is_fresh(now)
        {
            self.hits.add(1);
            return Ok(Arc::clone(config));
        }
        let (config, term) = self.make(host, now)?;
        self.minted.add(1);
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
        config.alpn_protocols = vec![ALPN_HTTP_2.to_vec(), ALPN_HTTP_1_1.to_vec()];
        // One ticket key and one cache for all hosts: rustls resumes a session only under the
        // server name it was made for.
        config.ticketer = Arc::clone(&self.tickets);
        config.session_storage = Arc::clone(&self.sessions);
        // Clients name the suites in an order of their own, and mean nothing by it.
        config.ignore_client_order = true;
        // Each ticket costs about as much as a small request; clients take one at a time.
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{Read as _, Write as _};
    use std::path::PathBuf;
    use std::time::Duration;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConnection, HandshakeKind, ServerConnection};
    use tempfile::TempDir;

    use super::*;
    use crate::tls::test_openssl::{openssl, try_openssl};
    use crate::tls::{client_config, pem};

    struct Made {
        leaves: Leaves,
        root: PathBuf,
        directory: TempDir,
    }

    fn made(capacity: usize, clock: fn() -> SystemTime) -> Made {
        let directory = tempfile::tempdir().expect("a directory");
        let (root, key) = (directory.path().join("ca.pem"), directory.path().join("ca-key.pem"));
        let (authority, _) = Authority::load_or_create(&root, &key, clock()).expect("made");
        Made { leaves: Leaves::new(Arc::new(authority), capacity, clock), root, directory }
    }

    fn host(text: &str) -> Host {
        Host::parse(text).expect("a host")
    }

    fn long_name() -> String {
        format!("{}.{}.example.com", "a".repeat(63), "b".repeat(63))
    }

    /// The chain that a configuration presents.
    fn chain(leaves: &Leaves, name: &Host) -> Vec<CertificateDer<'static>> {
        let pair = &leaves.shared().expect("made").pair;
        leaves.authority.issue(name, pair, (leaves.clock)()).expect("issued").0
    }

    #[test]
    fn openssl_accepts_leaves_strictly_for_names_and_addresses() {
        let Made { leaves, root, directory } = made(16, SystemTime::now);
        let root = root.to_str().expect("a path");
        let path = directory.path().join("leaf.pem");
        let path = path.to_str().expect("a path");
        for (name, check) in [
            ("api.example.com", "-verify_hostname"),
            (&long_name(), "-verify_hostname"),
            ("my_service.local", "-verify_hostname"),
            ("xn--bcher-kva.example", "-verify_hostname"),
            ("localhost", "-verify_hostname"),
            ("10.1.2.3", "-verify_ip"),
            ("[2001:db8::1]", "-verify_ip"),
        ] {
            std::fs::write(path, pem::write(&chain(&leaves, &host(name))[..1])).expect("written");
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", root];
            let said = openssl(&[&verify[..], &[check, bare, path]].concat());
            assert!(said.contains("OK"), "{name}: {said}");
            let other = if check == "-verify_ip" { "10.1.2.4" } else { "other.example" };
            assert!(try_openssl(&[&verify[..], &[check, other, path]].concat()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_leaf_holds_what_strict_clients_look_for() {
        let Made { leaves, directory, .. } = made(16, SystemTime::now);
        let path = directory.path().join("leaf.pem");
        for (name, subject, alternative) in [
            ("api.example.com", "CN = api.example.com", "X509v3 Subject Alternative Name: \n                DNS:api.example.com"),
            (&long_name(), "", "X509v3 Subject Alternative Name: critical\n                DNS:aaa"),
            ("10.1.2.3", "CN = 10.1.2.3", "IP Address:10.1.2.3"),
            ("[::1]", "CN = ::1", "IP Address:0:0:0:0:0:0:0:1"),
        ] {
            std::fs::write(&path, pem::write(&chain(&leaves, &host(name))[..1])).expect("written");
            let text = openssl(&["x509", "-in", path.to_str().expect("a path"), "-noout", "-text"]);
            for part in [
                format!("Subject: {subject}\n").as_str(),
                alternative,
                "X509v3 Authority Key Identifier",
                "X509v3 Subject Key Identifier",
                "X509v3 Basic Constraints: critical\n                CA:FALSE",
                "X509v3 Key Usage: critical\n                Digital Signature\n",
                "X509v3 Extended Key Usage: \n                TLS Web Server Authentication\n",
            ] {
                assert!(text.contains(part), "{part}:\n{text}");
            }
        }
    }

    #[test]
    fn serial_numbers_in_certificates_are_minimal_der() {
        let Made { leaves, .. } = made(1, SystemTime::now);
        for _ in 0..2_000 {
            let leaf = &chain(&leaves, &host("a.example"))[0];
            let (_, parsed) = x509_parser::parse_x509_certificate(leaf).expect("a certificate");
            let serial = parsed.raw_serial();
            assert!(serial.len() == 16 && serial[0] & 0x80 == 0 && serial[0] != 0, "{serial:?}");
        }
    }

    /// Hands bytes to and fro until both sides have shaken hands; what the client found out.
    fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
        for _ in 0..8 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).expect("memory");
            server.read_tls(&mut bytes.as_slice()).expect("memory");
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).expect("memory");
            client.read_tls(&mut bytes.as_slice()).expect("memory");
            client.process_new_packets()?;
        }
        client.writer().write_all(b"ping").expect("memory");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("memory");
        server.read_tls(&mut bytes.as_slice()).expect("memory");
        server.process_new_packets()?;
        let mut got = [0; 4];
        server.reader().read_exact(&mut got).expect("four bytes");
        Ok(())
    }

    #[test]
    fn both_versions_shake_hands_and_resume() {
        let Made { leaves, root, directory: _kept } = made(16, SystemTime::now);
        let config = leaves.server_config(&host("api.example.com")).expect("a leaf");
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(pem::certificates(&std::fs::read(&root).expect("text")).expect("PEM")[0].clone()).expect("a root");
            let mut client = rustls::ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .expect("supported")
                .with_root_certificates(roots)
                .with_no_client_auth();
            client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let client = Arc::new(client);
            for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let name = ServerName::try_from("api.example.com").expect("a name");
                let mut asking = ClientConnection::new(Arc::clone(&client), name).expect("a client");
                let mut answering = ServerConnection::new(Arc::clone(&config)).expect("a server");
                shake(&mut asking, &mut answering).expect("a handshake");
                assert_eq!(asking.handshake_kind(), Some(expected), "{version:?}");
                assert_eq!(asking.alpn_protocol(), Some(&b"h2"[..]));
            }
        }
    }

    #[test]
    fn a_leaf_is_for_its_host_alone_and_comes_with_its_chain() {
        let Made { leaves, root, directory: _kept } = made(16, SystemTime::now);
        let client = client_config(std::slice::from_ref(&root)).expect("roots");
        for (asked, right) in [("a.example", true), ("b.example", false), ("sub.a.example", false)] {
            let mut asking =
                ClientConnection::new(Arc::clone(&client), ServerName::try_from(asked).expect("a name")).expect("a client");
            let mut answering =
                ServerConnection::new(leaves.server_config(&host("a.example")).expect("a leaf")).expect("a server");
            assert_eq!(shake(&mut asking, &mut answering).is_ok(), right, "{asked}");
            if right {
                assert_eq!(asking.peer_certificates().map(<[_]>::len), Some(2));
            }
        }
    }

    #[test]
    fn many_who_ask_at_once_share_one_leaf() {
        let Made { leaves, .. } = made(16, SystemTime::now);
        let name = host("a.example");
        let configs: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| leaves.server_config(&name).expect("a leaf"))).collect();
            asking.into_iter().map(|asked| asked.join().expect("no panic")).collect()
        });
        assert!(configs.iter().all(|config| Arc::ptr_eq(config, &configs[0])));
    }

    #[test]
    fn the_least_recently_used_hosts_go_first() {
        let Made { leaves, .. } = made(2, SystemTime::now);
        let of = |name: &str| leaves.server_config(&host(name)).expect("a leaf");
        let (a, b) = (of("a.example"), of("b.example"));
        assert!(Arc::ptr_eq(&a, &of("a.example")));
        of("c.example");
        assert!(Arc::ptr_eq(&a, &of("a.example")), "used recently");
        assert!(!Arc::ptr_eq(&b, &of("b.example")), "gone, and made again");
        assert_eq!(leaves.slots.lock().expect("not poisoned").len(), 2);
    }

    thread_local! {
        static HOURS: Cell<u64> = const { Cell::new(0) };
    }

    /// A clock that a test sets: so many hours after a day of 2025.
    fn set_clock() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000) + Duration::from_hours(HOURS.get())
    }

    #[test]
    fn a_leaf_is_renewed_when_a_third_of_its_life_is_left() {
        let Made { leaves, .. } = made(16, set_clock);
        let name = host("a.example");
        let at = |hours: u64| {
            HOURS.set(hours);
            leaves.server_config(&name)
        };
        let first = at(0).expect("a leaf");
        assert!(Arc::ptr_eq(&first, &at(111).expect("a leaf")));
        let second = at(113).expect("a leaf");
        assert!(!Arc::ptr_eq(&first, &second), "renewed after two thirds of seven days");
        assert!(Arc::ptr_eq(&second, &at(200).expect("a leaf")));
        // The clock was set back to before the leaf began.
        assert!(!Arc::ptr_eq(&second, &at(80).expect("a leaf")));
    }

    #[test]
    fn no_leaf_outlives_its_authority() {
        let Made { leaves, .. } = made(16, set_clock);
        let ten_years = 3_652 * 24;
        HOURS.set(ten_years - 1);
        let leaf = &chain(&leaves, &host("a.example"));
        let end =
            |der: &CertificateDer<'_>| x509_parser::parse_x509_certificate(der).expect("a certificate").1.validity().not_after;
        assert_eq!(end(&leaf[0]), end(&leaf[1]));
        HOURS.set(ten_years + 1);
        let error = leaves.server_config(&host("a.example")).expect_err("over");
        assert!(matches!(error, LeafError::AuthorityNotValid { .. }), "{error}");
    }
}
