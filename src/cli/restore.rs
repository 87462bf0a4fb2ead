//! `subrosa restore`: a backup is opened, all of it, and only then takes the place of the store.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::backup::told;
use super::error::CliError;
use super::out;
use crate::app::{self, AppError};
use crate::backup::{Checked, RestoreError, check, read};
use crate::config::Config;
use crate::seal::Sealer;
use crate::store::StoreError;

/// Which backup, and how.
#[derive(Args)]
pub(super) struct Arguments {
    /// The backup.
    file: PathBuf,
    /// Open everything in it, and change nothing.
    #[arg(long)]
    check: bool,
    /// A key file that the backup was made with, beside the keys that the config names.
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Restore it although something in it could not be used when it was made.
    #[arg(long)]
    accept_damaged: bool,
    /// Print JSON about it.
    #[arg(long)]
    json: bool,
}

/// Carries the command out.
pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result<(), CliError> {
    let ring = app::restoring_keys(config, &arguments.key_file)?;
    let unreadable = |fault| CliError::failed(format!("{} cannot be read: {fault}", arguments.file.display()));
    let file = BufReader::new(File::open(&arguments.file).map_err(unreadable)?);
    let contents = read(file, &Sealer::with(ring.clone())).map_err(CliError::failed)?;
    let checked = check(contents, ring).await.map_err(CliError::failed)?;
    if !checked.damaged.is_empty() && !arguments.accept_damaged {
        return Err(CliError::failed(RestoreError::Damaged(checked.damaged)));
    }
    let told = json!({ "backup": told(&checked.end), "records": checked.records, "damaged": checked.damaged });
    let count = format!("{} records of {} entries", checked.records, checked.end.entries);
    if arguments.check {
        out::note(&format!("Everything in it opens: {count}. Nothing was changed."));
        return if arguments.json { out::line(&format!("{told:#}")) } else { Ok(()) };
    }
    let kept = replace(config, checked).await?;
    out::note(&format!("Restored: {count}."));
    if let Some(kept) = &kept {
        out::note(&format!(
            "What was there is kept in {}: to go back to it, stop the server and put its store and store.mark into the place of those in {}.",
            kept.display(),
            config.data_dir.display()
        ));
    }
    let kept = kept.map(|kept| kept.display().to_string());
    let told = json!({ "backup": told["backup"], "records": told["records"], "damaged": told["damaged"], "kept": kept });
    if arguments.json { out::line(&format!("{told:#}")) } else { Ok(()) }
}

async fn replace(config: &Config, checked: Checked) -> Result<Option<PathBuf>, CliError> {
    app::restore(config, checked).await.map_err(|fault| match fault {
        AppError::Store(StoreError::InUse { path }) => CliError::failed(format!(
            "the data directory {path} is in use by another process: stop `subrosa serve` first, a restore replaces its store; nothing was changed"
        )),
        other => other.into(),
    })
}
