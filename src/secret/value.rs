//! The value of a secret: plaintext with one door, wiped when it is let go.

use std::fmt;

use zeroize::Zeroizing;

use crate::stack;

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing was there.
    #[error("a value may not be empty")]
    Empty,
    /// Over 64 KiB.
    #[error("a value may be 64 KiB long at most")]
    TooLong,
}

/// A plaintext of 1 byte to 64 KiB. Neither cloned nor shown nor serialised; wiped when dropped.
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes the plaintext over; it is wiped also when refused.
    pub fn new(bytes: Vec<u8>) -> Result<Self, ValueError> {
        stack::mark();
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            0 => Err(ValueError::Empty),
            1..=MAX_VALUE => Ok(Self(bytes)),
            _ => Err(ValueError::TooLong),
        }
    }

    /// Takes a plaintext as a person hands it over (standard input, a file, a form): one trailing
    /// line end (LF or CRLF) is removed. The second part says whether one was.
    pub fn without_line_end(mut bytes: Vec<u8>) -> Result<(Self, bool), ValueError> {
        let cut = line_end(&bytes);
        bytes.truncate(bytes.len() - cut);
        Self::new(bytes).map(|value| (value, cut > 0))
    }

    /// Whether both are the same plaintext.
    pub fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// The plaintext. This is the only door to it.
    pub fn expose(&self) -> &[u8] {
        stack::mark();
        &self.0
    }
}

/// How many bytes of one line end (LF or CRLF) stand at the end of `bytes`.
pub fn line_end(bytes: &[u8]) -> usize {
    match bytes {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_one_byte_to_64_kib() {
        assert_eq!(SecretValue::new(vec![]).err(), Some(ValueError::Empty));
        assert_eq!(SecretValue::new(vec![0; MAX_VALUE + 1]).err(), Some(ValueError::TooLong));
        assert!(SecretValue::new(vec![0; MAX_VALUE]).is_ok());
    }

    #[test]
    fn removes_one_line_end_and_says_so() {
        for (given, kept, removed) in
            [("a\n", "a", true), ("a\r\n", "a", true), ("a\n\n", "a\n", true), ("a", "a", false), ("a\r", "a\r", false)]
        {
            let (value, said) = SecretValue::without_line_end(given.as_bytes().to_vec()).expect("not empty");
            assert_eq!((value.expose(), said), (kept.as_bytes(), removed), "{given:?}");
        }
        assert_eq!(SecretValue::without_line_end(b"\n".to_vec()).err(), Some(ValueError::Empty));
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        let value = SecretValue::new(b"hunter2".to_vec()).expect("not empty");
        assert_eq!(format!("{value:?}"), "SecretValue(redacted)");
    }
}
