//! The config file as text, so that every fault can be told with its line and its key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place, cure};

/// A config file that was read.
pub(super) struct ConfigFile {
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { path: path.to_owned(), text }),
            Err(fault) => Err(ConfigError {
                place: Place::File { path: path.to_owned(), line: None },
                key: None,
                fault: format!("the config file cannot be read: {fault}; name one that can with --config PATH"),
            }),
        }
    }

    #[cfg(test)]
    pub(super) fn from_text(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.to_owned() }
    }

    /// Parses the whole text.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|fault| {
            let span = fault.span();
            let line = span.as_ref().map(|span| self.line_of(span.start));
            let key = span.and_then(|span| self.key_at(&span));
            ConfigError { place: Place::File { path: self.path.clone(), line }, key, fault: cure(fault.message()) }
        })
    }

    /// Where `key` stands in the file; without a line when it does not stand there.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let line = self.keys().into_iter().find(|(known, _)| known == key).map(|(_, span)| self.line_of(span.start));
        Place::File { path: self.path.clone(), line }
    }

    fn line_of(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        1 + self.text.as_bytes()[..end].split(|byte| *byte == b'\n').count().saturating_sub(1)
    }

    /// The innermost key whose name or value holds the beginning of `span`.
    fn key_at(&self, span: &Range<usize>) -> Option<String> {
        let keys = self.keys().into_iter();
        let holding = keys.filter(|(_, known)| known.contains(&span.start) || *known == *span);
        holding.min_by_key(|(key, known)| (known.len(), std::cmp::Reverse(key.len()))).map(|(key, _)| key)
    }

    /// Every dotted key with the span from its name to the end of its value.
    fn keys(&self) -> Vec<(String, Range<usize>)> {
        let mut keys = Vec::new();
        if let Ok(table) = DeTable::parse(&self.text) {
            collect(table.get_ref(), "", &mut keys);
        }
        keys
    }
}

fn collect(table: &DeTable<'_>, above: &str, keys: &mut Vec<(String, Range<usize>)>) {
    for (name, value) in table {
        let key = if above.is_empty() { name.get_ref().to_string() } else { format!("{above}.{}", name.get_ref()) };
        keys.push((key.clone(), name.span().start..value.span().end.max(name.span().end)));
        collect_value(value, &key, keys);
    }
}

fn collect_value(value: &Spanned<DeValue<'_>>, key: &str, keys: &mut Vec<(String, Range<usize>)>) {
    match value.get_ref() {
        DeValue::Table(table) => collect(table, key, keys),
        DeValue::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                // Only tables have keys of their own; the entry of a list goes by the list's name.
                if matches!(entry.get_ref(), DeValue::Table(_)) {
                    let key = format!("{key}[{index}]");
                    keys.push((key.clone(), entry.span()));
                    collect_value(entry, &key, keys);
                }
            }
        }
        _ => {}
    }
}
