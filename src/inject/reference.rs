//! The grammar of references, and the scanner that finds them: raw, or with any byte
//! percent-encoded.
//!
//! `{secrets.NAME}` is a reference. With both braces doubled it is the escape, which goes out with
//! one brace less on each side; directly after a `$` the doubled form is another product's syntax
//! and ordinary text. Whatever does not fit the grammar is ordinary text.

use std::ops::Range;

use crate::secret::{MAX_NAME, SecretName, is_name_byte};

/// What stands between the opening brace and the name.
const KEYWORD: &[u8] = b"secrets.";
/// A reference's beginning where nothing is encoded.
const RAW_START: &[u8] = b"{secrets.";

/// How the bytes of a text stand for characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As they are.
    Raw,
    /// Any of them may be written `%XX`.
    Percent,
}

impl Coding {
    /// The character at `at` and how many bytes it takes.
    fn read(self, text: &[u8], at: usize) -> Option<(u8, usize)> {
        match (self, text.get(at..)?) {
            (Self::Percent, [b'%', high, low, ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => Some((high << 4 | low, 3)),
                _ => Some((b'%', 1)),
            },
            (_, [byte, ..]) => Some((*byte, 1)),
            (_, []) => None,
        }
    }

    /// Whether more text could make another character of what stands at `at`.
    fn is_cut(self, text: &[u8], at: usize) -> bool {
        match text.get(at..).unwrap_or_default() {
            [] => true,
            [b'%'] => self == Self::Percent,
            [b'%', high] => self == Self::Percent && digit(*high).is_some(),
            _ => false,
        }
    }

    /// The character that ends before `end` and how many bytes it takes.
    fn read_back(self, text: &[u8], end: usize) -> Option<(u8, usize)> {
        if self == Self::Percent
            && end >= 3
            && let (b'%', Some(high), Some(low)) = (text[end - 3], digit(text[end - 2]), digit(text[end - 1]))
        {
            return Some((high << 4 | low, 3));
        }
        Some((*text.get(end.checked_sub(1)?)?, 1))
    }
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Something the scanner found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A reference: where it stands and what it names.
    Reference(Range<usize>, SecretName),
    /// An escape: where it stands with its inner pair of extra braces, and where what is left of
    /// it stands.
    Escape(Range<usize>, Range<usize>),
}

impl Token {
    /// Where it stands, all of it.
    pub(super) fn range(&self) -> Range<usize> {
        match self {
            Self::Reference(range, _) | Self::Escape(range, _) => range.clone(),
        }
    }
}

/// What the scanner can tell of a text that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next token.
    Token(Token),
    /// No further token begins before here. What begins here can be told once more of the text is
    /// known; at the end of a whole text it is nothing.
    Undecided(usize),
}

/// `{secrets.NAME}` with the braces around it counted.
struct Core {
    /// From brace to brace.
    range: Range<usize>,
    /// The further braces beside it.
    before: Row,
    after: Row,
    name: SecretName,
}

/// Whether a core stands somewhere.
enum Fit {
    Yes(usize, SecretName),
    No,
    /// The text ends too early to tell.
    Cut,
}

/// How many braces stand in a row beside a core, and how long the nearest one is.
#[derive(Clone, Copy, Default)]
struct Row {
    count: usize,
    nearest: usize,
    /// Where the row ends, seen from the core.
    edge: usize,
}

/// Finds tokens from left to right; they never overlap.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    coding: Coding,
    at: usize,
    /// The text ends where the bytes end.
    is_whole: bool,
}

impl<'a> Scanner<'a> {
    /// Over a whole text.
    pub(super) fn new(text: &'a [u8], coding: Coding) -> Self {
        Self { text, coding, at: 0, is_whole: true }
    }

    /// Over a text of which more may follow, unless it `is_whole`. It must begin where an earlier
    /// one was undecided, or where a token of it ended.
    pub(super) fn part(text: &'a [u8], coding: Coding, is_whole: bool) -> Self {
        Self { text, coding, at: 0, is_whole }
    }

    /// The next token, or how far the text is known to hold none.
    pub(super) fn step(&mut self) -> Step {
        loop {
            let core = match self.core() {
                Ok(core) => core,
                Err(undecided) => return Step::Undecided(undecided),
            };
            if self.is_foreign(&core) {
                self.at = core.range.end + core.after.nearest;
                continue;
            }
            if !self.is_doubled(&core) {
                self.at = core.range.end;
                return Step::Token(Token::Reference(core.range, core.name));
            }
            let outer = core.range.start - core.before.nearest..core.range.end + core.after.nearest;
            self.at = outer.end;
            return Step::Token(Token::Escape(outer, core.range));
        }
    }

