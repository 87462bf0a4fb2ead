//! Multipart content: each part is searched by its own type; files that are not text, and parts
//! with a transfer encoding, stay untouched, and the receipt says so (RFC 2046 section 5.1, RFC 7578).

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::boundary::{Line, Next, Watch};
use super::charset::Charset;
use super::machine::{Machine, Seeker, Unclear, Untouched, Untyped};
use super::machine_for;
use super::media_type::MediaType;
use super::part::{Fields, Head, Kind};
use super::text::Text;
use super::window::{Sink, Window};
use crate::inject::reference::{Coding, first_reference};
use crate::inject::splice::Splicer;
use crate::inject::{Code, Refusal};
use crate::secret::{SecretName, Surface};

/// How deep multipart types may stand within each other.
const MAX_DEPTH: usize = 4;
/// The longest head of a part, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How much of a part that names no type is held to tell whether it is text, in bytes.
const UNTYPED: usize = 64 * 1024;

/// What ends the head of a part.
static EMPTY_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// A multipart content as it goes through.
struct Multipart {
    line: Line,
    depth: usize,
    state: State,
    source: Source,
    /// Looks over everything, for what can be told at the end only.
    seeker: Seeker,
}

enum State {
    /// Before the first delimiter.
    Preamble,
    Head,
    Body(Part),
    /// After the last delimiter.
    Epilogue,
    /// It cannot be taken apart.
    Lost,
}

/// A part that is being written.
struct Part {
    machine: Box<dyn Machine>,
    watch: Watch,
    /// How many secrets stood before it.
    before: u64,
}

/// What came and is not decided yet. A line end that ends one delimiter may begin the next, so some
/// of it may have gone out already.
struct Source {
    text: Vec<u8>,
    /// What stands before here was taken.
    from: usize,
    /// So much of what stands behind has gone out.
    gone: usize,
}

impl Source {
    /// The first delimiter needs no line end before it.
    fn new() -> Self {
        Self { text: b"\r\n".to_vec(), from: 0, gone: 2 }
    }

    fn push(&mut self, piece: &[u8]) {
        // Not with each part: all that comes behind would be moved for it.
        self.text.drain(..std::mem::take(&mut self.from));
        self.text.extend_from_slice(piece);
    }

    /// What is not decided.
    fn text(&self) -> &[u8] {
        &self.text[self.from..]
    }

    /// What stands before `end` and has not gone out; it is taken.
    fn take(&mut self, end: usize) -> Vec<u8> {
        let taken = self.text()[self.gone.min(end)..end].to_vec();
        self.from += end;
        self.gone = self.gone.saturating_sub(end);
        taken
    }

    /// The same, but the line end that it ends with stays to begin what follows.
    fn take_line(&mut self, end: usize) -> Vec<u8> {
        let taken = self.take(end);
        if taken.ends_with(b"\r\n") {
            self.from -= 2;
            self.gone = 2;
        }
        taken
    }
}

/// The machine for a multipart type.
pub(super) fn machine(media_type: &MediaType<'_>) -> Box<dyn Machine> {
    let boundary = media_type.boundary.as_deref().unwrap_or_default();
    match Line::new(boundary.as_bytes()) {
        Some(line) if media_type.depth < MAX_DEPTH => Box::new(Multipart {
            line,
            depth: media_type.depth + 1,
            state: State::Preamble,
            source: Source::new(),
            seeker: Seeker::new(Coding::Percent),
        }),
        _ => Box::new(Unclear::new(unreadable(None))),
    }
}

fn unreadable(secret: Option<SecretName>) -> Refusal {
    let detail = "The multipart content holds a secret reference and cannot be taken apart: its boundary is missing or does not part it, the head of a part is too long or does not end, or it nests too deep.";
    Refusal::malformed(detail).about_any(secret, Surface::Body)
}

impl Machine for Multipart {
    fn push(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        self.seeker.push(piece, is_last);
        self.source.push(piece);
        while self.advance(splicer, is_last, sink)? {}
        match (&self.state, self.seeker.found()) {
            (State::Lost, Some(found)) => Err(unreadable(Some(found.clone()))),
            (State::Epilogue, _) => Ok(()),
            (_, Some(found)) if is_last => Err(unreadable(Some(found.clone()))),
            _ => Ok(()),
        }
    }
}

impl Multipart {
    /// One step; whether another may follow.
    fn advance(&mut self, splicer: &mut Splicer<'_>, is_last: bool, sink: Sink<'_>) -> Result<bool, Refusal> {
        match &self.state {
            State::Epilogue | State::Lost => {
                let rest = self.source.take(self.source.text().len());
                sink(&rest)?;
                Ok(false)
            }
            State::Head => self.head(splicer, is_last, sink),
            State::Preamble | State::Body(_) => match self.line.next(self.source.text(), is_last) {
                Next::Undecided(end) => {
                    let text = self.source.take(end);
                    self.write(splicer, &text, is_last, sink)?;
                    Ok(false)
                }
                Next::Stands { at, length, closes } => {
                    let text = self.source.take(at);
                    self.write(splicer, &text, true, sink)?;
                    if let State::Body(part) = &mut self.state
                        && part.watch.ended(&self.line)
                    {
                        return Err(part.boundary_inside(splicer));
                    }
                    self.delimiter(length, closes, sink)?;
                    Ok(true)
                }
            },
        }
    }

