//! What is looked for in one answer, and how its content goes to the client.
//!
//! ```text
//! nothing to look for                        -> passed on as it comes
//! a type that is not looked through          -> passed on as it comes; its trailers are looked through
//! up to 64 KiB, of a known length            -> held for a moment: as it came, or anew with its new length
//! a part of a content (206)                  -> streaming, stars in the place of values, the length stays
//! of a known length, and nothing was sent yet-> the same
//! everything else                            -> streaming, without a length      (redacting)
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, ETAG, HeaderValue};
use http::response::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, cleaned};
use super::client_auth::Caller;
use super::context::Shared;
use super::exchange::{Seen, Visit};
use super::late::{Late, Told};
use super::outgoing::Outgoing;
use super::redacting::{Keys, Redacting, Report};
use crate::inject::{self, Found, Glance, Instead, Needles, Once, Part, Passed, Readable, Redaction, Refusal, Sent, Unsearched};
use crate::origin::Origin;
use crate::secret::SecretName;
use crate::upstream::{self, Returning};

/// So much of a content is held, in bytes: what most answers of APIs are shorter than.
const HELD: u64 = 64 * 1024;
/// For so long. What comes slower streams.
const HOLD: Duration = Duration::from_millis(100);
/// Fields that tell of the very bytes of a content.
const DIGESTS: [HeaderName; 5] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("x-goog-hash"),
];
/// And those that begin so.
const CHECKSUMS: &str = "x-amz-checksum-";

/// Each secret that was found, and where.
pub(super) type Redacted = Vec<(SecretName, Part)>;

/// What is looked for in one answer.
pub(super) struct Watch {
    sent: Once<Sent>,
    /// The first so many went out in this exchange.
    own: usize,
    glance: Glance,
    /// More secrets may go out while it comes in.
    late: Option<Arc<Late>>,
}

impl Watch {
    /// For the answer to this request; `None` if there is nothing to look for.
    pub(super) fn begin(visit: &Visit<'_>, seen: &mut Seen, late: Option<Arc<Late>>) -> Result<Option<Self>, Refusal> {
        let shared = &visit.door.shared;
        if !visit.settings.redacts(&visit.origin.host) {
            return Ok(None);
        }
        let own = seen.values.len();
        let sent = with_lately(shared, (visit.caller, visit.origin), std::mem::take(&mut seen.values));
        let late = late.filter(|late| !late.has_ended());
        if sent.is_empty() && late.is_none() {
            return Ok(None);
        }
        let glance = glance((shared, visit.caller), &sent, own)?;
        Ok(Some(Self { sent, own, glance, late }).filter(|watch| !watch.glance.is_empty() || watch.late.is_some()))
    }

    fn needles(&self, visit: &Visit<'_>) -> Result<Needles, Refusal> {
        needles((&visit.door.shared, visit.caller), &self.sent, self.own)
    }

    /// Takes values out of a head.
    pub(super) fn head(&self, visit: &Visit<'_>, parts: &mut Parts, seen: &mut Seen) -> Result<(), Refusal> {
        let reason = parts.extensions.get::<hyper::ext::ReasonPhrase>();
        let may_stand_there = inject::may_hold_value(&self.glance, &parts.headers)
            || reason.is_some_and(|reason| self.glance.may_stand_in(reason.as_bytes()));
        if !may_stand_there {
            return Ok(());
        }
        let needles = self.needles(visit)?;
        let mut found = Found::default();
        if let Some(redacted) = inject::redact_fields(&needles, &parts.headers, &mut found) {
            parts.headers = redacted;
        }
        if reason_holds_value(parts, &needles) {
            parts.extensions.remove::<hyper::ext::ReasonPhrase>();
        }
        visit.door.shared.measures.redacted(Part::Head, found.count);
        seen.redacted.extend(found.names.into_iter().map(|name| (name, Part::Head)));
        Ok(())
    }