    /// The next core, or from where on it is not known whether one comes; braces before `self.at`
    /// belong to an earlier token.
    fn core(&self) -> Result<Core, usize> {
        let mut from = self.at;
        loop {
            let start = self.candidate(from)?;
            let Some((_, width)) = self.coding.read(self.text, start) else { return Err(self.held_from(start)) };
            match self.fits(start + width) {
                Fit::Yes(end, name) => {
                    let before = self.braces_before(start);
                    // Only beside an opening brace does a closing one matter.
                    if before.count > 0 && !self.is_whole && self.coding.is_cut(self.text, end) {
                        return Err(self.held_from(start));
                    }
                    return Ok(Core { before, after: self.braces_after(end), range: start..end, name });
                }
                Fit::No => from = start + width,
                Fit::Cut => return Err(self.held_from(start)),
            }
        }
    }

    /// Where the next opening brace stands that may begin a core, or from where on none is known.
    fn candidate(&self, mut from: usize) -> Result<usize, usize> {
        let rest = |from: usize| self.text.get(from..).unwrap_or_default();
        match self.coding {
            Coding::Raw => match memchr::memmem::find(rest(from), RAW_START) {
                Some(found) => Ok(from + found),
                None => Err(self.held_from(self.text.len() - begun(rest(from)))),
            },
            Coding::Percent => loop {
                let Some(found) = memchr::memchr2(b'{', b'%', rest(from)) else { return Err(self.held_from(self.text.len())) };
                let at = from + found;
                if !self.is_whole && self.coding.is_cut(self.text, at) {
                    return Err(self.held_from(at));
                }
                match self.coding.read(self.text, at) {
                    Some((b'{', _)) => return Ok(at),
                    Some((_, width)) => from = at + width,
                    None => return Err(self.held_from(at)),
                }
            },
        }
    }

    /// Whether a keyword, a name and a closing brace stand at `at`: where they end, and the name.
    fn fits(&self, mut at: usize) -> Fit {
        let end = if self.is_whole { Fit::No } else { Fit::Cut };
        let next = |at: usize| {
            let cut = !self.is_whole && self.coding.is_cut(self.text, at);
            if cut { None } else { self.coding.read(self.text, at) }
        };
        for wanted in KEYWORD {
            let Some((byte, width)) = next(at) else { return end };
            if byte != *wanted {
                return Fit::No;
            }
            at += width;
        }
        let mut name = [0; MAX_NAME];
        let mut length = 0;
        loop {
            let Some((byte, width)) = next(at) else { return end };
            at += width;
            if byte == b'}' {
                break;
            }
            if !is_name_byte(byte) || length == MAX_NAME {
                return Fit::No;
            }
            name[length] = byte;
            length += 1;
        }
        let name = std::str::from_utf8(&name[..length]).ok().and_then(|name| SecretName::parse(name).ok());
        name.map_or(Fit::No, |name| Fit::Yes(at, name))
    }

    /// From where on a text must be kept for what begins at `start` to be told: with up to two
    /// braces before it, and a `$` before one of them.
    fn held_from(&self, start: usize) -> usize {
        if self.is_whole {
            return self.text.len();
        }
        let (mut edge, mut braces) = (start, 0);
        while let Some((byte, width)) = self.coding.read_back(self.text, edge)
            && edge - width >= self.at
            && braces < 2
            && matches!(byte, b'{' | b'$')
        {
            edge -= width;
            braces += 1;
            if byte == b'$' {
                break;
            }
        }
        edge
    }

    fn braces_before(&self, start: usize) -> Row {
        let mut row = Row { edge: start, ..Row::default() };
        while let Some((b'{', width)) = self.coding.read_back(self.text, row.edge) {
            if row.edge - width < self.at {
                break;
            }
            row.edge -= width;
            row.count += 1;
            if row.count == 1 {
                row.nearest = width;
            }
        }
        row
    }

    fn braces_after(&self, end: usize) -> Row {
        let mut row = Row { edge: end, ..Row::default() };
        while let Some((b'}', width)) = self.coding.read(self.text, row.edge) {
            row.edge += width;
            row.count += 1;
            if row.count == 1 {
                row.nearest = width;
            }
        }
        row
    }

