//! The sealed format: whatever is changed in an envelope, it does not open; and nothing that is read as one panics.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use subrosa::seal::{Envelope, KeyEncryptionKey, Sealer};

static SEALER: LazyLock<Sealer> = LazyLock::new(|| Sealer::new(KeyEncryptionKey::from_bytes(&[7; 32])));
static SEALED: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let header = b"{\"format\":1,\"kind\":\"secret\",\"name\":\"a\"}";
    [SEALER.seal(header, b"hunter2-hunter2").expect("it seals"), SEALER.seal(header, b"another-value").expect("it seals")]
});

fuzz_target!(|data: &[u8]| {
    // What stands there, as it is: whoever does not know the key seals nothing.
    if let Ok(envelope) = Envelope::parse(data) {
        let _ = (envelope.unverified_header().len(), envelope.key_id().to_string(), envelope.payload_len());
    }
    assert!(SEALER.open(data).is_err() || SEALED.iter().any(|sealed| sealed == data));
    // And what was sealed, with changes: places and bytes in turn, then bytes that are taken away or put in.
    let Some((how, changes)) = data.split_first() else { return };
    let [one, other] = &*SEALED;
    let mut bent = one.clone();
    for change in changes.chunks_exact(2) {
        let at = change[0] as usize * one.len() / 256;
        match how % 4 {
            0 => bent[at.min(one.len() - 1)] ^= change[1],
            1 => bent[at] = other[at.min(other.len() - 1)],
            2 => bent.truncate(at.max(1)),
            _ => bent.push(change[1]),
        }
        if bent.len() < one.len() {
            break;
        }
    }
    match SEALER.open(&bent) {
        Ok(value) => assert!(bent == *one && value.as_slice() == b"hunter2-hunter2"),
        Err(_) => assert!(bent != *one),
    }
});
