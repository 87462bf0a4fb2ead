//! `subrosa store`: moving what is stored from one engine to the other.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::error::CliError;
use super::out;
use crate::app;
use crate::config::{Config, Engine};

/// What can be done with the store as a whole.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Copy everything into the empty place of another engine, with the servers stopped. It stays sealed, and takes no key.
    Copy(Arguments),
}

/// From where to where; both places are those of the config.
#[derive(Args)]
pub(super) struct Arguments {
    /// The engine that has it: sled below `data_dir`, or etcd as `[store.etcd]` says.
    #[arg(long)]
    from: Which,
    /// The engine that gets it, where nothing may be yet.
    #[arg(long)]
    to: Which,
    /// Print JSON about it.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Sled,
    Etcd,
}

impl From<Which> for Engine {
    fn from(which: Which) -> Self {
        match which {
            Which::Sled => Self::Sled,
            Which::Etcd => Self::Etcd,
        }
    }
}

/// Carries the command out.
pub(super) async fn run(config: &Config, command: &Command) -> Result<(), CliError> {
    let Command::Copy(arguments) = command;
    let copied = app::copy(config, arguments.from.into(), arguments.to.into()).await?;
    out::note(&format!(
        "Copied: {} entries, {} of them records. Each was read back and is, byte for byte, what was copied; none was opened: they are sealed \
         under {}, which whoever starts on them needs. What was copied is as it was.",
        copied.entries,
        copied.records,
        copied.keys.join(" and ")
    ));
    let told = json!({ "entries": copied.entries, "records": copied.records, "keys": copied.keys });
    if arguments.json { out::line(&format!("{told:#}")) } else { Ok(()) }
}
