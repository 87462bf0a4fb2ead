//! References in content, by media type.
//!
//! The table below says which types are searched and how; a type that is not in it is binary and
//! never searched. Content codings are taken off before and put on again after (`coding`), and a
//! digest of the content forbids changing it. What is not searched has a reason ([`Unsearched`]).
//!
//! Everything goes through in pieces, and however it is cut the same comes out: a content that is
//! held goes through in one piece, one that streams as it comes.

mod boundary;
mod charset;
mod coding;
mod declaration;
mod decoding;
mod encoding;
mod form;
mod json;
mod machine;
mod media_type;
mod multipart;
mod part;
mod rewriting;
mod search;
mod text;
mod unsearched;
mod window;
mod xml;
mod zstd;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

pub(super) use self::coding::ContentCoding;
pub(super) use self::decoding::Decoding;
pub(super) use self::encoding::Encoding;
pub(super) use self::json::Strings;
pub use self::rewriting::Rewriting;
pub use self::search::Search;
pub use self::unsearched::{Reasons, Unsearched};

use self::charset::Charset;
use self::form::Form;
use self::json::Json;
use self::machine::{Machine, Unclear, Untyped};
use self::media_type::MediaType;
use self::text::Text;
use self::window::Window;
use self::xml::Xml;
use super::reference::{Coding, Scanner};
use super::splice::{Place, Splicer};
use super::{Code, Plaintext, Refusal};
use crate::secret::Surface;

/// Fields that carry a digest of the content.
const DIGESTS: [&str; 5] = ["content-md5", "digest", "content-digest", "repr-digest", "x-amz-content-sha256"];

const PLACE: Place<'static> = Place { surface: Surface::Body, field: None };

/// Makes the machine for one type.
type Make = fn(&MediaType<'_>) -> Box<dyn Machine>;

/// One kind of content that is searched.
struct Kind {
    /// Whether an essence is of this kind.
    fits: fn(&str) -> bool,
    /// How references may be written in it.
    coding: Coding,
    make: Make,
}

/// The kinds of content that are searched. The first row that fits counts.
const KINDS: [Kind; 5] = [
    Kind {
        fits: is_json,
        coding: Coding::Raw,
        make: |media_type| Box::new(Window::new(Coding::Raw, Json::new(media_type.charset))),
    },
    Kind { fits: is_form, coding: Coding::Percent, make: |media_type| Box::new(Form::new(media_type.charset)) },
    Kind {
        fits: is_xml,
        coding: Coding::Raw,
        make: |media_type| Box::new(Window::new(Coding::Raw, Xml::new(media_type.charset))),
    },
    Kind { fits: is_multipart, coding: Coding::Percent, make: multipart::machine },
    TEXT,
];

const TEXT: Kind = Kind { fits: is_text, coding: Coding::Raw, make: |media_type| text(media_type.charset) };

fn text(charset: Charset) -> Box<dyn Machine> {
    Box::new(Window::new(Coding::Raw, Text::new(charset)))
}

/// Whatever else their names say: their bytes are framed, packed or no text at all.
fn is_binary(essence: &str) -> bool {
    const KINDS: [&str; 5] = ["image/", "audio/", "video/", "font/", "model/"];
    const NAMES: [&str; 13] = [
        "octet-stream",
        "zip",
        "gzip",
        "pdf",
        "wasm",
        "msgpack",
        "x-msgpack",
        "cbor",
        "protobuf",
        "x-protobuf",
        "vnd.google.protobuf",
        "avro",
        "x-tar",
    ];
    let framed = |subtype: &str| subtype.starts_with("grpc") || subtype.starts_with("connect+");
    let subtype = essence.strip_prefix("application/").unwrap_or_default();
    // SVG is XML.
    (KINDS.iter().any(|kind| essence.starts_with(kind)) && !essence.ends_with("+xml"))
        || NAMES.contains(&subtype)
        || framed(subtype)
}

fn is_json(essence: &str) -> bool {
    essence.ends_with("+json")
        || ((essence.starts_with("application/") || essence.starts_with("text/")) && essence.contains("json"))
}

fn is_form(essence: &str) -> bool {
    essence == "application/x-www-form-urlencoded"
}

fn is_xml(essence: &str) -> bool {
    let subtype = essence.strip_prefix("application/").or(essence.strip_prefix("text/")).unwrap_or_default();
    essence.ends_with("+xml") || matches!(subtype, "xml" | "xml-dtd" | "xml-external-parsed-entity")
}

fn is_multipart(essence: &str) -> bool {
    essence.starts_with("multipart/")
}

fn is_text(essence: &str) -> bool {
    const KNOWN: [&str; 12] = [
        "javascript",
        "ecmascript",
        "x-javascript",
        "graphql",
        "yaml",
        "x-yaml",
        "toml",
        "sql",
        "sparql-query",
        "sparql-update",
        "x-sh",
        "x-www-form",
    ];
    let known = essence.strip_prefix("application/").is_some_and(|subtype| KNOWN.contains(&subtype));
    essence.starts_with("text/") || known || essence.ends_with("+yaml") || essence.ends_with("+text")
}

/// How a type is searched, or why it is not.
fn kind(media_type: &MediaType<'_>) -> Result<&'static Kind, Unsearched> {
    if is_binary(&media_type.essence) {
        return Err(Unsearched::Binary);
    }
    if media_type.charset == Charset::Unsearched {
        return Err(Unsearched::Charset);
    }
    // Whoever names a charset says that it is text.
    let named = (media_type.charset != Charset::Unnamed).then_some(&TEXT);
    KINDS.iter().find(|kind| (kind.fits)(&media_type.essence)).or(named).ok_or(Unsearched::Binary)
}

fn machine_for(media_type: &MediaType<'_>) -> Result<Box<dyn Machine>, Unsearched> {
    kind(media_type).map(|kind| (kind.make)(media_type))
}

/// How a content under some fields is to be read.
struct Reading<'f> {
    codings: Vec<ContentCoding>,
    format: Format<'f>,
}

enum Format<'f> {
    Typed(&'static Kind, MediaType<'f>),
    /// No type is named.
    Untyped,
    /// Two types are named.
    Unclear,
}

