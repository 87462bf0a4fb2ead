//! Bounds that many share: bytes held, connections open. What is taken is given back when dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::inject::{Code, Refusal};
use crate::upstream::Tenant;

/// A bound that many share: bytes or connections.
#[derive(Debug)]
pub struct Budget {
    size: AtomicU64,
    taken: AtomicU64,
}

impl Budget {
    /// A budget of `size`.
    pub fn new(size: u64) -> Arc<Self> {
        Arc::new(Self { size: AtomicU64::new(size), taken: AtomicU64::new(0) })
    }

    /// How much is taken at the moment.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// It is of another size from now on. What is taken beyond it is given back as its holders end.
    pub(super) fn resize(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Takes `amount`, unless that much is not left.
    pub(super) fn take(self: &Arc<Self>, amount: u64) -> Option<Share> {
        let size = self.size.load(Ordering::Relaxed);
        let more = |taken: u64| taken.checked_add(amount).filter(|taken| *taken <= size);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
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
        self.of.taken.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// What one client connection takes of the budget for connections; and of its tenant's, once it is known whose it is.
#[derive(Debug)]
pub(super) struct Slot {
    _of_all: Share,
    of_tenant: Mutex<Option<(Tenant, Share)>>,
}

impl Slot {
    /// One whose tenant nobody knows yet.
    pub(super) fn new(of_all: Share) -> Self {
        Self { _of_all: of_all, of_tenant: Mutex::new(None) }
    }

    /// The connection speaks for `tenant` from now on; whether that one may have one more.
    pub(super) fn belongs_to(&self, tenant: &Tenant, budgets: &Budgets) -> bool {
        let mut of_tenant = self.of_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if of_tenant.as_ref().is_some_and(|(known, _)| known == tenant) {
            return true;
        }
        let taken = budgets.of(tenant).take(1);
        let may = taken.is_some();
        *of_tenant = taken.map(|share| (tenant.clone(), share));
        may
    }
}

/// A budget of the same size for each tenant that is there at the moment.
#[derive(Debug)]
pub struct Budgets(Mutex<ByTenant>);

#[derive(Debug)]
struct ByTenant {
    each: u64,
    by: HashMap<Tenant, Weak<Budget>>,
}

impl Budgets {
    /// Budgets of `each`.
    pub fn new(each: u64) -> Self {
        Self(Mutex::new(ByTenant { each, by: HashMap::new() }))
    }

    /// The budget of `tenant`.
    pub(super) fn of(&self, tenant: &Tenant) -> Arc<Budget> {
        let mut budgets = self.lock();
        let ByTenant { each, by } = &mut *budgets;
        if let Some(budget) = by.get(tenant).and_then(Weak::upgrade) {
            return budget;
        }
        by.retain(|_, budget| budget.strong_count() > 0);
        let budget = Budget::new(*each);
        by.insert(tenant.clone(), Arc::downgrade(&budget));
        budget
    }

    /// They are of another size from now on.
    pub(super) fn resize(&self, each: u64) {
        let mut budgets = self.lock();
        budgets.each = each;
        budgets.by.values().filter_map(Weak::upgrade).for_each(|budget| budget.resize(each));
    }

    fn lock(&self) -> MutexGuard<'_, ByTenant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_shrinks_gives_nothing_until_enough_came_back() {
        let budgets = Budgets::new(10);
        let tenant = Tenant("a".into());
        let budget = budgets.of(&tenant);
        let (four, five) = (budget.take(4).expect("there"), budget.take(5).expect("there"));
        assert!(budget.take(2).is_none());
        budgets.resize(6);
        assert!(Arc::ptr_eq(&budget, &budgets.of(&tenant)) && budget.take(1).is_none());
        assert_eq!(budget.taken(), 9);
        drop(five);
        let two = budget.take(2).expect("there again");
        assert!(budget.take(1).is_none());
        budgets.resize(20);
        assert!(budget.take(14).is_some());
        drop((four, two));
        assert_eq!(budget.taken(), 0);
    }
}
