//! The certificate authority: loaded from two files or made once, and refused when it is not fit.
//!
//! Its certificate is public (`certs/`), its key is not (`keys/`, 0600). What is loaded is checked
//! before anything is issued: the key belongs to the certificate, the certificate is an authority,
//! and its time has not run out.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::authority_key::AuthorityKey;
use super::leaf::{self, LeafError, Term};
use super::{files, pem};
use crate::origin::Host;

/// Ten years: clients install it by hand, so it should outlast the machine.
const LIFE: Duration = Duration::from_hours(3_652 * 24);

/// The certificate authority of this installation.
pub struct Authority {
    issuer: Issuer<'static, AuthorityKey>,
    /// The issuer's certificate first, then whatever came with it.
    chain: Vec<CertificateDer<'static>>,
    pem: String,
    from: SystemTime,
    until: SystemTime,
}

/// A certificate and its key, as PEM.
pub(super) struct Generated {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

/// How the authority came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Both files were there.
    Loaded,
    /// Neither was; both are now.
    Created,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// One file without the other.
    #[error(
        "{present} is there but {absent} is not: put the missing one back, or remove {present} as well, then a new authority is made in {certificate} and {key}"
    )]
    OneIsAbsent {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        absent: PathBuf,
        /// Where the certificate belongs.
        certificate: PathBuf,
        /// Where the key belongs.
        key: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("the authority's file {path} cannot be read or written: {cause}; see to its directory and disk, and start again")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Others may change the key.
    #[error("the authority's key {path} can be changed by others (mode {mode:03o}): chmod 600 {path}")]
    Exposed {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("the authority's file {path} cannot be used: {cause}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// The two files do not belong together.
    #[error(
        "the key {key} does not belong to the first certificate in {certificate}: put the pair that belongs together there, or remove both, then a new authority is made"
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A new authority could not be made.
    #[error("no certificate authority could be made: {0}")]
    NotMade(String),
}

impl Authority {
    /// Loads the authority from two PEM files, or makes one when neither exists.
    ///
    /// `certificate` holds the issuer's certificate and may hold the rest of its chain; `key` its
    /// private key (PKCS#8, SEC1 or PKCS#1; P-256, P-384 or RSA).
    pub fn load_or_create(certificate: &Path, key: &Path, now: SystemTime) -> Result<(Self, Made), AuthorityError> {
        let found_certificate = files::read(certificate).map_err(|cause| file(certificate, cause))?;
        let found_key = files::read_key_and_mode(key).map_err(|cause| file(key, cause))?;
        let (found_certificate, (found_key, exposed)) = match (found_certificate, found_key) {
            (Some(found_certificate), Some(found_key)) => (found_certificate, found_key),
            (None, None) => return Self::create(certificate, key, now).map(|made| (made, Made::Created)),
            (Some(_), None) => return Err(one_is_absent(certificate, key, certificate, key)),
            (None, Some(_)) => return Err(one_is_absent(key, certificate, certificate, key)),
        };
        match exposed {
            Some(exposed) if exposed.may_be_changed() => {
                return Err(AuthorityError::Exposed { path: key.to_owned(), mode: exposed.mode });
            }
            // Images and mounted volumes bring keys of all modes; whoever can read one could impersonate any host to the runners.
            Some(exposed) => tracing::warn!(
                key = %key.display(), mode = %format!("{:03o}", exposed.mode),
                "the authority's key can be read by others on this machine; chmod 600 it"
            ),
            None => {}
        }
        Self::load((certificate, &found_certificate), (key, &found_key), now).map(|loaded| (loaded, Made::Loaded))
    }

    /// The certificates that clients are to trust, as PEM; nothing private is in it.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The SHA-256 digest of the issuer's certificate, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(&self.chain[0]))
    }

    /// A leaf for `host` and the key pair `subject`, with the chain that goes out after it.
    pub(super) fn issue(
        &self,
        host: &Host,
        subject: &KeyPair,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, Term), LeafError> {
        let term = Term::new(now, self.from, self.until)
            .ok_or_else(|| LeafError::AuthorityNotValid { ends: OffsetDateTime::from(self.until).date().to_string() })?;
        let leaf = leaf::params(host, term)?
            .signed_by(subject, &self.issuer)
            .map_err(|cause| LeafError::Failed { host: host.clone(), cause: cause.to_string() })?;
        let mut chain = Vec::with_capacity(1 + self.chain.len());
        chain.push(CertificateDer::from(leaf));
        chain.extend(self.chain.iter().cloned());
        Ok((chain, term))
    }

    /// A new authority, as PEM.
    pub(super) fn generate(now: SystemTime) -> Result<Generated, AuthorityError> {
        let failed = |cause: rcgen::Error| AuthorityError::NotMade(cause.to_string());
        let pair = KeyPair::generate().map_err(failed)?;
        let made = authority_params(&pair, now)
            .map_err(|cause| AuthorityError::NotMade(cause.to_string()))?
            .self_signed(&pair)
            .map_err(failed)?;
        let key = Zeroizing::new(pair.serialize_pem());
        Ok(Generated { certificate: pem::write(&[CertificateDer::from(made)]), key })
    }

    fn create(certificate: &Path, key: &Path, now: SystemTime) -> Result<Self, AuthorityError> {
        let Generated { certificate: certificate_pem, key: key_pem } = Self::generate(now)?;
        // The key first: a certificate without its key would look like a thing to hand out.
        files::create_key(key, key_pem.as_bytes()).map_err(|cause| file(key, cause))?;
        if let Err(cause) = files::create_public(certificate, certificate_pem.as_bytes()) {
            // Nobody trusts this key yet; alone it would only stand in the way of the next start.
            let _ = std::fs::remove_file(key);
            return Err(file(certificate, cause));
        }
        Self::load((certificate, certificate_pem.as_bytes()), (key, key_pem.as_bytes()), now)
    }

    pub(super) fn load(certificate: (&Path, &[u8]), key: (&Path, &[u8]), now: SystemTime) -> Result<Self, AuthorityError> {
        let unfit = |cause: String| AuthorityError::Unfit { path: certificate.0.to_owned(), cause };
        if memchr::memmem::find(certificate.1, b"PRIVATE KEY-----").is_some() {
            let cause = "it holds a private key, and everybody reads this file: keep the key in intercept.ca_key alone";
            return Err(unfit(cause.to_owned()));
        }
        let chain = pem::certificates(certificate.1).map_err(unfit)?;
        let first = chain.first().ok_or_else(|| unfit("there is no certificate in it".to_owned()))?;
        let signer = AuthorityKey::from_pem(key.1)
            .map_err(|cause| AuthorityError::Unfit { path: key.0.to_owned(), cause: cause.to_owned() })?;
        let (from, until) = check(first, now).map_err(unfit)?;
        if !belongs(first, &signer) {
            return Err(AuthorityError::Mismatch { certificate: certificate.0.to_owned(), key: key.0.to_owned() });
        }
        let unrepeatable = || unfit("its subject has a form that cannot be repeated as the issuer of others".to_owned());
        let issuer = Issuer::from_ca_cert_der(first, signer).map_err(|_| unrepeatable())?;
        let pem = pem::write(&chain);
        let authority = Self { issuer, chain, pem, from, until };
        if authority.issues_under_its_own_name(now) { Ok(authority) } else { Err(unrepeatable()) }
    }

    /// Clients compare the issuer in a leaf with the subject of its authority byte by byte, and
    /// not every subject survives being read and written again: one leaf is made to see.
    fn issues_under_its_own_name(&self, now: SystemTime) -> bool {
        let probe = Host::Name("probe.invalid".into());
        let Ok((chain, _)) = KeyPair::generate().map_err(|_| ()).and_then(|pair| self.issue(&probe, &pair, now).map_err(|_| ()))
        else {
            return false;
        };
        match (X509Certificate::from_der(&chain[0]), X509Certificate::from_der(&chain[1])) {
            (Ok((_, leaf)), Ok((_, own))) => leaf.issuer().as_raw() == own.subject().as_raw(),
            _ => false,
        }
    }
}

fn authority_params(pair: &KeyPair, now: SystemTime) -> Result<CertificateParams, LeafError> {
    let mut params = CertificateParams::default();
    let id = hex(&Sha256::digest(pair.public_key_raw())[..4]);
    params.distinguished_name = DistinguishedName::new();
    // The identifier tells two installations' authorities apart in a client's list.
    params.distinguished_name.push(DnType::CommonName, format!("subrosa CA {id}"));
    params.not_before = (now - leaf::BACK_DATED).into();
    params.not_after = (now + LIFE).into();
    params.serial_number = Some(leaf::serial()?);
    // Path length 0: it issues leaves, never other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Whether a certificate may issue others now; from when until when.
fn check(certificate: &CertificateDer<'_>, now: SystemTime) -> Result<(SystemTime, SystemTime), String> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| "its certificate cannot be read".to_owned())?;
    let constraints = certificate.basic_constraints().map_err(|_| "its basic constraints cannot be read".to_owned())?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err("its first certificate is not one of an authority (basic constraints without CA:TRUE)".to_owned());
    }
    let usage = certificate.key_usage().map_err(|_| "its key usage cannot be read".to_owned())?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its first certificate may not sign others (key usage without keyCertSign)".to_owned());
    }
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    if now >= SystemTime::from(until) {
        return Err(format!("its first certificate expired on {}", until.date()));
    }
    if now < SystemTime::from(from) {
        return Err(format!("its first certificate is not valid before {}; is the clock right?", from.date()));
    }
    Ok((from.into(), until.into()))
}