    /// Has a content go to the client without values.
    pub(super) async fn content(
        self,
        visit: &Visit<'_>,
        parts: &mut Parts,
        mut content: Returning<Outgoing>,
        seen: &mut Seen,
    ) -> Result<Answer, Refusal> {
        if content.is_end_stream() {
            return Ok(Answer::upstream(content));
        }
        let is_partial = parts.status == StatusCode::PARTIAL_CONTENT;
        let readable = match Readable::of(&parts.headers) {
            // A part of what is in a coding is in none.
            Ok(readable) if is_partial && readable.is_coded() => Err(Unsearched::Coding),
            readable => readable,
        };
        let readable = match readable {
            Ok(readable) => readable,
            Err(reason) => {
                note_unsearched(visit, seen, reason);
                return Ok(Answer::redacting(self.redacting(visit, parts.status, content, None)));
            }
        };
        let length = content.size_hint().exact();
        // Most likely nothing is ever sent that it could hold.
        let waits = self.glance.is_empty() && length.is_some() && !readable.is_coded();
        let keeps_length = is_partial || waits;
        if keeps_length || length.is_none_or(|length| length > HELD) || self.late.is_some() {
            let needles = self.needles(visit)?;
            let redaction = Redaction::new(&readable, &needles, if keeps_length { Instead::Stars } else { Instead::Reference });
            if !keeps_length {
                streams_anew(&mut parts.headers, readable.is_coded());
            }
            let redacting = self.redacting(visit, parts.status, content, Some((redaction, needles)));
            return Ok(Answer::redacting(redacting.keeping_length(keeps_length)));
        }
        let held = Held::take(&mut content).await;
        if held.is_whole && !readable.is_coded() && !held.may_hold_value(&self.glance) {
            return Ok(Answer::held(held.pieces, held.trailers.map(cleaned)));
        }
        let needles = self.needles(visit)?;
        let redaction = Redaction::new(&readable, &needles, Instead::Reference);
        if !held.is_whole {
            streams_anew(&mut parts.headers, readable.is_coded());
            let redacting = self.redacting(visit, parts.status, content, Some((redaction, needles)));
            return Ok(Answer::redacting(redacting.begun(held.pieces, held.fault)));
        }
        Ok(whole(visit, parts, (held, redaction, &needles), seen))
    }

    fn redacting(
        self,
        visit: &Visit<'_>,
        status: StatusCode,
        content: Returning<Outgoing>,
        redaction: Option<(Redaction, Needles)>,
    ) -> Redacting {
        let report = Report { shared: Arc::clone(&visit.door.shared), told: Told::of(visit), status };
        let (redaction, needles) = redaction.unzip();
        let keys = Keys::new((self.sent, self.own), needles, self.late);
        Redacting::new(content, redaction, keys, report)
    }
}

/// A content that was held whole goes on as it came, if nothing was found.
fn whole(
    visit: &Visit<'_>,
    parts: &mut Parts,
    (held, redaction, needles): (Held, Redaction, &Needles),
    seen: &mut Seen,
) -> Answer {
    let mut found = Found::default();
    let Held { pieces, trailers, .. } = held;
    let mut trailers = trailers.map(cleaned);
    let written = written(needles, redaction, &pieces, &mut found);
    let shared = &visit.door.shared;
    shared.measures.redacted(Part::Body, found.count);
    let content = match written {
        Ok(written) if found.count > 0 => {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(written.len()));
            becomes_another(&mut parts.headers);
            trailers.iter_mut().for_each(remove_digests);
            vec![Bytes::from(written)]
        }
        Ok(_) => pieces,
        Err(()) => {
            note_unsearched(visit, seen, Unsearched::Coding);
            pieces
        }
    };
    seen.redacted.extend(found.names.into_iter().map(|name| (name, Part::Body)));
    if let Some(fields) = &mut trailers {
        let mut found = Found::default();
        if let Some(redacted) = inject::redact_fields(needles, fields, &mut found) {
            *fields = redacted;
        }
        shared.measures.redacted(Part::Head, found.count);
        seen.redacted.extend(found.names.into_iter().map(|name| (name, Part::Head)));
    }
    Answer::held(content, trailers)
}

fn reason_holds_value(parts: &Parts, needles: &Needles) -> bool {
    let reason = parts.extensions.get::<hyper::ext::ReasonPhrase>();
    reason.is_some_and(|reason| inject::holds_value(needles, reason.as_bytes()))
}

/// What was sent, and what was lately sent there and this caller may use.
pub(super) fn with_lately(shared: &Shared, (caller, origin): (&Caller, &Origin), mut sent: Once<Sent>) -> Once<Sent> {
    let names = caller.names();
    let may = |name: &SecretName| names.as_ref().is_none_or(|names| names.iter().any(|pattern| pattern.matches(name)));
    shared.lately.add_to(&mut sent, (&caller.organization, origin), may);
    sent
}