impl<'f> Reading<'f> {
    fn of(fields: &'f HeaderMap) -> Result<Self, Unsearched> {
        let mut types = fields.get_all(CONTENT_TYPE).iter();
        let first = types.next();
        let format = match first.and_then(|value| MediaType::named(value.as_bytes())) {
            _ if types.any(|other| Some(other) != first) => Format::Unclear,
            Some(media_type) => Format::Typed(kind(&media_type)?, media_type),
            None => Format::Untyped,
        };
        Ok(Self { codings: coding::named(fields)?, format })
    }

    /// How references may be written in it.
    fn coding(&self) -> Coding {
        match &self.format {
            Format::Typed(kind, _) => kind.coding,
            Format::Untyped => Coding::Raw,
            Format::Unclear => Coding::Percent,
        }
    }

    /// The machine for it. A content that names no type is text if so many of its first bytes are;
    /// none at all where that is known.
    fn machine(&self, untyped: usize) -> Box<dyn Machine> {
        match &self.format {
            Format::Typed(kind, media_type) => (kind.make)(media_type),
            Format::Untyped => Box::new(Untyped::new(text(Charset::Unnamed), untyped)),
            Format::Unclear => {
                let detail = "Content-Type stands more than once and says different things. Send it once.";
                Box::new(Unclear::new(Refusal::malformed(detail)))
            }
        }
    }
}

/// Why content under these fields is not searched, if it is not.
pub(super) fn unsearched(fields: &HeaderMap) -> Option<Unsearched> {
    Reading::of(fields).err()
}

/// What an answer's content is, where it matters for numbers.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Json,
    /// Events, each line of which may hold JSON.
    Events,
    Text,
    /// Its type is not named, or twice.
    Unknown,
}

/// The codings of an answer's content, and what it is; or why it is not looked through. What names no type, or
/// two, is read as text.
pub(super) fn readable(fields: &HeaderMap) -> Result<(Vec<ContentCoding>, Shape), Unsearched> {
    let reading = Reading::of(fields)?;
    let shape = match &reading.format {
        Format::Typed(_, media_type) if is_json(&media_type.essence) => Shape::Json,
        Format::Typed(_, media_type) if media_type.essence == "text/event-stream" => Shape::Events,
        Format::Typed(..) => Shape::Text,
        Format::Untyped | Format::Unclear => Shape::Unknown,
    };
    Ok((reading.codings, shape))
}

