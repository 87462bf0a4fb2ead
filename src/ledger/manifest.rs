//! The manifest: which records there are, at which revision and under which name.
//!
//! It is the header of an envelope without a payload, written in the same commit as every record,
//! so that a record that is missing, old or brought back is noticed.
//!
//! KNOWN LIMIT: it is one record, so each write costs in proportion to the number of records
//! (about 100 bytes each).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::RecordKey;
use super::{LedgerError, SealError, Sealer};
use crate::seal::Envelope;

pub(super) const KEY: &str = "manifest";
const FORMAT: u32 = 1;
const KIND: &str = "manifest";

/// The revision and the name of one record.
pub(super) type Line = (u64, Arc<str>);

/// The list of live records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: u32,
    kind: String,
    revision: u64,
    records: BTreeMap<String, Line>,
}

impl Manifest {
    pub(super) fn empty() -> Self {
        Self { format: FORMAT, kind: KIND.to_owned(), revision: 0, records: BTreeMap::new() }
    }

    /// Opens the manifest, or says in one sentence why the store as a whole cannot be used.
    pub(super) fn open(sealer: &Sealer, envelope: &[u8]) -> Result<Self, LedgerError> {
        let broken = |reason: String| LedgerError::ManifestBroken { reason };
        sealer.open(envelope).map_err(|error| match error {
            SealError::WrongKey { sealed_with, given } => LedgerError::WrongKey { sealed_with, given },
            other => broken(other.to_string()),
        })?;
        let header = Envelope::parse(envelope).map_err(|error| broken(error.to_string()))?.unverified_header();
        let manifest: Self = serde_json::from_slice(header).map_err(|_| broken("it cannot be read".to_owned()))?;
        if manifest.format != FORMAT || manifest.kind != KIND {
            return Err(broken("another record lies in its place, or one of a later version of subrosa".to_owned()));
        }
        Ok(manifest)
    }

    pub(super) fn seal(&self, sealer: &Sealer) -> Result<Vec<u8>, SealError> {
        sealer.seal_metadata(&serde_json::to_vec(self).expect("a manifest has text keys only"))
    }

    /// The manifest after one record was put at a revision, or removed.
    pub(super) fn with(&self, key: &RecordKey, line: Option<Line>) -> Self {
        let mut next = Self { revision: self.revision + 1, ..self.clone() };
        match line {
            Some(line) => next.records.insert(key.to_string(), line),
            None => next.records.remove(&key.to_string()),
        };
        next
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&String, &Line)> {
        self.records.iter()
    }
}
