//! `subrosa completions SHELL`: a completion script.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::error::CliError;
use super::{Cli, out};

/// Which shell.
#[derive(Args)]
pub(super) struct Arguments {
    /// The shell that will read the script.
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "subrosa", &mut script);
    out::line(String::from_utf8_lossy(&script).trim_end())
}
