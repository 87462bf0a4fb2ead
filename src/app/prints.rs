//! Fingerprints of the files that a configuration names, so that a changed file counts as a changed setting.
//!
//! They are kept in memory and salted: one tells whether a file is the same, and nothing else about it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::AppError;
use crate::config::{AdminTls, Config, ProxyCredentials, Source};

/// Takes fingerprints.
pub(super) struct Printer {
    salt: [u8; 32],
}

/// One fingerprint for each setting that names files; what is declared is compared by whoever keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prints(BTreeMap<&'static str, [u8; 32]>);

impl Printer {
    pub(super) fn new() -> Result<Self, AppError> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|fault| AppError::Start(format!("the system gives no randomness: {fault}")))?;
        Ok(Self { salt })
    }

    /// Of the files as they are at this moment.
    pub(super) fn take(&self, config: &Config) -> Prints {
        Prints(named(config).into_iter().map(|(key, files)| (key, self.of(&files))).collect())
    }

    fn of(&self, files: &[&PathBuf]) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.salt);
        for file in files {
            let content = content(file);
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(&content);
        }
        hash.finalize().into()
    }
}

/// One that cannot be read is noticed by whoever uses it. A pipe is read once, by that one: it is told by what it is.
fn content(file: &Path) -> Zeroizing<Vec<u8>> {
    let Ok(metadata) = std::fs::metadata(file) else { return Zeroizing::default() };
    if metadata.is_file() {
        return Zeroizing::new(std::fs::read(file).unwrap_or_default());
    }
    Zeroizing::new([metadata.dev(), metadata.ino(), metadata.rdev()].iter().flat_map(|part| part.to_le_bytes()).collect())
}

impl Prints {
    /// The settings whose files are not what they were.
    pub(super) fn differences(&self, before: &Self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(|(key, print)| before.0.get(*key) != Some(*print)).map(|(key, _)| *key)
    }
}

fn named(config: &Config) -> Vec<(&'static str, Vec<&PathBuf>)> {
    let (egress, admin) = (&config.egress, &config.admin);
    let proxy_tls = config.proxy.tls.iter().flat_map(|tls| [&tls.certificate, &tls.key].into_iter().chain(&tls.client_ca));
    let admin_tls = match &admin.tls {
        Some(AdminTls::Files(files)) => vec![&files.certificate, &files.key],
        _ => Vec::new(),
    };
    let credentials = match &egress.upstream_proxy_credentials {
        Some(ProxyCredentials::File { file }) => vec![file],
        _ => Vec::new(),
    };
    let secret = match admin.oidc.as_ref().and_then(|oidc| oidc.client_secret.as_ref()) {
        Some(Source::File(file)) => vec![file],
        _ => Vec::new(),
    };
    vec![
        ("proxy.tls", proxy_tls.collect()),
        ("admin.tls", admin_tls),
        ("admin.oidc", secret),
        ("egress.extra_roots", egress.extra_roots.iter().collect()),
        ("egress.roots", egress.roots.iter().flat_map(|entry| &entry.files).collect()),
        (
            "egress.client_certificate",
            egress.client_certificate.iter().flat_map(|entry| [&entry.certificate, &entry.key]).collect(),
        ),
        ("egress.upstream_proxy_credentials", credentials),
    ]
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_file_that_has_changed_is_told_by_its_setting() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("roots.pem");
        let mut config = Config::default();
        config.egress.extra_roots = vec![file.clone()];
        let printer = Printer::new().expect("random");
        std::fs::write(&file, "one").expect("written");
        let before = printer.take(&config);
        assert_eq!(printer.take(&config), before);
        std::fs::write(&file, "two").expect("written");
        assert_eq!(printer.take(&config).differences(&before).collect::<Vec<_>>(), ["egress.extra_roots"]);
        assert_ne!(Printer::new().expect("random").take(&config), printer.take(&config), "salted");
    }

    #[test]
    fn a_pipe_is_left_to_whoever_needs_what_comes_through_it() {
        let (mut reading, mut writing) = std::io::pipe().expect("a pipe");
        writing.write_all(b"hunter2").expect("written");
        drop(writing);
        let mut config = Config::default();
        config.egress.extra_roots = vec![PathBuf::from(format!("/dev/fd/{}", reading.as_raw_fd()))];
        let printer = Printer::new().expect("random");
        assert_eq!(printer.take(&config), printer.take(&config));
        let mut read = String::new();
        reading.read_to_string(&mut read).expect("read");
        assert_eq!(read, "hunter2");
    }
}
