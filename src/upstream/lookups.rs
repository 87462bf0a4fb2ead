//! Room for looking names up. The system's resolver takes a thread for each look-up and cannot be
//! told to stop, so a tenant whose names lead nowhere waits for itself and not everybody for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::home::Tenant;

/// Look-ups of one tenant at a time, in one worker.
const EACH: usize = 16;
/// Look-ups of all tenants at a time, in one worker: a quarter of the threads the runtime would make.
const ALL: usize = 128;

/// The look-ups of one worker.
#[derive(Clone)]
pub(super) struct Lookups {
    all: Arc<Semaphore>,
    by_tenant: Arc<Mutex<HashMap<Tenant, Weak<Semaphore>>>>,
}

/// Room for one look-up, given back when dropped.
pub(super) struct Permit {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL)), by_tenant: Arc::default() }
    }
}

impl Lookups {
    /// Waits for room: for the tenant's own first. `None` never comes about: nobody closes these.
    pub(super) async fn permit(&self, tenant: &Tenant) -> Option<Permit> {
        let own = self.of(tenant).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Permit { _all: all, _own: own })
    }

    fn of(&self, tenant: &Tenant) -> Arc<Semaphore> {
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = by_tenant.get(tenant).and_then(Weak::upgrade) {
            return own;
        }
        by_tenant.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(EACH));
        by_tenant.insert(tenant.clone(), Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_takes_all_its_room_waits_for_itself_alone() {
        let (lookups, busy, other) = (Lookups::default(), Tenant("a".into()), Tenant("b".into()));
        let mut held = Vec::new();
        for _ in 0..EACH {
            held.push(lookups.permit(&busy).await);
        }
        assert!(timeout(Duration::from_mins(1), lookups.permit(&busy)).await.is_err());
        assert!(timeout(Duration::from_mins(1), lookups.permit(&other)).await.is_ok());
        held.pop();
        assert!(timeout(Duration::from_mins(1), lookups.permit(&busy)).await.is_ok());
    }
}
