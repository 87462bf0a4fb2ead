//! `subrosa backup`: everything that is stored, in one file, while the server runs.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde_json::json;

use super::Place;
use super::client::{Api, Call};
use super::error::CliError;
use super::out;
use crate::backup::{End, inspect};

/// Where it goes, and what goes into it.
#[derive(Args)]
pub(super) struct Arguments {
    /// The file, which is made readable by its owner only; `-` is standard output.
    file: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
    /// Leave out what is kept of activity.
    #[arg(long)]
    without_activity: bool,
    /// Print JSON about it.
    #[arg(long)]
    json: bool,
}

/// Carries the command out.
pub(super) async fn run(place: &Place, arguments: &Arguments) -> Result<(), CliError> {
    let api = Api::open_present(place).await?;
    let call = Call::new(Method::GET, format!("/backup?activity={}", !arguments.without_activity));
    if arguments.file.as_os_str() == "-" {
        let failed = |fault| CliError::failed(format!("standard output cannot be written: {fault}"));
        api.download(call, &mut |piece| std::io::stdout().lock().write_all(piece).map_err(failed)).await?;
        return std::io::stdout().lock().flush().map_err(failed);
    }
    let end = write(&api, call, arguments).await?;
    let keys: Vec<&str> = end.keys.keys().map(String::as_str).collect();
    out::note(&format!(
        "Written: {} entries, sealed under {}. It holds no key: whoever restores it needs that key too.",
        end.entries,
        keys.join(" and ")
    ));
    if arguments.json { out::line(&format!("{:#}", told(&end))) } else { Ok(()) }
}

/// What a backup says of itself.
pub(super) fn told(end: &End) -> serde_json::Value {
    json!({
        "made_at": end.made_at, "version": end.version, "entries": end.entries, "activity": end.activity, "keys": end.keys,
    })
}

/// Beside its place first, and moved there once it is whole and on stable storage.
async fn write(api: &Api, call: Call, arguments: &Arguments) -> Result<End, CliError> {
    let file = &arguments.file;
    let failed = |fault: &dyn std::fmt::Display| CliError::failed(format!("{} cannot be written: {fault}", file.display()));
    let taken = || CliError::failed(format!("{} is there already; choose another name, or say --force", file.display()));
    if !arguments.force && file.exists() {
        return Err(taken());
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable by its owner only from its first moment.
    let mut beside =
        tempfile::Builder::new().prefix(".subrosa-backup-").tempfile_in(directory).map_err(|fault| failed(&fault))?;
    api.download(call, &mut |piece| beside.write_all(piece).map_err(|fault| failed(&fault))).await?;
    beside.as_file().sync_all().map_err(|fault| failed(&fault))?;
    let end = inspect(BufReader::new(File::open(beside.path()).map_err(|fault| failed(&fault))?)).map_err(CliError::failed)?;
    if arguments.force {
        beside.persist(file).map_err(|fault| failed(&fault.error))?;
    } else {
        beside.persist_noclobber(file).map_err(|fault| match fault.error.kind() {
            std::io::ErrorKind::AlreadyExists => taken(),
            _ => failed(&fault.error),
        })?;
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|fault| failed(&fault))?;
    Ok(end)
}
