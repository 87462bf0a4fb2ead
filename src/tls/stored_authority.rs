//! An authority whose key lies elsewhere than in a file: made in memory or taken from files, handed out once to be sealed, and
//! made again of what was sealed. Its certificate is written where clients look for it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::authority::{Authority, AuthorityError, Generated};
use super::files;

/// In the place of the path of what lies in no file.
const STORED: &str = "in the store";

/// What an authority is made of: both as PEM.
pub struct Parts {
    /// The issuer's certificate with its chain; public.
    pub certificate: String,
    /// Its private key.
    pub key: Zeroizing<Vec<u8>>,
}

impl Parts {
    /// Those of a new authority, which is in no file.
    pub fn generate(now: SystemTime) -> Result<Self, AuthorityError> {
        let Generated { certificate, key } = Authority::generate(now)?;
        Ok(Self { certificate, key: Zeroizing::new(key.as_bytes().to_vec()) })
    }

    /// Those that lie in two files, as [`Authority::load_or_create`] takes them; `None` if there is no key.
    pub fn read(certificate: &Path, key: &Path, now: SystemTime) -> Result<Option<Self>, AuthorityError> {
        if !key.exists() {
            return Ok(None);
        }
        let (loaded, _) = Authority::load_or_create(certificate, key, now)?;
        let failed = |cause| AuthorityError::File { path: key.to_owned(), cause };
        let found = files::read_key_and_mode(key).map_err(failed)?;
        Ok(found.map(|(key, _)| Self { certificate: loaded.certificate_pem().to_owned(), key }))
    }

    /// The authority; refused when it is not fit.
    pub fn authority(&self, now: SystemTime) -> Result<Authority, AuthorityError> {
        let place = PathBuf::from(STORED);
        Authority::load((&place, self.certificate.as_bytes()), (&place, &self.key), now)
    }
}

impl Authority {
    /// Writes the certificate to a file for clients to trust, in one step, unless it is there. Whether another one was there.
    pub fn publish(&self, path: &Path) -> Result<bool, AuthorityError> {
        let failed = |cause| AuthorityError::File { path: path.to_owned(), cause };
        let before = files::read(path).map_err(failed)?;
        if before.as_deref() == Some(self.certificate_pem().as_bytes()) {
            return Ok(false);
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match std::fs::remove_file(&beside) {
            // Left by a process that ended while it wrote.
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(failed(fault)),
            _ => {}
        }
        files::create_public(&beside, self.certificate_pem().as_bytes()).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)?;
        Ok(before.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_made_again_of_its_parts_and_its_certificate_is_where_clients_look() {
        let place = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (place.path().join("certs/ca.pem"), place.path().join("keys/ca-key.pem"));
        let now = SystemTime::now();
        let made = Parts::generate(now).expect("made");
        let authority = made.authority(now).expect("it is fit");
        assert!(!authority.publish(&certificate).expect("written"));
        assert_eq!(std::fs::read_to_string(&certificate).expect("there"), made.certificate);
        assert!(!authority.publish(&certificate).expect("it is there"));
        assert!(Parts::read(&certificate, &key, now).expect("there is no key").is_none());
        let other = Parts::generate(now).expect("made").authority(now).expect("it is fit");
        assert!(other.publish(&certificate).expect("written"), "another one was there");
        assert_eq!(std::fs::read_to_string(&certificate).expect("there"), other.certificate_pem());

        let (filed, _) = {
            std::fs::remove_file(&certificate).expect("removed");
            Authority::load_or_create(&certificate, &key, now).expect("made")
        };
        let read = Parts::read(&certificate, &key, now).expect("read").expect("there");
        assert_eq!(read.authority(now).expect("it is fit").fingerprint(), filed.fingerprint());
        let mixed = Parts { certificate: made.certificate, key: read.key };
        assert!(matches!(mixed.authority(now), Err(AuthorityError::Mismatch { .. })));
    }
}
