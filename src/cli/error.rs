//! Why a command was not done: one sentence on standard error, and the exit code.

use crate::app::AppError;
use crate::config::ConfigError;
use std::fmt;

/// Why a command was not done.
#[derive(Debug)]
pub(super) enum CliError {
    /// It could not be: exit code 1, and a sentence that says what to do.
    Failed(String),
    /// It was not understood: exit code 2.
    Usage(String),
    /// It said all there is to say: exit code 1.
    Said,
}

impl CliError {
    /// It could not be done.
    pub(super) fn failed(sentence: impl fmt::Display) -> Self {
        Self::Failed(sentence.to_string())
    }

    /// It was not understood.
    pub(super) fn usage(sentence: impl fmt::Display) -> Self {
        Self::Usage(sentence.to_string())
    }

    /// The sentence, if there is one to say still, and the exit code.
    pub(super) fn into_parts(self) -> (Option<String>, u8) {
        match self {
            Self::Failed(sentence) => (Some(sentence), 1),
            Self::Usage(sentence) => (Some(sentence), 2),
            Self::Said => (None, 1),
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(fault: ConfigError) -> Self {
        Self::failed(fault)
    }
}

impl From<AppError> for CliError {
    fn from(fault: AppError) -> Self {
        Self::failed(fault)
    }
}
