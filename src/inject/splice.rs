//! Replacing: the one place where a value is exposed.
//!
//! A text goes through once, from left to right, so a value that itself holds a reference goes out
//! as it is. Every reference is resolved and permitted before its value is opened, and only the
//! bytes of the reference change.

use std::ops::Range;

use super::reference::{Coding, Scanner, Token};
use super::{Absence, Code, Plaintext, Receipt, Refusal, Resolver, Secret};
use crate::origin::Host;
use crate::secret::{SecretName, Surface};

/// Where a text stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) surface: Surface,
    /// The field's name, for the two surfaces that are fields.
    pub(super) field: Option<&'a str>,
}

/// What an encoder is told of one reference.
pub(super) struct Spot<'a> {
    /// The secret referred to.
    pub(super) name: &'a SecretName,
    /// Where the reference stands in the source.
    pub(super) range: Range<usize>,
    /// The secret's `url_encoded`.
    pub(super) url_encoded: bool,
    /// What has been written so far.
    pub(super) written: &'a [u8],
}

/// Why a value cannot stand where it should; completes "cannot stand there: …".
pub(super) type Unfit = &'static str;

/// Writes a value in the form a surface wants.
pub(super) type Encoder<'e> = &'e mut dyn FnMut(&Spot<'_>, &[u8]) -> Result<Encoded, Unfit>;

/// The same, told only whether the value is `url_encoded`.
pub(super) type Form<'e> = &'e mut dyn FnMut(bool, &[u8]) -> Result<Encoded, Unfit>;

/// A value in the form a surface wants; wiped when dropped.
pub(super) type Encoded = Plaintext;

/// The state of one injection.
pub(super) struct Splicer<'a> {
    pub(super) resolver: &'a dyn Resolver,
    pub(super) host: &'a Host,
    pub(super) max_growth: u64,
    pub(super) grown: u64,
    /// How many references were replaced and escapes undone.
    pub(super) changes: u64,
    /// The secret whose value was put in last.
    pub(super) last: Option<SecretName>,
    pub(super) receipt: Receipt,
}

