//! References are found where the rule says, raw and percent-encoded: held against the rule written down once more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::inject::Injection;
use subrosa::secret::Surfaces;
use subrosa_fuzz::{Book, MARK, content, host, model};

fuzz_target!(|data: &[u8]| {
    if std::str::from_utf8(data).is_ok() {
        let got = content(MARK, "text/plain", data).expect("a plain value stands anywhere in text");
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&model::replaced(data, MARK, false)));
    }
    if data.contains(&b'?') {
        return;
    }
    let (book, host) = (Book::of(MARK), host());
    let target = [b"/?", data].concat();
    let got = Injection::new(&book, &host, Surfaces::ALL).target(&target).expect("a plain value stands anywhere in a query");
    let got = got.map_or_else(|| target.clone(), |got| got.to_vec());
    let wanted = [b"/".to_vec(), model::replaced(&target[1..], MARK, true)].concat();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&wanted));
});