    /// Writes on what stands before or within a part; `ends`: nothing more comes of it.
    fn write(&mut self, splicer: &mut Splicer<'_>, text: &[u8], ends: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        let State::Body(part) = &mut self.state else { return sink(text) };
        part.write(splicer, &self.line, sink, |splicer, machine, sink| machine.push(splicer, text, ends, sink))
    }

    /// Passes on a delimiter of `length` bytes that comes next.
    fn delimiter(&mut self, length: usize, closes: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        self.state = if closes { State::Epilogue } else { State::Head };
        let line = if closes { self.source.take(length) } else { self.source.take_line(length) };
        sink(&line)
    }

    /// Takes a part's head, if it is whole.
    fn head(&mut self, splicer: &mut Splicer<'_>, is_last: bool, sink: Sink<'_>) -> Result<bool, Refusal> {
        let text = self.source.text();
        let looked = &text[..text.len().min(MAX_HEAD + EMPTY_LINE.needle().len().max(self.line.longest()))];
        let next = self.line.next(looked, is_last && looked.len() == text.len());
        // A delimiter's line end may be that of an empty line. Nothing behind it is looked at, as each part would do that.
        let before = if let Next::Stands { at, .. } = next { at + 2 } else { looked.len() };
        match (EMPTY_LINE.find(&looked[..before]), next) {
            (Some(end), _) if end <= MAX_HEAD => {
                let head = self.source.take(end + 2);
                self.state = State::Body(self.begin(splicer, &head, sink)?);
                // The empty line's end may begin a delimiter.
                self.source.gone = 2;
                sink(b"\r\n")?;
                Ok(true)
            }
            (None, Next::Stands { at, length, closes }) if at <= MAX_HEAD => {
                // No empty line ends its head: nothing can be said of such a part.
                let part = self.source.take(at);
                if let Some(secret) = first_reference(&part) {
                    return Err(unreadable(Some(secret)));
                }
                sink(&part)?;
                self.delimiter(length, closes, sink)?;
                Ok(true)
            }
            (None, Next::Undecided(from))
                if !is_last && (from <= MAX_HEAD || text.len() < MAX_HEAD + EMPTY_LINE.needle().len()) =>
            {
                Ok(false)
            }
            _ => {
                self.state = State::Lost;
                Ok(true)
            }
        }
    }

    /// Reads a part's head, and writes it.
    fn begin(&self, splicer: &mut Splicer<'_>, head: &[u8], sink: Sink<'_>) -> Result<Part, Refusal> {
        let fields = Head(head);
        fields.check()?;
        let machine = match fields.kind(self.depth) {
            Kind::Unsearched(reason) => Err(reason),
            Kind::As(media_type) => machine_for(&media_type),
            Kind::Untyped => {
                let text = Window::new(Coding::Raw, Text::new(Charset::Unnamed));
                Ok(Box::new(Untyped::new(Box::new(text), UNTYPED)) as Box<dyn Machine>)
            }
        };
        let is_searched = machine.is_ok();
        let machine = machine.unwrap_or_else(|reason| {
            splicer.receipt.unsearched.add(reason);
            Box::new(Untouched)
        });
        let mut part = Part { machine, watch: Watch::new(), before: splicer.changes };
        part.write(splicer, &self.line, sink, |splicer, _, sink| {
            if is_searched { Window::new(Coding::Raw, Fields).push(splicer, head, true, sink) } else { sink(head) }
        })?;
        // The empty line, which is written by itself.
        part.watch.wrote(&self.line, b"\r\n");
        Ok(part)
    }
}

impl Part {
    /// Has `write` write something of the part, watching for a delimiter in it.
    fn write(
        &mut self,
        splicer: &mut Splicer<'_>,
        line: &Line,
        sink: Sink<'_>,
        write: impl FnOnce(&mut Splicer<'_>, &mut dyn Machine, Sink<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let (watch, mut found) = (&mut self.watch, false);
        let written = write(splicer, self.machine.as_mut(), &mut |bytes| {
            found |= watch.wrote(line, bytes);
            if found { Err(unreadable(None)) } else { sink(bytes) }
        });
        if found { Err(self.boundary_inside(splicer)) } else { written }
    }

    /// Names the secret, if only one stands in the part so far.
    fn boundary_inside(&self, splicer: &Splicer<'_>) -> Refusal {
        let only = splicer.last.clone().filter(|_| splicer.changes == self.before + 1);
        let detail = "With its secrets in place a part of the multipart content would hold the boundary. Let the client choose another boundary.";
        Refusal::new(Code::SecretNotEncodable, detail).about_any(only, Surface::Body)
    }
}
