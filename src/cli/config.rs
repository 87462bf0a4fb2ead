//! `subrosa config check`: is the configuration right, and can what it names be read?

use clap::Subcommand;

use super::error::CliError;
use super::out;
use crate::app;
use crate::config::Config;

/// What to do with the configuration.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Check the file, the environment, and that every declared value can be read; start nothing.
    Check,
}

/// The configuration was loaded, and thereby checked, before this is called.
pub(super) fn run(config: &Config, command: &Command) -> Result<(), CliError> {
    match command {
        Command::Check => {
            app::check_sources(config)?;
            config.remarks.iter().for_each(|remark| out::note(&format!("Note: {remark}.")));
            out::line("OK")
        }
    }
}