/// A look through a content that comes in pieces; `None` if it is not searched.
pub(super) fn search(fields: &HeaderMap) -> Option<Search> {
    Reading::of(fields).ok().map(|reading| Search::new(&reading))
}

/// Begins to rewrite a content that comes in pieces; `None` if it is not searched.
pub(super) fn rewriting(splicer: &Splicer<'_>, fields: &HeaderMap, untyped: usize) -> Option<Rewriting> {
    Reading::of(fields).ok().map(|reading| Rewriting::new(splicer, fields, &reading, untyped))
}

/// A whole content, rewritten; `None` if nothing changes.
pub(super) fn rewrite(splicer: &mut Splicer<'_>, fields: &HeaderMap, content: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let reading = match Reading::of(fields) {
        Ok(reading) => reading,
        Err(reason) => {
            splicer.receipt.unsearched.add(reason);
            return Ok(None);
        }
    };
    let (found, is_text) = look(&reading, content)?;
    if !found && !may_hold_encoded_parts(&reading, content) {
        return Ok(None);
    }
    if !is_text {
        splicer.receipt.unsearched.add(Unsearched::NotText);
        return Ok(None);
    }
    let mut rewriting = Rewriting::new(splicer, fields, &reading, 0);
    let mut written = Plaintext::new(Vec::with_capacity(content.len()));
    rewriting.push(splicer, content, true, &mut |bytes| {
        written.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(rewriting.has_changed(splicer).then_some(written))
}

/// Whether anything to replace stands in a whole content, and whether it is text where it names no type.
fn look(reading: &Reading<'_>, content: &[u8]) -> Result<(bool, bool), Refusal> {
    if !reading.codings.is_empty() {
        let mut search = Search::new(reading);
        search.push(content, true)?;
        return Ok((search.found(), search.is_text()));
    }
    let found = Scanner::new(content, reading.coding()).next().is_some();
    let is_text = !found || !matches!(reading.format, Format::Untyped) || std::str::from_utf8(content).is_ok();
    Ok((found, is_text))
}

/// Whether the parts of a content have to be looked at although no reference stands in them as it is.
fn may_hold_encoded_parts(reading: &Reading<'_>, content: &[u8]) -> bool {
    // "Content-Transfer-Encoding", in the ways it is written.
    let named = |name: &[u8]| memchr::memmem::find(content, name).is_some();
    matches!(&reading.format, Format::Typed(kind, _) if std::ptr::fn_addr_eq(kind.make, multipart::machine as Make))
        && (named(b"ransfer-Encoding") || named(b"ransfer-encoding"))
}

/// That no field holds a digest of the content, which was rewritten.
pub(super) fn check_digests(splicer: &Splicer<'_>, fields: &HeaderMap) -> Result<(), Refusal> {
    digest(fields).map_or(Ok(()), |digest| Err(digested(splicer, digest)))
}

/// The field that holds a digest of the content, if one does.
fn digest(fields: &HeaderMap) -> Option<&'static str> {
    DIGESTS.into_iter().find(|name| is_digest(fields, name))
}

fn digested(splicer: &Splicer<'_>, digest: &str) -> Refusal {
    let detail = format!(
        "The content holds a secret reference, and {digest} holds a digest of it that would no longer be right. Leave {digest} out, or send the secret in a field."
    );
    // No secret if only an escape was undone.
    Refusal::new(Code::SecretNotEncodable, detail).about_any(splicer.last_on(Surface::Body).cloned(), Surface::Body)
}

/// `UNSIGNED-PAYLOAD` and its like in x-amz-content-sha256 are no digests.
fn is_digest(fields: &HeaderMap, name: &str) -> bool {
    fields.get_all(name).iter().any(|value| !value.as_bytes().windows(8).any(|part| part.eq_ignore_ascii_case(b"UNSIGNED")))
}

#[cfg(test)]
mod json_tests;
#[cfg(test)]
mod tests;
