//! Certificates as PEM text (RFC 7468): read strictly, written without anything but certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// RFC 7468 section 2: lines of exactly 64 characters but for the last.
const LINE: usize = 64;

/// Every certificate in `text`, in order; other sections are passed over.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// The certificates as PEM. What else stood in the file they were read from is not repeated.
pub(super) fn write(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        for length in [1, 47, 48, 49, 400] {
            let certificate = CertificateDer::from(vec![0x5a; length]);
            let text = write(&[certificate.clone(), certificate.clone()]);
            assert!(text.lines().all(|line| line.len() <= LINE), "{length}");
            assert_eq!(certificates(text.as_bytes()), Ok(vec![certificate.clone(), certificate]), "{length}");
        }
    }
}
