//! `subrosa token`: API tokens for automation.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::Place;
use super::client::{Api, Call, of};
use super::error::CliError;
use super::out;
use super::secret::{Of, text};
use crate::members::Role;
use crate::secret::TokenName;

/// What to do with API tokens.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Create an API token and print it, this once.
    Create {
        /// Its name: a letter, then letters, digits, `_`, `-`, `.`.
        name: TokenName,
        /// What it may do: viewer, editor or administrator.
        #[arg(long, value_name = "ROLE", value_parser = Role::parse)]
        role: Role,
        /// For how many days it is valid, 366 at most.
        #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the API tokens of an organization.
    List {
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke an API token: what is done with it next is refused.
    Revoke {
        /// The token's name.
        name: TokenName,
        #[command(flatten)]
        of: Of,
    },
}

/// Carries the command out.
pub(super) async fn run(place: &Place, command: Command) -> Result<(), CliError> {
    let api = match &command {
        Command::Create { .. } => Api::open(place).await?,
        _ => Api::open_present(place).await?,
    };
    match command {
        Command::Create { name, role, days, of: whose, json } => {
            let call = Call::new(Method::POST, of(&whose.organization, "tokens"));
            let made = api.send(call.with_json(&json!({ "name": name, "role": role, "days": days }))).await?.content;
            out::note("Keep this token; it is not shown again. SUBROSA_TOKEN is where `subrosa --server URL` looks for it.");
            if json { out::line(&format!("{made:#}")) } else { out::line(&text(&made["token"])) }
        }
        Command::List { of: whose, json } => {
            let listed = api.send(Call::new(Method::GET, of(&whose.organization, "tokens"))).await?.content;
            let tokens = &listed["tokens"];
            if json {
                return out::line(&format!("{tokens:#}"));
            }
            let rows: Vec<_> = tokens.as_array().into_iter().flatten().map(row).collect();
            if rows.is_empty() {
                out::note("No API tokens; `subrosa token create NAME --role ROLE` makes one.");
                return Ok(());
            }
            out::line(&out::table(&["NAME", "ROLE", "VALID UNTIL", "CREATED BY"], &rows))
        }
        Command::Revoke { name, of: whose } => {
            api.send(Call::new(Method::DELETE, of(&whose.organization, &format!("tokens/{name}")))).await?;
            out::note("Revoked.");
            Ok(())
        }
    }
}

fn row(token: &Value) -> Vec<String> {
    let until = match (&token["fault"], token["expired"].as_bool()) {
        (Value::String(fault), _) => format!("cannot be used: {fault}"),
        (_, Some(true)) => "over".to_owned(),
        _ => text(&token["expires_at"]),
    };
    vec![text(&token["name"]), text(&token["role"]), until, text(&token["created_by"])]
}
