//! The certificate authority: from two files; where nodes share a store from there, so that all of them issue under one.
//!
//! The first node puts it into the store, with its key sealed as a value is, in one commit: those that its files hold, or one
//! that is made. Who comes second finds it. Its certificate is written for runners where the config says.

use std::sync::Arc;
use std::time::SystemTime;

use super::AppError;
use crate::config::Config;
use crate::ledger::{Draft, Entry, Kind, Ledger, LedgerError, Record};
use crate::secret::{OrganizationName, SecretValue};
use crate::tls::{Authority, AuthorityParts, Made};

const KIND: Kind = Kind::new("authority");
/// There is one.
const NAME: &str = "ca";

/// Loads it, or makes it where there is none.
pub(super) async fn authority(config: &Config, ledger: &Ledger) -> Result<Authority, AppError> {
    let (certificate, key) = (&config.intercept.ca_certificate, &config.intercept.ca_key);
    if !ledger.is_shared() {
        let (authority, made) = Authority::load_or_create(certificate, key, SystemTime::now())?;
        if matches!(made, Made::Created) {
            tracing::warn!(certificate = %certificate.display(), key = %key.display(), "a new certificate authority was made; clients must trust its certificate");
        }
        return Ok(authority);
    }
    let own = AuthorityParts::read(certificate, key, SystemTime::now())?;
    let parts = match stored(ledger)? {
        Some(record) => read(ledger, &record)?,
        None => put(ledger, own.as_ref()).await?,
    };
    let authority = parts.authority(SystemTime::now())?;
    if own.is_some_and(|own| own.certificate != parts.certificate) {
        return Err(AppError::Start(format!(
            "{} and {} are another certificate authority than the one in the store, under which all nodes issue: move both files \
             away, and have the runners of this node trust the one in the store",
            certificate.display(),
            key.display()
        )));
    }
    if authority.publish(certificate)? {
        tracing::warn!(certificate = %certificate.display(), "the certificate of another authority was there; now it is that of the store, which clients must trust");
    }
    Ok(authority)
}

/// Puts these, or new ones, into the store, unless another node has been faster; what is there then.
async fn put(ledger: &Ledger, own: Option<&AuthorityParts>) -> Result<AuthorityParts, AppError> {
    let made = match own {
        Some(own) => AuthorityParts { certificate: own.certificate.clone(), key: own.key.clone() },
        None => AuthorityParts::generate(SystemTime::now())?,
    };
    let metadata = serde_json::json!({ "certificate": made.certificate });
    let draft = Draft { name: NAME.to_owned(), metadata, by: "serve".to_owned() };
    let key = SecretValue::new(made.key.to_vec()).map_err(|fault| AppError::Start(fault.to_string()))?;
    match ledger.create(KIND, &OrganizationName::default(), draft, Some(&key)).await {
        Ok(_) => {
            tracing::warn!(
                imported = own.is_some(),
                "the certificate authority of all nodes is in the store now, its key sealed; clients must trust its certificate"
            );
            Ok(made)
        }
        Err(LedgerError::NameTaken) => {
            let record =
                stored(ledger)?.ok_or_else(|| AppError::Start("the certificate authority in the store has gone".to_owned()))?;
            read(ledger, &record)
        }
        Err(fault) => Err(fault.into()),
    }
}

fn stored(ledger: &Ledger) -> Result<Option<Arc<Record>>, AppError> {
    for entry in ledger.records(&KIND) {
        match entry {
            Entry::Sound(record) if &*record.header().name == NAME => return Ok(Some(record)),
            Entry::Faulty(faulty) if faulty.listed => {
                return Err(AppError::Start(format!(
                    "the certificate authority in the store cannot be used: {}; restore the store from a backup",
                    faulty.reason
                )));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn read(ledger: &Ledger, record: &Record) -> Result<AuthorityParts, AppError> {
    let certificate = record.header().metadata.get("certificate").and_then(serde_json::Value::as_str).unwrap_or_default();
    let key = record.open(ledger.sealer()).map_err(LedgerError::from)?;
    Ok(AuthorityParts { certificate: certificate.to_owned(), key })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::seal::{KeyEncryptionKey, Sealer};
    use crate::store::{self, Backend, Engine};

    async fn node(store: &Arc<dyn Backend>) -> Ledger {
        let sealer = Sealer::new(KeyEncryptionKey::from_bytes(&[1; 32]));
        Ledger::open(Arc::clone(store), sealer).await.expect("opens")
    }

    fn config(place: &Path, node: &str) -> Config {
        let mut config = Config::default();
        config.intercept.ca_certificate = place.join(node).join("certs/ca.pem");
        config.intercept.ca_key = place.join(node).join("keys/ca-key.pem");
        config
    }

    async fn shared() -> Arc<dyn Backend> {
        store::open(Engine::SharedMemory).await.expect("opens")
    }

    #[tokio::test]
    async fn nodes_that_start_together_issue_under_one_authority_whose_key_is_in_no_file() {
        let (place, store) = (tempfile::tempdir().expect("a directory"), shared().await);
        let (one, two) = (node(&store).await, node(&store).await);
        let (first, second) = (config(place.path(), "1"), config(place.path(), "2"));
        let (made, found) = tokio::join!(authority(&first, &one), authority(&second, &two));
        let (made, found) = (made.expect("made"), found.expect("found"));
        assert_eq!(made.fingerprint(), found.fingerprint());
        for config in [&first, &second] {
            assert!(!config.intercept.ca_key.exists());
            let written = std::fs::read_to_string(&config.intercept.ca_certificate).expect("written");
            assert_eq!(written, made.certificate_pem());
        }
        let later = authority(&first, &node(&store).await).await.expect("found");
        assert_eq!(later.fingerprint(), made.fingerprint());
        for stored in store.load(&[""]).await.expect("loads").stored {
            assert!(memchr::memmem::find(&stored.bytes, b"PRIVATE KEY").is_none(), "{} shows the key", stored.key);
        }
    }

    #[tokio::test]
    async fn files_of_the_first_node_are_the_authority_of_all_and_another_s_are_refused() {
        let (place, store) = (tempfile::tempdir().expect("a directory"), shared().await);
        let (first, second) = (config(place.path(), "1"), config(place.path(), "2"));
        let files = |config: &Config| {
            let (certificate, key) = (&config.intercept.ca_certificate, &config.intercept.ca_key);
            Authority::load_or_create(certificate, key, SystemTime::now()).expect("made").0.fingerprint()
        };
        let (own, _) = (files(&first), files(&second));
        assert_eq!(authority(&first, &node(&store).await).await.expect("taken in").fingerprint(), own);
        let refused = authority(&second, &node(&store).await).await.err().expect("refused").to_string();
        assert!(refused.contains("another certificate authority"), "{refused}");
        assert_eq!(authority(&first, &node(&store).await).await.expect("its own").fingerprint(), own);
    }
}
