//! The rule of references, written down once more, slowly: one symbol after the other.

use subrosa::secret::SecretName;

/// A byte as it is meant, and as it is written.
struct Symbol<'a> {
    byte: u8,
    written: &'a [u8],
}

fn symbols(text: &[u8], percent: bool) -> Vec<Symbol<'_>> {
    let (mut symbols, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let hex = |offset: usize| text.get(at + offset).and_then(|byte| (*byte as char).to_digit(16));
        let encoded = if percent && text[at] == b'%' { hex(1).zip(hex(2)) } else { None };
        let width = if encoded.is_some() { 3 } else { 1 };
        let byte = encoded.map_or(text[at], |(high, low)| (high * 16 + low) as u8);
        symbols.push(Symbol { byte, written: &text[at..at + width] });
        at += width;
    }
    symbols
}

/// Where a reference that begins at `start` ends: at its closing brace.
fn core(symbols: &[Symbol<'_>], start: usize) -> Option<usize> {
    let text: Vec<u8> = symbols[start..].iter().take(160).map(|symbol| symbol.byte).collect();
    let name = text.strip_prefix(b"{secrets.")?;
    let end = name.iter().position(|byte| *byte == b'}')?;
    SecretName::parse(std::str::from_utf8(&name[..end]).ok()?).ok()?;
    Some(start + b"{secrets.".len() + end)
}

/// The text with `value` in the place of every reference, escapes undone.
pub fn replaced(text: &[u8], value: &[u8], percent: bool) -> Vec<u8> {
    let symbols = symbols(text, percent);
    let (mut out, mut copied, mut at) = (Vec::new(), 0, 0);
    let copy = |out: &mut Vec<u8>, from: usize, to: usize| symbols[from..to].iter().for_each(|it| out.extend_from_slice(it.written));
    while at < symbols.len() {
        let Some(close) = core(&symbols, at) else {
            at += 1;
            continue;
        };
        let open = at;
        // Braces before the last token's end belong to that.
        let before = (copied..open).rev().take_while(|it| symbols[*it].byte == b'{').count();
        let after = symbols[close + 1..].iter().take_while(|symbol| symbol.byte == b'}').count();
        let dollar = open.checked_sub(2).is_some_and(|it| symbols[it].byte == b'$');
        if before == 1 && after >= 1 && dollar {
            // Another product's syntax stays as it is.
            copy(&mut out, copied, close + 2);
            copied = close + 2;
            at = copied;
            continue;
        }
        let doubled = before > 0
            && after > 0
            && symbols[open - 1].written.len() == symbols[open].written.len()
            && symbols[close + 1].written.len() == symbols[close].written.len();
        if doubled {
            copy(&mut out, copied, open - 1);
            copy(&mut out, open, close + 1);
            copied = close + 2;
        } else {
            copy(&mut out, copied, open);
            out.extend_from_slice(value);
            copied = close + 1;
        }
        at = copied;
    }
    copy(&mut out, copied, symbols.len());
    out
}

