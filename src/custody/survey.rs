//! A look at everything that is stored: which keys it is sealed under, what of it still needs a former one,
//! and whether what is under the current one opens.

use std::collections::BTreeMap;

use super::Inner;
use crate::seal::{Envelope, KeyId};
use crate::store::{StoreError, Stored};

/// What is looked at in one step.
const STEP: usize = 32;
/// Records, of which the ledger knows which can be used.
const RECORDS: &str = "record/";
/// Claims to the names of nodes: they hold nothing, and each node renews its own every half a minute.
const CLAIMS: &str = "node/";
/// Parts of the manifest.
const MANIFEST: &str = "manifest";

/// What was found.
#[derive(Default)]
pub(super) struct Survey {
    /// How much is sealed under which key.
    pub(super) sealed: BTreeMap<KeyId, u64>,
    /// How much of it opens under a former key, and is of use.
    pub(super) needed: u64,
    /// Something that is of use, under the current key, and does not open.
    pub(super) broken: Option<String>,
}

impl Survey {
    /// Looks at everything.
    pub(super) async fn of(inner: &Inner) -> Result<Self, StoreError> {
        let (mut survey, mut after) = (Self::default(), None::<String>);
        loop {
            let page = inner.backend.page("", after.as_deref(), STEP).await?;
            for stored in &page {
                survey.take_in(inner, stored);
            }
            match page.last() {
                Some(last) if page.len() == STEP => after = Some(last.key.clone()),
                _ => return Ok(survey),
            }
            // Other people wait for this thread.
            tokio::task::yield_now().await;
        }
    }

    fn take_in(&mut self, inner: &Inner, stored: &Stored) {
        let Ok(envelope) = Envelope::parse(&stored.bytes) else { return };
        if stored.key.starts_with(CLAIMS) {
            return;
        }
        *self.sealed.entry(envelope.key_id()).or_default() += 1;
        let sealer = inner.ledger.sealer();
        let is_record = stored.key.starts_with(RECORDS);
        // What the ledger refuses is of no use under any key.
        let is_of_use = !is_record || inner.ledger.is_of_use(&stored.key);
        let opens = sealer.open(&stored.bytes).is_ok();
        if sealer.is_former(&stored.bytes) {
            self.needed += u64::from(is_of_use && opens);
        } else if is_of_use && !opens && (is_record || stored.key.starts_with(MANIFEST)) {
            // A batch of activity that is damaged is told elsewhere, and was no better before.
            self.broken.get_or_insert_with(|| stored.key.clone());
        }
    }
}
