//! The user's guide, read line by line: a walk that skips a sentence, or comes to one before its turn,
//! fails.

use std::str::Lines;

/// The guide, as far as it has been read.
pub struct Guide(Lines<'static>);

impl Guide {
    pub fn open() -> Self {
        Self(include_str!("guide.txt").lines())
    }

    /// The next line, which must be `sentence`. What follows in the walk proves it.
    pub fn says(&mut self, sentence: &str) {
        assert_eq!(self.next().as_deref(), Some(sentence), "the guide goes on otherwise");
    }

    /// That nothing is left to be proved.
    pub fn ends(mut self) {
        assert_eq!(self.next(), None, "the guide goes on");
    }

    /// The next line that is not empty, without its bullet or number.
    fn next(&mut self) -> Option<String> {
        let line = self.0.by_ref().map(str::trim).find(|line| !line.is_empty())?;
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let marked = first == "•" || first.strip_suffix('.').is_some_and(|number| number.parse::<u8>().is_ok());
        Some(if marked { rest.trim() } else { line }.to_owned())
    }
}
