//! `subrosa organization`: what secrets, runners and members belong to.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::Place;
use super::client::{Api, Call};
use super::error::CliError;
use super::out;
use super::secret::text;
use crate::secret::OrganizationName;

const PATH: &str = "/organizations";

/// What to do with organizations.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Create an organization; `subrosa member invite` then makes its first administrator.
    Create {
        /// Its name: a letter, then letters, digits, `_`, `-`, `.`.
        name: OrganizationName,
        /// Notes for the team.
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
    },
    /// List organizations.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete an organization that holds no secrets and no runners, with its members and tokens.
    Delete {
        /// Its name.
        name: OrganizationName,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Carries the command out.
pub(super) async fn run(place: &Place, command: Command) -> Result<(), CliError> {
    let api = match &command {
        Command::Create { .. } => Api::open(place).await?,
        _ => Api::open_present(place).await?,
    };
    match command {
        Command::Create { name, description } => {
            let call = Call::new(Method::POST, PATH);
            api.send(call.with_json(&json!({ "name": name, "description": description }))).await?;
            out::note(&format!(
                "Created. `subrosa member invite LOGIN --role administrator --organization {name}` lets somebody in."
            ));
            Ok(())
        }
        Command::List { json } => {
            let listed = api.send(Call::new(Method::GET, PATH)).await?.content;
            if json {
                return out::line(&format!("{:#}", listed["organizations"]));
            }
            let rows: Vec<_> = listed["organizations"].as_array().into_iter().flatten().map(row).collect();
            out::line(&out::table(&["NAME", "DESCRIPTION"], &rows))
        }
        Command::Delete { name, yes } => delete(&api, &name, yes).await,
    }
}

async fn delete(api: &Api, name: &OrganizationName, yes: bool) -> Result<(), CliError> {
    let path = format!("{PATH}/{name}");
    if !yes {
        let question = format!("Delete the organization {name} with its members, invitations and tokens?");
        match out::confirm(&question) {
            Some(true) => {}
            Some(false) => return Err(CliError::Said),
            None => return Err(CliError::usage("say --yes: nobody can be asked here")),
        }
    }
    api.send(Call::new(Method::DELETE, path)).await?;
    out::note("Deleted.");
    Ok(())
}

fn row(organization: &Value) -> Vec<String> {
    vec![text(&organization["name"]), text(&organization["description"])]
}
