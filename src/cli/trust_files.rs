//! The files that clients trust the CA by, beside the CA's certificate: a bundle with the system's
//! roots, a truststore for Java, and settings for PHP and Wget. All of them are public.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::CliError;
use super::{java, out};
use crate::config::Config;
use crate::runtimes::{BUNDLE, JAVA, MOUNTED, PHP, TrustFiles, WGET};

/// Writes the files beside the CA's certificate, as far as they are not there already. Where that
/// directory is `mounted` elsewhere for the runner, the settings name the files as they are called there.
pub(super) fn prepare(config: &Config, mounted: Option<&Path>) -> Result<TrustFiles, CliError> {
    let pem = ca(config)?;
    let certificate = std::path::absolute(&config.intercept.ca_certificate).map_err(CliError::failed)?;
    let directory = certificate.parent().unwrap_or(Path::new("/"));
    let roots = system_roots();
    write_if_changed(&directory.join(BUNDLE), bundle_of(&roots, &pem).as_bytes())?;
    write_if_changed(&directory.join(JAVA), &java::truststore(&with_ca(roots, &pem)))?;
    let (seen, settings) = match mounted {
        Some(mounted) => (mounted, MOUNTED),
        None => (directory, ""),
    };
    let ca = certificate.file_name().map_or_else(|| certificate.clone(), |name| seen.join(name));
    let files = TrustFiles::in_directory(seen, settings, ca);
    let named = files.bundle.display();
    let php = format!("openssl.cafile=\"{named}\"\ncurl.cainfo=\"{named}\"\n");
    write_if_changed(&directory.join(settings).join(PHP).join("subrosa.ini"), php.as_bytes())?;
    let wget = format!("{}ca_certificate = {named}\n", system_wgetrc());
    write_if_changed(&directory.join(settings).join(WGET), wget.as_bytes())?;
    Ok(files)
}

/// What the system's own settings of Wget say: ours takes their place (`SYSTEM_WGETRC`).
fn system_wgetrc() -> String {
    let text = std::fs::read_to_string("/etc/wgetrc").unwrap_or_default();
    let settings = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    settings.flat_map(|line| [line, "\n"]).collect()
}

/// The CA's certificates, PEM, and nothing else that may lie in the file.
pub(super) fn ca(config: &Config) -> Result<String, CliError> {
    let path = &config.intercept.ca_certificate;
    let text = std::fs::read_to_string(path).map_err(|fault| {
        CliError::failed(format!(
            "the CA certificate {} cannot be read: {fault}; `subrosa serve` makes it on its first start",
            path.display()
        ))
    })?;
    Ok(with_ca(Vec::new(), &text).iter().map(|der| pem(der)).collect())
}

/// The system's roots and the CA's certificate, PEM.
pub(super) fn bundle(config: &Config) -> Result<String, CliError> {
    Ok(bundle_of(&system_roots(), &ca(config)?))
}

fn bundle_of(roots: &[Vec<u8>], ca: &str) -> String {
    roots.iter().map(|der| pem(der)).chain([ca.to_owned()]).collect()
}

/// The certificates the system trusts, DER. A system without any (a bare container) is said: what
/// is passed through then finds no root.
fn system_roots() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        out::note("This system has no root certificates: the bundle trusts the proxy's CA only.");
    }
    let mut roots: Vec<Vec<u8>> = found.certs.into_iter().map(|certificate| certificate.to_vec()).collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}

fn with_ca(mut roots: Vec<Vec<u8>>, ca: &str) -> Vec<Vec<u8>> {
    let bodies = ca.split("-----BEGIN CERTIFICATE-----").skip(1).filter_map(|rest| rest.split("-----END").next());
    let ders = bodies.filter_map(|body| STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok());
    roots.extend(ders);
    roots
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line)));
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
}

/// Replaces the file as a whole: a client that reads meanwhile sees the old one or the new one.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    if std::fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let directory = path.parent().unwrap_or(Path::new("."));
    public_directory(directory)
        .and_then(|()| write_public(&temporary, bytes))
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|fault| {
            CliError::failed(format!(
                "{} cannot be written: {fault}; run this once as the user that the server runs as",
                path.display()
            ))
        })
}

/// For everybody to enter and for its owner to change, whatever the umask says.
fn public_directory(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o755))
}

/// For everybody to read and for its owner to write: who could write here would be trusted by all.
fn write_public(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_survives_pem() {
        let der: Vec<u8> = (0..=255).collect();
        assert_eq!(with_ca(Vec::new(), &pem(&der)), [der]);
    }

    #[test]
    fn the_files_are_written_beside_the_certificate_and_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.intercept.ca_certificate = directory.path().join("ca.pem");
        assert!(
            prepare(&config, None).is_err_and(|error| matches!(error, CliError::Failed(text) if text.contains("subrosa serve")))
        );
        let ca = pem(b"the ca");
        std::fs::write(&config.intercept.ca_certificate, &ca).expect("written");
        let files = prepare(&config, None).expect("prepared");
        let bundle = std::fs::read_to_string(&files.bundle).expect("there");
        assert!(bundle.ends_with(&ca));
        assert!(std::fs::read(&files.java).is_ok_and(|store| store.starts_with(&[0xFE, 0xED, 0xFE, 0xED])));
        let php = std::fs::read_to_string(files.php_directory.join("subrosa.ini")).expect("there");
        assert!(php.contains(&format!("curl.cainfo=\"{}\"", files.bundle.display())));
        let wget = std::fs::read_to_string(&files.wget).expect("there");
        assert!(wget.ends_with(&format!("ca_certificate = {}\n", files.bundle.display())), "{wget}");
        let written = std::fs::metadata(&files.bundle).and_then(|metadata| metadata.modified()).expect("there");
        prepare(&config, None).expect("prepared again");
        assert_eq!(std::fs::metadata(&files.bundle).and_then(|metadata| metadata.modified()).expect("there"), written);
    }

    #[test]
    fn where_they_are_mounted_the_settings_name_them_as_they_are_called_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.intercept.ca_certificate = directory.path().join("ca.pem");
        std::fs::write(&config.intercept.ca_certificate, pem(b"the ca")).expect("written");
        let files = prepare(&config, Some(Path::new("/certs"))).expect("prepared");
        assert_eq!((files.ca, files.bundle), ("/certs/ca.pem".into(), "/certs/bundle.pem".into()));
        assert_eq!((files.php_directory, files.wget), ("/certs/mounted/php".into(), "/certs/mounted/wgetrc".into()));
        let php = std::fs::read_to_string(directory.path().join("mounted/php/subrosa.ini")).expect("there");
        assert!(php.contains("curl.cainfo=\"/certs/bundle.pem\""), "{php}");
        assert!(directory.path().join("bundle.pem").exists());
    }
}
