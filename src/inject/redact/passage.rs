//! A text going by, with every form of a value replaced: however it is cut, the same comes out.
//!
//! Only what may still become a form of a value is kept back; everything before it has gone out. The first
//! form counts, and of those that begin at one place the longest.

use zeroize::Zeroizing;

use super::base64::Tail;
use super::forms::Kind;
use super::needles::{Cursor, Hit, Needles, Next};
use super::{Found, Instead};
use crate::inject::content::{Shape, Strings};

/// One text on its way.
pub(super) struct Passage {
    instead: Instead,
    /// What is not decided yet.
    pending: Zeroizing<Vec<u8>>,
    /// What follows a value in base64.
    tail: Option<Box<(Tail, Passage)>>,
    /// Whether the text is JSON.
    json: Option<Json>,
    /// The last byte that went by.
    last: u8,
    /// It is what a text in base64 decodes to.
    is_inner: bool,
}

/// Where in JSON a text is.
pub(super) enum Json {
    Is(Strings),
    /// Each line begins anew.
    Lines(Strings),
    /// Its first character will tell.
    Maybe,
}

impl Json {
    /// At the beginning; `None` if it holds none.
    pub(super) fn of(shape: Shape) -> Option<Self> {
        match shape {
            Shape::Json => Some(Self::Is(Strings::default())),
            Shape::Events => Some(Self::Lines(Strings::default())),
            Shape::Unknown => Some(Self::Maybe),
            Shape::Text => None,
        }
    }

    /// After some more of the text; `None` if it turns out to be none.
    fn after(self, text: &[u8]) -> Option<Self> {
        match self {
            Self::Is(mut strings) => {
                strings.pass(text);
                Some(Self::Is(strings))
            }
            Self::Lines(mut strings) => {
                let line = memchr::memrchr(b'\n', text);
                strings = if line.is_some() { Strings::default() } else { strings };
                strings.pass(&text[line.map_or(0, |at| at + 1)..]);
                Some(Self::Lines(strings))
            }
            Self::Maybe => match text.trim_ascii_start() {
                [] => Some(Self::Maybe),
                rest @ [b'{' | b'[', ..] => Self::Is(Strings::default()).after(rest),
                _ => None,
            },
        }
    }

    /// Whether a number stands by itself here.
    fn is_bare(&self) -> bool {
        matches!(self, Self::Is(strings) | Self::Lines(strings) if !strings.is_open())
    }
}

impl Passage {
    pub(super) fn new(instead: Instead, json: Option<Json>) -> Self {
        Self { instead, pending: Zeroizing::default(), tail: None, json, last: 0, is_inner: false }
    }

    /// Whether nothing is kept back.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.tail.is_none()
    }

    /// Takes a piece that holds nothing: how much of it goes on as it is. `None`, and nothing was done, if it
    /// has to be written anew.
    pub(super) fn pass_by(&mut self, needles: &Needles, piece: &[u8], is_last: bool) -> Option<usize> {
        if !self.is_idle() {
            return None;
        }
        let Next::Nothing(from) = needles.next(piece, 0, is_last, &mut Cursor::default()) else { return None };
        self.pass(&piece[..from]);
        self.pending = Zeroizing::new(piece[from..].to_vec());
        Some(from)
    }

    /// Takes the next piece; `is_last`: the text ends with it. Everything that is decided goes `out`.
    pub(super) fn push(&mut self, needles: &Needles, piece: &[u8], is_last: bool, found: &mut Found, out: &mut Vec<u8>) {
        if !is_last && !self.pending.is_empty() && self.tail.is_none() && needles.may_go_on(&self.pending, piece) {
            // However finely a long value is cut, nothing is searched again and again.
            self.pending.extend_from_slice(piece);
            return;
        }
        let mut joined = std::mem::take(&mut self.pending);
        let text = if joined.is_empty() {
            piece
        } else {
            joined.extend_from_slice(piece);
            &joined
        };
        let (mut at, mut cursor) = (0, Cursor::default());
        loop {
            if let Some(tail) = &mut self.tail {
                let (tail, inner) = tail.as_mut();
                let mut pass = |decoded: &[u8], ends: bool, out: &mut Vec<u8>| inner.push(needles, decoded, ends, found, out);
                let taken = tail.take(&text[at..], is_last, &mut pass, out);
                self.pass(&text[at..at + taken.used]);
                at += taken.used;
                if !taken.has_ended {
                    // The beginning of an escape.
                    self.pending = Zeroizing::new(text[at..].to_vec());
                    return;
                }
                self.tail = None;
            }
            match needles.next(text, at, is_last, &mut cursor) {
                Next::Nothing(from) => {
                    self.pass(&text[at..from]);
                    out.extend_from_slice(&text[at..from]);
                    self.pending = Zeroizing::new(text[from..].to_vec());
                    return;
                }
                Next::Hit(hit) => {
                    self.pass(&text[at..hit.start]);
                    out.extend_from_slice(&text[at..hit.start]);
                    match self.replace(&hit, text, is_last, out) {
                        Replaced::Yes => {
                            found.add(hit.name);
                            self.pass(&text[hit.start..hit.end]);
                            at = hit.end;
                        }
                        Replaced::No => {
                            self.pass(&text[hit.start..=hit.start]);
                            out.push(text[hit.start]);
                            at = hit.start + 1;
                        }
                        Replaced::Cut => {
                            self.pending = Zeroizing::new(text[hit.start..].to_vec());
                            return;
                        }
                    }
                }
            }
        }
    }

    /// So much of the source has gone by.
    fn pass(&mut self, text: &[u8]) {
        let Some(last) = text.last() else { return };
        self.last = *last;
        self.json = self.json.take().and_then(|json| json.after(text));
    }

    /// Writes what stands in the place of a value.
    fn replace(&mut self, hit: &Hit<'_>, text: &[u8], is_last: bool, out: &mut Vec<u8>) -> Replaced {
        let bare = hit.kind == Kind::Number && self.json.as_ref().is_some_and(Json::is_bare);
        if bare {
            match (text.get(hit.end), is_last) {
                (None, false) => return Replaced::Cut,
                (Some(next), _) if continues_number(*next) => return Replaced::No,
                _ if continues_number(self.last) => return Replaced::No,
                _ => {}
            }
        }
        let name = hit.name.as_str();
        match (self.instead, hit.kind) {
            (Instead::Stars, _) => out.extend(std::iter::repeat_n(b'*', hit.end - hit.start)),
            (Instead::Reference, Kind::Number) if bare => write(out, &["\"{secrets.", name, "}\""]),
            (Instead::Reference, Kind::Text | Kind::Number) => write(out, &["{secrets.", name, "}"]),
            (Instead::Reference, Kind::Url) => write(out, &["%7Bsecrets.", name, "%7D"]),
            // As deep as that nobody looks.
            (Instead::Reference, Kind::Base64(_)) if self.is_inner => write(out, &["{secrets.", name, "}"]),
            (Instead::Reference, Kind::Base64(alignment)) => {
                let reference = format!("{{secrets.{name}}}");
                let tail = Tail::behind(alignment, &text[hit.start..hit.end], reference.as_bytes(), out);
                let inner = Self { is_inner: true, ..Self::new(self.instead, None) };
                self.tail = Some(Box::new((tail, inner)));
            }
        }
        Replaced::Yes
    }
}

enum Replaced {
    Yes,
    /// It is a part of a longer number.
    No,
    /// The text ends too early to tell.
    Cut,
}

fn write(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn continues_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E')
}
