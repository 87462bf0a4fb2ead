//! Base64 (RFC 4648) around a value: what part of an encoded text depends on the value alone, and how the
//! reference takes the value's place so that the text decodes still.
//!
//! A value may begin at any of the three bytes of a group. The core is the characters that hold bits of
//! the value only; the character before it, if the value begins within one, holds some of them too. What
//! follows the value in the same text is decoded, looked through and encoded again, since the reference
//! moves it.

use super::super::Plaintext;

/// Where in a group of three bytes a value begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    /// 0, 1 or 2.
    offset: u8,
    /// How many bits of the value stand in the character before the core, and which.
    lead_bits: u8,
    lead: u8,
    /// How many stand in the character behind it.
    rest_bits: u8,
}

/// The value of a character of either alphabet.
fn symbol(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn letter(value: u8, url_safe: bool) -> u8 {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    match value & 63 {
        62 => [b'+', b'-'][usize::from(url_safe)],
        63 => [b'/', b'_'][usize::from(url_safe)],
        value => LETTERS[usize::from(value)],
    }
}

impl Alignment {
    /// The three of a value that is not empty.
    pub(super) fn of(value: &[u8]) -> [Self; 3] {
        [(0, 0), (1, 4), (2, 2)].map(|(offset, lead_bits)| {
            let lead = u8::try_from(u16::from(value[0]) >> (8 - lead_bits)).unwrap_or_default();
            // At most 4.
            let rest_bits = u8::try_from((value.len() * 8 - usize::from(lead_bits)) % 6).unwrap_or_default();
            Self { offset, lead_bits, lead, rest_bits }
        })
    }

    /// The characters that hold bits of the value only.
    pub(super) fn core(self, value: &[u8], url_safe: bool) -> Plaintext {
        let mut core = Plaintext::new(Vec::with_capacity(value.len() * 4 / 3 + 1));
        let (mut bits, mut count) = (0_u32, 0_u8);
        for (at, byte) in value.iter().enumerate() {
            bits = bits << 8 | u32::from(*byte);
            count += 8;
            if at == 0 {
                count -= self.lead_bits;
                bits &= (1 << count) - 1;
            }
            while count >= 6 {
                count -= 6;
                core.push(letter(u8::try_from(bits >> count & 63).unwrap_or_default(), url_safe));
                bits &= (1 << count) - 1;
            }
        }
        core
    }

    /// Whether the value begins within the character before the core.
    pub(super) fn has_lead(self) -> bool {
        self.lead_bits > 0
    }

    /// Whether a character may stand before the core.
    pub(super) fn fits_lead(self, byte: u8) -> bool {
        symbol(byte).is_some_and(|value| value & ((1 << self.lead_bits) - 1) == self.lead)
    }
}

/// What stands next in a text in base64, and how many bytes it takes.
enum Sign {
    Symbol(u8, usize),
    Padding(usize),
    Other,
    /// The text ends too early to tell.
    Cut,
}

impl Sign {
    /// JSON may write `/`, `+` and `=` with escapes.
    fn of(text: &[u8], is_last: bool) -> Self {
        const ESCAPES: [(&[u8], u8); 7] = [
            (b"\\/", b'/'),
            (b"\\u002f", b'/'),
            (b"\\u002F", b'/'),
            (b"\\u002b", b'+'),
            (b"\\u002B", b'+'),
            (b"\\u003d", b'='),
            (b"\\u003D", b'='),
        ];
        let (byte, length) = match text.first() {
            None if is_last => return Self::Other,
            None => return Self::Cut,
            Some(b'\\') => match ESCAPES.iter().find(|(escape, _)| text.starts_with(escape)) {
                Some((escape, byte)) => (*byte, escape.len()),
                None if !is_last && ESCAPES.iter().any(|(escape, _)| escape.starts_with(text)) => return Self::Cut,
                None => return Self::Other,
            },
            Some(byte) => (*byte, 1),
        };
        match byte {
            b'=' => Self::Padding(length),
            byte if symbol(byte).is_some() => Self::Symbol(byte, length),
            _ => Self::Other,
        }
    }
}

/// How many characters of base64 a text in it has.
fn symbols(text: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Sign::Symbol(_, length) = Sign::of(&text[at..], true) {
        at += length;
        count += 1;
    }
    count
}

/// What follows a value in its base64 text.
pub(super) struct Tail {
    writer: Writer,
    /// How many bits of the value stand at the beginning of the next character.
    skip: u8,
    /// Bits that make no byte yet.
    bits: u32,
    count: u8,
    /// How many characters the source has had, counted from the beginning of a group.
    read: usize,
    /// How many `=` more the source has.
    padding: Option<usize>,
}

/// What is done with what a tail decodes to: the last time with `true`; what goes out instead is written.
pub(super) type Inner<'i> = &'i mut dyn FnMut(&[u8], bool, &mut Vec<u8>);

/// How far a tail came.
pub(super) struct Taken {
    /// So many bytes of the source belong to it.
    pub(super) used: usize,
    pub(super) has_ended: bool,
}

impl Tail {
    /// Behind `matched`, which is the core with its lead; `reference` goes out in their place.
    pub(super) fn behind(alignment: Alignment, matched: &[u8], reference: &[u8], out: &mut Vec<u8>) -> Self {
        let url_safe = matched.iter().any(|byte| matches!(byte, b'-' | b'_'));
        let mut writer = Writer { bits: 0, count: 0, written: usize::from(alignment.offset), url_safe };
        if alignment.has_lead() {
            let lead = matched.first().and_then(|byte| symbol(*byte)).unwrap_or_default();
            writer.bits = u32::from(lead >> alignment.lead_bits);
            writer.count = 6 - alignment.lead_bits;
        }
        writer.write(reference, out);
        let read = usize::from(alignment.offset) + symbols(matched);
        Self { writer, skip: alignment.rest_bits, bits: 0, count: 0, read, padding: None }
    }

    /// Takes what belongs to it.
    pub(super) fn take(&mut self, text: &[u8], is_last: bool, inner: Inner<'_>, out: &mut Vec<u8>) -> Taken {
        let mut used = 0;
        if self.padding.is_none() {
            let mut decoded = Vec::new();
            let next = loop {
                match Sign::of(&text[used..], is_last) {
                    Sign::Symbol(byte, length) => {
                        self.read(byte, &mut decoded);
                        used += length;
                    }
                    next => break next,
                }
            };
            let ends = !matches!(next, Sign::Cut);
            let mut written = Vec::new();
            inner(&decoded, ends, &mut written);
            self.writer.write(&written, out);
            if !ends {
                return Taken { used, has_ended: false };
            }
            self.end(matches!(next, Sign::Padding(_)), out);
        }
        let padding = self.padding.get_or_insert(0);
        while *padding > 0 {
            match Sign::of(&text[used..], is_last) {
                Sign::Padding(length) => {
                    *padding -= 1;
                    used += length;
                }
                Sign::Cut => return Taken { used, has_ended: false },
                Sign::Symbol(..) | Sign::Other => break,
            }
        }
        Taken { used, has_ended: true }
    }

    fn read(&mut self, byte: u8, decoded: &mut Vec<u8>) {
        let Some(value) = symbol(byte) else { return };
        self.writer.url_safe |= matches!(byte, b'-' | b'_');
        let width = 6 - std::mem::take(&mut self.skip);
        self.bits = self.bits << width | u32::from(value & ((1 << width) - 1));
        self.count += width;
        self.read += 1;
        if self.count >= 8 {
            self.count -= 8;
            decoded.push(u8::try_from(self.bits >> self.count & 255).unwrap_or_default());
            self.bits &= (1 << self.count) - 1;
        }
    }

    /// Writes the last character, and the padding if the source had some or needed none.
    fn end(&mut self, is_padded: bool, out: &mut Vec<u8>) {
        let missing = (4 - self.read % 4) % 4;
        // Behind a whole group `=` means something else.
        self.padding = Some(if is_padded { missing } else { 0 });
        let pads = if missing == 0 { !self.writer.url_safe } else { is_padded };
        self.writer.finish(pads, out);
    }
}

/// Writes base64 from the middle of a group on.
struct Writer {
    bits: u32,
    count: u8,
    /// How many characters were written, counted from the beginning of a group.
    written: usize,
    url_safe: bool,
}

impl Writer {
    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            self.bits = self.bits << 8 | u32::from(*byte);
            self.count += 8;
            while self.count >= 6 {
                self.count -= 6;
                self.put(self.bits >> self.count, out);
                self.bits &= (1 << self.count) - 1;
            }
        }
    }

    fn put(&mut self, value: u32, out: &mut Vec<u8>) {
        out.push(letter(u8::try_from(value & 63).unwrap_or_default(), self.url_safe));
        self.written += 1;
    }

    fn finish(&mut self, pads: bool, out: &mut Vec<u8>) {
        if self.count > 0 {
            self.put(self.bits << (6 - self.count), out);
            self.count = 0;
        }
        if pads {
            out.extend(std::iter::repeat_n(b'=', (4 - self.written % 4) % 4));
        }
    }
}