/// Every form of the values of these. If one of the first so many, its `own`, does not open, nothing is
/// answered; of others that were lately sent nobody can tell any more what they were.
pub(super) fn needles((shared, caller): (&Shared, &Caller), sent: &[Sent], own: usize) -> Result<Needles, Refusal> {
    Needles::of(sent, own, &|name| current((shared, caller), name)).map_err(|fault| unreadable(&fault))
}

/// A piece of each of these forms, from the same values.
fn glance((shared, caller): (&Shared, &Caller), sent: &[Sent], own: usize) -> Result<Glance, Refusal> {
    Glance::of(sent, own, &|name| current((shared, caller), name)).map_err(|fault| unreadable(&fault))
}

/// What a secret is now.
fn current((shared, caller): (&Shared, &Caller), name: &SecretName) -> Option<Sent> {
    let resolver = shared.secrets.resolver(&caller.organization, caller.names());
    resolver.find(name).ok().map(|secret| Sent::new(name.clone(), secret))
}

fn unreadable(fault: &inject::Unavailable) -> Refusal {
    let detail = format!("The answer cannot be looked through for values that were sent: {fault}");
    Refusal::new(inject::Code::StoreUnavailable, detail)
}

/// Fields that tell of the bytes of a content which is another now.
pub(super) fn remove_digests(fields: &mut HeaderMap) {
    for name in &DIGESTS {
        fields.remove(name);
    }
    while let Some(name) = fields.keys().find(|name| name.as_str().starts_with(CHECKSUMS)).cloned() {
        fields.remove(name);
    }
}

/// A content goes out as it comes in; one in a coding is encoded anew, whatever is found.
fn streams_anew(fields: &mut HeaderMap, is_coded: bool) {
    fields.remove(CONTENT_LENGTH);
    if is_coded {
        becomes_another(fields);
    }
}

/// Its bytes are not the upstream's: no part of those fits them, and nothing tells of them. The entity tag of a
/// content that the upstream offers in parts becomes a weak one, with which nobody may ask for a part; others stay,
/// as clients send them back to change only what they know (If-Match).
fn becomes_another(fields: &mut HeaderMap) {
    remove_digests(fields);
    if fields.remove(ACCEPT_RANGES).is_none_or(|ranges| ranges == "none") {
        return;
    }
    let weak = fields.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(weak) = weak.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()) {
        fields.insert(ETAG, weak);
    }
}

fn note_unsearched(visit: &Visit<'_>, seen: &mut Seen, reason: Unsearched) {
    seen.answer_unsearched.add(reason);
    visit.door.shared.measures.unredacted(reason);
}

/// What goes out for a whole content.
fn written(needles: &Needles, mut redaction: Redaction, pieces: &[Bytes], found: &mut Found) -> Result<Vec<u8>, ()> {
    let mut written = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        match redaction.push(needles, piece, index + 1 == pieces.len(), found).map_err(|_| ())? {
            // Nothing is copied as long as there is one piece and nothing in it.
            Passed::AsItIs(_) if pieces.len() == 1 => {}
            Passed::AsItIs(length) => written.extend_from_slice(&piece[..length]),
            Passed::Written(more) => written.extend_from_slice(&more),
        }
    }
    Ok(written)
}

/// A content that was waited for.
struct Held {
    pieces: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    is_whole: bool,
    /// What it broke off with.
    fault: Option<upstream::Error>,
}

impl Held {
    /// Takes what comes within a moment.
    async fn take(content: &mut Returning<Outgoing>) -> Self {
        let mut held = Self { pieces: Vec::new(), trailers: None, is_whole: false, fault: None };
        let end = Instant::now() + HOLD;
        while !held.is_whole {
            let Ok(frame) = timeout_at(end, content.frame()).await else { return held };
            match frame {
                None => held.is_whole = true,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => held.pieces.push(data),
                    Err(frame) => held.trailers = frame.into_trailers().ok(),
                },
                Some(Err(fault)) => {
                    held.fault = Some(fault);
                    return held;
                }
            }
            held.is_whole |= content.is_end_stream();
        }
        held
    }

    /// Whether a value may stand in it. Of one that came in pieces only a look at all of it together tells.
    fn may_hold_value(&self, glance: &Glance) -> bool {
        let content = match self.pieces.as_slice() {
            [] => false,
            [piece] => glance.may_stand_in(piece),
            _ => true,
        };
        content || self.trailers.as_ref().is_some_and(|fields| inject::may_hold_value(glance, fields))
    }
}
