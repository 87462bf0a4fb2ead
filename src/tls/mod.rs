//! Certificates: the project's own authority, the leaves it issues per host, and whom to trust
//! upstream.
//!
//! Everything runs on ring, named explicitly: no process-wide default provider is installed or
//! relied upon.

mod authority;
mod authority_key;
mod certificate_name;
mod files;
mod leaf;
mod leaves;
mod listener;
mod pair;
mod pem;
mod presented;
mod stored_authority;
#[cfg(test)]
mod test_openssl;
mod trust;

use std::sync::{Arc, LazyLock};

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

pub use authority::{Authority, AuthorityError, Made};
pub use certificate_name::{CertificateName, CertificateNameError};
pub use leaf::LeafError;
pub use leaves::Leaves;
pub use listener::{ListenerError, listener_config};
pub use pair::{CertifiedPair, PairError};
pub use presented::Presented;
pub use stored_authority::Parts as AuthorityParts;
pub use trust::{Roots, TrustError, client_config, for_proxy};

/// HTTP/1.1, as TLS calls it (RFC 7301).
pub const ALPN_HTTP_1_1: &[u8] = b"http/1.1";
/// HTTP/2, as TLS calls it (RFC 9113 section 3.2).
pub const ALPN_HTTP_2: &[u8] = b"h2";

/// AES with 128 bits stands first: rustls chooses the first that both sides have, SHA-256 has
/// instructions of its own in most processors and SHA-384 has not, and a handshake hashes much.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.sort_by_key(|suite| {
            !matches!(
                suite.suite(),
                CipherSuite::TLS13_AES_128_GCM_SHA256
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                    | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            )
        });
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}
