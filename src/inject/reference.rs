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

/// `{secrets.NAME}` with the braces around it counted.
struct Core {
    /// From brace to brace.
    range: Range<usize>,
    /// The further braces beside it.
    before: Row,
    after: Row,
    name: SecretName,
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
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8], coding: Coding) -> Self {
        Self { text, coding, at: 0 }
    }

    /// The next core; braces before `self.at` belong to an earlier token.
    fn core(&mut self) -> Option<Core> {
        let floor = self.at;
        let mut from = self.at;
        loop {
            let start = self.candidate(from)?;
            let (_, width) = self.coding.read(self.text, start)?;
            match self.fits(start + width) {
                Some((end, name)) => {
                    let range = start..end;
                    return Some(Core { before: self.braces_before(start, floor), after: self.braces_after(end), range, name });
                }
                None => from = start + width,
            }
        }
    }

    /// Where the next opening brace stands.
    fn candidate(&self, mut from: usize) -> Option<usize> {
        match self.coding {
            Coding::Raw => memchr::memmem::find(self.text.get(from..)?, RAW_START).map(|found| from + found),
            Coding::Percent => loop {
                let at = from + memchr::memchr2(b'{', b'%', self.text.get(from..)?)?;
                let (byte, width) = self.coding.read(self.text, at)?;
                if byte == b'{' {
                    return Some(at);
                }
                from = at + width;
            },
        }
    }

    /// Whether a keyword, a name and a closing brace stand at `at`: where they end, and the name.
    fn fits(&self, mut at: usize) -> Option<(usize, SecretName)> {
        for wanted in KEYWORD {
            let (byte, width) = self.coding.read(self.text, at)?;
            if byte != *wanted {
                return None;
            }
            at += width;
        }
        let mut name = [0; MAX_NAME];
        let mut length = 0;
        loop {
            let (byte, width) = self.coding.read(self.text, at)?;
            at += width;
            if byte == b'}' {
                break;
            }
            if !is_name_byte(byte) {
                return None;
            }
            *name.get_mut(length)? = byte;
            length += 1;
        }
        let name = std::str::from_utf8(&name[..length]).ok()?;
        Some((at, SecretName::parse(name).ok()?))
    }

    fn braces_before(&self, start: usize, floor: usize) -> Row {
        let mut row = Row { edge: start, ..Row::default() };
        while let Some((b'{', width)) = self.coding.read_back(self.text, row.edge) {
            if row.edge - width < floor {
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

impl Iterator for Scanner<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let core = self.core()?;
            if self.is_foreign(&core) {
                self.at = core.range.end + core.after.nearest;
                continue;
            }
            if !self.is_doubled(&core) {
                self.at = core.range.end;
                return Some(Token::Reference(core.range, core.name));
            }
            let outer = core.range.start - core.before.nearest..core.range.end + core.after.nearest;
            self.at = outer.end;
            return Some(Token::Escape(outer, core.range));
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
        let core = scanner.core()?;
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
    while let Some(core) = scanner.core() {
        scanner.at = core.range.end;
        if scanner.is_foreign(&core) {
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
    fn unescaped(text: &[u8]) -> Vec<u8> {
        let (mut out, mut copied) = (Vec::new(), 0);
        for token in Scanner::new(text, Coding::Percent) {
            let Token::Escape(outer, inner) = token else { panic!("a reference in {}", String::from_utf8_lossy(text)) };
            out.extend_from_slice(&text[copied..outer.start]);
            out.extend_from_slice(&text[inner]);
            copied = outer.end;
        }
        out.extend_from_slice(&text[copied..]);
        out
    }

    proptest::proptest! {
        #[test]
        fn what_an_upstream_says_comes_back_as_it_was(parts in proptest::collection::vec(proptest::sample::select(vec!["{", "}", "%7B", "%7d", "secrets.a", "{secrets.a}", "%7Bsecrets.a%7D", "x", "%", "7"]), 0..14)) {
            let said = parts.concat();
            let sent = escape_text(said.as_bytes()).unwrap_or_else(|| said.clone().into_bytes());
            let restored = unescaped(&sent);
            proptest::prop_assert_eq!(String::from_utf8_lossy(&restored), said);
        }

        #[test]
        fn after_a_dollar_no_reference_is_left_either(parts in proptest::collection::vec(proptest::sample::select(vec!["{", "}", "$", "%24", "{secrets.a}", "{{secrets.a}}"]), 0..10)) {
            let said = parts.concat();
            let sent = escape_text(said.as_bytes()).unwrap_or_else(|| said.into_bytes());
            unescaped(&sent);
        }
    }
}