    /// With a brace more on either side, each written as the one it stands beside.
    fn is_doubled(&self, core: &Core) -> bool {
        let opening = self.coding.read(self.text, core.range.start).map(|(_, width)| width);
        let closing = self.coding.read_back(self.text, core.range.end).map(|(_, width)| width);
        opening == Some(core.before.nearest) && closing == Some(core.after.nearest)
    }

    /// Doubled, directly after a `$`.
    fn is_foreign(&self, core: &Core) -> bool {
        core.before.count == 1
            && core.after.count >= 1
            && matches!(self.coding.read_back(self.text, core.before.edge), Some((b'$', _)))
    }
}

/// How many bytes at the end of `text` may begin a core.
fn begun(text: &[u8]) -> usize {
    (1..RAW_START.len()).rev().find(|length| text.ends_with(&RAW_START[..*length])).unwrap_or(0)
}

impl Iterator for Scanner<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        match self.step() {
            Step::Token(token) => Some(token),
            Step::Undecided(_) => None,
        }
    }
}

/// Whether a reference or an escape stands in `text`, raw or percent-encoded. Used where neither
/// is to stand at all.
pub fn holds_reference(text: &[u8]) -> bool {
    first_reference(text).is_some()
}

/// The name in the first of them.
pub fn first_reference(text: &[u8]) -> Option<SecretName> {
    let mut scanner = Scanner::new(text, Coding::Percent);
    loop {
        let core = scanner.core().ok()?;
        if !scanner.is_foreign(&core) {
            return Some(core.name);
        }
        scanner.at = core.range.end + core.after.nearest;
    }
}

