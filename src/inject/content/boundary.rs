//! Delimiters of multipart content (RFC 2046 section 5.1.1): where one stands in a source that comes
//! in pieces, and whether one has come about in what is written.

use memchr::memmem::Finder;

/// So many blanks may follow a boundary on its line.
const MOST_BLANKS: usize = 256;

/// The beginning of a delimiter line: `CRLF--boundary`.
pub(super) struct Line(Finder<'static>);

/// What is known of the next delimiter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It begins here and takes so many bytes; `closes`: it is the last one.
    Stands { at: usize, length: usize, closes: bool },
    /// None before here; what begins here cannot be told yet.
    Undecided(usize),
}

/// What follows a boundary.
enum Rest {
    /// The rest of a delimiter line, of so many bytes.
    Ends {
        length: usize,
        closes: bool,
    },
    Other,
    /// It may become one.
    Cut,
}

impl Line {
    /// `None` if there is no such boundary.
    pub(super) fn new(boundary: &[u8]) -> Option<Self> {
        (!boundary.is_empty()).then(|| Self(Finder::new(&[b"\r\n--", boundary].concat()).into_owned()))
    }

    /// How long a delimiter with its line can be.
    pub(super) fn longest(&self) -> usize {
        self.0.needle().len() + b"--".len() + MOST_BLANKS + b"\r\n".len()
    }

    /// The first delimiter in `text`.
    pub(super) fn next(&self, text: &[u8], is_last: bool) -> Next {
        let begins = self.0.needle().len();
        for at in self.0.find_iter(text) {
            match rest(&text[at + begins..], is_last) {
                Rest::Ends { length, closes } => return Next::Stands { at, length: begins + length, closes },
                Rest::Cut => return Next::Undecided(at),
                Rest::Other => {}
            }
        }
        Next::Undecided(if is_last { text.len() } else { text.len() - self.begun(text) })
    }

    /// How many bytes at the end of `text` may begin a line.
    fn begun(&self, text: &[u8]) -> usize {
        let longest = text.len().min(self.0.needle().len() - 1);
        // Nothing but its beginning holds a carriage return.
        let Some(at) = memchr::memrchr(b'\r', &text[text.len() - longest..]) else { return 0 };
        let end = &text[text.len() - longest + at..];
        if self.0.needle().starts_with(end) { end.len() } else { 0 }
    }
}

fn rest(text: &[u8], is_last: bool) -> Rest {
    let cut = if is_last { Rest::Other } else { Rest::Cut };
    let closes = text.starts_with(b"--");
    if text == b"-" {
        return cut;
    }
    let from = if closes { 2 } else { 0 };
    let blanks = text[from..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if blanks > MOST_BLANKS {
        return Rest::Other;
    }
    let end = from + blanks;
    match &text[end..] {
        [b'\r', b'\n', ..] => Rest::Ends { length: end + 2, closes },
        [] if closes && is_last => Rest::Ends { length: end, closes: true },
        [] | [b'\r'] => cut,
        _ => Rest::Other,
    }
}

/// Watches what is written of a part for a delimiter, which a value must have brought.
pub(super) struct Watch {
    /// The end of what was written, as far as it may begin a delimiter; wiped when dropped.
    end: crate::inject::Plaintext,
}

impl Watch {
    /// At the beginning of a part, which follows a line end.
    pub(super) fn new() -> Self {
        Self { end: crate::inject::Plaintext::new(b"\r\n".to_vec()) }
    }

    /// So much was written; whether a delimiter stands in it.
    pub(super) fn wrote(&mut self, line: &Line, bytes: &[u8]) -> bool {
        // Most bytes come without a line end that could begin one.
        if self.end.is_empty() && memchr::memchr(b'\r', bytes).is_none() {
            return false;
        }
        self.end.extend_from_slice(bytes);
        match line.next(&self.end, false) {
            Next::Stands { .. } => true,
            Next::Undecided(from) => {
                self.end.drain(..from);
                false
            }
        }
    }

    /// Whether one stands there now that the part has ended, before the next delimiter's line end.
    pub(super) fn ended(&mut self, line: &Line) -> bool {
        self.wrote(line, b"\r\n")
    }
}
