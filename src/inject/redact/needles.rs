//! What is looked for in one answer: every form of some values, each with the secret it belongs to.
//!
//! Values stand in here in the clear, so it is made when there is something to look through and let go
//! right after. What it holds is wiped with it, what the search keeps of it by the allocator.

use std::sync::Arc;

use memchr::memmem::Finder;

use super::super::{Secret, Unavailable};
use super::forms::{self, Form, Kind};
use crate::secret::{Limits, SecretName, SecretValue};

/// In longer forms the end of a text is held against them by Knuth, Morris and Pratt's table, so that no
/// text makes that slow.
const SHORT: usize = 256;

/// A secret that went out; its value is still sealed, and stays the one that went out, whatever becomes
/// of the secret.
#[derive(Clone)]
pub struct Sent {
    /// What it is called.
    pub name: SecretName,
    secret: Arc<dyn Secret>,
}

impl Sent {
    /// That `secret` went out as `name`.
    pub fn new(name: SecretName, secret: Arc<dyn Secret>) -> Self {
        Self { name, secret }
    }

    pub(super) fn limits(&self) -> &Limits {
        self.secret.limits()
    }
}

impl PartialEq for Sent {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && std::ptr::addr_eq(Arc::as_ptr(&self.secret), Arc::as_ptr(&other.secret))
    }
}

impl Eq for Sent {}

impl std::hash::Hash for Sent {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        Arc::as_ptr(&self.secret).cast::<()>().hash(state);
    }
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sent").field(&self.name).finish()
    }
}

/// Every form of some values.
pub struct Needles {
    forms: Vec<Needle>,
    names: Vec<SecretName>,
    /// The shortest form, in bytes.
    shortest: usize,
}

struct Needle {
    finder: Finder<'static>,
    kind: Kind,
    /// Its place in `names`.
    name: usize,
    /// Of a long one: how much of its beginning ends where so much of it ends.
    table: Option<Box<[u32]>>,
}

/// One place where a form stands.
pub(super) struct Hit<'n> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
    pub(super) name: &'n SecretName,
}

/// What is known of a text from some place on.
pub(super) enum Next<'n> {
    Hit(Hit<'n>),
    /// No form begins before here; what begins here can be told once more of the text is known.
    Nothing(usize),
}

/// Where each form stands next, as far as one text was searched.
#[derive(Default)]
pub(super) struct Cursor {
    next: Vec<Option<usize>>,
    held: Option<usize>,
}

/// The value of this, or of what `current` knows if its key was retired since; none, if neither opens and it
/// need not.
pub(super) fn opened(
    one: &Sent,
    must: bool,
    current: &dyn Fn(&SecretName) -> Option<Sent>,
) -> Result<Option<SecretValue>, Unavailable> {
    match one.secret.open().or_else(|fault| current(&one.name).ok_or(fault)?.secret.open()) {
        Ok(value) => Ok(Some(value)),
        Err(fault) if must => Err(fault),
        Err(_) => Ok(None),
    }
}

impl Needles {
    /// The values of these, opened; of one whose key was retired since, the value that `current` knows. The
    /// first so many `must` open. Of two secrets with one value the first counts.
    pub fn of(sent: &[Sent], must: usize, current: &dyn Fn(&SecretName) -> Option<Sent>) -> Result<Self, Unavailable> {
        let mut needles = Self { forms: Vec::new(), names: Vec::with_capacity(sent.len()), shortest: usize::MAX };
        for (index, one) in sent.iter().enumerate() {
            let Some(value) = opened(one, index < must, current)? else { continue };
            let forms = forms::of(value.expose(), one.limits().url_encoded);
            drop(value);
            needles.names.push(one.name.clone());
            for form in &forms {
                needles.add(form);
            }
        }
        Ok(needles)
    }

    /// Whether there is nothing to look for: no value is long enough.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Whether any of them is a number, which JSON may hold without quotes.
    pub(super) fn has_numbers(&self) -> bool {
        self.forms.iter().any(|needle| needle.kind == Kind::Number)
    }

    /// Whether any form stands in a whole text.
    pub(super) fn any_in(&self, text: &[u8]) -> bool {
        text.len() >= self.shortest && self.forms.iter().any(|needle| needle.find(text, 0).is_some())
    }

    fn add(&mut self, form: &Form) {
        let bytes = form.bytes.as_slice();
        if self.forms.iter().any(|needle| needle.bytes() == bytes) {
            return;
        }
        let table = (bytes.len() > SHORT).then(|| table(bytes));
        let finder = Finder::new(bytes).into_owned();
        let needle = Needle { finder, kind: form.kind, name: self.names.len() - 1, table };
        self.shortest = self.shortest.min(needle.length());
        self.forms.push(needle);
    }

