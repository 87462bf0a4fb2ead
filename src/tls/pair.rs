//! A certificate of our own with its private key, from two PEM files: what the proxy shows as a client
//! of an upstream, and as a server where clients speak TLS to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;

use super::{files, pem};

/// A certificate with its chain, and its key.
#[derive(Clone)]
pub struct CertifiedPair(pub(super) Arc<CertifiedKey>);

/// Why two files are no certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file cannot be read.
    #[error("the file {path} cannot be read: {cause}; correct its path")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The key may be read by others.
    #[error("the private key {path} may be read or changed by others (mode {mode:o}): chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("the file {path} is not {what} in PEM: {cause}; name one that is")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The two do not belong together.
    #[error(
        "the private key {key} does not belong to the first certificate in {certificate}; that one comes first, its issuers after it"
    )]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
}

impl CertifiedPair {
    /// Reads the certificate, its issuers after it, and its key (PKCS#8, SEC1 or PKCS#1).
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, PairError> {
        let chain = read(certificate, files::read(certificate))?;
        let chain = pem::certificates(&chain)
            .and_then(|chain| if chain.is_empty() { Err("there is none in it".to_owned()) } else { Ok(chain) });
        let chain = chain.map_err(|cause| malformed(certificate, "a certificate with its chain", cause))?;
        let text = read(key, files::read_key(key))?;
        let text = text.map_err(|exposed| PairError::Exposed { path: key.to_owned(), mode: exposed.mode })?;
        let no_key = |cause: String| malformed(key, "a private key", cause);
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(|cause| no_key(cause.to_string()))?;
        let signer = rustls::crypto::ring::sign::any_supported_type(&private).map_err(|cause| no_key(cause.to_string()))?;
        let pair = CertifiedKey::new(chain, signer);
        match pair.keys_match() {
            Ok(()) => Ok(Self(Arc::new(pair))),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(PairError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() })
            }
            Err(cause) => Err(malformed(certificate, "a certificate with its chain", cause.to_string())),
        }
    }
}

fn read<T>(path: &Path, found: io::Result<Option<T>>) -> Result<T, PairError> {
    let found = found.and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()));
    found.map_err(|cause| PairError::Unreadable { path: path.to_owned(), cause })
}

fn malformed(path: &Path, what: &'static str, cause: String) -> PairError {
    PairError::Malformed { path: path.to_owned(), what, cause }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn written(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        path
    }

    #[test]
    fn what_is_no_pair_is_told_with_its_file() {
        let place = tempfile::tempdir().expect("a directory");
        let made = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("made");
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let ((one, one_key), (_, other_key)) = (made("a.example"), made("b.example"));
        let certificate = written(place.path(), "c.pem", &one, 0o644);
        let key = written(place.path(), "k.pem", &one_key, 0o600);
        assert!(CertifiedPair::load(&certificate, &key).is_ok());
        let absent = place.path().join("absent.pem");
        let empty = written(place.path(), "empty.pem", "", 0o600);
        let open = written(place.path(), "open.pem", &one_key, 0o644);
        let other = written(place.path(), "other.pem", &other_key, 0o600);
        for (certificate, key, sentence) in [
            (&absent, &key, "absent.pem cannot be read"),
            (&certificate, &absent, "absent.pem cannot be read"),
            (&empty, &key, "empty.pem is not a certificate with its chain"),
            (&certificate, &empty, "empty.pem is not a private key"),
            (&certificate, &open, "open.pem may be read or changed by others (mode 644)"),
            (&certificate, &other, "other.pem does not belong to the first certificate"),
        ] {
            let fault = CertifiedPair::load(certificate, key).err().expect(sentence).to_string();
            assert!(fault.contains(sentence), "{fault}");
        }
    }
}
