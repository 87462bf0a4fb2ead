//! References in content, by media type.
//!
//! The table below says which types are searched and how; a type that is not in it is binary and
//! never searched. Content codings other than identity are not searched (KNOWN GAP: a later
//! version decodes them), and a digest of the content forbids changing it.

mod form;
mod json;
mod media_type;
mod multipart;
mod text;
mod xml;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use self::media_type::{Charset, MediaType};
use super::reference::first_reference;
use super::splice::{Place, Splicer};
use super::{Code, Plaintext, Refusal};
use crate::secret::Surface;

/// Fields that carry a digest of the content.
const DIGESTS: [&str; 5] = ["content-md5", "digest", "content-digest", "repr-digest", "x-amz-content-sha256"];

const PLACE: Place<'static> = Place { surface: Surface::Body, field: None };

/// Rewrites a text; `None` if nothing changes.
type Rewriter = fn(&mut Splicer<'_>, &MediaType<'_>, &[u8]) -> Result<Option<Plaintext>, Refusal>;

/// Whether an essence is of a kind.
type Fits = fn(&str) -> bool;

/// The kinds of content that are searched: which types, and how. The first row that fits counts.
const KINDS: [(Fits, Rewriter); 5] = [
    (is_json, json::rewrite),
    (is_form, form::rewrite),
    (is_xml, xml::rewrite),
    (is_multipart, multipart::rewrite),
    (is_text, text::rewrite),
];

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

/// How a type is searched, if it is.
fn rewriter(media_type: &MediaType<'_>) -> Option<Rewriter> {
    if media_type.charset == Charset::Unsearched || is_binary(&media_type.essence) {
        return None;
    }
    let row = KINDS.iter().find(|(fits, _)| fits(&media_type.essence));
    // Whoever names a charset says that it is text.
    let named = (media_type.charset != Charset::Unnamed).then_some(text::rewrite as Rewriter);
    row.map(|(_, rewriter)| *rewriter).or(named)
}

/// Whether content under these fields is searched; where no type is named its bytes decide later.
pub(super) fn is_searched(fields: &HeaderMap) -> bool {
    let coded = fields.get_all(CONTENT_ENCODING).iter().any(|coding| {
        let coding = coding.as_bytes().trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    });
    let types = fields.get_all(CONTENT_TYPE);
    let mut named = types.iter().filter_map(|value| MediaType::named(value.as_bytes())).peekable();
    !coded && (named.peek().is_none() || named.any(|media_type| rewriter(&media_type).is_some()))
}

/// The content, rewritten by its type.
pub(super) fn rewrite(splicer: &mut Splicer<'_>, fields: &HeaderMap, content: &[u8]) -> Result<Option<Plaintext>, Refusal> {
    let mut types = fields.get_all(CONTENT_TYPE).iter();
    let first = types.next();
    if types.any(|other| Some(other) != first)
        && let Some(secret) = first_reference(content)
    {
        let detail = "Content-Type stands more than once and says different things. Send it once.";
        return Err(Refusal::malformed(detail).about(&secret, Surface::Body));
    }
    let media_type = first.and_then(|value| MediaType::named(value.as_bytes()));
    let rewritten = rewrite_as(splicer, media_type.as_ref(), content)?;
    if rewritten.is_some() {
        check_digests(splicer, fields)?;
    }
    Ok(rewritten)
}

/// That no field holds a digest of the content, which was rewritten.
pub(super) fn check_digests(splicer: &Splicer<'_>, fields: &HeaderMap) -> Result<(), Refusal> {
    DIGESTS.into_iter().find(|name| is_digest(fields, name)).map_or(Ok(()), |digest| Err(digested(splicer, digest)))
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

/// The content, or a part of it, rewritten as `media_type`; none named means text if it is UTF-8.
fn rewrite_as(
    splicer: &mut Splicer<'_>,
    media_type: Option<&MediaType<'_>>,
    content: &[u8],
) -> Result<Option<Plaintext>, Refusal> {
    match media_type {
        Some(media_type) => rewriter(media_type).map_or(Ok(None), |rewriter| rewriter(splicer, media_type, content)),
        None if std::str::from_utf8(content).is_ok() => text::rewrite(splicer, &MediaType::default(), content),
        None => Ok(None),
    }
}
