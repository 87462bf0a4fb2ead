//! From one engine to the other: everything that is stored, as it is sealed, with no key at hand.

use std::collections::BTreeSet;
use std::path::Path;

use super::{AppError, engine};
use crate::config::{Config, Engine};
use crate::ledger;
use crate::seal::Envelope;
use crate::store::{self, StoreError, Stored};

/// What was copied.
#[derive(Debug)]
pub struct Copied {
    /// How many entries.
    pub entries: usize,
    /// How many of them are records.
    pub records: usize,
    /// The ids of the keys that they are sealed under.
    pub keys: Vec<String>,
}

/// Copies the store of one engine into the empty place of the other, both where the configuration says they are, and holds what
/// is there then against what was copied. What is copied stays as it is.
pub async fn copy(config: &Config, from: Engine, to: Engine) -> Result<Copied, AppError> {
    let place = config.data_dir.join("store");
    if from == to || from == Engine::Memory || to == Engine::Memory {
        return Err(AppError::Start("a copy goes from one of sled and etcd to the other".to_owned()));
    }
    if from == Engine::Sled && !place.exists() {
        let text = format!("there is no store at {}; is this the right directory, or --config?", place.display());
        return Err(AppError::Start(text));
    }
    if to == Engine::Sled && place.exists() {
        let text = format!(
            "there is a store at {} already, and none is written over; name another data_dir, or move it away",
            place.display()
        );
        return Err(AppError::Start(text));
    }
    let source = Box::pin(store::open(named(config, from)?)).await?;
    let stored = source.load(&[""]).await?.stored;
    if !stored.iter().any(|entry| entry.key == ledger::ROOT) {
        return Err(AppError::Start("what is to be copied is no store: it has no manifest; nothing was changed".to_owned()));
    }
    let copied = Copied::of(&stored);
    match to {
        Engine::Sled => drop(store::replace(config.data_dir.clone(), stored).await?),
        _ => fill(config, &stored).await?,
    }
    Ok(copied)
}

/// Puts everything into etcd, below a prefix where nothing is.
pub(super) async fn fill(config: &Config, stored: &[Stored]) -> Result<(), AppError> {
    let target = Box::pin(store::open(named(config, Engine::Etcd)?)).await?;
    let prefix = config.store.etcd.as_ref().map(|etcd| etcd.prefix.as_str()).unwrap_or_default();
    let filled = store::fill(&*target, stored, ledger::ROOT).await;
    filled.map_err(|fault| {
        AppError::Store(StoreError::Failed(format!("below {prefix} in etcd: {fault} (store.etcd.prefix names another place)")))
    })
}

/// One engine, where the configuration says it is.
fn named(config: &Config, which: Engine) -> Result<store::Engine, AppError> {
    let missing =
        || AppError::Start("it is not known where etcd is; add [store.etcd] with its endpoints to the config".to_owned());
    match which {
        Engine::Etcd => {
            let etcd = config.store.etcd.as_ref().ok_or_else(missing)?;
            Ok(store::Engine::Etcd(Box::new(engine::settings(etcd, false))))
        }
        _ => Ok(store::Engine::Sled { directory: Path::to_owned(&config.data_dir) }),
    }
}

impl Copied {
    fn of(stored: &[Stored]) -> Self {
        let keys: BTreeSet<String> = stored
            .iter()
            .filter_map(|entry| Envelope::parse(&entry.bytes).ok().map(|envelope| envelope.key_id().to_string()))
            .collect();
        let records = stored.iter().filter(|entry| ledger::is_record(&entry.key)).count();
        Self { entries: stored.len(), records, keys: keys.into_iter().collect() }
    }
}
