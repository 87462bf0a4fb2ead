//! The name of this node among those that share a store: its own, or the machine's; claimed as long as the server runs.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::AppError;
use crate::activity::{self, Claim, NodeName, NotClaimed};
use crate::config::{Config, Engine};
use crate::readiness::Readiness;
use crate::seal::{self, Sealer};
use crate::store::Backend;

/// The part of the readiness that this is about.
const PART: &str = "node";
/// Of so many renewals one looks for claims of nodes that are long gone.
const PRUNED: u32 = 120;

/// What the config says; where the store is shared and it says nothing, the name of the machine.
pub(super) fn name(config: &Config) -> Result<NodeName, AppError> {
    let is_shared = !matches!(config.store.engine, Engine::Sled | Engine::Memory);
    if !is_shared || config.node != NodeName::default() {
        return Ok(config.node.clone());
    }
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_string_lossy().into_owned();
    NodeName::parse(&machine).map_err(|fault| {
        let what = format!("this machine is called `{machine}`, which cannot be the name of a node ({fault}); name it here");
        config.fault("node", what).into()
    })
}

/// Claims the name, and renews that as long as the server runs. With a store of its own a process has its name to itself.
pub(super) async fn claim(
    config: &Config,
    node: NodeName,
    backend: &Arc<dyn Backend>,
    sealer: &Sealer,
    readiness: &Readiness,
) -> Result<(), AppError> {
    if !backend.is_shared() {
        return Ok(());
    }
    let claim = Claim::new(Arc::clone(backend), sealer.clone(), node, instance(&config.data_dir)?);
    claim.renew(SystemTime::now()).await.map_err(|fault| match fault {
        NotClaimed::Taken(_) => AppError::from(config.fault("node", fault.to_string())),
        other => AppError::Start(other.to_string()),
    })?;
    let (backend, sealer, readiness) = (Arc::downgrade(backend), sealer.clone(), readiness.clone());
    tokio::spawn(async move {
        for turn in 1_u32.. {
            tokio::time::sleep(activity::RENEWED).await;
            let Some(backend) = backend.upgrade() else { return };
            match claim.renew(SystemTime::now()).await {
                Ok(()) => readiness.clear(PART),
                Err(fault @ NotClaimed::Taken(_)) => {
                    tracing::error!(%fault, "this node's name is another's now; what both record is mixed");
                    readiness.fault(PART, fault.to_string());
                }
                // How far the store is away is told elsewhere.
                Err(fault) => tracing::debug!(%fault, "the claim to the name of this node could not be renewed"),
            }
            if turn % PRUNED == 0
                && let Err(fault) = activity::prune(&*backend, &sealer, SystemTime::now()).await
            {
                tracing::debug!(%fault, "claims of nodes that are gone could not be removed");
            }
        }
    });
    Ok(())
}

/// Tells this process from others of its name, and is the same after a restart: it lies in the data directory.
fn instance(data_dir: &Path) -> Result<String, AppError> {
    let path = data_dir.join("instance");
    let failed = |fault: std::io::Error| AppError::Start(format!("{} cannot be read or written: {fault}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(failed(fault)),
        _ => {}
    }
    let mut bytes = [0; 16];
    seal::random(&mut bytes).map_err(|fault| AppError::Start(fault.to_string()))?;
    let text = format!("{:032x}", u128::from_be_bytes(bytes));
    super::doors::private_directory(data_dir).map_err(failed)?;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_the_same_after_a_restart_and_another_elsewhere() {
        let place = tempfile::tempdir().expect("a directory");
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        let first = instance(&one).expect("made");
        assert_eq!(instance(&one).expect("read"), first);
        assert_ne!(instance(&two).expect("made"), first);
    }

    #[test]
    fn a_store_of_its_own_needs_no_name() {
        assert_eq!(name(&Config::default()).expect("there is one"), NodeName::default());
    }
}