impl Splicer<'_> {
    /// A copy of `text` with every reference replaced and every escape undone; `None` if there is
    /// neither.
    pub(super) fn splice(
        &mut self,
        text: &[u8],
        coding: Coding,
        place: Place<'_>,
        encoder: Encoder<'_>,
    ) -> Result<Option<Plaintext>, Refusal> {
        self.splice_if(text, coding, place, encoder, |_| true)
    }

    /// The same for those references only whose text `counts`; others are ordinary text.
    pub(super) fn splice_if(
        &mut self,
        text: &[u8],
        coding: Coding,
        place: Place<'_>,
        encoder: Encoder<'_>,
        counts: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Plaintext>, Refusal> {
        let mut written = Plaintext::default();
        let mut copied = 0;
        for token in Scanner::new(text, coding) {
            match token {
                Token::Escape(outer, inner) => {
                    written.extend_from_slice(&text[copied..outer.start]);
                    written.extend_from_slice(&text[inner]);
                    copied = outer.end;
                    self.unescaped();
                }
                Token::Reference(range, _) if !counts(&text[range.clone()]) => {}
                Token::Reference(range, name) => {
                    written.extend_from_slice(&text[copied..range.start]);
                    copied = range.end;
                    let encoded = self.value(&name, range, place, &written, encoder)?;
                    written.extend_from_slice(&encoded);
                }
            }
        }
        if copied == 0 {
            return Ok(None);
        }
        written.extend_from_slice(&text[copied..]);
        Ok(Some(written))
    }

    /// Counts an escape that was undone.
    pub(super) fn unescaped(&mut self) {
        self.receipt.unescaped += 1;
        self.changes += 1;
    }

    /// The secret that was put on `surface` last.
    pub(super) fn last_on(&self, surface: Surface) -> Option<&SecretName> {
        self.receipt.injected.iter().rev().find(|(_, on)| *on == surface).map(|(name, _)| name)
    }

    /// The value of `name` in the form wanted, once everything permits its use.
    fn value(
        &mut self,
        name: &SecretName,
        range: Range<usize>,
        place: Place<'_>,
        written: &[u8],
        encoder: Encoder<'_>,
    ) -> Result<Encoded, Refusal> {
        let length = range.len();
        self.put(name, length, place, &mut |url_encoded, value| {
            encoder(&Spot { name, range: range.clone(), url_encoded, written }, value)
        })
    }

    /// The same for a reference of `length` bytes; the encoder is told whether the value is
    /// `url_encoded`, and the value.
    pub(super) fn put(
        &mut self,
        name: &SecretName,
        length: usize,
        place: Place<'_>,
        encoder: Form<'_>,
    ) -> Result<Encoded, Refusal> {
        let secret = self.permitted(name, place)?;
        let value = secret.open().map_err(|fault| unavailable(name, place.surface, &fault.to_string()))?;
        let encoded =
            encoder(secret.limits().url_encoded, value.expose()).map_err(|reason| unfit(name, place.surface, reason))?;
        self.changes += 1;
        self.last = Some(name.clone());
        self.grown = self.grown.saturating_add(encoded.len().saturating_sub(length) as u64);
        if self.grown > self.max_growth {
            let detail = format!(
                "With its secrets in place the request would grow by more than {} bytes (injection.max_growth).",
                self.max_growth
            );
            return Err(Refusal::new(Code::BodyTooLarge, detail).about(name, place.surface));
        }
        self.receipt.used(name, place.surface, secret);
        Ok(encoded)
    }

    /// Whether the secret may be used on a surface towards this host.
    pub(super) fn may_use(&self, name: &SecretName, surface: Surface) -> Result<(), Refusal> {
        self.permitted(name, Place { surface, field: None }).map(drop)
    }

    /// The secret, if it exists and may be used in this place towards this host.
    fn permitted(&self, name: &SecretName, place: Place<'_>) -> Result<std::sync::Arc<dyn Secret>, Refusal> {
        let surface = place.surface;
        let secret = self.resolver.find(name).map_err(|absence| match absence {
            Absence::NotFound => Refusal::new(
                Code::SecretNotFound,
                format!("There is no secret called `{name}`. Create it, correct the name (case counts), or remove the reference; `{{{{secrets.{name}}}}}` sends the text itself."),
            )
            .about(name, surface),
            Absence::NotPermitted => Refusal::new(
                Code::RunnerNotPermitted,
                format!("This runner may not use a secret called `{name}`: the name is outside the patterns it is limited to. Use another runner, or ask an administrator."),
            )
            .about(name, surface),
            Absence::Unavailable(fault) => unavailable(name, surface, &fault.to_string()),
        })?;
        if !secret.allowed_domains().permits(self.host) {
            return Err(Refusal::domain_restricted(name, surface, self.host, secret.allowed_domains()));
        }
        let limits = secret.limits();
        if !limits.surfaces.contains(surface) {
            let detail = format!(
                "The secret `{name}` may stand on {} only, not in the {surface}. Move the reference, or store the secret again with other limits.",
                limits.surfaces
            );
            return Err(Refusal::new(Code::SecretNotEncodable, detail).about(name, surface));
        }
        if let Some(field) = place.field
            && !limits.headers.is_empty()
            && !limits.headers.iter().any(|allowed| allowed.eq_ignore_ascii_case(field))
        {
            let detail =
                format!("The secret `{name}` may stand in {} only, not in the field {field}.", limits.headers.join(", "));
            return Err(Refusal::new(Code::SecretNotEncodable, detail).about(name, surface));
        }
        Ok(secret)
    }
}

fn unavailable(name: &SecretName, surface: Surface, fault: &str) -> Refusal {
    Refusal::new(Code::StoreUnavailable, format!("The secret `{name}` cannot be read: {fault}")).about(name, surface)
}

/// The value of a secret cannot stand on a surface; never says anything about the value itself.
pub(super) fn unfit(name: &SecretName, surface: Surface, reason: Unfit) -> Refusal {
    let place = match surface {
        Surface::Path => "the path",
        Surface::Query => "the query",
        Surface::Header => "a header field",
        Surface::Authentication => "an authentication header",
        Surface::Body => "the content",
    };
    Refusal::new(Code::SecretNotEncodable, format!("The value of the secret `{name}` cannot stand in {place}: {reason}."))
        .about(name, surface)
}