    /// The first form that stands in `text` from `at` on, the longest of those that begin there.
    /// `is_whole`: the text ends where the bytes end.
    pub(super) fn next(&self, text: &[u8], at: usize, is_whole: bool, cursor: &mut Cursor) -> Next<'_> {
        if cursor.next.is_empty() {
            cursor.next.extend(self.forms.iter().map(|needle| needle.find(text, at)));
        }
        let mut best: Option<(usize, &Needle)> = None;
        for (needle, next) in self.forms.iter().zip(&mut cursor.next) {
            if next.is_some_and(|start| start < at) {
                *next = needle.find(text, at);
            }
            let Some(start) = *next else { continue };
            let is_better = |(first, other): (usize, &Needle)| (start, other.length()) < (first, needle.length());
            if best.is_none_or(is_better) {
                best = Some((start, needle));
            }
        }
        let held = if is_whole { text.len() } else { self.held_from(text, at, cursor) };
        match best {
            // What may begin before it, or there and be longer, comes first.
            Some((start, needle)) if start < held => {
                let (end, name) = (start + needle.length(), &self.names[needle.name]);
                Next::Hit(Hit { start, end, kind: needle.kind, name })
            }
            _ => Next::Nothing(held),
        }
    }

    /// Whether `pending` and `piece` together are the beginning of a form that is longer.
    pub(super) fn may_go_on(&self, pending: &[u8], piece: &[u8]) -> bool {
        self.forms.iter().any(|needle| needle.length() > pending.len() + piece.len() && needle.goes_on(pending, piece))
    }

    /// Where the first form may begin of which more is to come.
    fn held_from(&self, text: &[u8], at: usize, cursor: &mut Cursor) -> usize {
        if let Some(held) = cursor.held.filter(|held| *held >= at) {
            return held;
        }
        let begun = self.forms.iter().map(|needle| needle.begun(&text[at..])).max();
        let held = text.len() - begun.unwrap_or_default();
        cursor.held = Some(held);
        held
    }
}

impl Needle {
    fn bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    /// How many bytes of a text it takes.
    fn length(&self) -> usize {
        self.bytes().len() + usize::from(self.lead().is_some())
    }

    fn lead(&self) -> Option<super::base64::Alignment> {
        match self.kind {
            Kind::Base64(alignment) if alignment.has_lead() => Some(alignment),
            _ => None,
        }
    }

    /// Where it stands from `at` on.
    fn find(&self, text: &[u8], at: usize) -> Option<usize> {
        let Some(alignment) = self.lead() else { return self.finder.find(text.get(at..)?).map(|found| at + found) };
        let mut from = at + 1;
        loop {
            let core = from + self.finder.find(text.get(from..)?)?;
            if alignment.fits_lead(text[core - 1]) {
                return Some(core - 1);
            }
            from = core + 1;
        }
    }

    /// Whether it begins with the two; together they are shorter, and `pending` is not empty.
    fn goes_on(&self, pending: &[u8], piece: &[u8]) -> bool {
        let pending = match (self.lead(), pending) {
            (Some(alignment), [first, rest @ ..]) if alignment.fits_lead(*first) => rest,
            (Some(_), _) => return false,
            (None, pending) => pending,
        };
        self.bytes().strip_prefix(pending).is_some_and(|rest| rest.starts_with(piece))
    }

    /// How many bytes at the end of `text` may be its beginning.
    fn begun(&self, text: &[u8]) -> usize {
        let tail = &text[text.len() - text.len().min(self.length() - 1)..];
        let Some(alignment) = self.lead() else { return self.core_begun(tail, |_| true) };
        // The beginning of the core, with its lead before it; or the lead alone.
        let behind_lead = |at: usize| at > 0 && alignment.fits_lead(tail[at - 1]);
        match self.core_begun(tail, behind_lead) {
            0 => usize::from(tail.last().is_some_and(|byte| alignment.fits_lead(*byte))),
            begun => begun + 1,
        }
    }

    /// The longest end of `tail` that the core begins with and that may begin where it does.
    fn core_begun(&self, tail: &[u8], may_begin: impl Fn(usize) -> bool) -> usize {
        let core = self.bytes();
        if let Some(table) = &self.table {
            return longest(core, table, tail, may_begin);
        }
        let starts = memchr::memchr_iter(core[0], tail);
        let mut fitting = starts.filter(|at| core.starts_with(&tail[*at..]) && may_begin(*at));
        fitting.next().map_or(0, |at| tail.len() - at)
    }
}

/// For each of its beginnings, the length of the longest shorter beginning that it ends with.
fn table(bytes: &[u8]) -> Box<[u32]> {
    let mut table = vec![0_u32; bytes.len()].into_boxed_slice();
    let mut length = 0;
    for at in 1..bytes.len() {
        while length > 0 && bytes[at] != bytes[length] {
            length = table[length - 1] as usize;
        }
        length += usize::from(bytes[at] == bytes[length]);
        // Values are 64 KiB long at most, and a form six times as much.
        table[at] = u32::try_from(length).unwrap_or_default();
    }
    table
}

/// The longest end of `tail`, shorter than `bytes`, that `bytes` begins with and that may begin there.
fn longest(bytes: &[u8], table: &[u32], tail: &[u8], may_begin: impl Fn(usize) -> bool) -> usize {
    let mut length = 0;
    for byte in tail {
        while length > 0 && (length == bytes.len() || *byte != bytes[length]) {
            length = table[length - 1] as usize;
        }
        length += usize::from(*byte == bytes[length]);
    }
    while length > 0 && (length == bytes.len() || !may_begin(tail.len() - length)) {
        length = table[length - 1] as usize;
    }
    length
}
