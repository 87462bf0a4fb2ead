//! Contents read by other hands than those that rewrite them. Each reading is a list of texts; `None`: it is no such content.

use std::fmt;

use quick_xml::events::Event;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// What is told of a content: its structure, and the texts in it that are compared.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// What no value may change.
    Structure(String),
    /// Where a value may stand.
    Text(Vec<u8>),
}

struct Json(Vec<Part>);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

/// Members stay in their order, and twice where they stand twice.
impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, it: bool) -> Result<Json, E> {
        Ok(Json(vec![Part::Structure(it.to_string())]))
    }
    fn visit_i64<E>(self, it: i64) -> Result<Json, E> {
        Ok(Json(vec![Part::Structure(it.to_string())]))
    }
    fn visit_u64<E>(self, it: u64) -> Result<Json, E> {
        Ok(Json(vec![Part::Structure(it.to_string())]))
    }
    fn visit_f64<E>(self, it: f64) -> Result<Json, E> {
        Ok(Json(vec![Part::Structure(it.to_string())]))
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json(vec![Part::Structure("null".to_owned())]))
    }
    fn visit_str<E>(self, it: &str) -> Result<Json, E> {
        Ok(Json(vec![Part::Text(it.as_bytes().to_vec())]))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Json, A::Error> {
        let mut parts = vec![Part::Structure("[".to_owned())];
        while let Some(Json(more)) = all.next_element()? {
            parts.extend(more);
        }
        parts.push(Part::Structure("]".to_owned()));
        Ok(Json(parts))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Json, A::Error> {
        let mut parts = vec![Part::Structure("{".to_owned())];
        while let Some((key, Json(value))) = all.next_entry::<String, Json>()? {
            parts.push(Part::Text(key.into_bytes()));
            parts.extend(value);
        }
        parts.push(Part::Structure("}".to_owned()));
        Ok(Json(parts))
    }
}

pub fn json(content: &[u8]) -> Option<Vec<Part>> {
    serde_json::from_slice::<Json>(content).ok().map(|json| json.0)
}

/// A line each.
pub fn json_lines(content: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for value in serde_json::Deserializer::from_slice(content).into_iter::<Json>() {
        parts.extend(value.ok()?.0);
        parts.push(Part::Structure("next".to_owned()));
    }
    Some(parts)
}

/// `application/x-www-form-urlencoded`, by bytes.
pub fn form(content: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for pair in content.split(|byte| *byte == b'&') {
        parts.push(Part::Structure("&".to_owned()));
        for (index, text) in pair.splitn(2, |byte| *byte == b'=').enumerate() {
            parts.push(Part::Structure(index.to_string()));
            parts.push(Part::Text(percent_decoded(text, true)));
        }
    }
    Some(parts)
}

pub fn percent_decoded(text: &[u8], plus: bool) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let hex = |offset: usize| text.get(at + offset).and_then(|byte| (*byte as char).to_digit(16));
        match (text[at], hex(1).zip(hex(2))) {
            (b'%', Some((high, low))) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

pub fn xml(content: &[u8]) -> Option<Vec<Part>> {
    let text = std::str::from_utf8(content).ok()?;
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let mut parts: Vec<Part> = Vec::new();
    let add = |parts: &mut Vec<Part>, more: &[u8]| match parts.last_mut() {
        // Where text is cut says nothing.
        Some(Part::Text(text)) => text.extend_from_slice(more),
        _ => parts.push(Part::Text(more.to_vec())),
    };
    loop {
        match reader.read_event().ok()? {
            Event::Eof => return Some(parts),
            Event::Start(tag) => element(&mut parts, "<", &tag)?,
            Event::Empty(tag) => element(&mut parts, "</>", &tag)?,
            Event::End(tag) => parts.push(Part::Structure(format!("/{:?}", tag.name()))),
            Event::Text(text) => add(&mut parts, text.as_bytes()),
            Event::CData(text) => add(&mut parts, text.as_bytes()),
            Event::GeneralRef(name) => {
                let name = (*name).to_owned();
                let meant = match name.as_str() {
                    "amp" => "&".to_owned(),
                    "lt" => "<".to_owned(),
                    "gt" => ">".to_owned(),
                    "quot" => "\"".to_owned(),
                    "apos" => "'".to_owned(),
                    other => other.strip_prefix("#x").map_or_else(
                        || other.strip_prefix('#').and_then(|number| number.parse().ok()),
                        |number| u32::from_str_radix(number, 16).ok(),
                    )
                    .and_then(char::from_u32)?
                    .to_string(),
                };
                add(&mut parts, meant.as_bytes());
            }
            other => parts.push(Part::Structure(format!("{other:?}"))),
        }
    }
}

fn element(parts: &mut Vec<Part>, kind: &str, tag: &quick_xml::events::BytesStart<'_>) -> Option<()> {
    parts.push(Part::Structure(format!("{kind}{:?}", tag.name())));
    for attribute in tag.attributes() {
        let attribute = attribute.ok()?;
        parts.push(Part::Structure(format!("{:?}", attribute.key)));
        parts.push(Part::Text(quick_xml::escape::unescape(&attribute.value).ok()?.as_bytes().to_vec()));
    }
    parts.push(Part::Structure(">".to_owned()));
    Some(())
}

/// Parts between lines of `--BOUNDARY`: each head as it is, each content by its type.
pub fn multipart(content: &[u8], boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("\r\n--{boundary}");
    let whole = [b"\r\n", content].concat();
    let mut parts = Vec::new();
    for (index, part) in split(&whole, delimiter.as_bytes())?.into_iter().enumerate() {
        parts.push(Part::Structure("--".to_owned()));
        let head = part.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        match head {
            Some(head) if index > 0 => {
                let (bytes, content) = (&part[..head], &part[head + 4..]);
                let head = String::from_utf8_lossy(bytes);
                let kind = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-type:").map(str::to_owned));
                let kind = kind.unwrap_or_default();
                // What a part is must not depend on a value, which is not known beforehand.
                if kind.contains(&String::from_utf8_lossy(crate::MARK).to_ascii_lowercase()) {
                    return None;
                }
                // A value may stand in its fields, and makes no other field.
                parts.push(Part::Text(bytes.to_vec()));
                parts.push(Part::Structure(format!("{} line ends", bytes.iter().filter(|byte| b"\r\n".contains(byte)).count())));
                let read = if kind.contains("json") { Some(json(content)?) } else { None };
                parts.extend(read.unwrap_or_else(|| vec![Part::Text(content.to_vec())]));
            }
            _ => parts.push(Part::Structure(String::from_utf8_lossy(part).into_owned())),
        }
    }
    Some(parts)
}

/// `None` where readers differ on whether a line is a delimiter: its line end is none, or something stands before it.
fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Option<Vec<&'a [u8]>> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    let mut from = 0;
    while let Some(at) = rest[from..].windows(by.len()).position(|part| part == by).map(|at| at + from) {
        let behind = &rest[at + by.len()..];
        let blanks = behind.iter().take_while(|byte| b" \t".contains(byte)).count();
        if behind.starts_with(b"--") || behind[blanks..].starts_with(b"\r\n") || behind.len() == blanks {
            parts.push(&rest[..at]);
            rest = behind;
            from = 0;
        } else if blanks > 0 || behind.starts_with(b"\r") || behind.starts_with(b"\n") {
            return None;
        } else {
            // A longer word is another boundary.
            from = at + by.len();
        }
    }
    parts.push(rest);
    Some(parts)
}
