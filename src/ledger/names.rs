//! Which record holds which name: unique among the records of a kind and organization.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::{Entry, Kind, RecordKey};
use crate::secret::OrganizationName;

type Name = (Kind, OrganizationName, Arc<str>);

/// Names with their holders.
#[derive(Default)]
pub(super) struct Names(HashMap<Name, RecordKey>);

impl Names {
    /// Whether a record other than `key` holds `name`.
    pub(super) fn is_taken(&self, key: &RecordKey, name: &Arc<str>) -> bool {
        self.0.get(&named(key, name)).is_some_and(|holder| holder != key)
    }

    /// Enters the name that `entry` holds, if it holds one.
    pub(super) fn hold(&mut self, entry: &Entry) {
        if let Some(name) = entry.held_name() {
            self.0.insert(named(entry.key(), name), entry.key().clone());
        }
    }

    /// Frees the name that `entry` holds.
    pub(super) fn free(&mut self, entry: &Entry) {
        if let Some(name) = entry.held_name() {
            let name = named(entry.key(), name);
            if self.0.get(&name) == Some(entry.key()) {
                self.0.remove(&name);
            }
        }
    }
}

fn named(key: &RecordKey, name: &Arc<str>) -> Name {
    (key.kind.clone(), key.organization.clone(), name.clone())
}
