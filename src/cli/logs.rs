//! Logs: on standard error, for people on a terminal and as JSON otherwise.
//!
//! Only this crate's own events are turned up and down. What libraries say stays at warnings,
//! whatever the level: at finer ones some of them write heads and bytes, and a value could be among
//! these. Audit lines are always written.

use std::io::{IsTerminal, Stderr};
use std::sync::LazyLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::json_lines::JsonLines;
use super::lines::Lines;
use crate::audit;
use crate::config::{Log, LogFormat, LogLevel};

static LINES: LazyLock<Lines<Stderr>> = LazyLock::new(|| Lines::new(std::io::stderr()));

/// What is said, while it is said.
pub(super) struct Level(Handle<Targets, Registry>);

impl Level {
    /// From now on as the configuration says.
    pub(super) fn follow(&self, log: &Log) {
        // Without a subscriber there is nothing to turn.
        let _ = self.0.reload(filter(level(log.level)));
    }
}

/// Starts the logs of a server; [`flush`] is due before it ends.
pub(super) fn start(log: &Log) -> Level {
    let is_terminal = std::io::stderr().is_terminal();
    let lines: &'static Lines<Stderr> = &LINES;
    let writer = match std::thread::Builder::new().name("log".to_owned()).spawn(|| lines.write_out()) {
        Ok(_) => BoxMakeWriter::new(lines),
        // Without whoever writes them nothing may wait.
        Err(_) => BoxMakeWriter::new(std::io::stderr),
    };
    let layer = if are_for_people(log) {
        fmt::layer().with_writer(writer).with_ansi(is_terminal).with_target(false).boxed()
    } else {
        JsonLines::new(writer).boxed()
    };
    let (filter, handle) = reload::Layer::new(filter(level(log.level)));
    // A second start in one process changes nothing.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    Level(handle)
}

/// Writes what was said and still waits.
pub(super) fn flush() {
    LINES.flush();
}

/// Whether a person reads the logs of a server.
pub(super) fn are_for_people(log: &Log) -> bool {
    match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    }
}

/// Starts the logs of any other command: warnings, without a time.
pub(super) fn start_quiet() {
    let is_terminal = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(is_terminal).with_target(false).without_time();
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter(LevelFilter::WARN))).try_init();
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn filter(own: LevelFilter) -> Targets {
    let libraries = LevelFilter::WARN.min(own);
    Targets::new().with_default(libraries).with_target("subrosa", own).with_target(audit::TARGET, LevelFilter::INFO.max(own))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_say_no_more_than_warnings_and_audit_lines_are_always_written() {
        for own in [LevelFilter::ERROR, LevelFilter::INFO, LevelFilter::TRACE] {
            let filter = filter(own);
            for library in ["hyper", "rustls", "sled", "tokio"] {
                assert!(!filter.would_enable(library, &Level::INFO), "{library} at {own}");
            }
            assert!(filter.would_enable(audit::TARGET, &Level::INFO), "{own}");
            assert!(filter.would_enable("subrosa::app", &Level::ERROR), "{own}");
        }
        assert!(filter(LevelFilter::DEBUG).would_enable("subrosa::proxy", &Level::DEBUG));
        assert!(!filter(LevelFilter::INFO).would_enable("subrosa::proxy", &Level::DEBUG));
    }
}
