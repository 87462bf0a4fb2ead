//! In which charset an XML text is written: what Content-Type says, what its declaration says
//! (XML 1.0 section 4.3.3, RFC 7303 section 3), and whether the two agree.

use super::charset::Charset;

/// The longest declaration that is looked at, in bytes; one that is longer says nothing.
const LONGEST: usize = 512;
const START: &[u8] = b"<?xml";
/// A byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What is known of a text's charset.
pub(super) struct Declaration {
    /// By Content-Type.
    named: Charset,
    /// By the text itself.
    declared: Option<Charset>,
    /// The text so far, as long as it may be a declaration.
    read: Option<Vec<u8>>,
}

impl Declaration {
    pub(super) fn new(named: Charset) -> Self {
        Self { named, declared: None, read: Some(Vec::new()) }
    }

    /// So much of the text has gone by; whether this settled what it declares.
    pub(super) fn pass(&mut self, text: &[u8]) -> bool {
        let Some(read) = &mut self.read else { return false };
        read.extend_from_slice(&text[..text.len().min(LONGEST - read.len())]);
        let marked = read.strip_prefix(MARK).unwrap_or(read);
        let may_be = if marked.len() < START.len() {
            START.starts_with(marked) || MARK.starts_with(marked)
        } else {
            marked.starts_with(START)
        };
        let end = memchr::memmem::find(marked, b"?>");
        if may_be && end.is_none() && read.len() < LONGEST {
            return false;
        }
        self.declared = end.filter(|_| may_be).and_then(|end| encoding(&marked[START.len()..end]));
        self.read = None;
        true
    }

    /// Whether characters beyond ASCII are surely written in UTF-8.
    pub(super) fn is_utf8(&self) -> bool {
        self.named.is_utf8() && self.declared.is_none_or(Charset::is_utf8)
    }

    /// The charset of the text; where that is in doubt, one of which only ASCII is known.
    pub(super) fn charset(&self) -> Charset {
        match (self.named, self.declared) {
            (named, None) => named,
            (Charset::Unnamed, Some(Charset::Unsearched)) => Charset::AsciiAndMore(None),
            (Charset::Unnamed, Some(declared)) => declared,
            (named, Some(declared)) if named == declared => named,
            _ => Charset::AsciiAndMore(None),
        }
    }
}

/// The value of `encoding` in a declaration.
fn encoding(declaration: &[u8]) -> Option<Charset> {
    let at = memchr::memmem::find(declaration, b"encoding")?;
    let name: Vec<u8> = declaration[at + 8..]
        .iter()
        .skip_while(|byte| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'"' | b'\''))
        .take_while(|byte| !matches!(byte, b'"' | b'\''))
        .map(u8::to_ascii_lowercase)
        .collect();
    std::str::from_utf8(&name).ok().map(Charset::named)
}
