//! What etcd sees: sealed bytes, and in the clear what lies in the clear on a disk too.

use std::sync::Arc;

use subrosa::inject::Secrets;
use subrosa::ledger::Ledger;
use subrosa::seal::{KeyEncryptionKey, Sealer};
use subrosa::secret::{OrganizationName, SecretName};
use subrosa::vault::Vault;

use super::cluster::Cluster;
use super::open;
use crate::support::VALUE;

#[tokio::test]
async fn no_value_is_in_anything_that_etcd_holds_and_what_is_there_opens() {
    let cluster = Cluster::start(1).await;
    let sealer = || Sealer::new(KeyEncryptionKey::from_bytes(&[42; 32]));
    let home = OrganizationName::parse("default").expect("a name");
    let name = SecretName::parse("crm.apiKey").expect("a name");
    let ledger = Arc::new(Ledger::open(open(&cluster, "/subrosa/").await, sealer()).await.expect("opens"));
    let vault = Vault::new(ledger, Vec::new()).expect("opens");
    vault.create(&home, crate::store::new_secret("crm.apiKey", VALUE, &["api.crm.example.com"]), "t").await.expect("creates");
    let everything = cluster.dump().await;
    assert!(everything.iter().all(|(key, _)| key.starts_with(b"/subrosa/")) && everything.len() >= 2);
    let holds = |wanted: &[u8]| everything.iter().any(|(_, bytes)| bytes.windows(wanted.len()).any(|window| window == wanted));
    for form in [VALUE.to_owned(), VALUE.replace('/', "%2F"), base64(VALUE)] {
        assert!(!holds(form.as_bytes()), "{form}");
    }
    // As on a disk: what it is called and where it may go stands in the record's header, which is authenticated.
    assert!(holds(b"api.crm.example.com") && holds(b"crm.apiKey"));
    let again = Arc::new(Ledger::open(open(&cluster, "/subrosa/").await, sealer()).await.expect("opens"));
    assert!(again.faults().is_empty());
    let again = Vault::new(again, Vec::new()).expect("opens");
    let secret = again.resolver(&home, None).find(&name).expect("there");
    assert_eq!(secret.open().expect("opens").expose(), VALUE.as_bytes());
}

fn base64(text: &str) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    BASE64_STANDARD.encode(text)
}
