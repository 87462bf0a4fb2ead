//! `subrosa ca export`: the certificate that runners trust.

use std::path::PathBuf;

use clap::Subcommand;

use super::error::CliError;
use super::{out, trust_files};
use crate::config::Config;

/// What to do with the certificate authority.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the CA certificate as PEM. It is public; the key stays where it is.
    Export {
        /// Print the system's roots too: for programs that take one file instead of their own roots.
        #[arg(long)]
        bundle: bool,
        /// Write to a file instead.
        #[arg(long, short, value_name = "PATH")]
        output: Option<PathBuf>,
    },
}

/// Prints or writes the certificate.
pub(super) fn run(config: &Config, command: &Command) -> Result<(), CliError> {
    let Command::Export { bundle, output } = command;
    let pem = if *bundle { trust_files::bundle(config)? } else { trust_files::ca(config)? };
    match output {
        None => out::line(pem.trim_end()),
        Some(path) => std::fs::write(path, pem)
            .map_err(|fault| CliError::failed(format!("{} cannot be written: {fault}; name another file", path.display()))),
    }
}
