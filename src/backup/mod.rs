//! Backups: everything that is stored, as it was at one moment, in one file that is as sealed as the store.
//!
//! ```text
//! "subrosa backup 1\n"
//! for each entry:  length of the key, 2 bytes | key | length of the envelope, 4 bytes | envelope
//! at the end:      0, 2 bytes                       | length of the envelope, 4 bytes | envelope of the end
//! ```
//! The envelope of the end has no payload; its header counts the entries and holds the SHA-256 of every byte
//! before its own length. It is sealed like everything else: whoever takes an entry out, puts one in, or sets
//! one back, is noticed, as is whoever cuts the file short. A backup holds no key.

mod reading;
mod restoring;
mod writing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use reading::{BackupError, Contents, inspect, read};
pub use restoring::{Checked, RestoreError, check, replace};
pub use writing::{Backups, NotTaken, Snapshot, Wanted};

use crate::seal::KeyId;

const MAGIC: &[u8] = b"subrosa backup 1\n";
const FORMAT: u32 = 1;
const KIND: &str = "backup";

/// What the end of a backup says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    format: u32,
    kind: String,
    /// When it was made, in unix seconds.
    pub made_at: i64,
    /// The version of the program that made it.
    pub version: String,
    /// How many entries there are.
    pub entries: u64,
    /// Whether what was recorded of activity is among them.
    pub activity: bool,
    /// How many entries are sealed under which key, by its id.
    pub keys: BTreeMap<String, u64>,
    sha256: String,
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn listed(ids: &[KeyId]) -> String {
    ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}
