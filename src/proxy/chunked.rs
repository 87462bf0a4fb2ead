//! Where does a chunked content end? A strict reader of RFC 9112 section 7.1 that only watches:
//! the bytes go on to the HTTP library unchanged.
//!
//! It accepts what cannot be read in two ways: hexadecimal sizes of 16 digits at most, CRLF line
//! ends, extensions of printable characters whose quotes are closed, trailers of printable lines.

use crate::inject::Refusal;

/// The longest chunk-size line, extensions included, and the most bytes of trailers.
const MAX_LINE: usize = 1_024;
const MAX_TRAILERS: usize = 16 * 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size {
        digits: u8,
    },
    /// In the extensions of a size.
    Extension,
    /// In a quoted text there, and after a backslash in it.
    Quoted,
    Escaped,
    /// After the CR of a size line.
    SizeLf,
    /// In the bytes of a chunk.
    Data,
    /// Before the CR, then the LF, behind a chunk.
    DataCr,
    DataLf,
    /// At the start of a trailer line, in one, after its CR.
    TrailerStart,
    Trailer,
    TrailerLf,
    /// After the CR of the empty line.
    EndLf,
}

/// Progress through one chunked content.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    state: State,
    left: u64,
    line: usize,
    trailers: usize,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::Size { digits: 0 }, left: 0, line: 0, trailers: 0 }
    }

    /// Watches `bytes`; how many of them belong to this content, and whether it ends with them.
    pub(super) fn watch(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Data {
                let step = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += step;
                self.left -= step as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            let ended = self.step(bytes[at])?;
            at += 1;
            if ended {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// One byte outside chunk data; whether the content ends with it.
    fn step(&mut self, byte: u8) -> Result<bool, Refusal> {
        self.state = match (self.state, byte) {
            (State::Size { digits }, _) if byte.is_ascii_hexdigit() && digits < 16 => self.digit(byte, digits),
            (State::Size { digits: 1.. } | State::Extension, b'\r') => State::SizeLf,
            (State::Size { digits: 1.. }, b';') => State::Extension,
            (State::Quoted, b'\\') => self.extension(State::Escaped)?,
            (State::Extension, b'"') | (State::Escaped, b'\t' | b' '..=b'~') => self.extension(State::Quoted)?,
            (State::Quoted, b'"') => self.extension(State::Extension)?,
            (state @ (State::Extension | State::Quoted), b'\t' | b' '..=b'~') => self.extension(state)?,
            (State::SizeLf, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => self.next_chunk(),
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, b'!'..=b'~') | (State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => self.trailer()?,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => return Ok(true),
            _ => {
                return Err(Refusal::malformed(
                    "The chunked content is broken: a chunk size, its line end or a trailer is not as RFC 9112 section 7.1 has it.",
                ));
            }
        };
        Ok(false)
    }

    fn digit(&mut self, byte: u8, digits: u8) -> State {
        let digit = (byte as char).to_digit(16).unwrap_or_default();
        self.left = (self.left << 4) | u64::from(digit);
        State::Size { digits: digits + 1 }
    }

    fn next_chunk(&mut self) -> State {
        (self.left, self.line) = (0, 0);
        State::Size { digits: 0 }
    }

    fn extension(&mut self, next: State) -> Result<State, Refusal> {
        self.line += 1;
        if self.line > MAX_LINE { Err(Refusal::malformed("A chunk extension is over 1,024 bytes long.")) } else { Ok(next) }
    }

    fn trailer(&mut self) -> Result<State, Refusal> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            Err(Refusal::malformed("The trailers are over 16 KiB long."))
        } else {
            Ok(State::Trailer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_at_once(bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        Chunked::new().watch(bytes)
    }

    #[test]
    fn finds_the_end_wherever_the_bytes_are_split() {
        let content = b"4;a=\"b\\\"\\\\\";c\r\nWiki\r\n00A\r\n0123456789\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1";
        let end = content.len() - b"GET / HTTP/1.1".len();
        assert_eq!(all_at_once(content), Ok((end, true)));
        for split in 1..end {
            let mut watcher = Chunked::new();
            assert_eq!(watcher.watch(&content[..split]), Ok((split, false)), "{split}");
            assert_eq!(watcher.watch(&content[split..]), Ok((end - split, true)), "{split}");
        }
    }

    /// Where a reader that takes bare line feeds and blanks sees the end; nothing where it sees none.
    fn as_a_lax_reader_sees_it(mut bytes: &[u8]) -> Option<usize> {
        let whole = bytes.len();
        let line = |bytes: &mut &[u8]| {
            let end = bytes.iter().position(|byte| *byte == b'\n')?;
            let line = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
            *bytes = &bytes[end + 1..];
            Some(line)
        };
        loop {
            let size = line(&mut bytes)?;
            let size = size.split(';').next()?.trim();
            let size = usize::from_str_radix(size, 16).ok()?;
            if size == 0 {
                while !line(&mut bytes)?.is_empty() {}
                return Some(whole - bytes.len());
            }
            bytes = bytes.get(size..)?;
            line(&mut bytes)?;
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 3000, ..Default::default() })]

        #[test]
        fn ends_where_a_lax_reader_sees_the_end_however_it_comes(parts in proptest::collection::vec(proptest::sample::select(vec![
            "0\r\n", "1\r\na\r\n", "3\r\nabc\r\n", "A\r\n0123456789\r\n", "0\r\n\r\n", "\r\n", "\n", "\r", "0", "5", "00", "f", " ", "\t", ";", ";a=b",
            ";a=\"b\"", "\"", "\\", "X: y\r\n", ":", "GET / HTTP/1.1\r\n", "+", "-", "x", "\0",
        ]), 0..12), steps in proptest::collection::vec(1..7_usize, 0..12)) {
            let bytes = parts.concat().into_bytes();
            let (mut watcher, mut at, mut ended) = (Chunked::new(), 0_usize, false);
            for step in steps.into_iter().chain([usize::MAX]) {
                let piece = &bytes[at..at.saturating_add(step).min(bytes.len())];
                let Ok((count, is_end)) = watcher.watch(piece) else {
                    proptest::prop_assert!(all_at_once(&bytes).is_err());
                    return Ok(());
                };
                at += count;
                ended = is_end;
                if ended {
                    break;
                }
            }
            proptest::prop_assert_eq!(all_at_once(&bytes), Ok((at, ended)));
            if ended {
                proptest::prop_assert_eq!(as_a_lax_reader_sees_it(&bytes[..at]), Some(at), "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for broken in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\n",
            "1\r\nab",
            "1\r\na\n",
            "0\r\n\n",
            "0\r\n x: y\r\n",
            "00000000000000001\r\n",
            "1;\u{1}\r\n",
            "1;a=\"\r\n",
            "1;a=\"\\\"\r\n",
            "0\r\nx: \u{0}\r\n",
        ] {
            assert!(all_at_once(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }
}
