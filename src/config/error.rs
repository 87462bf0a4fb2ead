//! What is wrong with a configuration: where it stands, which key, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// A configuration that the server does not start with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it stands.
    pub place: Place,
    /// The key at fault, dotted; none for faults of the file as a whole.
    pub key: Option<String>,
    /// What is wrong, and what to do.
    pub fault: String,
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, on a line counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line, where one can be told.
        line: Option<usize>,
    },
    /// In an environment variable.
    Variable(String),
    /// Nowhere: the built-in defaults.
    Defaults,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}, line {line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Defaults => f.write_str("the built-in defaults"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: `{key}`: {}", self.place, self.fault),
            None => write!(f, "{}: {}", self.place, self.fault),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Rewrites what serde says about keys and words into what a person can act on: the nearest known
/// word, or all of them.
pub(super) fn cure(message: &str) -> String {
    for (opening, what) in [("unknown field `", "key"), ("unknown variant `", "word")] {
        let Some((given, rest)) = message.strip_prefix(opening).and_then(|rest| rest.split_once('`')) else { continue };
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let advice = match nearest(given, &known) {
            Some(word) => format!("did you mean `{word}`?"),
            None if known.is_empty() => "remove it".to_owned(),
            None => format!("known are {}", known.join(", ")),
        };
        return format!("there is no {what} `{given}` here; {advice}");
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("the key `{key}` is missing; add it");
    }
    let first = message.lines().next().unwrap_or_default();
    PLAIN_WORDS.iter().fold(first.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// What the libraries call a type, and what a person calls it.
const PLAIN_WORDS: [(&str, &str); 5] = [
    ("expected a sequence", "expected a list, as in [\"…\"]"),
    ("expected socket address", "expected an address with its port in quotes, as in \"127.0.0.1:8080\""),
    (
        "invalid socket address syntax",
        "this is no address with a port, as in \"127.0.0.1:8080\" or \"[::1]:8080\"; names are not looked up",
    ),
    ("expected path string", "expected a path in quotes"),
    ("expected usize", "expected a whole number, 0 or more"),
];

/// The known word that was probably meant: at most a third of its letters differ.
pub(super) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given = given.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|word| (distance(&given, &word.replace('-', "_")), *word))
        .filter(|(distance, word)| *distance <= 1.max(word.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be put in, left out or exchanged (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let exchanged = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_and_otherwise_all() {
        assert_eq!(
            cure("unknown field `listn`, expected one of `listen`, `anonymous`"),
            "there is no key `listn` here; did you mean `listen`?"
        );
        assert_eq!(
            cure("unknown field `colour`, expected one of `listen`, `anonymous`"),
            "there is no key `colour` here; known are listen, anonymous"
        );
        assert_eq!(cure("missing field `value`"), "the key `value` is missing; add it");
    }

    #[test]
    fn distance_counts_letters() {
        for (left, right, count) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("listen", "listne", 2)] {
            assert_eq!(distance(left, right), count, "{left} {right}");
        }
    }
}