fn belongs(certificate: &CertificateDer<'_>, key: &AuthorityKey) -> bool {
    use rcgen::PublicKeyData as _;
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, certificate)| certificate.public_key().subject_public_key.data.as_ref() == key.der_bytes())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn file(path: &Path, cause: std::io::Error) -> AuthorityError {
    AuthorityError::File { path: path.to_owned(), cause }
}

fn one_is_absent(present: &Path, absent: &Path, certificate: &Path, key: &Path) -> AuthorityError {
    AuthorityError::OneIsAbsent {
        present: present.to_owned(),
        absent: absent.to_owned(),
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::tls::test_openssl::openssl;

    fn paths(directory: &TempDir) -> (PathBuf, PathBuf) {
        (directory.path().join("certs/ca.pem"), directory.path().join("keys/ca-key.pem"))
    }

    fn load(directory: &TempDir) -> Result<(Authority, Made), AuthorityError> {
        let (certificate, key) = paths(directory);
        Authority::load_or_create(&certificate, &key, SystemTime::now())
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    fn refusal(directory: &TempDir) -> String {
        load(directory).err().expect("refused").to_string()
    }

    #[test]
    fn is_made_once_with_its_key_for_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = paths(&directory);
        let (made, how) = load(&directory).expect("made");
        assert_eq!(how, Made::Created);
        assert_eq!((mode(&key), mode(key.parent().expect("a directory"))), (0o600, 0o700));
        assert_eq!(mode(&certificate), 0o644);
        let (loaded, how) = load(&directory).expect("loaded");
        assert_eq!((how, loaded.fingerprint()), (Made::Loaded, made.fingerprint()));
        assert_eq!(std::fs::read_to_string(&certificate).expect("text"), made.certificate_pem());
        assert!(!made.certificate_pem().contains("PRIVATE"));
    }

    #[test]
    fn is_what_the_strictest_clients_want_of_an_authority() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, _) = paths(&directory);
        let (made, _) = load(&directory).expect("made");
        let text = openssl(&["x509", "-in", certificate.to_str().expect("a path"), "-noout", "-text"]);
        for part in [
            "Version: 3",
            "Subject: CN = subrosa CA ",
            "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0",
            "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign",
            "X509v3 Subject Key Identifier",
            "NIST CURVE: P-256",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let (_, parsed) = X509Certificate::from_der(&made.chain[0]).expect("a certificate");
        let validity = parsed.validity();
        let now = OffsetDateTime::now_utc();
        assert!(validity.not_before.to_datetime() < now - Duration::from_hours(23), "back-dated");
        assert_eq!((validity.not_after.to_datetime() - now).whole_days() / 365, 10);
    }

    #[test]
    fn one_file_without_the_other_is_refused_and_nothing_is_made() {
        for gone in [0, 1] {
            let directory = tempfile::tempdir().expect("a directory");
            let (certificate, key) = paths(&directory);
            load(&directory).expect("made");
            std::fs::remove_file([&certificate, &key][gone]).expect("removed");
            let refusal = refusal(&directory);
            assert!(refusal.contains("ca.pem") && refusal.contains("ca-key.pem"), "{refusal}");
            assert!(![certificate, key][gone].exists());
        }
    }

    #[test]
    fn a_key_that_others_can_change_is_refused_with_the_cure() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, key) = paths(&directory);
        load(&directory).expect("made");
        for bits in [0o602, 0o620, 0o666] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(bits)).expect("changed");
            let refusal = refusal(&directory);
            assert!(refusal.contains(&format!("{bits:03o}")) && refusal.contains("chmod 600"), "{refusal}");
        }
        // What they can only read is warned of.
        for bits in [0o400, 0o640, 0o644] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(bits)).expect("changed");
            assert!(load(&directory).is_ok(), "{bits:o}");
        }
    }

    /// Puts an authority there that openssl made: `key` by these arguments, `subject` and
    /// `extensions` into the certificate.
    fn bring(directory: &TempDir, key_arguments: &[&str], extensions: &[&str]) {
        let (certificate, key) = paths(directory);
        for path in [&certificate, &key] {
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        }
        let (certificate, key) = (certificate.to_str().expect("a path"), key.to_str().expect("a path"));
        openssl(&[key_arguments, &["-out", key]].concat());
        let mut request = vec!["req", "-x509", "-new", "-key", key, "-out", certificate, "-days", "30"];
        request.extend(["-subj", "/C=DE/O=Example GmbH/OU=Platform/CN=Example Internal CA 7"]);
        for extension in extensions {
            request.extend(["-addext", extension]);
        }
        openssl(&request);
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("changed");
    }

    const CA: &str = "basicConstraints=critical,CA:TRUE";

    #[test]
    fn takes_ones_own_in_every_common_form() {
        let p256 = ["ecparam", "-name", "prime256v1", "-genkey"];
        let p384 = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
        let pkcs1 = ["genrsa", "-traditional"];
        let pkcs8 = ["genpkey", "-algorithm", "RSA"];
        for key in [&p256[..], &p384, &pkcs1, &pkcs8] {
            let directory = tempfile::tempdir().expect("a directory");
            bring(&directory, key, &[CA, "keyUsage=critical,keyCertSign,cRLSign"]);
            let (authority, how) = load(&directory).unwrap_or_else(|error| panic!("{key:?}: {error}"));
            assert_eq!(how, Made::Loaded);
            assert_eq!(authority.fingerprint().len(), 64);
        }
    }

    #[test]
    fn what_is_not_fit_is_refused_with_the_reason() {
        let p256 = ["ecparam", "-name", "prime256v1", "-genkey"];
        let ed25519 = ["genpkey", "-algorithm", "ED25519"];
        for (key, extensions, reason) in [
            (&p256[..], &["basicConstraints=critical,CA:FALSE"][..], "not one of an authority"),
            (&p256[..], &[CA, "keyUsage=critical,digitalSignature"], "may not sign others"),
            (&ed25519[..], &[CA], "P-256 or P-384, or RSA"),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            bring(&directory, key, extensions);
            let refusal = refusal(&directory);
            assert!(refusal.contains(reason), "{reason}: {refusal}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_or_none_at_all_is_refused() {
        let (mine, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        load(&mine).expect("made");
        load(&other).expect("made");
        let ((certificate, key), (_, foreign)) = (paths(&mine), paths(&other));
        std::fs::copy(foreign, &key).expect("copied");
        assert!(refusal(&mine).contains("does not belong"));
        std::fs::write(&key, std::fs::read(&certificate).expect("text")).expect("written");
        assert!(refusal(&mine).contains("no private key"));
        std::fs::write(&certificate, "nothing").expect("written");
        assert!(refusal(&mine).contains("no certificate"));
    }

    #[test]
    fn one_whose_time_is_over_or_has_not_come_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = paths(&directory);
        load(&directory).expect("made");
        let days = |count: u64| Duration::from_hours(count * 24);
        for (now, reason) in [(SystemTime::now() + days(3_700), "expired"), (SystemTime::now() - days(3), "is the clock right?")]
        {
            let refusal = Authority::load_or_create(&certificate, &key, now).err().expect("refused").to_string();
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
