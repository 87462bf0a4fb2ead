//! `subrosa key`: the key-encryption keys, and their rotation.

use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::Place;
use super::client::{Api, Call};
use super::error::CliError;
use super::out;
use super::secret::text;

const PATH: &str = "/keys";
/// How soon a rotation is asked how it stands; later and later, as the answer takes a look at everything.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(5);

/// What to do with the keys.
#[derive(Subcommand)]
pub(super) enum Command {
    /// List the keys by their ids, and what is sealed under which.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Seal everything anew under a new key, while the server runs.
    ///
    /// A key in a file is renewed there; one that comes from a variable, a program or the service manager is
    /// given anew by whoever gives it, with the former one below it. What was interrupted goes on. Once nothing
    /// needs the former key it is retired.
    Rotate {
        /// Print JSON once it has ended.
        #[arg(long)]
        json: bool,
    },
}

/// Carries the command out.
pub(super) async fn run(place: &Place, command: Command) -> Result<(), CliError> {
    let api = Api::open_present(place).await?;
    match command {
        Command::Status { json } => {
            let status = status(&api).await?;
            if json { out::line(&format!("{status:#}")) } else { show(&status) }
        }
        Command::Rotate { json } => rotate(&api, json).await,
    }
}

async fn status(api: &Api) -> Result<Value, CliError> {
    Ok(api.send(Call::new(Method::GET, PATH)).await?.content)
}

async fn rotate(api: &Api, json: bool) -> Result<(), CliError> {
    let begun = api.send(Call::new(Method::POST, format!("{PATH}/rotation"))).await?.content;
    out::note(if begun["new_key"] == true {
        "A new key was made; what is stored is sealed anew under it."
    } else {
        "What is sealed under a former key is sealed anew under the current one."
    });
    let (mut told, mut pause) = (Value::Null, SOON);
    loop {
        let status = status(api).await?;
        let rotation = &status["rotation"];
        let state = rotation["state"].as_str();
        if state == Some("running") {
            if told != rotation["done"] {
                out::note(&format!("{} of {}", rotation["done"], rotation["total"]));
                told = rotation["done"].clone();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LATE);
            continue;
        }
        let said = text(&rotation["said"]);
        return match state {
            Some("done") => {
                out::note(&format!("Done, {} sealed anew: {said}.", rotation["done"]));
                if json { out::line(&format!("{status:#}")) } else { Ok(()) }
            }
            _ => Err(CliError::failed(format!("the rotation stopped: {said}"))),
        };
    }
}

fn show(status: &Value) -> Result<(), CliError> {
    let rows: Vec<_> = status["keys"].as_array().into_iter().flatten().map(row).collect();
    out::line(&out::table(&["KEY", "USE", "SEALED UNDER IT"], &rows))?;
    match (status["rotation"]["state"].as_str(), status["needed"].as_u64()) {
        (Some("running"), _) => {
            out::note(&format!("A rotation is under way: {} of {}.", status["rotation"]["done"], status["rotation"]["total"]));
        }
        (_, Some(needed)) if needed > 0 => {
            out::note(&format!("{needed} still need a former key; `subrosa key rotate` seals them anew."));
        }
        _ => {}
    }
    Ok(())
}

fn row(key: &Value) -> Vec<String> {
    let used = match (key["current"].as_bool(), key["held"].as_bool()) {
        (Some(true), _) => "current",
        (_, Some(true)) => "former",
        _ => "not at hand",
    };
    vec![text(&key["id"]), used.to_owned(), key["sealed"].to_string()]
}
