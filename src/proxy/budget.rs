//! Bounds that many share: bytes held, connections open. What is taken is given back when dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::inject::{Code, Refusal};
use crate::upstream::Tenant;

/// A bound that many share: bytes or connections.
#[derive(Debug)]
pub struct Budget {
    size: u64,
    left: AtomicU64,
}

impl Budget {
    /// A budget of `size`.
    pub fn new(size: u64) -> Arc<Self> {
        Arc::new(Self { size, left: AtomicU64::new(size) })
    }

    /// How much is taken at the moment.
    pub fn taken(&self) -> u64 {
        self.size.saturating_sub(self.left.load(Ordering::Relaxed))
    }

    /// Takes `amount`, unless that much is not left.
    pub(super) fn take(self: &Arc<Self>, amount: u64) -> Option<Share> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount));
        taken.is_ok().then(|| Share { of: Arc::clone(self), amount })
    }
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Budget>,
    amount: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.left.fetch_add(self.amount, Ordering::Relaxed);
    }
}

/// A budget of the same size for each tenant that is there at the moment.
#[derive(Debug)]
pub struct Budgets {
    each: u64,
    by: Mutex<HashMap<Tenant, Weak<Budget>>>,
}

impl Budgets {
    /// Budgets of `each`.
    pub fn new(each: u64) -> Self {
        Self { each, by: Mutex::default() }
    }

    /// The budget of `tenant`.
    pub(super) fn of(&self, tenant: &Tenant) -> Arc<Budget> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = by.get(tenant).and_then(Weak::upgrade) {
            return budget;
        }
        by.retain(|_, budget| budget.strong_count() > 0);
        let budget = Budget::new(self.each);
        by.insert(tenant.clone(), Arc::downgrade(&budget));
        budget
    }
}

/// What one exchange holds of the budgets for contents; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    /// What is said when there is no more.
    full: &'static str,
    budgets: [Arc<Budget>; 2],
    taken: Vec<Share>,
}

impl Room {
    /// Nothing yet, of both budgets.
    pub(super) fn of(budgets: [Arc<Budget>; 2], full: &'static str) -> Self {
        Self { full, budgets, taken: Vec::new() }
    }

    /// Takes room for `amount` more bytes.
    pub(super) fn grow(&mut self, amount: u64) -> Result<(), Refusal> {
        let taken: Option<Vec<Share>> = self.budgets.iter().map(|budget| budget.take(amount)).collect();
        self.taken.extend(taken.ok_or_else(|| Refusal::new(Code::Overloaded, self.full))?);
        Ok(())
    }
}