/// The text of an upstream with each reference-shaped part escaped, so that a client that sends it
/// back sends no reference; `None` where there is nothing to escape. Undoing the escape restores
/// the text.
///
/// KNOWN GAP: `${secrets.NAME}` becomes `${{secrets.NAME}}`, which is not undone on the way back.
pub fn escape_text(text: &[u8]) -> Option<Vec<u8>> {
    let mut scanner = Scanner::new(text, Coding::Percent);
    let mut escaped = Vec::new();
    let mut copied = 0;
    while let Ok(core) = scanner.core() {
        scanner.at = core.range.end;
        // Where braces or `$` are percent-encoded a surface that is read as it is sees something else.
        let is_plain = text[..core.range.start].ends_with(b"${") && text[core.range.end..].starts_with(b"}");
        if scanner.is_foreign(&core) && is_plain && text[core.range.clone()].ends_with(b"}") {
            continue;
        }
        let brace = |at: usize| {
            let width = Coding::Percent.read(text, at).map_or(1, |(_, width)| width);
            &text[at..at + width]
        };
        let (_, closing) = Coding::Percent.read_back(text, core.range.end).unwrap_or((b'}', 1));
        escaped.extend_from_slice(&text[copied..core.range.start]);
        escaped.extend_from_slice(brace(core.range.start));
        escaped.extend_from_slice(&text[core.range.clone()]);
        escaped.extend_from_slice(&text[core.range.end - closing..core.range.end]);
        copied = core.range.end;
    }
    if copied == 0 {
        return None;
    }
    escaped.extend_from_slice(&text[copied..]);
    Some(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, coding: Coding) -> Vec<String> {
        let shown = |token| match token {
            Token::Reference(range, name) => format!("{}={name}", &text[range]),
            Token::Escape(outer, inner) => format!("{}->{}", &text[outer], &text[inner]),
        };
        Scanner::new(text.as_bytes(), coding).map(shown).collect()
    }

    #[test]
    fn finds_references_and_nothing_else() {
        for (text, found) in [
            ("Bearer {secrets.crm.apiKey}!", vec!["{secrets.crm.apiKey}=crm.apiKey"]),
            ("{secrets.a}{secrets.b}", vec!["{secrets.a}=a", "{secrets.b}=b"]),
            ("{secrets.{secrets.a}", vec!["{secrets.a}=a"]),
            ("{secrets.} {secrets.9x} {secret.x} {Secrets.x} {secrets.a b} {secrets.a", vec![]),
            ("{{secrets.a}}", vec!["{{secrets.a}}->{secrets.a}"]),
            ("{{{secrets.a}}}", vec!["{{secrets.a}}->{secrets.a}"]),
            ("{{secrets.a}", vec!["{secrets.a}=a"]),
            ("{secrets.a}}", vec!["{secrets.a}=a"]),
            ("${{secrets.a}}", vec![]),
            ("${secrets.a}", vec!["{secrets.a}=a"]),
            ("${{{secrets.a}}}", vec!["{{secrets.a}}->{secrets.a}"]),
            ("{{secrets.a}}{{secrets.b}}", vec!["{{secrets.a}}->{secrets.a}", "{{secrets.b}}->{secrets.b}"]),
        ] {
            assert_eq!(tokens(text, Coding::Raw), found, "{text}");
            assert_eq!(tokens(text, Coding::Percent), found, "{text}");
        }
    }

    #[test]
    fn reads_any_byte_percent_encoded_once() {
        for (text, found) in [
            ("%7Bsecrets.a%7d", vec!["%7Bsecrets.a%7d=a"]),
            ("%7b%73ecrets%2E%61%7D", vec!["%7b%73ecrets%2E%61%7D=a"]),
            ("%257Bsecrets.a%257D", vec![]),
            ("%7B%7Bsecrets.a%7D%7D", vec!["%7B%7Bsecrets.a%7D%7D->%7Bsecrets.a%7D"]),
            ("%24{%7Bsecrets.a}%7D", vec![]),
            ("%{secrets.a}", vec!["{secrets.a}=a"]),
            ("%7{secrets.a}%7", vec!["{secrets.a}=a"]),
        ] {
            assert_eq!(tokens(text, Coding::Percent), found, "{text}");
        }
        assert_eq!(tokens("%7Bsecrets.a%7D", Coding::Raw), Vec::<String>::new());
    }

    #[test]
    fn a_name_of_128_bytes_is_the_longest() {
        let long = format!("{{secrets.{}}}", "a".repeat(MAX_NAME));
        assert_eq!(tokens(&long, Coding::Raw).len(), 1);
        assert_eq!(tokens(&long.replace("a}", "aa}"), Coding::Raw).len(), 0);
    }

    /// What the road makes of a text without references.
    fn unescaped(text: &[u8], coding: Coding) -> Vec<u8> {
        let (mut out, mut copied) = (Vec::new(), 0);
        for token in Scanner::new(text, coding) {
            let Token::Escape(outer, inner) = token else { panic!("a reference in {}", String::from_utf8_lossy(text)) };
            out.extend_from_slice(&text[copied..outer.start]);
            out.extend_from_slice(&text[inner]);
            copied = outer.end;
        }
        out.extend_from_slice(&text[copied..]);
        out
    }

    /// Found by fuzzing: it stays in a target, and in a field it was a reference.
    #[test]
    fn what_is_foreign_in_one_coding_only_is_escaped() {
        for said in ["${{secrets.a}%7D", "%24{{secrets.a}%7d", "$%7B{secrets.a}}", "%24{{secrets.a}}"] {
            let sent = escape_text(said.as_bytes()).expect(said);
            assert_eq!(String::from_utf8_lossy(&unescaped(&sent, Coding::Raw)), said);
            assert_eq!(String::from_utf8_lossy(&unescaped(&sent, Coding::Percent)), said);
        }
        assert_eq!(escape_text(b"${{secrets.a}}"), None);
    }

    proptest::proptest! {
        #[test]
        fn what_an_upstream_says_comes_back_as_it_was(parts in proptest::collection::vec(proptest::sample::select(vec!["{", "}", "%7B", "%7d", "secrets.a", "{secrets.a}", "%7Bsecrets.a%7D", "x", "%", "7"]), 0..14)) {
            let said = parts.concat();
            let sent = escape_text(said.as_bytes()).unwrap_or_else(|| said.clone().into_bytes());
            let restored = unescaped(&sent, Coding::Percent);
            proptest::prop_assert_eq!(String::from_utf8_lossy(&restored), said);
        }

        #[test]
        fn no_reference_is_left_on_any_surface(parts in proptest::collection::vec(proptest::sample::select(vec!["{", "}", "$", "%24", "%7B", "%7d", "{secrets.a", "{secrets.a}", "{{secrets.a}}", "%7Bsecrets.a"]), 0..10)) {
            let said = parts.concat();
            let sent = escape_text(said.as_bytes()).unwrap_or_else(|| said.into_bytes());
            unescaped(&sent, Coding::Percent);
            unescaped(&sent, Coding::Raw);
        }
    }
}
