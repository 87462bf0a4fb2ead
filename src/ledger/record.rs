//! What a record is: where it lies, the header that is authenticated with it, and the envelope.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::seal::Envelope;
use crate::secret::OrganizationName;

/// The version of the header's shape.
const FORMAT: u32 = 1;

/// What the key of every record begins with.
pub(super) const RECORDS: &str = "record/";

/// What sort of record: a word that a room above chooses (`secret`, `runner`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// A kind; the word is ASCII letters, and a constant of the room that uses it.
    pub const fn new(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a record lies: `record/{kind}/{organization}/{id}`. The id is random and never used twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// What sort of record.
    pub kind: Kind,
    /// Whose it is.
    pub organization: OrganizationName,
    /// 32 hexadecimal digits.
    pub id: Arc<str>,
}

impl RecordKey {
    /// Reads a key as it stands in the store.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(RECORDS)?.split('/');
        let (kind, organization, id) = (parts.next()?, parts.next()?, parts.next()?);
        let plain = parts.next().is_none() && !kind.is_empty() && !id.is_empty();
        let organization = OrganizationName::parse(organization).ok()?;
        plain.then(|| Self { kind: Kind(Cow::Owned(kind.to_owned())), organization, id: id.into() })
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RECORDS}{}/{}/{}", self.kind.as_str(), self.organization, self.id)
    }
}

/// The cleartext metadata of a record: stored as JSON, authenticated as the bytes that are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub(super) format: u32,
    /// What sort of record.
    pub kind: Kind,
    /// Whose it is.
    pub organization: OrganizationName,
    /// The id.
    pub id: Arc<str>,
    /// 1 when created, one more with each change.
    pub revision: u64,
    /// Its name, unique among the records of its kind and organization.
    pub name: Arc<str>,
    /// When it was created, in unix seconds.
    pub created_at: i64,
    /// Who created it.
    pub created_by: String,
    /// When it was changed last, in unix seconds.
    pub updated_at: i64,
    /// Who changed it last.
    pub updated_by: String,
    /// What else the kind says about itself.
    pub metadata: serde_json::Value,
}

impl Header {
    pub(super) fn created(key: &RecordKey, draft: Draft, now: i64) -> Self {
        Self {
            format: FORMAT,
            kind: key.kind.clone(),
            organization: key.organization.clone(),
            id: key.id.clone(),
            revision: 1,
            name: draft.name.into(),
            created_at: now,
            created_by: draft.by.clone(),
            updated_at: now,
            updated_by: draft.by,
            metadata: draft.metadata,
        }
    }

    pub(super) fn changed(&self, draft: Draft, now: i64) -> Self {
        Self {
            revision: self.revision + 1,
            name: draft.name.into(),
            updated_at: now,
            updated_by: draft.by,
            metadata: draft.metadata,
            ..self.clone()
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a header has no map with keys that are not text")
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|header: &Self| header.format == FORMAT)
    }

    pub(super) fn key(&self) -> RecordKey {
        RecordKey { kind: self.kind.clone(), organization: self.organization.clone(), id: self.id.clone() }
    }
}

/// What a writer decides about a record; the ledger adds where, when and which revision.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// What else the kind says about itself.
    pub metadata: serde_json::Value,
    /// Who writes.
    pub by: String,
}

/// A record that authenticated: its header, and the envelope its payload is sealed in.
pub struct Record {
    pub(super) key: RecordKey,
    pub(super) header: Header,
    pub(super) envelope: Vec<u8>,
}

impl Record {
    /// Where it lies.
    pub fn key(&self) -> &RecordKey {
        &self.key
    }

    /// Its metadata.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How long what is sealed in it is, in bytes.
    pub fn payload_len(&self) -> usize {
        Envelope::parse(&self.envelope).map_or(0, |envelope| envelope.payload_len())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("header", &self.header).finish_non_exhaustive()
    }
}

/// A record that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faulty {
    /// Where it lies, or should.
    pub key: RecordKey,
    /// Its name: as the manifest has it, or, if that does not list it, as its own header claims.
    pub name: Option<Arc<str>>,
    /// Whether the manifest lists it: then it still holds its name. Otherwise it is the leftover
    /// of something deleted.
    pub listed: bool,
    /// Why, in a clause that can follow a colon.
    pub reason: String,
}

/// A key of the ledger with what lies there.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A record that authenticated.
    Sound(Arc<Record>),
    /// One that did not.
    Faulty(Arc<Faulty>),
}

impl Entry {
    /// Where it lies.
    pub fn key(&self) -> &RecordKey {
        match self {
            Self::Sound(record) => &record.key,
            Self::Faulty(faulty) => &faulty.key,
        }
    }

    /// The name it holds, so that nothing else may take it.
    pub fn held_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Sound(record) => Some(&record.header.name),
            Self::Faulty(faulty) => faulty.name.as_ref().filter(|_| faulty.listed),
        }
    }

    /// The revision, of a sound record.
    pub fn revision(&self) -> Option<u64> {
        match self {
            Self::Sound(record) => Some(record.header.revision),
            Self::Faulty(_) => None,
        }
    }
}
