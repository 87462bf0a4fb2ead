//! Formats of before: a store and a backup that an earlier version wrote are opened as they are.
//!
//! `SUBROSA_WRITE_FIXTURES=1` writes those of the present format, when it has become another; the old ones stay.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use subrosa::backup::{Backups, Wanted, check, read};
use subrosa::identity::Identity;
use subrosa::inject::Secrets;
use subrosa::ledger::Ledger;
use subrosa::seal::KeyRing;
use subrosa::store::Backend;
use subrosa::vault::Vault;

use super::{domains, name, new_secret, open_sled, organization, sealer};

/// The format of both; their key is that of [`sealer`].
const FORMAT: &str = "1";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

#[tokio::test]
async fn a_store_of_format_1_opens_and_is_written_to() {
    let place = tempfile::tempdir().expect("a directory");
    unpack(&fixtures().join("store-1"), place.path());
    holds_everything(open_sled(place.path()).await.expect("opens")).await;
}

#[tokio::test]
async fn a_backup_of_format_1_is_restored() {
    let file = fs::File::open(fixtures().join("backup-1")).expect("there");
    let contents = read(file, &sealer()).expect("reads");
    assert_eq!((contents.end.made_at, contents.end.entries), (1_760_000_000, contents.stored.len() as u64));
    let key = subrosa::seal::KeyEncryptionKey::from_bytes(&[42; 32]);
    let checked = check(contents, KeyRing::new(key)).await.expect("opens");
    assert_eq!((checked.records, checked.damaged.len()), (3, 0));
    let place = tempfile::tempdir().expect("a directory");
    assert_eq!(subrosa::backup::replace(place.path(), checked).await.expect("restores"), None);
    holds_everything(open_sled(place.path()).await.expect("opens")).await;
}

async fn holds_everything(backend: Arc<dyn Backend>) {
    let ledger = Arc::new(Ledger::open(backend, sealer()).await.expect("opens"));
    assert!(ledger.faults().is_empty());
    let vault = Vault::new(ledger.clone(), Vec::new()).expect("opens");
    let home = organization("default");
    for (called, value) in [("crm.apiKey", "value-one".to_owned()), ("long", "value-two".repeat(2_000))] {
        let secret = vault.resolver(&home, None).find(&name(called)).expect("there");
        assert_eq!(secret.open().expect("opens").expose(), value.as_bytes());
        assert_eq!(secret.allowed_domains(), &domains(&["api.crm.example.com", "*.eu.example"]));
    }
    let runners = Identity::new(ledger, Vec::new()).expect("opens");
    let token = fs::read_to_string(fixtures().join("store-1/token")).expect("there");
    assert!(runners.authenticate(token.trim().as_bytes()).is_some());
    vault.create(&home, new_secret("later", "v", &[]), "t").await.expect("creates");
}

/// Not a test of anything: it writes the fixtures, when it is told to.
#[tokio::test]
async fn the_fixtures_are_written_when_that_is_asked_for() {
    if std::env::var_os("SUBROSA_WRITE_FIXTURES").is_none() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let backend = open_sled(place.path()).await.expect("opens");
    let ledger = Arc::new(Ledger::open(backend.clone(), sealer()).await.expect("opens"));
    let vault = Vault::new(ledger.clone(), Vec::new()).expect("opens");
    let home = organization("default");
    let allowed = ["api.crm.example.com", "*.eu.example"];
    vault.create(&home, new_secret("crm.apiKey", "value-one", &allowed), "t").await.expect("creates");
    vault.create(&home, new_secret("long", &"value-two".repeat(2_000), &allowed), "t").await.expect("creates");
    vault.create(&home, new_secret("gone", "v", &[]), "t").await.expect("creates");
    vault.delete(&home, &name("gone"), None, "t").await.expect("deletes");
    let runners = Identity::new(ledger.clone(), Vec::new()).expect("opens");
    let runner = subrosa::identity::NewRunner {
        name: subrosa::secret::RunnerName::parse("r").expect("a name"),
        secrets: None,
        hosts: subrosa::secret::AllowedDomains::default(),
        certificate: None,
    };
    let (_, token) = runners.create(&home, runner, "t").await.expect("creates");
    let snapshot = Backups::new(backend.clone(), sealer()).take(Wanted::Everything, 1_760_000_000).await.expect("takes");
    let pieces: Vec<u8> = snapshot.flat_map(|piece| piece.expect("seals")).collect();
    fs::write(fixtures().join(format!("backup-{FORMAT}")), pieces).expect("written");
    drop((vault, runners, ledger, backend));
    let target = fixtures().join(format!("store-{FORMAT}"));
    fs::create_dir_all(&target).expect("made");
    fs::write(target.join("token"), format!("{}\n", token.show_once())).expect("written");
    pack(place.path(), place.path(), &target);
}

/// Files as they lie, compressed, with `+` for the directories between.
fn pack(below: &Path, from: &Path, target: &Path) {
    for entry in fs::read_dir(from).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            pack(below, &path, target);
            continue;
        }
        let flat = path.strip_prefix(below).expect("below").to_string_lossy().replace('/', "+");
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&fs::read(&path).expect("readable")).expect("in memory");
        fs::write(target.join(format!("{flat}.gz")), packed.finish().expect("in memory")).expect("written");
    }
}

fn unpack(from: &Path, target: &Path) {
    for entry in fs::read_dir(from).expect("readable").flatten() {
        let flat = entry.file_name().to_string_lossy().into_owned();
        let Some(flat) = flat.strip_suffix(".gz") else { continue };
        let path = target.join(flat.replace('+', "/"));
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        let mut bytes = Vec::new();
        GzDecoder::new(fs::File::open(entry.path()).expect("there")).read_to_end(&mut bytes).expect("unpacks");
        fs::write(path, bytes).expect("written");
    }
}
