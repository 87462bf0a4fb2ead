//! A truststore for Java: the JKS format, certificates only.
//!
//! Java reads no PEM file as a truststore. JKS is the one of its formats that can be written in a
//! few lines; nothing in it is private. The digest at its end is keyed with a password, and checked
//! only when one is given: ours is read without (`javax.net.ssl.trustStorePassword` unset), so the
//! digest is left as zeros.

/// The format's first bytes, and its version.
const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
/// The tag of an entry that holds a certificate to trust.
const TRUSTED_CERTIFICATE: u32 = 2;
/// The length of the digest, SHA-1.
const DIGEST: usize = 20;

/// A truststore that holds `certificates`, each in DER.
pub(super) fn truststore(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut store = Vec::new();
    put_u32(&mut store, MAGIC);
    put_u32(&mut store, VERSION);
    put_length(&mut store, certificates.len());
    for (index, certificate) in certificates.iter().enumerate() {
        put_u32(&mut store, TRUSTED_CERTIFICATE);
        put_text(&mut store, &format!("certificate-{index}"));
        // When it was added, in milliseconds; nobody reads it.
        store.extend_from_slice(&[0; 8]);
        put_text(&mut store, "X.509");
        put_length(&mut store, certificate.len());
        store.extend_from_slice(certificate);
    }
    store.extend_from_slice(&[0; DIGEST]);
    store
}

fn put_u32(store: &mut Vec<u8>, number: u32) {
    store.extend_from_slice(&number.to_be_bytes());
}

fn put_length(store: &mut Vec<u8>, length: usize) {
    put_u32(store, u32::try_from(length).expect("certificates are far smaller than 4 GiB"));
}

/// Java's `writeUTF`: two bytes of length, then the text; ours is short ASCII.
fn put_text(store: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("the texts above are short");
    store.extend_from_slice(&length.to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_as_the_format_says() {
        let store = truststore(&[vec![0xAA, 0xBB]]);
        let mut expected = vec![0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 13];
        expected.extend_from_slice(b"certificate-0");
        expected.extend_from_slice(&[0; 8]);
        expected.extend_from_slice(b"\x00\x05X.509\x00\x00\x00\x02\xAA\xBB");
        expected.extend_from_slice(&[0; 20]);
        assert_eq!(store, expected);
    }
}
